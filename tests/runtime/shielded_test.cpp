/// `shielded`: what a stop from above does not reach, for how long, and what is seen afterwards.
#include <magpie/runtime/shielded.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <gtest/gtest.h>
#include <unistd.h>

#include <stdexcept>

namespace magpie::tests::shielded_test {
namespace {

struct steps {
  bool cleaned = false;
  bool passed = false;
  std::error_code shield;
  std::error_code after;
};

task<int> nap(std::chrono::nanoseconds d, int value) {
  co_await sleep_for(d);
  co_return value;
}

task<> cleans_up(steps& seen) {
  const auto work = co_await as_result(sleep_for(1h));
  EXPECT_EQ(error_of(work), errc::stopped);
  const int value = co_await shielded(nap(3ms, 7));
  EXPECT_EQ(value, 7);
  seen.cleaned = true;
  const auto after = co_await as_result(sleep_for(0s));
  seen.after = error_of(after);  // the stop is still there
  co_await sleep_for(0s);
  seen.passed = true;
}

template <class Make>
task<> aborts(Make make, steps& seen) {
  auto handle = spawn(make(seen));
  co_await sleep_for(1ms);
  handle.abort();
  const auto ended = co_await handle.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
}

TEST(shielded, lets_a_stopped_task_clean_up_and_the_stop_is_seen_next) {
  MAGPIE_NEED_CELL();
  steps seen;
  EXPECT_TRUE(run_in_cell(aborts(&cleans_up, seen)));
  EXPECT_TRUE(seen.cleaned);
  EXPECT_EQ(seen.after, errc::stopped);
  EXPECT_FALSE(seen.passed);
}

/// The stop comes while x waits, not before.
task<> is_stopped_inside(steps& seen) {
  const int value = co_await shielded(nap(5ms, 3));
  EXPECT_EQ(value, 3);
  seen.cleaned = true;
  co_await sleep_for(0s);
  seen.passed = true;
}

TEST(shielded, holds_back_a_stop_that_comes_meanwhile) {
  MAGPIE_NEED_CELL();
  steps seen;
  EXPECT_TRUE(run_in_cell(aborts(&is_stopped_inside, seen)));
  EXPECT_TRUE(seen.cleaned);
  EXPECT_FALSE(seen.passed);
}

task<> hangs_while_cleaning(steps& seen) {
  static_cast<void>(co_await as_result(sleep_for(1h)));
  const auto before = clock::now();
  const auto shield = co_await as_result(shielded(nap(1h, 1)));
  seen.shield = error_of(shield);
  EXPECT_GE(clock::now() - before, cleanup_time_default);
  EXPECT_LT(clock::now() - before, cleanup_time_default + 1ms);
  co_await sleep_for(0s);
}

TEST(shielded, has_a_deadline_by_default) {
  steps seen;
  EXPECT_TRUE(run_in_simulation(aborts(&hangs_while_cleaning, seen)));
  EXPECT_EQ(seen.shield, errc::deadline);
}

task<> deadlines_of_its_own() {
  const auto before = clock::now();
  const auto in = co_await as_result(shielded(2ms, nap(1h, 1)));
  EXPECT_EQ(error_of(in), errc::deadline);
  EXPECT_LT(clock::now() - before, 3ms);
  const auto at = co_await as_result(shielded(clock::now() + 2ms, nap(1h, 1)));
  EXPECT_EQ(error_of(at), errc::deadline);
  const int longer = co_await shielded(1h, nap(30min, 9));
  EXPECT_EQ(longer, 9);
}

TEST(shielded, takes_a_duration_or_a_time_point) {
  EXPECT_TRUE(run_in_simulation(deadlines_of_its_own()));
}

/// A timeout around a shield waits for it: a late value is a value.
task<> under_a_timeout() {
  const int late = co_await timeout(1ms, shielded(nap(4ms, 5)));
  EXPECT_EQ(late, 5);
  auto outer = shielded(1h, timeout(1ms, nap(1h, 1)));
  const auto inner = co_await as_result(std::move(outer));
  EXPECT_EQ(error_of(inner), errc::deadline);  // stops from within reach it
}

TEST(shielded, and_timeouts) { EXPECT_TRUE(run_in_simulation(under_a_timeout())); }

task<int> fails() {
  co_await sleep_for(1us);
  co_await fail(some_error());
  co_return 1;
}

task<> passes_errors_on() {
  const auto failed = co_await as_result(shielded(fails()));
  EXPECT_EQ(error_of(failed), some_error());
  const auto inline_error = co_await as_result(shielded(fail(some_error())));
  EXPECT_EQ(error_of(inline_error), some_error());
}

TEST(shielded, passes_errors_on) { EXPECT_TRUE(run_in_simulation(passes_errors_on())); }

/// Operations under a shield in a stopped scope: inline ones, groups, blocking calls, nested ones.
task<> uses_everything(steps& seen) {
  static_cast<void>(co_await as_result(sleep_for(1h)));
  co_await shielded(sleep_for(0s));
  co_await shielded(yield());
  const int blocking = co_await shielded(run_blocking([] { return 4; }));
  EXPECT_EQ(blocking, 4);
  int children = 0;
  const auto grouped = [&]() -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(nap(2ms, 1));
      co_await sleep_for(1ms);
      ++children;
    });
    ++children;
  };
  co_await shielded(grouped());
  EXPECT_EQ(children, 2);
  const int nested = co_await shielded(shielded(nap(1ms, 2)));
  EXPECT_EQ(nested, 2);
  seen.cleaned = true;
  co_await yield();
  seen.passed = true;
}

