/// `rate_limiter`: who is served when, in which order, and that a stop costs nothing.
#include <magpie/sync/rate_limiter.hpp>

#include <magpie/runtime/test_clock.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <memory>
#include <vector>

namespace magpie::tests::rate_limiter_test {
namespace {

using sync::rate_limit;
using sync::rate_limiter;

/// When each was served, since the scenario began, in order.
struct service {
  int name;
  clock::duration at;
  bool operator==(const service&) const = default;
};

struct log_of_service {
  clock::time_point began = clock::now();
  std::vector<service> all;
  void note(int name) { all.push_back({name, clock::now() - began}); }
};

task<> acquires(rate_limiter& from, std::uint64_t count, int name, log_of_service& log) {
  co_await from.acquire(count);
  log.note(name);
}

TEST(rate_limiter, serves_a_burst_at_once_and_then_one_each_interval) {
  at_instants([]() -> task<> {
    rate_limiter ten(rate_limit(10, 1s, 2));
    log_of_service log;
    auto all = spawn([](rate_limiter& from, log_of_service& in) -> task<> {
      for (int i = 0; i < 5; ++i) co_await acquires(from, 1, i, in);
    }(ten, log));
    for (int i = 0; i < 10; ++i) co_await test_clock::advance(50ms);
    const std::vector<service> expected{{0, 0ms}, {1, 0ms}, {2, 100ms}, {3, 200ms}, {4, 300ms}};
    EXPECT_EQ(log.all, expected);
    co_await all.join();
    EXPECT_EQ(ten.available(), 2U);
  });
}

TEST(rate_limiter, nobody_passes_the_line) {
  at_instants([]() -> task<> {
    rate_limiter ten(rate_limit(10, 1s, 5));
    log_of_service log;
    co_await ten.acquire(5);
    auto big = spawn(acquires(ten, 5, 1, log));
    co_await test_clock::advance(0ms);
    auto small = spawn(acquires(ten, 1, 2, log));
    co_await test_clock::advance(0ms);
    auto last = spawn(acquires(ten, 2, 3, log));
    co_await test_clock::advance(200ms);
    EXPECT_EQ(ten.available(), 2U);  // which the second could have
    const auto passes = ten.try_acquire();
    EXPECT_FALSE(passes);
    EXPECT_EQ(passes.error(), 700ms);  // 5 + 1 + 2 + 1 tokens, of which two are there
    EXPECT_TRUE(log.all.empty());
    co_await test_clock::advance(300ms);
    co_await test_clock::advance(100ms);
    co_await test_clock::advance(200ms);
    const std::vector<service> expected{{1, 500ms}, {2, 600ms}, {3, 800ms}};
    EXPECT_EQ(log.all, expected);
    co_await big.join();
    co_await small.join();
    co_await last.join();
  });
}

TEST(rate_limiter, a_stop_in_line_costs_nothing) {
  at_instants([]() -> task<> {
    rate_limiter ten(rate_limit(10, 1s, 5));
    log_of_service log;
    co_await ten.acquire(5);
    auto first = spawn(acquires(ten, 5, 1, log));
    co_await test_clock::advance(0ms);
    auto second = spawn(acquires(ten, 4, 2, log));
    co_await test_clock::advance(0ms);
    auto third = spawn(acquires(ten, 1, 3, log));
    co_await test_clock::advance(50ms);
    second.abort();
    co_await test_clock::advance(0ms);
    first.abort();
    const auto one = co_await first.join();
    const auto two = co_await second.join();
    EXPECT_EQ(error_of(one), errc::aborted);
    EXPECT_EQ(error_of(two), errc::aborted);
    co_await test_clock::advance(50ms);  // as if the two had never been there
    const std::vector<service> expected{{3, 100ms}};
    EXPECT_EQ(log.all, expected);
    co_await third.join();
    EXPECT_EQ(ten.try_acquire().error(), 100ms);  // nobody is counted in line any more
  });
}

TEST(rate_limiter, a_deadline_at_the_very_instant_takes_the_token_or_leaves_it) {
  at_instants([]() -> task<> {
    rate_limiter ten(rate_limit(10, 1s, 1));
    const auto in_time = [](rate_limiter& from, clock::duration most, bool& got) -> task<> {
      const auto ended = co_await as_result(timeout(most, from.acquire()));
      got = ended.has_value();
      EXPECT_TRUE(got || ended.error() == errc::deadline);
    };
    for (const clock::duration most : {99ms, 100ms, 101ms}) {
      EXPECT_TRUE(ten.try_acquire());
      bool got = false;
      auto waiting = spawn(in_time(ten, most, got));
      co_await test_clock::advance(101ms);
      co_await waiting.join();
      EXPECT_EQ(got, ten.available() == 0);
      if (most != 100ms) {
        EXPECT_EQ(got, most > 100ms);
      }
      co_await test_clock::advance(100ms);
    }
  });
}

TEST(rate_limiter, try_acquire_takes_or_says_how_long) {
  at_instants([]() -> task<> {
    rate_limiter ten(rate_limit(10, 1s, 3));
    EXPECT_TRUE(ten.try_acquire(3));
    EXPECT_EQ(ten.try_acquire(2).error(), 200ms);
    EXPECT_EQ(ten.try_acquire(4).error(), clock::duration::max());
    EXPECT_TRUE(ten.try_acquire(0));
    co_await test_clock::advance(200ms);
    EXPECT_TRUE(ten.try_acquire(2));
    EXPECT_EQ(ten.available(), 0U);
  });
}

TEST(rate_limiter, more_than_a_burst_is_an_error_and_none_is_had_at_once) {
  at_instants([]() -> task<> {
    rate_limiter ten(rate_limit(10, 1s, 3));
    const auto ended = co_await as_result(ten.acquire(4));
    EXPECT_EQ(error_of(ended), std::errc::invalid_argument);
    co_await ten.acquire(3);
    co_await ten.acquire(0);
    EXPECT_EQ(ten.available(), 0U);
  });
}

TEST(rate_limiter, is_not_begun_in_a_stopped_scope) {
  at_instants([]() -> task<> {
    rate_limiter ten(rate_limit(10, 1s));
    std::error_code said;
    auto stubborn = spawn([](rate_limiter& from, std::error_code& into) -> task<> {
      [[maybe_unused]] const auto ignored = co_await as_result(sleep_for(1h));
      into = error_of(co_await as_result(from.acquire()));
    }(ten, said));
    co_await test_clock::advance(1ms);
    stubborn.abort();
    [[maybe_unused]] const auto ended = co_await stubborn.join();
    EXPECT_EQ(said, errc::stopped);
    EXPECT_EQ(ten.available(), 10U);
  });
}

TEST(rate_limiter, jitter_only_slows_and_by_less_than_it_says) {
  at_instants([]() -> task<> {
    rate_limit limit(10, 1s, 1);
    limit.jitter = 50ms;
    rate_limiter ten(limit);
    log_of_service log;
    auto all = spawn([](rate_limiter& from, log_of_service& in) -> task<> {
      for (int i = 0; i < 100; ++i) co_await acquires(from, 1, i, in);
    }(ten, log));
    while (log.all.size() < 100) co_await test_clock::advance(1ms);
    co_await all.join();
    EXPECT_EQ(log.all[0].at, 0ms);  // who does not wait is not delayed
    std::vector<clock::duration> gaps;
    for (std::size_t i = 1; i < log.all.size(); ++i) {
      gaps.push_back(log.all[i].at - log.all[i - 1].at);
      EXPECT_GE(gaps.back(), 100ms);
      EXPECT_LE(gaps.back(), 151ms);  // the clock moves by whole milliseconds here
    }
    EXPECT_LT(*std::min_element(gaps.begin(), gaps.end()), 110ms);
    EXPECT_GT(*std::max_element(gaps.begin(), gaps.end()), 140ms);
  });
}

TEST(rate_limiter, may_be_destroyed_by_who_was_served_last) {
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 50; ++i) {
      auto shared = std::make_unique<rate_limiter>(rate_limit(1'000'000, 1s, 1));
      co_await with_task_group([&](task_group& group) -> task<> {
        const auto takes = [](rate_limiter& from) -> task<> { co_await from.acquire(); };
        for (int k = 0; k < 4; ++k) group.spawn(takes(*shared));
        co_return;
      });
      shared.reset();
    }
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

/// Tasks that come, wait, are stopped and look in by chance, against the rule: within any time
/// there are no more than a burst and what comes meanwhile, and the line moves in order.
TEST(rate_limiter, random_requests_and_stops_keep_to_the_rate) {
  const auto scenario = [](std::uint64_t seed) -> task<> {
    dice chance(seed);
    const std::uint64_t burst = 1 + chance.below(8);
    rate_limiter limiter(rate_limit(1, 100us, burst));
    struct served {
      clock::time_point at;
      std::uint64_t count;
    };
    std::vector<served> all;
    int came = 0;
    int last = -1;
    const auto requests = [](rate_limiter& from, std::uint64_t count, clock::duration most,
                             std::vector<served>& into, int& next_name, int& before) -> task<> {
      const int name = next_name++;
      const auto got = co_await as_result(timeout(most, from.acquire(count)));
      if (!got) co_return;
      EXPECT_GT(name, before);  // nobody was passed by who came later
      before = name;
      into.push_back({clock::now(), count});
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      const int operations = model_operations(2'000);
      for (int i = 0; i < operations; ++i) {
        const std::uint64_t count = 1 + chance.below(burst);
        if (chance.below(4) == 0) {
          if (limiter.try_acquire(count)) all.push_back({clock::now(), count});
        } else {
          const auto most =
              chance.below(3) == 0 ? std::chrono::microseconds(chance.below(900)) : 1h;
          group.spawn(requests(limiter, count, most, all, came, last));
        }
        if (chance.below(2) == 0) co_await sleep_for(std::chrono::microseconds(chance.below(1200)));
      }
    });
    for (std::size_t i = 0; i < all.size(); ++i) {
      std::uint64_t sum = 0;
      for (std::size_t k = i; k < all.size() && k < i + 40; ++k) {
        sum += all[k].count;
        const auto in = static_cast<std::uint64_t>((all[k].at - all[i].at) / 100us);
        EXPECT_LE(sum, burst + in + 1);  // one more: the clock is read once more after the take
      }
    }
    EXPECT_GT(all.size(), 100U);
  };
  for (std::uint64_t seed = 1; seed <= 5; ++seed)
    EXPECT_TRUE(run_on(one_at_a_time(seed), scenario(seed)));
}

TEST(rate_limiter, concurrent_takers_get_a_burst_and_no_more) {
  MAGPIE_NEED_CELL();
  rate_limiter once(rate_limit(1, std::chrono::hours(1'000'000), 1000));
  atomic<int> taken{0};
  const auto takes = [](rate_limiter& from, atomic<int>& count) -> task<> {
    for (int i = 0; i < 300; ++i) {
      bool got = from.try_acquire().has_value();
      if (!got && i % 2 == 0) {
        const auto waited = co_await as_result(timeout(1us, from.acquire()));
        got = waited.has_value();
      }
      if (got) count.fetch_add(1, order::relaxed);
    }
  };
  const auto scenario = [](rate_limiter& from, atomic<int>& count, const auto& taker) -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 8; ++i) group.spawn(taker(from, count));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario(once, taken, takes)));
  EXPECT_EQ(taken.load(order::relaxed), 1000);
  EXPECT_EQ(once.available(), 0U);
}

}  // namespace
}  // namespace magpie::tests::rate_limiter_test
