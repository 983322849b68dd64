#include <magpie/sync/stream_joins.hpp>

#include <magpie/sync/mpsc.hpp>
#include <magpie/tests/sync/streams.hpp>

#include <algorithm>
#include <memory>
#include <stdexcept>

namespace magpie::tests::stream_joins_test {
namespace {

TEST(stream_joins, chain_gives_one_after_the_other) {
  const auto scenario = []() -> task<> {
    auto both = scripted({1, some_error(), 2}) | streams::chain(scripted({3, 1ms, 4}));
    const auto first = co_await both.next();
    EXPECT_EQ(first, 1);
    const auto failed = co_await as_result(both.next());
    EXPECT_EQ(error_of(failed), some_error());
    const auto rest = co_await (both | streams::collect());
    EXPECT_EQ(rest, (std::vector{2, 3, 4}));
    const auto end = co_await both.next();
    EXPECT_FALSE(end);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_joins, zip_keeps_its_half_when_it_is_stopped) {
  const auto scenario = []() -> task<> {
    auto pairs = scripted({1, 2, 3}) | streams::zip(scripted({5ms, 10, 20}));
    const auto early = co_await as_result(timeout(1ms, pairs.next()));
    EXPECT_EQ(error_of(early), errc::deadline);
    const auto first = co_await pairs.next();
    EXPECT_EQ(*first, std::pair(1, 10));
    const auto second = co_await pairs.next();
    EXPECT_EQ(*second, std::pair(2, 20));
    for (int i = 0; i < 2; ++i) {
      const auto end = co_await pairs.next();
      EXPECT_FALSE(end);
    }
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_joins, merge_takes_turns_and_ends_with_both) {
  const auto scenario = []() -> task<> {
    auto both =
        streams::each(std::vector{1, 2, 3, 4}) | streams::merge(streams::each(std::vector{10, 20}));
    const auto all = co_await (both | streams::collect());
    EXPECT_EQ(all, (std::vector{1, 10, 2, 20, 3, 4}));
    const auto end = co_await both.next();
    EXPECT_FALSE(end);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_joins, merge_gives_what_comes_when_it_comes) {
  in_exact_time([]() -> task<> {
    auto both = scripted({2ms, 1, 4ms, 2}) | streams::merge(scripted({3ms, 10, 1ms, 20}));
    const auto begin = clock::now();
    const auto first = co_await both.next();
    EXPECT_EQ(first, 1);
    EXPECT_EQ(clock::now(), begin + 2ms);
    // The wait of the other was stopped, and this source begins it anew.
    const auto second = co_await both.next();
    EXPECT_EQ(second, 10);
    EXPECT_EQ(clock::now(), begin + 5ms);
    const auto third = co_await both.next();
    EXPECT_EQ(third, 20);
    const auto fourth = co_await both.next();
    EXPECT_EQ(fourth, 2);
    const auto end = co_await both.next();
    EXPECT_FALSE(end);
  });
}

TEST(stream_joins, merge_tells_errors_and_goes_on) {
  const auto scenario = []() -> task<> {
    auto both = scripted({1ms, some_error(), 1}) | streams::merge(scripted({5ms, 10}));
    const auto failed = co_await as_result(both.next());
    EXPECT_EQ(error_of(failed), some_error());
    const auto first = co_await both.next();
    EXPECT_EQ(first, 1);
    const auto second = co_await both.next();
    EXPECT_EQ(second, 10);
    const auto end = co_await both.next();
    EXPECT_FALSE(end);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_joins, merge_loses_nothing_of_two_that_come_at_once) {
  const auto fills = [](sync::mpsc_sender<int> to, int from) -> task<> {
    for (int i = 0; i < 50; ++i) {
      co_await sleep_for(10us);
      co_await to.send(from + i);
    }
  };
  const auto scenario = [&]() -> task<> {
    auto one = sync::mpsc<int>(2);
    auto other = sync::mpsc<int>(2);
    auto filling = spawn(fills(std::move(one.sender), 0));
    auto filling_other = spawn(fills(std::move(other.sender), 100));
    auto both = streams::messages(std::move(one.receiver)) |
                streams::merge(streams::messages(std::move(other.receiver)));
    int next = 0;
    int next_other = 100;
    for (;;) {
      const auto got = co_await as_result(timeout(7us, both.next()));
      if (!got) continue;
      if (!*got) break;
      int& expected = **got < 100 ? next : next_other;
      EXPECT_EQ(**got, expected);
      ++expected;
    }
    EXPECT_EQ(next, 50);
    EXPECT_EQ(next_other, 150);
    static_cast<void>(co_await filling.join());
    static_cast<void>(co_await filling_other.join());
  };
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(scenario(), seed));
}

TEST(stream_joins, merge_keeps_what_the_slower_one_had) {
  // Timers that fire at the same instant cannot be stopped any more: both waits have a value.
  in_exact_time([]() -> task<> {
    const auto ticks_as = [](int number) {
      return streams::ticks(interval(10ms)) | streams::take(10) |
             streams::map([number](clock::time_point) { return number; });
    };
    auto both = ticks_as(1) | streams::merge(ticks_as(2));
    const auto begin = clock::now();
    const auto all = co_await (both | streams::collect());
    EXPECT_EQ(all.size(), 20U);
    EXPECT_EQ(std::ranges::count(all, 1), 10);
    EXPECT_EQ(clock::now(), begin + 90ms);
  });
}

TEST(stream_joins, flatten_gives_the_items_of_streams) {
  const auto scenario = []() -> task<> {
    auto all = streams::each(numbers_to(4)) |
               streams::map([](int i) { return streams::each(numbers_to(i)); }) |
               streams::flatten();
    const auto items = co_await (all | streams::collect());
    EXPECT_EQ(items, (std::vector{0, 0, 1, 0, 1, 2}));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_joins, flatten_goes_on_within_a_stream_after_a_stop) {
  const auto scenario = []() -> task<> {
    std::vector<scripted> inner;
    inner.push_back(scripted({1, 5ms, 2}));
    inner.push_back(scripted({some_error(), 3}));
    auto all = streams::each(std::move(inner)) | streams::flatten();
    const auto first = co_await all.next();
    EXPECT_EQ(first, 1);
    const auto early = co_await as_result(timeout(1ms, all.next()));
    EXPECT_EQ(error_of(early), errc::deadline);
    const auto second = co_await all.next();
    EXPECT_EQ(second, 2);
    const auto failed = co_await as_result(all.next());
    EXPECT_EQ(error_of(failed), some_error());
    const auto rest = co_await (all | streams::collect());
    EXPECT_EQ(rest, std::vector{3});
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_joins, then_awaits_one_after_the_other) {
  in_exact_time([]() -> task<> {
    const auto begin = clock::now();
    auto slow = streams::each(numbers_to(3)) | streams::then([](int i) -> task<int> {
                  co_await sleep_for(2ms);
                  co_return i * 2;
                });
    const auto all = co_await (slow | streams::collect());
    EXPECT_EQ(all, (std::vector{0, 2, 4}));
    EXPECT_EQ(clock::now(), begin + 6ms);
  });
}

TEST(stream_joins, then_keeps_an_item_whose_task_was_stopped_and_no_other) {
  const auto scenario = []() -> task<> {
    int calls = 0;
    std::vector<std::unique_ptr<int>> owned;
    for (int i = 0; i < 3; ++i) owned.push_back(std::make_unique<int>(i));
    auto tried = streams::each(std::move(owned)) |
                 streams::then([&](std::unique_ptr<int>& lent) -> task<int> {
                   ++calls;
                   co_await sleep_for(2ms);
                   if (*lent == 1) co_await fail(some_error());
                   co_return *lent;
                 });
    const auto early = co_await as_result(timeout(1ms, tried.next()));
    EXPECT_EQ(error_of(early), errc::deadline);
    const auto first = co_await tried.next();
    EXPECT_EQ(first, 0);
    EXPECT_EQ(calls, 2);
    const auto failed = co_await as_result(tried.next());
    EXPECT_EQ(error_of(failed), some_error());
    const auto third = co_await tried.next();
    EXPECT_EQ(third, 2);
    const auto end = co_await tried.next();
    EXPECT_FALSE(end);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

#if defined(__cpp_exceptions)
TEST(stream_joins, then_lets_go_of_an_item_whose_function_threw) {
  const auto scenario = []() -> task<> {
    auto tried = streams::each(numbers_to(3)) | streams::then([](int i) -> task<int> {
                   if (i == 0) throw std::runtime_error("before the task");
                   return [](int k) -> task<int> {
                     if (k == 1) throw std::runtime_error("in the task");
                     co_return k;
                   }(i);
                 });
    int thrown = 0;
    std::vector<int> got;
    for (;;) {
      try {
        const auto one = co_await tried.next();
        if (!one) break;
        got.push_back(*one);
      } catch (const std::runtime_error&) {
        ++thrown;
      }
    }
    EXPECT_EQ(thrown, 2);
    EXPECT_EQ(got, std::vector{2});
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}
#endif

// A `next` that was asked whether it has something, and never begun, has not called the function.
TEST(stream_joins, then_keeps_an_item_that_was_asked_for_in_vain) {
  const auto scenario = []() -> task<> {
    std::vector<std::unique_ptr<int>> owned;
    for (int i = 1; i <= 3; ++i) owned.push_back(std::make_unique<int>(i));
    int calls = 0;
    const auto takes = [&](std::unique_ptr<int> one) -> task<int> {
      ++calls;
      co_return one ? *one : -1;
    };
    auto [to, silent] = sync::mpsc<int>(1);
    auto both = streams::each(std::move(owned)) | streams::then(takes) |
                streams::merge(streams::messages(std::move(silent)));
    for (int i = 1; i <= 3; ++i) {
      const auto one = co_await both.next();
      EXPECT_EQ(one, i);
    }
    EXPECT_EQ(calls, 3);
    for (int round = 0; round < 50; ++round) {
      auto some = streams::each(numbers_to(1)) |
                  streams::then([](const int& i) -> task<int> { co_return i + 1; });
      auto first = co_await select(some.next(), sleep_for(0ms));
      const auto early = first.get<0>();
      std::optional<int> got = early && *early ? **early : std::nullopt;
      if (!got) got = co_await some.next();
      EXPECT_EQ(got, 1);
    }
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

}  // namespace
}  // namespace magpie::tests::stream_joins_test