TEST(shielded, works_with_every_kind_of_operation) {
  MAGPIE_NEED_CELL();
  steps seen;
  EXPECT_TRUE(run_in_cell(aborts(&uses_everything, seen)));
  EXPECT_TRUE(seen.cleaned);
  EXPECT_FALSE(seen.passed);
}

/// A shielded task counts in a drain, and is named when the drain is over, although its own scope
/// has had no operation yet.
task<> first_wait_is_shielded(atomic<int>& began) {
  began.fetch_add(1, order::release);
  co_await shielded(1h, sleep_for(24h));
}

task<> spawns_it(atomic<int>& began) {
  spawn(first_wait_is_shielded(began)).detach();
  while (began.load(order::acquire) == 0) co_await yield();
  co_await yield();
}

/// The process leaves without looking for leaks, which there are.
[[noreturn]] void leave_leaking() {
  options wanted = simulation();
  wanted.log = true;
  runtime on(wanted);
  atomic<int> began{0};
  const bool ran = on.block_on(spawns_it(began)).has_value();
  const bool drained = on.shutdown(1s);
  ::_exit(ran && !drained ? 7 : 1);
}

TEST(shielded, a_task_is_waited_for_and_named_by_a_shutdown) {
  EXPECT_EXIT(leave_leaking(), testing::ExitedWithCode(7), "spawned at .*shielded_test.cpp:");
}

TEST(shielded, is_drained_by_a_shutdown_that_waits_long_enough) {
  runtime on(simulation());
  bool cleaned = false;
  const auto late = [&]() -> task<> {
    const auto work = co_await as_result(sleep_for(1h));
    EXPECT_EQ(error_of(work), errc::stopped);
    co_await shielded(sleep_for(4s));
    cleaned = true;
  };
  const auto spawner = [&]() -> task<> {
    spawn(late()).detach();
    co_await sleep_for(1ms);
  };
  EXPECT_TRUE(on.block_on(spawner()));
  EXPECT_TRUE(on.shutdown(10s));
  EXPECT_TRUE(cleaned);
}

#if defined(__cpp_exceptions)
task<> throws() {
  co_await sleep_for(1us);
  throw std::runtime_error("thrown");
}

task<> catches() {
  bool caught = false;
  try {
    co_await shielded(throws());
  } catch (const std::runtime_error&) {
    caught = true;
  }
  EXPECT_TRUE(caught);
}

TEST(shielded, rethrows) { EXPECT_TRUE(run_in_simulation(catches())); }
#endif

}  // namespace
}  // namespace magpie::tests::shielded_test
