/// The clock of a simulation, moved by hand.
#include <magpie/runtime/test_clock.hpp>

#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <vector>

namespace magpie::tests::test_clock_test {
namespace {

/// Runs the test in simulations with several seeds.
void in_simulations(task<> (*test)()) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(test(), seed));
}

using times = std::vector<clock::duration>;

task<> notes_time(clock::time_point start, clock::duration pause, times& woke) {
  co_await sleep_for(pause);
  woke.push_back(clock::now() - start);
}

task<> stands_still() {
  EXPECT_FALSE(test_clock::paused());
  test_clock::pause();
  test_clock::pause();
  EXPECT_TRUE(test_clock::paused());
  const auto before = clock::now();
  for (int i = 0; i < 1000; ++i) co_await yield();
  EXPECT_EQ(clock::now(), before);
  EXPECT_EQ(before.time_since_epoch() % 1us, 0ns);
  test_clock::resume();
  for (int i = 0; i < 1000; ++i) co_await yield();
  EXPECT_GT(clock::now(), before);
}

TEST(test_clock, a_paused_one_stands_still) { in_simulations(&stands_still); }

// C64
task<> in_quarters() {
  test_clock::pause();
  times woke;
  const auto start = clock::now();
  auto sleeper = spawn(notes_time(start, 1ms, woke));
  co_await test_clock::advance(0s);  // it begins to sleep
  for (int i = 1; i <= 3; ++i) {
    co_await test_clock::advance(250us);
    EXPECT_EQ(clock::now() - start, i * 250us);
    EXPECT_TRUE(woke.empty());
  }
  co_await test_clock::advance(250us);
  EXPECT_EQ(clock::now() - start, 1ms);
  EXPECT_EQ(woke, times{1ms});
  EXPECT_TRUE(sleeper.done());
}

TEST(test_clock, c64_quarters_of_a_millisecond_end_a_sleep_of_one_exactly_then) {
  in_simulations(&in_quarters);
}

// C64
task<> a_nanosecond_more() {
  test_clock::pause();
  times woke;
  auto sleeper = spawn(notes_time(clock::now(), 1ms + 1ns, woke));
  co_await test_clock::advance(1ms);
  EXPECT_TRUE(woke.empty());
  co_await test_clock::advance(1ns);  // rounded up to a tick, as the sleep was
  EXPECT_EQ(woke, times{1001us});
  EXPECT_TRUE(sleeper.done());
}

TEST(test_clock, c64_a_sleep_is_rounded_up_to_a_tick) { in_simulations(&a_nanosecond_more); }

task<> in_steps(clock::time_point start, times& woke) {
  for (int i = 0; i < 5; ++i) {
    co_await sleep_for(1ms);
    woke.push_back(clock::now() - start);
  }
}

task<> one_leap() {
  test_clock::pause();
  times woke;
  const auto start = clock::now();
  auto steps = spawn(in_steps(start, woke));
  auto other = spawn(notes_time(start, 2500us, woke));
  co_await test_clock::advance(3ms);  // also through what is armed on the way
  EXPECT_EQ(woke, (times{1ms, 2ms, 2500us, 3ms}));
  co_await test_clock::advance(1h);
  EXPECT_EQ(woke, (times{1ms, 2ms, 2500us, 3ms, 4ms, 5ms}));
  EXPECT_EQ(clock::now() - start, 1h + 3ms);
  EXPECT_TRUE(steps.done() && other.done());
}

TEST(test_clock, an_advance_goes_from_event_to_event) { in_simulations(&one_leap); }

task<> leaves_a_trail(int depth, int& ran) {
  ++ran;
  if (depth == 0) co_return;
  co_await yield();
  auto next = spawn(leaves_a_trail(depth - 1, ran));
  [[maybe_unused]] const auto ended = co_await next.join();
}

task<> settles() {
  test_clock::pause();
  int ran = 0;
  const auto before = clock::now();
  spawn(leaves_a_trail(200, ran)).detach();
  co_await test_clock::advance(0s);
  EXPECT_EQ(ran, 201);
  EXPECT_EQ(clock::now(), before);
}

TEST(test_clock, an_advance_of_nothing_lets_everything_run) { in_simulations(&settles); }

task<> advances(clock::duration by, clock::time_point start, times& ended) {
  co_await test_clock::advance(by);
  ended.push_back(clock::now() - start);
}

task<> several() {
  test_clock::pause();
  times ended;
  const auto start = clock::now();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(advances(3ms, start, ended));
    group.spawn(advances(1ms, start, ended));
    group.spawn(advances(2ms, start, ended));
    co_await test_clock::advance(2ms);
    EXPECT_EQ(clock::now() - start, 2ms);
  });
  EXPECT_EQ(ended, (times{1ms, 2ms, 3ms}));
}

TEST(test_clock, several_may_advance_it) { in_simulations(&several); }

task<> on_a_running_clock() {
  times woke;
  const auto start = clock::now();
  auto sleeper = spawn(notes_time(start, 1ms, woke));
  co_await test_clock::advance(2ms);
  EXPECT_EQ(woke.size(), 1U);
  EXPECT_GE(clock::now() - start, 2ms);
  EXPECT_LT(clock::now() - start, 3ms);
  EXPECT_TRUE(sleeper.done());
}

TEST(test_clock, an_advance_waits_on_a_running_clock) { in_simulations(&on_a_running_clock); }

task<> turns_for_ever(const bool& enough) {
  while (!enough) co_await yield();
}

