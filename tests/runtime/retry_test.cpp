/// `retry`: how often, how long between, and what comes out.
#include <magpie/runtime/retry.hpp>

#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/test_clock.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

namespace magpie::tests::retry_test {
namespace {

void in_simulations(task<> (*test)()) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(test(), seed));
}

/// Fails until attempt `good`; notes when it was called.
struct flaky {
  unsigned good = 0;
  std::vector<clock::duration> called;
  clock::time_point start = clock::now();

  task<unsigned> call(unsigned attempt) {
    called.push_back(clock::now() - start);
    EXPECT_EQ(called.size(), attempt);
    if (attempt != good) co_await fail(errno_code(static_cast<int>(attempt)));
    co_return attempt * 10;
  }
};

retry_policy steady(unsigned attempts) {
  retry_policy policy(attempts);
  policy.jitter = jitter::none;
  return policy;
}

/// Awaits in a task of its own while the test moves the clock.
template <class Attempt>
task<> moves_on(task<Attempt> retrying, result<Attempt>& outcome, clock::duration& took) {
  const auto start = clock::now();
  outcome = co_await as_result(std::move(retrying));
  took = clock::now() - start;
}

template <class T>
task<result<T>> paused_outcome(task<T> retrying, clock::duration& took) {
  test_clock::pause();
  result<T> outcome = std::unexpected(std::error_code(errc::aborted));
  auto moving = spawn(moves_on(std::move(retrying), outcome, took));
  co_await test_clock::advance(24h);
  EXPECT_TRUE(moving.done());
  co_return outcome;
}

using durations = std::vector<clock::duration>;

task<> third_time_lucky() {
  test_clock::pause();
  flaky service{3, {}};
  retry_report report;
  auto retrying = retry(steady(5), [&](unsigned attempt) { return service.call(attempt); }, report);
  clock::duration took{};
  const auto outcome = co_await paused_outcome(std::move(retrying), took);
  EXPECT_TRUE(outcome);
  EXPECT_EQ(outcome.value_or(0), 30U);
  EXPECT_EQ(service.called, (durations{0ms, 100ms, 300ms}));
  EXPECT_EQ(took, 300ms);
  EXPECT_EQ(report.attempts, 3U);
  EXPECT_EQ(report.last_error, errno_code(2));
}

TEST(retry, gives_the_first_value) { in_simulations(&third_time_lucky); }

task<> never_lucky() {
  test_clock::pause();
  flaky service;
  retry_report report;
  retry_policy policy = steady(4);
  policy.base = 1s;
  policy.factor = 10;
  policy.cap = 20s;
  auto retrying = retry(policy, [&](unsigned attempt) { return service.call(attempt); }, report);
  clock::duration took{};
  const auto outcome = co_await paused_outcome(std::move(retrying), took);
  EXPECT_EQ(error_of(outcome), errno_code(4));  // the last error, not the first
  EXPECT_EQ(service.called, (durations{0s, 1s, 11s, 31s}));
  EXPECT_EQ(took, 31s);  // no pause after the last
  EXPECT_EQ(report.attempts, 4U);
  EXPECT_EQ(report.last_error, errno_code(4));
}

TEST(retry, ends_with_the_last_error_and_without_a_last_pause) { in_simulations(&never_lucky); }

task<> not_once() {
  bool called = false;
  auto never = [&called]() -> task<> {
    called = true;
    co_return;
  };
  retry_report report;
  report.attempts = 7;
  const auto outcome = co_await as_result(retry(retry_policy(0), never, report));
  EXPECT_EQ(error_of(outcome), std::errc::invalid_argument);
  EXPECT_FALSE(called);
  EXPECT_EQ(report.attempts, 0U);
}

TEST(retry, of_no_attempts_calls_nobody) { in_simulations(&not_once); }

task<> picky() {
  flaky service;
  retry_report report;
  retry_policy policy = steady(10);
  policy.retry_if = [](std::error_code error) { return error.value() < 3; };
  const auto outcome = co_await as_result(
      retry(policy, [&](unsigned attempt) { return service.call(attempt); }, report));
  EXPECT_EQ(error_of(outcome), errno_code(3));
  EXPECT_EQ(report.attempts, 3U);
}

