/// `join_all`: order, emptiness, failures, and what is kept of it under a timeout.
#include <magpie/runtime/join_all.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/forks.hpp>

#include <ranges>
#include <vector>

namespace magpie::tests::join_all_test {
namespace {

std::vector<task<int>> countdown(int count) {
  std::vector<task<int>> all;
  for (int i = 0; i < count; ++i) all.push_back(after(1us * (count - i), i));
  return all;
}

task<> keeps_the_order() {
  const std::vector<int> values = co_await join_all(countdown(100));
  EXPECT_EQ(values.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], i);
  const auto made = co_await join_all(std::views::iota(0, 10) |
                                      std::views::transform([](int i) { return at_once(i * i); }));
  EXPECT_EQ(made, (std::vector<int>{0, 1, 4, 9, 16, 25, 36, 49, 64, 81}));
}

TEST(join_all, gives_the_values_in_the_order_of_the_range) { in_many_orders(&keeps_the_order); }

task<> of_nothing() {
  const auto before = clock::now();
  const std::vector<int> values = co_await join_all(std::vector<task<int>>());
  EXPECT_TRUE(values.empty());
  co_await join_all(std::vector<task<>>());
  const auto results = co_await join_all_results(std::vector<task<int>>());
  EXPECT_TRUE(results.empty());
  EXPECT_EQ(clock::now(), before);
}

TEST(join_all, of_an_empty_range_completes_at_once) { in_many_orders(&of_nothing); }

task<> a_failure() {
  atomic<int> alive{0};
  auto slow = [](counted) -> task<int> {
    co_await sleep_for(1h);
    co_return 1;
  };
  std::vector<task<int>> all;
  for (int i = 0; i < 10; ++i) all.push_back(slow(counted(alive)));
  all.push_back(fails_after(1ms));
  const auto before = clock::now();
  const auto ended = co_await as_result(join_all(std::move(all)));
  EXPECT_EQ(error_of(ended), some_error());
  EXPECT_EQ(alive.load(order::relaxed), 0);
  EXPECT_LT(clock::now() - before, 2ms);
}

TEST(join_all, the_first_failure_stops_the_others) { in_many_orders(&a_failure); }

task<> collecting() {
  std::vector<task<int>> all;
  all.push_back(after(2ms, 1));
  all.push_back(fails_after(1ms));
  all.push_back(after(3ms, 3));
  const auto results = co_await join_all_results(std::move(all));
  EXPECT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].value(), 1);
  EXPECT_EQ(error_of(results[1]), some_error());
  EXPECT_EQ(results[2].value(), 3);
}

TEST(join_all, results_collects_failures_too) { in_many_orders(&collecting); }

task<> one_deadline_for_all() {
  // Semantics 54, T14: the results of those that finished in time are not lost.
  std::vector<task<int>> all;
  all.push_back(after(1ms, 1));
  all.push_back(after(1h, 2));
  all.push_back(after(2ms, 3));
  const auto results = co_await timeout(5ms, join_all_results(std::move(all)));
  EXPECT_EQ(results[0].value(), 1);
  EXPECT_EQ(error_of(results[1]), errc::stopped);
  EXPECT_EQ(results[2].value(), 3);
  const auto plain = co_await as_result(timeout(1ms, join_all(countdown(5000))));
  EXPECT_EQ(error_of(plain), errc::deadline);
}

TEST(join_all, t14_a_timeout_keeps_what_had_finished) {
  MAGPIE_NEED_SIMULATION();
  in_many_orders(&one_deadline_for_all);
}

task<> deadlines_of_their_own() {
  // Semantics 55.
  const auto results =
      co_await join_all_results(std::views::iota(1, 7) | std::views::transform([](int i) {
                                  return timeout(1ms * i, after(i % 2 == 0 ? 1us : 1h, i));
                                }));
  EXPECT_EQ(results.size(), 6U);
  for (int i = 1; i < 7; ++i) {
    const auto& one = results[static_cast<std::size_t>(i - 1)];
    if (i % 2 == 0) {
      EXPECT_EQ(one.value(), i);
    } else {
      EXPECT_EQ(error_of(one), errc::deadline);
    }
  }
}

TEST(join_all, each_element_under_its_own_timeout) { in_many_orders(&deadlines_of_their_own); }

