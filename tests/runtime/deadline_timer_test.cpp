/// `deadline_timer`: a deadline that moves while somebody waits for it.
#include <magpie/runtime/deadline_timer.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/test_clock.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

namespace magpie::tests::deadline_timer_test {
namespace {

void in_simulations(task<> (*test)()) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(test(), seed));
}

task<> waits(deadline_timer& timer, clock::time_point start, clock::duration& ended) {
  co_await timer.wait();
  ended = clock::now() - start;
}

/// How long a wait takes whose deadline of 10 ms is moved after 5 ms.
task<clock::duration> moved_to(clock::duration until) {
  test_clock::pause();
  const auto start = clock::now();
  deadline_timer timer(10ms);
  clock::duration ended{};
  auto waiting = spawn(waits(timer, start, ended));
  co_await test_clock::advance(5ms);
  EXPECT_FALSE(timer.elapsed());
  timer.reset_at(start + until);
  EXPECT_EQ(timer.deadline(), start + until);
  co_await test_clock::advance(1h);
  EXPECT_TRUE(waiting.done());
  EXPECT_TRUE(timer.elapsed());
  co_return ended;
}

TEST(deadline_timer, moves_to_earlier_later_and_the_past) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    EXPECT_EQ(run_in_simulation(moved_to(7ms), seed).value(), 7ms);
    EXPECT_EQ(run_in_simulation(moved_to(10ms), seed).value(), 10ms);
    EXPECT_EQ(run_in_simulation(moved_to(20ms), seed).value(), 20ms);
    EXPECT_EQ(run_in_simulation(moved_to(24min), seed).value(), 24min);
    EXPECT_EQ(run_in_simulation(moved_to(1ms), seed).value(), 5ms);
    EXPECT_EQ(run_in_simulation(moved_to(-1h), seed).value(), 5ms);
  }
}

task<> again_and_again() {
  test_clock::pause();
  const auto start = clock::now();
  deadline_timer timer(clock::duration::max());
  clock::duration ended{};
  auto waiting = spawn(waits(timer, start, ended));
  for (int i = 0; i < 100; ++i) {
    co_await test_clock::advance(1ms);
    timer.reset_after(i % 2 == 0 ? 10ms : 2ms);
  }
  co_await test_clock::advance(1ms);
  EXPECT_FALSE(waiting.done());
  co_await test_clock::advance(1ms);
  EXPECT_TRUE(waiting.done());
  EXPECT_EQ(ended, 102ms);
  co_await timer.wait();  // it stays elapsed
  timer.reset_after(1ms);
  const auto early = co_await as_result(timeout(0s, timer.wait()));
  EXPECT_EQ(error_of(early), errc::deadline);
  EXPECT_FALSE(timer.elapsed());
}

TEST(deadline_timer, may_be_moved_for_ever) { in_simulations(&again_and_again); }

task<> stopped_and_reused() {
  deadline_timer timer(1h);
  const auto late = co_await as_result(timeout(1ms, timer.wait()));
  EXPECT_EQ(error_of(late), errc::deadline);
  timer.reset_after(1ms);
  const auto before = clock::now();
  co_await timer.wait();
  EXPECT_GE(clock::now() - before, 1ms);
  EXPECT_LT(clock::now() - before, 2ms);
}

TEST(deadline_timer, a_stop_leaves_it_usable) { in_simulations(&stopped_and_reused); }

task<> pushes(deadline_timer& timer, int rounds, const atomic<bool>& ended) {
  for (int i = 0; i < rounds && !ended.load(order::relaxed); ++i) {
    timer.reset_after(std::chrono::microseconds(i * 7 % 50));
    co_await yield();
  }
  timer.reset_after(0s);
}

task<> waits_often(deadline_timer& timer, int rounds, atomic<bool>& ended) {
  for (int i = 0; i < rounds; ++i) co_await timer.wait();
  ended.store(true, order::relaxed);
}

task<> moved_from_everywhere() {
  for (int i = 0; i < 50; ++i) {
    deadline_timer timer(1h);
    atomic<bool> ended{false};
    auto first = spawn(pushes(timer, 40, ended));
    auto second = spawn(pushes(timer, 40, ended));
    auto waiting = spawn(waits_often(timer, 20, ended));
    const auto a = co_await first.join();
    const auto b = co_await second.join();
    timer.reset_after(-1s);
    const auto c = co_await waiting.join();
    EXPECT_TRUE(a && b && c);
  }
}

TEST(deadline_timer, concurrent_moves_lose_no_wait) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(moved_from_everywhere()));
}

}  // namespace
}  // namespace magpie::tests::deadline_timer_test
