/// `interval`: when ticks come, and what follows a missed one.
#include <magpie/runtime/interval.hpp>

#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/test_clock.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <vector>

namespace magpie::tests::interval_test {
namespace {

void in_simulations(task<> (*test)()) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(test(), seed));
}

struct tick_times {
  std::vector<clock::duration> scheduled;
  std::vector<clock::duration> taken;
};

task<> takes(interval& every, int count, clock::time_point start, tick_times& ticks) {
  for (int i = 0; i < count; ++i) {
    const clock::time_point at = co_await every.tick();
    ticks.scheduled.push_back(at - start);
    ticks.taken.push_back(clock::now() - start);
  }
}

/// Lets the ticks come while the test moves the paused clock.
task<> ticks_within(interval& every, int count, clock::duration span, tick_times& ticks) {
  const auto start = clock::now();
  auto taking = spawn(takes(every, count, start, ticks));
  co_await test_clock::advance(span);
  taking.abort();
  [[maybe_unused]] const auto ended = co_await taking.join();
}

using durations = std::vector<clock::duration>;

task<> regular() {
  test_clock::pause();
  interval every(10ms);
  EXPECT_EQ(every.period(), 10ms);
  EXPECT_EQ(every.policy(), missed_ticks::burst);
  tick_times ticks;
  co_await ticks_within(every, 100, 35ms, ticks);
  EXPECT_EQ(ticks.scheduled, (durations{0ms, 10ms, 20ms, 30ms}));
  EXPECT_EQ(ticks.taken, ticks.scheduled);
}

TEST(interval, ticks_at_once_and_then_every_period) { in_simulations(&regular); }

task<> from_a_start() {
  test_clock::pause();
  const auto start = clock::now();
  interval later = interval_at(start + 25ms, 10ms);
  tick_times ticks;
  co_await ticks_within(later, 3, 1s, ticks);
  EXPECT_EQ(ticks.taken, (durations{25ms, 35ms, 45ms}));
  interval earlier = interval_at(clock::now() - 2ms, 10ms, missed_ticks::delay);
  tick_times soon;
  co_await ticks_within(earlier, 2, 1s, soon);
  EXPECT_EQ(soon.scheduled, (durations{-2ms, 8ms}));  // 2 ms late is not missed
}

TEST(interval, may_begin_later_or_earlier) { in_simulations(&from_a_start); }

/// Takes two ticks, is busy until 35 ms after the start, and takes some more.
task<> is_late(missed_ticks policy, durations scheduled, durations taken) {
  test_clock::pause();
  interval every(10ms, policy);
  const auto start = clock::now();
  tick_times ticks;
  co_await takes(every, 1, start, ticks);
  co_await test_clock::advance(35ms);
  auto taking = spawn(takes(every, 4, start, ticks));
  co_await test_clock::advance(100ms);
  EXPECT_TRUE(taking.done());
  EXPECT_EQ(ticks.scheduled, scheduled);
  EXPECT_EQ(ticks.taken, taken);
}

TEST(interval, burst_brings_every_missed_tick) {
  EXPECT_TRUE(run_in_simulation(
      is_late(missed_ticks::burst, {0ms, 10ms, 20ms, 30ms, 40ms}, {0ms, 35ms, 35ms, 35ms, 40ms})));
}

TEST(interval, delay_counts_from_the_late_one) {
  EXPECT_TRUE(run_in_simulation(
      is_late(missed_ticks::delay, {0ms, 10ms, 45ms, 55ms, 65ms}, {0ms, 35ms, 45ms, 55ms, 65ms})));
}

TEST(interval, skip_keeps_the_rhythm) {
  EXPECT_TRUE(run_in_simulation(
      is_late(missed_ticks::skip, {0ms, 10ms, 40ms, 50ms, 60ms}, {0ms, 35ms, 40ms, 50ms, 60ms})));
}

/// When the tick after one that was taken `late` is scheduled.
task<clock::duration> next_after(clock::duration period, clock::duration late,
                                 missed_ticks policy) {
  test_clock::pause();
  interval every(period, policy);
  const auto start = clock::now();
  co_await test_clock::advance(late);
  static_cast<void>(co_await every.tick());
  co_return every.next_tick() - start;
}

