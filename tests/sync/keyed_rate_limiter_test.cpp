/// `keyed_rate_limiter`: each key by itself, and what is forgotten of them.
#include <magpie/sync/keyed_rate_limiter.hpp>

#include <magpie/runtime/test_clock.hpp>
#include <magpie/sync/token_bucket.hpp>
#include <magpie/tests/sync/world.hpp>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace magpie::tests::keyed_rate_limiter_test {
namespace {

using sync::keyed_rate_limiter;
using sync::rate_limit;

struct service {
  std::string key;
  int name;
  clock::duration at;
  bool operator==(const service&) const = default;
};

struct log_of_service {
  clock::time_point began = clock::now();
  std::vector<service> all;
};

task<> acquires(keyed_rate_limiter<std::string>& from, std::string key, std::uint64_t count,
                int name, log_of_service& log) {
  co_await from.acquire(key, count);
  log.all.push_back({key, name, clock::now() - log.began});
}

TEST(keyed_rate_limiter, each_key_has_a_rate_and_a_line_of_its_own) {
  at_instants([]() -> task<> {
    keyed_rate_limiter<std::string> ten(rate_limit(10, 1s, 2));
    log_of_service log;
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(acquires(ten, "a", 2, 1, log));
      co_await test_clock::advance(0ms);
      group.spawn(acquires(ten, "a", 2, 2, log));
      co_await test_clock::advance(0ms);
      group.spawn(acquires(ten, "a", 1, 3, log));  // does not pass the one before it
      group.spawn(acquires(ten, "b", 1, 4, log));  // which is none of its business
      for (int i = 0; i < 6; ++i) co_await test_clock::advance(50ms);
    });
    const std::vector<service> expected{
        {"a", 1, 0ms}, {"b", 4, 0ms}, {"a", 2, 200ms}, {"a", 3, 300ms}};
    EXPECT_EQ(log.all, expected);
    EXPECT_EQ(ten.size(), 2U);
    EXPECT_EQ(ten.available("a"), 0U);
    EXPECT_EQ(ten.available("b"), 2U);
    EXPECT_EQ(ten.available("c"), 2U);
    EXPECT_EQ(ten.size(), 2U);  // looking remembers nobody
  });
}

TEST(keyed_rate_limiter, try_acquire_takes_or_says_how_long) {
  at_instants([]() -> task<> {
    keyed_rate_limiter<int> ten(rate_limit(10, 1s, 3));
    EXPECT_TRUE(ten.try_acquire(1, 3));
    EXPECT_EQ(ten.try_acquire(1, 2).error(), 200ms);
    EXPECT_TRUE(ten.try_acquire(2, 2));
    EXPECT_EQ(ten.try_acquire(3, 4).error(), clock::duration::max());
    EXPECT_TRUE(ten.try_acquire(3, 0));
    EXPECT_EQ(ten.size(), 2U);
    const auto never = co_await as_result(ten.acquire(1, 4));
    EXPECT_EQ(error_of(never), std::errc::invalid_argument);
  });
}

TEST(keyed_rate_limiter, a_stop_in_line_costs_nothing) {
  at_instants([]() -> task<> {
    keyed_rate_limiter<std::string> ten(rate_limit(10, 1s, 5));
    log_of_service log;
    co_await ten.acquire("a", 5);
    auto first = spawn(acquires(ten, "a", 5, 1, log));
    co_await test_clock::advance(0ms);
    auto second = spawn(acquires(ten, "a", 1, 2, log));
    co_await test_clock::advance(50ms);
    first.abort();
    const auto one = co_await first.join();
    EXPECT_EQ(error_of(one), errc::aborted);
    co_await test_clock::advance(50ms);
    const std::vector<service> expected{{"a", 2, 100ms}};
    EXPECT_EQ(log.all, expected);
    co_await second.join();
    EXPECT_EQ(ten.try_acquire("a").error(), 100ms);
  });
}