task<> operations_and_void() {
  std::vector<detail::sleep_operation> pauses;
  for (int i = 0; i < 50; ++i) pauses.push_back(sleep_for(1us * i));
  co_await join_all(std::move(pauses));
  std::vector<task<bool>> flags;
  auto flag = [](bool value) -> task<bool> { co_return value; };
  flags.push_back(flag(true));
  flags.push_back(flag(false));
  const std::vector<bool> values = co_await join_all(std::move(flags));
  EXPECT_EQ(values, (std::vector<bool>{true, false}));
}

TEST(join_all, takes_operations_and_what_has_no_value) { in_many_orders(&operations_and_void); }

task<> without_memory() {
  auto all = countdown(3);
  frame_pool_fail_nth(1);
  auto joined = join_all(std::move(all));
  frame_pool_fail_nth(0);
  const auto ended = co_await as_result(std::move(joined));
  EXPECT_EQ(error_of(ended), std::errc::not_enough_memory);
}

TEST(join_all, fails_without_memory) { in_many_orders(&without_memory); }

task<> allocates_once() {
  auto all = countdown(1000);
  // One block: a second allocation for the elements would fail.
  frame_pool_fail_nth(2);
  auto joined = join_all(std::move(all));
  const std::vector<int> values = co_await std::move(joined);
  frame_pool_fail_nth(0);
  EXPECT_EQ(values.size(), 1000U);
}

TEST(join_all, takes_one_block_for_all_elements) {
  EXPECT_TRUE(run_in_simulation(allocates_once()));
}

task<> a_hundred_thousand() {
  std::vector<task<int>> all;
  for (int i = 0; i < 100'000; ++i) all.push_back(after(1us * (i % 100), i));
  const auto values = co_await join_all(std::move(all));
  EXPECT_EQ(values.size(), 100'000U);
  EXPECT_EQ(values.back(), 99'999);
  std::vector<task<int>> stopped;
  for (int i = 0; i < 100'000; ++i) stopped.push_back(after(1h, i));
  const auto ended = co_await as_result(timeout(1ms, join_all(std::move(stopped))));
  EXPECT_EQ(error_of(ended), errc::deadline);
}

TEST(join_all, of_a_hundred_thousand) {
  MAGPIE_NEED_SIMULATION();
  EXPECT_TRUE(run_in_simulation(a_hundred_thousand()));
}

#if defined(__cpp_exceptions)
task<> throwing() {
  for (const bool collect : {false, true}) {
    std::vector<task<int>> all;
    all.push_back(after(1h, 1));
    all.push_back(throws_after(1ms, 17));
    int caught = 0;
    try {
      if (collect) {
        static_cast<void>(co_await join_all_results(std::move(all)));
      } else {
        static_cast<void>(co_await join_all(std::move(all)));
      }
    } catch (int what) {
      caught = what;
    }
    EXPECT_EQ(caught, 17);
  }
}

TEST(join_all, rethrows_an_exception) { in_many_orders(&throwing); }
#endif

task<int> counts_alive(tally& counts, std::chrono::microseconds pause, int value) {
  const counted here(counts.alive);
  co_await sleep_for(pause);
  co_return value;
}

task<> joining_all(int i, tally& counts) {
  const counted here(counts.alive);
  std::vector<task<int>> all;
  for (int k = 0; k < i % 6; ++k)
    all.push_back(counts_alive(counts, std::chrono::microseconds((i + k) % 17), k));
  const auto values = co_await join_all(std::move(all));
  counts.check(values.size() == static_cast<std::size_t>(i % 6));
}

task<> collecting_all(int i, tally& counts) {
  const counted here(counts.alive);
  std::vector<task<int>> all;
  for (int k = 0; k < i % 6; ++k)
    all.push_back(counts_alive(counts, std::chrono::microseconds((i + k) % 17), k));
  const auto results = co_await join_all_results(std::move(all));
  counts.check(results.size() == static_cast<std::size_t>(i % 6));
  for (std::size_t k = 0; k < results.size(); ++k)
    counts.check(results[k] ? *results[k] == static_cast<int>(k)
                            : results[k].error() == errc::stopped);
  co_await sleep_for(1us);  // stopped, if it was
}

TEST(join_all, stop_torture_concurrent) {
  torture_forks(&joining_all);
  torture_forks(&collecting_all);
}

}  // namespace
}  // namespace magpie::tests::join_all_test