TEST(interval, a_tick_is_missed_from_five_milliseconds_or_a_period_on) {
  const auto next = [](clock::duration period, clock::duration late, missed_ticks policy) {
    return run_in_simulation(next_after(period, late, policy)).value();
  };
  EXPECT_EQ(next(10ms, 5ms, missed_ticks::delay), 10ms);
  EXPECT_EQ(next(10ms, 5001us, missed_ticks::delay), 15001us);
  EXPECT_EQ(next(10ms, 5ms, missed_ticks::skip), 10ms);
  EXPECT_EQ(next(10ms, 5001us, missed_ticks::skip), 10ms);
  EXPECT_EQ(next(10ms, 10ms, missed_ticks::skip), 20ms);
  EXPECT_EQ(next(2ms, 1999us, missed_ticks::delay), 2ms);
  EXPECT_EQ(next(2ms, 2ms, missed_ticks::delay), 4ms);
  EXPECT_EQ(next(2ms, 4500us, missed_ticks::skip), 6ms);
}

task<> stopped_and_asked_again() {
  test_clock::pause();
  interval every(10ms);
  const auto start = clock::now();
  tick_times ticks;
  co_await takes(every, 1, start, ticks);
  for (int i = 0; i < 3; ++i) {
    auto taking = spawn(takes(every, 1, start, ticks));
    co_await test_clock::advance(2ms);
    taking.abort();
    const auto ended = co_await taking.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
  }
  auto taking = spawn(takes(every, 2, start, ticks));
  co_await test_clock::advance(14ms);
  EXPECT_TRUE(taking.done());
  EXPECT_EQ(ticks.taken, (durations{0ms, 10ms, 20ms}));  // none is lost, none moved
}

TEST(interval, a_stop_takes_no_tick) { in_simulations(&stopped_and_asked_again); }

task<> refused() {
  interval never(0s);
  interval backwards(-1ms);
  for (int i = 0; i < 2; ++i) {
    const auto none = co_await as_result(never.tick());
    EXPECT_EQ(error_of(none), std::errc::invalid_argument);
    const auto neither = co_await as_result(timeout(1s, backwards.tick()));
    EXPECT_EQ(error_of(neither), std::errc::invalid_argument);
  }
}

TEST(interval, a_period_of_nothing_is_refused) { in_simulations(&refused); }

task<> moved_by_reset() {
  test_clock::pause();
  interval every(10ms);
  const auto start = clock::now();
  tick_times ticks;
  co_await takes(every, 1, start, ticks);
  co_await test_clock::advance(7ms);
  every.reset();
  EXPECT_EQ(every.next_tick() - start, 17ms);
  every.reset_after(1ms);
  EXPECT_EQ(every.next_tick() - start, 8ms);
  every.reset_at(start + 9ms);
  auto taking = spawn(takes(every, 2, start, ticks));
  co_await test_clock::advance(20ms);
  EXPECT_TRUE(taking.done());
  EXPECT_EQ(ticks.taken, (durations{0ms, 9ms, 19ms}));
}

TEST(interval, can_be_reset) { in_simulations(&moved_by_reset); }

task<> endless() {
  for (const missed_ticks policy : {missed_ticks::burst, missed_ticks::delay, missed_ticks::skip}) {
    interval rare(clock::duration::max(), policy);
    static_cast<void>(co_await rare.tick());
    EXPECT_EQ(rare.next_tick(), clock::time_point::max());
    const auto none = co_await as_result(timeout(24h * 365, rare.tick()));
    EXPECT_EQ(error_of(none), errc::deadline);
    interval old = interval_at(clock::time_point::min(), std::chrono::hours::max(), policy);
    static_cast<void>(co_await old.tick());
    rare.reset_after(std::chrono::years::max());
    EXPECT_EQ(rare.next_tick(), clock::time_point::max());
  }
}

TEST(interval, the_far_future_does_not_overflow) { in_simulations(&endless); }

task<> starves(bool& done) {
  interval every(1us);
  for (int i = 0; i < 1000; ++i) static_cast<void>(co_await every.tick());
  done = true;
}

TEST(interval, ticks_on_every_reactor) {
  MAGPIE_NEED_CELL();
  bool done = false;
  EXPECT_TRUE(run_in_cell(starves(done)));
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace magpie::tests::interval_test