TEST(keyed_rate_limiter, forgets_who_is_back_at_its_burst_and_nobody_else) {
  at_instants([]() -> task<> {
    keyed_rate_limiter<int> ten(rate_limit(10, 1s, 2), 3);
    EXPECT_TRUE(ten.try_acquire(1, 2));
    EXPECT_TRUE(ten.try_acquire(2, 1));
    EXPECT_TRUE(ten.try_acquire(3, 2));
    EXPECT_EQ(ten.size(), 3U);
    EXPECT_EQ(ten.try_acquire(4).error(), 100ms);  // no place
    const auto refused = co_await as_result(ten.acquire(4));
    EXPECT_EQ(error_of(refused), errc::refused);
    EXPECT_TRUE(ten.try_acquire(2));  // who is known is served
    EXPECT_FALSE(ten.try_acquire(1));
    co_await test_clock::advance(199ms);
    EXPECT_FALSE(ten.try_acquire(4));
    co_await test_clock::advance(1ms);
    EXPECT_TRUE(ten.try_acquire(4, 2));  // in the place of one of the three
    EXPECT_EQ(ten.size(), 3U);
    EXPECT_TRUE(ten.try_acquire(5, 2));
    EXPECT_TRUE(ten.try_acquire(6, 2));
    EXPECT_EQ(ten.size(), 3U);
    EXPECT_FALSE(ten.try_acquire(1));  // all are busy again
    EXPECT_EQ(ten.available(4) + ten.available(5) + ten.available(6), 0U);
    co_await test_clock::advance(1s);
    EXPECT_TRUE(ten.try_acquire(7));  // makes room although there
    EXPECT_LE(ten.size(), 3U);
  });
}

TEST(keyed_rate_limiter, who_waits_is_not_forgotten) {
  at_instants([]() -> task<> {
    keyed_rate_limiter<std::string> ten(rate_limit(10, 1s, 1), 1);
    log_of_service log;
    co_await ten.acquire("a");
    auto waits = spawn(acquires(ten, "a", 1, 1, log));
    co_await test_clock::advance(99ms);
    EXPECT_FALSE(ten.try_acquire("b"));
    co_await test_clock::advance(1ms);
    co_await waits.join();
    EXPECT_EQ(log.all.size(), 1U);
    EXPECT_FALSE(ten.try_acquire("b"));
    co_await test_clock::advance(100ms);
    EXPECT_TRUE(ten.try_acquire("b"));
    EXPECT_EQ(ten.size(), 1U);
  });
}

TEST(keyed_rate_limiter, an_end_while_somebody_waits_is_an_abort) {
  const auto scenario = []() -> task<> {
    auto one = std::make_unique<keyed_rate_limiter<int>>(rate_limit(1, 1h, 1));
    EXPECT_TRUE(one->try_acquire(1));
    const auto takes = [](keyed_rate_limiter<int>& from) -> task<> { co_await from.acquire(1); };
    auto waits = spawn(takes(*one));
    co_await settled();
    one.reset();
    co_await waits.join();
  };
  EXPECT_DEATH(run_on(one_at_a_time(), scenario()), "while somebody waits");
}

#if defined(__cpp_exceptions)
struct moody {
  explicit moody(int n, bool throws_ = false) : number(n), throws(throws_) {}
  moody(const moody& other) : number(other.number), throws(other.throws) {
    if (throws) throw std::runtime_error("no copy");
  }
  bool operator==(const moody& other) const noexcept { return number == other.number; }
  int number;
  bool throws;
};
struct hash_of_moody {
  std::size_t operator()(const moody&) const noexcept { return 7; }
};

TEST(keyed_rate_limiter, a_key_that_cannot_be_copied_leaves_nothing) {
  at_instants([]() -> task<> {
    keyed_rate_limiter<moody, hash_of_moody> ten(rate_limit(10, 1s, 2), 2);
    const moody bad(1, true);
    EXPECT_THROW(static_cast<void>(ten.try_acquire(bad)), std::runtime_error);
    EXPECT_EQ(ten.size(), 0U);
    EXPECT_TRUE(ten.try_acquire(moody(1), 2));
    EXPECT_FALSE(ten.try_acquire(bad));      // it is known, and not copied
    EXPECT_TRUE(ten.try_acquire(moody(2)));  // the same hash, but another
    EXPECT_EQ(ten.available(moody(1)), 0U);
    EXPECT_EQ(ten.available(moody(2)), 1U);
    co_return;
  });
}
#endif