TEST(retry, asks_whether_an_error_is_worth_it) { in_simulations(&picky); }

task<int> slow_then_quick(unsigned attempt) {
  if (attempt < 3) co_await sleep_for(1h);
  co_return 5;
}

task<> bounded_attempts() {
  test_clock::pause();
  retry_report report;
  retry_policy policy = steady(3);
  policy.attempt_timeout = 50ms;
  clock::duration took{};
  auto retrying = retry(policy, slow_then_quick, report);
  const auto outcome = co_await paused_outcome(std::move(retrying), took);
  EXPECT_EQ(outcome.value_or(0), 5);
  EXPECT_EQ(report.last_error, errc::deadline);
  EXPECT_EQ(took, 50ms + 100ms + 50ms + 200ms);
}

TEST(retry, an_attempt_that_takes_too_long_has_failed) { in_simulations(&bounded_attempts); }

task<int> fails_after(clock::duration pause) {
  co_await sleep_for(pause);
  co_await fail(some_error());
  co_return 0;
}

task<> bounded_in_all() {
  test_clock::pause();
  retry_report report;
  retry_policy policy = steady(100);
  policy.factor = 1;
  policy.total_timeout = 250ms;
  // Attempts at 0, 110 and 220 ms: there is no time for the pause after the third.
  clock::duration took{};
  auto retrying = retry(policy, [] { return fails_after(10ms); }, report);
  const auto outcome = co_await paused_outcome(std::move(retrying), took);
  EXPECT_EQ(error_of(outcome), some_error());
  EXPECT_EQ(report.attempts, 3U);
  EXPECT_EQ(took, 230ms);
  // And here the second attempt is what runs out of time.
  auto slow = retry(policy, [] { return fails_after(100ms); }, report);
  const auto late = co_await paused_outcome(std::move(slow), took);
  EXPECT_EQ(error_of(late), errc::deadline);
  EXPECT_EQ(report.attempts, 2U);
  EXPECT_EQ(took, 250ms);
}

TEST(retry, has_one_deadline_for_everything) { in_simulations(&bounded_in_all); }

TEST(retry, a_deadline_in_the_past_leaves_one_attempt) {
  auto test = []() -> task<> {
    retry_policy policy = steady(5);
    policy.total_timeout = -1s;
    policy.base = 0s;
    retry_report report;
    const int ready = co_await retry(policy, [] { return result<int>(3); });
    EXPECT_EQ(ready, 3);
    const auto none = co_await as_result(
        retry(policy, []() -> result<int> { return std::unexpected(some_error()); }, report));
    EXPECT_EQ(error_of(none), some_error());
    EXPECT_EQ(report.attempts, 1U);
  };
  EXPECT_TRUE(run_in_simulation(test()));
}

task<> always_retrying(retry_report& report) {
  retry_policy policy(1'000'000);
  policy.cap = 1s;
  co_await retry(policy, [] { return fails_after(300ms); }, report);
}

task<> stopped_anywhere() {
  for (const clock::duration when : {100'000us, 301'000us, 350'000us, 10'000'000us}) {
    retry_report report;
    auto retrying = spawn(always_retrying(report));
    co_await sleep_for(when);
    retrying.abort();
    const unsigned before = report.attempts;
    const auto before_join = clock::now();
    const auto ended = co_await retrying.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    EXPECT_EQ(report.attempts, before);
    EXPECT_LT(clock::now() - before_join, 1ms);
  }
}

TEST(retry, a_stop_ends_it_at_once) { in_simulations(&stopped_anywhere); }

task<> stops_itself() {
  int called = 0;
  const auto outcome = co_await as_result(retry(steady(5), [&]() -> task<> {
    ++called;
    co_await fail(errc::stopped);
  }));
  EXPECT_EQ(error_of(outcome), errc::stopped);
  EXPECT_EQ(called, 1);
}

TEST(retry, a_stop_is_never_retried) { in_simulations(&stops_itself); }

task<> of_each_kind() {
  const retry_policy policy(2);
  co_await retry(policy, [] { return sleep_for(1us); });
  co_await retry(policy, [] { return timeout(1s, sleep_for(1us)); });
  auto box = co_await retry(
      policy, []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(4); });
  EXPECT_EQ(*box, 4);
  const std::vector<int> owned(100, 7);
  auto named = [owned] { return result<std::vector<int>>(owned); };
  const auto copy = co_await retry(policy, named);
  EXPECT_EQ(copy, owned);
}

