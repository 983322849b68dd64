/// `timeout`: whose time is up, and what is the outcome then.
#include <magpie/runtime/timeout.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/test_clock.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace magpie::tests::timeout_test {
namespace {

task<int> after(std::chrono::nanoseconds pause, int value) {
  co_await sleep_for(pause);
  co_return value;
}

task<> in_time_and_late() {
  const int value = co_await timeout(2ms, after(1ms, 5));
  EXPECT_EQ(value, 5);
  const auto before = clock::now();
  const auto late = co_await as_result(timeout(2ms, after(1h, 5)));
  EXPECT_EQ(error_of(late), errc::deadline);
  EXPECT_EQ(error_of(late), std::errc::timed_out);
  EXPECT_GE(clock::now() - before, 2ms);
  EXPECT_LT(clock::now() - before, 3ms);
  const auto until = co_await as_result(timeout_at(clock::now() + 1ms, after(1h, 1)));
  EXPECT_EQ(error_of(until), errc::deadline);
}

TEST(timeout, passes_values_on_and_ends_what_is_late) {
  for (std::uint64_t seed = 1; seed < 20; ++seed)
    EXPECT_TRUE(run_in_simulation(in_time_and_late(), seed));
}

task<int> never_suspends() { co_return 3; }

task<> of_no_duration() {
  const int inline_value = co_await timeout(0s, never_suspends());
  EXPECT_EQ(inline_value, 3);
  const int past = co_await timeout(-1s, never_suspends());
  EXPECT_EQ(past, 3);
  co_await timeout(std::chrono::hours::min(), sleep_for(0s));
  const auto pending = co_await as_result(timeout(0s, after(1ms, 1)));
  EXPECT_EQ(error_of(pending), errc::deadline);
  const int endless = co_await timeout(std::chrono::hours::max(), after(24h * 3650, 4));
  EXPECT_EQ(endless, 4);
  const int infinite = co_await timeout(
      std::chrono::duration<double>(std::numeric_limits<double>::infinity()), after(1ms, 6));
  EXPECT_EQ(infinite, 6);
}

TEST(timeout, of_zero_negative_and_endless_durations) {
  EXPECT_TRUE(run_in_simulation(of_no_duration()));
}

task<int> ignores_the_stop() {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
  EXPECT_EQ(error_of(slept), errc::stopped);
  co_return 8;
}

task<int> answers_with_an_error() {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
  co_await fail(some_error());
  co_return 0;
}

task<> the_truth_wins() {
  const int late = co_await timeout(1ms, ignores_the_stop());
  EXPECT_EQ(late, 8);  // a value is a value, even late
  const auto other = co_await as_result(timeout(1ms, answers_with_an_error()));
  EXPECT_EQ(error_of(other), some_error());
}

TEST(timeout, a_late_value_is_a_value_and_another_error_that_error) {
  EXPECT_TRUE(run_in_simulation(the_truth_wins()));
}

task<> nested() {
  auto outer_first = timeout(5ms, after(1h, 1));
  const auto a = co_await as_result(timeout(1ms, std::move(outer_first)));
  EXPECT_EQ(error_of(a), errc::deadline);
  auto inner_first = timeout(1ms, after(1h, 1));
  const auto b = co_await as_result(timeout(5ms, std::move(inner_first)));
  EXPECT_EQ(error_of(b), errc::deadline);
  auto same = timeout(1ms, after(1h, 1));
  const auto c = co_await as_result(timeout(1ms, std::move(same)));
  EXPECT_EQ(error_of(c), errc::deadline);
}

TEST(timeout, nests) {
  for (std::uint64_t seed = 1; seed < 30; ++seed) EXPECT_TRUE(run_in_simulation(nested(), seed));
}

task<> waits_bounded() {
  const auto ended = co_await as_result(timeout(1h, sleep_for(2h)));
  EXPECT_EQ(error_of(ended), errc::stopped);  // the surrounding scope was stopped, not the time up
}

task<> aborts_a_bounded_wait() {
  auto handle = spawn(waits_bounded());
  co_await sleep_for(1ms);
  handle.abort();
  const auto ended = co_await handle.join();
  EXPECT_TRUE(ended);
}

TEST(timeout, a_stop_from_outside_is_no_deadline) {
  EXPECT_TRUE(run_in_simulation(aborts_a_bounded_wait()));
}

task<> deep_wait() { co_await sleep_for(1h); }
task<> deeper_wait() { co_await deep_wait(); }
task<> bounded_wait() { co_await timeout(1ms, deeper_wait()); }

TEST(timeout, the_trace_leads_through_it) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    options loud = simulation(seed);
    loud.log = true;
    runtime on(loud);
    testing::internal::CaptureStderr();
    on.spawn(bounded_wait()).detach();
    EXPECT_TRUE(on.block_on(after(10ms, 1)));
    const std::string said = testing::internal::GetCapturedStderr();
    std::size_t places = 0;
    for (std::size_t at = said.find("timeout_test.cpp"); at != std::string::npos;
         at = said.find("timeout_test.cpp", at + 1))
      ++places;
    EXPECT_EQ(places, 4U) << said;  // where it was spawned, and three awaits
  }
}