/// What is forgotten makes no difference: against as many buckets as there are keys.
TEST(keyed_rate_limiter, random_keys_are_served_as_if_nothing_were_forgotten) {
  const auto scenario = [](std::uint64_t seed) -> task<> {
    dice chance(seed);
    const rate_limit limit(1, 100us, 1 + chance.below(5));
    keyed_rate_limiter<std::size_t> limiter(limit, 8 + chance.below(8));
    std::map<std::size_t, sync::detail::token_bucket> reference;
    int refused = 0;
    int taken = 0;
    const int operations = model_operations(20'000);
    for (int i = 0; i < operations; ++i) {
      const std::size_t key = chance.below(40);
      const std::uint64_t count = 1 + chance.below(limit.burst);
      auto& bucket = reference.try_emplace(key, limit).first->second;
      const clock::time_point now = clock::now();
      const auto got = limiter.try_acquire(key, count);
      if (!got && got.error() == 100us && bucket.available(now) == limit.burst) {
        ++refused;  // there was no place: it is new, and so full
      } else {
        const clock::duration expected = bucket.take(count, now);
        EXPECT_EQ(got ? clock::duration::zero() : got.error(), expected);
        taken += got ? 1 : 0;
      }
      EXPECT_LE(limiter.size(), 16U);
      if (chance.below(3) == 0)
        co_await test_clock::advance(std::chrono::microseconds(chance.below(120)));
    }
    EXPECT_GT(refused, 0);
    EXPECT_GT(taken, operations / 50);
  };
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const auto paused = [](std::uint64_t which, const auto& inner) -> task<> {
      test_clock::pause();
      co_await inner(which);
      test_clock::resume();
    };
    EXPECT_TRUE(run_on(one_at_a_time(seed), paused(seed, scenario)));
  }
}

TEST(keyed_rate_limiter, concurrent_takers_get_a_burst_of_each_key_and_no_more) {
  MAGPIE_NEED_CELL();
  keyed_rate_limiter<int> once(rate_limit(1, std::chrono::hours(1'000'000), 100), 2000);
  std::array<atomic<int>, 8> taken{};
  const auto takes = [](keyed_rate_limiter<int>& from, std::array<atomic<int>, 8>& counts,
                        int first) -> task<> {
    for (int i = 0; i < 400; ++i) {
      const int key = (first + i) % 8;
      bool got = from.try_acquire(key).has_value();
      if (!got && i % 2 == 0) {
        const auto waited = co_await as_result(timeout(1us, from.acquire(key)));
        got = waited.has_value();
      }
      if (got) counts[static_cast<std::size_t>(key)].fetch_add(1, order::relaxed);
      if (i % 16 == 0) co_await yield();
    }
  };
  const auto scenario = [](keyed_rate_limiter<int>& from, std::array<atomic<int>, 8>& counts,
                           const auto& taker) -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 8; ++i) group.spawn(taker(from, counts, i));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario(once, taken, takes)));
  for (const auto& one : taken) EXPECT_EQ(one.load(order::relaxed), 100);
  EXPECT_EQ(once.size(), 8U);
}

/// Keys come and are forgotten on all workers at once, also while others are at them.
TEST(keyed_rate_limiter, concurrent_keys_come_and_go) {
  MAGPIE_NEED_CELL();
  keyed_rate_limiter<int> quick(rate_limit(1'000'000'000, 1s, 1), 4);
  const auto takes = [](keyed_rate_limiter<int>& from, int first) -> task<> {
    for (int i = 0; i < 500; ++i) {
      const auto got = co_await as_result(from.acquire((first * 7 + i) % 16));
      EXPECT_TRUE(got || got.error() == errc::refused);
      EXPECT_LE(from.size(), 4U);
    }
  };
  const auto scenario = [](keyed_rate_limiter<int>& from, const auto& taker) -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 8; ++i) group.spawn(taker(from, i));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario(quick, takes)));
}

}  // namespace
}  // namespace magpie::tests::keyed_rate_limiter_test