TEST(retry, of_tasks_operations_and_results) { in_simulations(&of_each_kind); }

#if defined(__cpp_exceptions)
task<> throwing() {
  int called = 0;
  bool caught = false;
  try {
    co_await retry(steady(5), [&]() -> task<> {
      ++called;
      throw std::runtime_error("broken");
      co_return;
    });
  } catch (const std::runtime_error&) {
    caught = true;
  }
  EXPECT_TRUE(caught);
  EXPECT_EQ(called, 1);
}

TEST(retry, an_exception_is_passed_on) { in_simulations(&throwing); }
#endif

TEST(retry, pauses_grow_up_to_the_cap_without_overflow) {
  retry_policy policy = steady(3);
  EXPECT_EQ(policy.longest_pause(1), 100ms);
  EXPECT_EQ(policy.longest_pause(2), 200ms);
  EXPECT_EQ(policy.longest_pause(8), 12800ms);
  EXPECT_EQ(policy.longest_pause(9), 25600ms);
  for (const unsigned attempt : {10U, 64U, 1000U, 2000U, ~0U})
    EXPECT_EQ(policy.longest_pause(attempt), 30s) << attempt;
  policy.cap = clock::duration::max();
  for (const unsigned attempt : {64U, 1000U, 2000U, ~0U})
    EXPECT_EQ(policy.longest_pause(attempt), clock::duration::max()) << attempt;
  random_source chance(1);
  EXPECT_EQ(policy.pause(~0U, chance), clock::duration::max());
  policy.jitter = jitter::full;
  EXPECT_GE(policy.pause(~0U, chance), 0s);
  policy.cap = 30s;
  policy.factor = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(policy.longest_pause(2), 30s);
  policy.factor = -2;
  EXPECT_EQ(policy.longest_pause(2), 0s);
  policy.base = -1s;
  EXPECT_EQ(policy.longest_pause(1), 0s);
  policy.base = 0s;
  policy.factor = 2;
  EXPECT_EQ(policy.longest_pause(~0U), 0s);
  policy.base = 1s;
  policy.cap = -1s;
  EXPECT_EQ(policy.longest_pause(1), 0s);
  policy.cap = 1ms;
  EXPECT_EQ(policy.longest_pause(1), 1ms);
}

TEST(retry, full_jitter_spreads_over_the_whole_pause) {
  retry_policy policy(3);
  random_source chance(5);
  clock::duration least = policy.pause(1, chance);
  clock::duration most = least;
  clock::duration sum{};
  for (int i = 0; i < 1000; ++i) {
    const clock::duration one = policy.pause(1, chance);
    least = std::min(least, one);
    most = std::max(most, one);
    sum += one;
    ASSERT_GE(one, 0s);
    ASSERT_LE(one, 100ms);
  }
  EXPECT_LT(least, 2ms);
  EXPECT_GT(most, 98ms);
  EXPECT_GT(sum / 1000, 45ms);
  EXPECT_LT(sum / 1000, 55ms);
}

task<clock::duration> jittered() {
  test_clock::pause();
  flaky service{2, {}};
  clock::duration took{};
  auto retrying = retry(retry_policy(3), [&](unsigned attempt) { return service.call(attempt); });
  const auto outcome = co_await paused_outcome(std::move(retrying), took);
  EXPECT_TRUE(outcome);
  co_return took;
}

TEST(retry, jitter_comes_from_the_seed_of_the_simulation) {
  int differ = 0;
  for (std::uint64_t seed = 1; seed < 10; ++seed) {
    const auto first = run_in_simulation(jittered(), seed).value();
    EXPECT_EQ(run_in_simulation(jittered(), seed).value(), first);
    if (first != run_in_simulation(jittered(), seed + 100).value()) ++differ;
  }
  EXPECT_GT(differ, 5);
}

}  // namespace
}  // namespace magpie::tests::retry_test