task<std::unique_ptr<int>> boxes() {
  co_await sleep_for(1us);
  co_return std::make_unique<int>(2);
}

task<> moves_values() {
  const auto box = co_await timeout(1s, boxes());
  EXPECT_EQ(*box, 2);
  co_await timeout(1s, yield());
  const std::error_code error = some_error();
  const auto inside = co_await as_result(timeout(1s, result<int>(std::unexpected(error))));
  EXPECT_EQ(error_of(inside), some_error());
}

TEST(timeout, around_tasks_operations_and_results) {
  EXPECT_TRUE(run_in_simulation(moves_values()));
}

int counts_to(int i) { return i; }

task<> blocking_under_timeout() {
  // C32: the simulated clock does not run away while a call blocks.
  for (int i = 0; i < 2; ++i) {
    const int value = co_await timeout(1ms, run_blocking(counts_to, i));
    EXPECT_EQ(value, i);
  }
}

TEST(timeout, c32_around_blocking_calls_in_a_simulation) {
  for (std::uint64_t seed = 1; seed < 20; ++seed)
    EXPECT_TRUE(run_in_simulation(blocking_under_timeout(), seed));
}

// C68: the inside comes first, whatever the deadline.
task<> ready_or_not() {
  for (const auto past : {clock::now(), clock::now() - 1s, clock::time_point::min()}) {
    const int ready = co_await timeout_at(past, never_suspends());
    EXPECT_EQ(ready, 3);
    const int value = co_await timeout_at(past, result<int>(4));
    EXPECT_EQ(value, 4);
    const auto pending = co_await as_result(timeout_at(past, after(1ms, 5)));
    EXPECT_EQ(error_of(pending), errc::deadline);
  }
  const auto before = clock::now();
  const int never = co_await timeout_at(clock::time_point::max(), after(24h * 3650, 6));
  EXPECT_EQ(never, 6);
  EXPECT_GE(clock::now() - before, 24h * 3650);
}

TEST(timeout, c68_what_is_ready_wins_over_a_deadline_in_the_past) {
  for (std::uint64_t seed = 1; seed < 20; ++seed)
    EXPECT_TRUE(run_in_simulation(ready_or_not(), seed));
}

task<> notes_expiry(clock::time_point until, std::vector<clock::time_point>& expired) {
  const auto late = co_await as_result(timeout_at(until, after(1h, 1)));
  EXPECT_EQ(error_of(late), errc::deadline);
  expired.push_back(clock::now());
}

task<> siblings() {
  test_clock::pause();
  const auto until = clock::now() + 5ms;
  std::vector<clock::time_point> expired;
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < 20; ++i) group.spawn(notes_expiry(until, expired));
    co_await test_clock::advance(5ms - 1us);
    EXPECT_TRUE(expired.empty());
    co_await test_clock::advance(1us);
  });
  EXPECT_EQ(expired, std::vector<clock::time_point>(20, until));
}

TEST(timeout, siblings_of_one_deadline_expire_in_the_same_tick) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(siblings(), seed));
}

task<> completes_inline_for_ever() {
  for (;;) co_await sleep_for(0s);
}
task<> yields_for_ever() {
  for (;;) co_await yield();
}

task<> busy_inside() {
  const auto spent = co_await as_result(timeout(1ms, completes_inline_for_ever()));
  EXPECT_EQ(error_of(spent), errc::deadline);
  const auto yielded = co_await as_result(timeout(1ms, yields_for_ever()));
  EXPECT_EQ(error_of(yielded), errc::deadline);
}

TEST(timeout, a_busy_inside_cannot_suppress_it) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(busy_inside()));
}

task<int> holds_connection(atomic<int>& users) {
  const counted here(users);
  co_await sleep_for(1h);
  co_return 1;
}

task<> with_fallback() {
  atomic<int> users{0};
  int value = 0;
  const auto primary = co_await as_result(timeout(1ms, holds_connection(users)));
  EXPECT_EQ(users.load(order::relaxed), 0);  // gone before the fallback begins
  if (!primary) value = co_await after(1ms, 2);
  EXPECT_EQ(value, 2);
}

TEST(timeout, what_it_ended_is_gone_when_it_says_so) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(with_fallback()));
}

}  // namespace
}  // namespace magpie::tests::timeout_test