// C70, in paused time
task<> busy() {
  test_clock::pause();
  bool enough = false;
  auto turning = spawn(turns_for_ever(enough));
  auto sets = [](bool& flag) -> task<> {
    co_await sleep_for(10ms);
    flag = true;
  };
  auto sleeper = spawn(sets(enough));
  co_await test_clock::advance(10ms);
  EXPECT_TRUE(enough);
  EXPECT_TRUE(turning.done() && sleeper.done());
}

TEST(test_clock, c70_a_task_that_never_rests_does_not_hold_it_up) {
  MAGPIE_NEED_SIMULATION();
  for (std::uint64_t seed = 1; seed < 4; ++seed) EXPECT_TRUE(run_in_simulation(busy(), seed));
}

task<> cut_short() {
  test_clock::pause();
  times ended;
  const auto start = clock::now();
  auto advancing = spawn(advances(1h, start, ended));
  auto aborts = [](join_handle<void>& handle) -> task<> {
    co_await sleep_for(1ms);
    handle.abort();
  };
  auto aborting = spawn(aborts(advancing));
  const auto gone = co_await advancing.join();
  EXPECT_EQ(error_of(gone), errc::aborted);
  EXPECT_EQ(clock::now() - start, 1ms);
  EXPECT_TRUE(ended.empty());
  test_clock::resume();
  const auto done = co_await aborting.join();
  EXPECT_TRUE(done);
  const auto late = co_await as_result(timeout(1ms, test_clock::advance(1h)));
  EXPECT_EQ(error_of(late), errc::deadline);
}

TEST(test_clock, a_stop_ends_an_advance_where_it_is) { in_simulations(&cut_short); }

int answer() { return 42; }

// C32: time does not run away while a call blocks.
task<> blocking_calls() {
  test_clock::pause();
  const auto before = clock::now();
  for (int i = 0; i < 2; ++i) {
    const int got = co_await timeout(1us, run_blocking(answer));
    EXPECT_EQ(got, 42);
  }
  EXPECT_EQ(clock::now(), before);
}

TEST(test_clock, c32_a_blocking_call_takes_no_time_on_a_paused_one) {
  in_simulations(&blocking_calls);
}

task<> both_jobs() {
  for (int i = 0; i < 2; ++i) {
    const int got = co_await run_blocking(answer);
    EXPECT_EQ(got, 42);
  }
}

// C32, on a clock that advances by itself: no further than to the end of a call, which takes at
// most 201 us.
task<> blocking_on_a_running_clock() {
  times woke;
  auto sleeper = spawn(notes_time(clock::now(), 1h, woke));
  co_await timeout(1ms, both_jobs());
  EXPECT_TRUE(woke.empty());
  sleeper.abort();
}

TEST(test_clock, c32_a_timeout_around_two_blocking_calls_does_not_fire) {
  in_simulations(&blocking_on_a_running_clock);
}

// C65
task<> huge() {
  test_clock::pause();
  times woke;
  const auto start = clock::now();
  std::vector<join_handle<void>> endless;
  endless.push_back(spawn(notes_time(start, clock::duration::max(), woke)));
  endless.push_back(spawn(notes_time(start, clock::duration::max() - 1ms, woke)));
  using wide = std::chrono::duration<std::uint64_t>;
  endless.push_back(spawn(notes_time(start, clock_duration(wide::max() / 10), woke)));
  auto five = spawn(notes_time(start, 5 * 365 * 24h, woke));
  auto ten = spawn(notes_time(start, 10 * 365 * 24h, woke));
  auto one = spawn(notes_time(start, 1ns, woke));
  co_await test_clock::advance(1us);
  EXPECT_EQ(woke, times{1us});
  co_await test_clock::advance(5 * 365 * 24h - 2us);
  EXPECT_EQ(woke.size(), 1U);
  co_await test_clock::advance(1us);
  EXPECT_EQ(woke, (times{1us, 5 * 365 * 24h}));
  co_await test_clock::advance(5 * 365 * 24h);
  EXPECT_EQ(woke, (times{1us, 5 * 365 * 24h, 10 * 365 * 24h}));
  EXPECT_TRUE(one.done() && five.done() && ten.done());
  for (auto& handle : endless) {
    EXPECT_FALSE(handle.done());
    handle.abort();
  }
}

TEST(test_clock, c65_years_pass_and_the_far_future_does_not_come) { in_simulations(&huge); }

task<> waits_for_nobody() {
  test_clock::pause();
  co_await sleep_for(1ms);
}

TEST(test_clock_death_test, nobody_is_left_to_advance_it) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(static_cast<void>(run_in_simulation(waits_for_nobody())),
               "the clock is paused: nobody is left to advance it");
}

task<> cleans_up_for_a_while() {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
  test_clock::pause();  // too late: the end of the runtime has begun
  EXPECT_FALSE(test_clock::paused());
}

task<> leaves_it_paused() {
  test_clock::pause();
  spawn(cleans_up_for_a_while()).detach();
  co_await test_clock::advance(1ms);
}

TEST(test_clock, the_end_of_the_runtime_resumes_it) { in_simulations(&leaves_it_paused); }

task<> beyond_the_drain() {
  auto clings = []() -> task<> {
    for (;;) [[maybe_unused]]
      const auto ignored = co_await as_result(yield());
  };
  spawn(clings()).detach();
  test_clock::pause();
  co_return;
}

TEST(test_clock, a_drain_that_fails_still_ends) {
  if (leaks_are_reported) GTEST_SKIP() << "leaks on purpose";
  runtime on(simulation());
  EXPECT_TRUE(on.block_on(beyond_the_drain()));
  EXPECT_FALSE(on.shutdown(10ms));
}

}  // namespace
}  // namespace magpie::tests::test_clock_test
