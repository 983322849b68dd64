/// `sleep_for`, `sleep_until` and `yield`, in virtual time.
#include <magpie/runtime/sleep.hpp>

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <algorithm>
#include <limits>
#include <vector>

namespace magpie::tests::sleep_test {
namespace {

task<> never_early() {
  for (const auto pause : {1ns, 999ns, 1000ns, 1001ns, 999'999ns, 1'000'001ns, 63'999'001ns}) {
    const auto before = clock::now();
    co_await sleep_for(pause);
    EXPECT_GE(clock::now() - before, pause);
    EXPECT_LE(clock::now() - before, pause + 20us);
  }
  const auto at = clock::now() + 1ms + 1ns;
  co_await sleep_until(at);
  EXPECT_GE(clock::now(), at);
}

TEST(sleep, never_wakes_early) {
  for (std::uint64_t seed = 1; seed < 20; ++seed)
    EXPECT_TRUE(run_in_simulation(never_early(), seed));
}

task<> notes(std::chrono::microseconds pause, int number, std::vector<int>& order) {
  co_await sleep_for(pause);
  order.push_back(number);
}

task<> sleeps_in_order(std::vector<int>& order) {
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(notes(300us, 3, order));
    group.spawn(notes(100us, 1, order));
    group.spawn(notes(400us, 4, order));
    group.spawn(notes(200us, 2, order));
    co_return;
  });
}

TEST(sleep, wakes_in_the_order_of_the_deadlines) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    std::vector<int> order;
    EXPECT_TRUE(run_in_simulation(sleeps_in_order(order), seed));
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4}));
  }
}

task<> notes_at(clock::time_point at, int number, std::vector<int>& order) {
  co_await sleep_until(at);
  order.push_back(number);
}

task<> ties(std::vector<int>& order) {
  const auto at = clock::now() + 1ms;
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < 5; ++i) {
      group.spawn(notes_at(at, i, order));
      co_await yield();
    }
  });
}

TEST(sleep, ties_all_wake) {
  options one = simulation();
  one.workers = 1;
  std::vector<int> order;
  EXPECT_TRUE(run_on(one, ties(order)));
  EXPECT_EQ(order.size(), 5U);
}

task<> what_is_past() {
  const auto before = clock::now();
  co_await sleep_for(0s);
  co_await sleep_for(-1s);
  co_await sleep_for(std::chrono::hours::min());
  co_await sleep_for(std::chrono::duration<double>(-std::numeric_limits<double>::infinity()));
  co_await sleep_for(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN()));
  co_await sleep_until(clock::time_point::min());
  co_await sleep_until(clock::time_point());
  EXPECT_LT(clock::now() - before, 1ms);
}

TEST(sleep, zero_negative_and_past_complete_at_once) {
  EXPECT_TRUE(run_in_simulation(what_is_past()));
}

template <class Duration>
task<> sleeps(Duration pause) {
  co_await sleep_for(pause);
  ADD_FAILURE() << "the far future came";
}

task<> the_far_future() {
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(sleeps(clock::duration::max())));
  handles.push_back(spawn(sleeps(clock::duration::max() - 1ms)));
  handles.push_back(spawn(sleeps(std::chrono::hours::max())));
  handles.push_back(spawn(sleeps(std::chrono::years::max())));
  handles.push_back(spawn(sleeps(std::chrono::duration<std::uint64_t>::max())));
  handles.push_back(
      spawn(sleeps(std::chrono::duration<double>(std::numeric_limits<double>::infinity()))));
  co_await sleep_for(1ns);  // beside them
  co_await sleep_for(24h * 365 * 10);
  for (auto& handle : handles) {
    EXPECT_FALSE(handle.done());
    handle.abort();
    const auto ended = co_await handle.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
  }
}

TEST(sleep, c65_the_far_future_neither_overflows_nor_comes) {
  EXPECT_TRUE(run_in_simulation(the_far_future()));
}

/// The same without the ten years, which kernels would really wait for.
task<> beside_the_far_future() {
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(sleeps(clock::duration::max())));
  handles.push_back(spawn(sleeps(clock::duration::max() - 1ms)));
  handles.push_back(spawn(sleeps(std::chrono::duration<std::uint64_t>::max())));
  handles.push_back(spawn(sleeps(std::chrono::hours(24 * 365 * 10))));
  for (int i = 0; i < 10; ++i) co_await sleep_for(1ns);
  for (auto& handle : handles) {
    EXPECT_FALSE(handle.done());
    handle.abort();
    const auto ended = co_await handle.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
  }
}

TEST(sleep, concurrent_c65_a_nanosecond_passes_beside_the_far_future) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(beside_the_far_future()));
}

task<> sleeps_until(clock::time_point due, atomic<int>& early) {
  co_await sleep_until(due);
  if (clock::now() < due) early.fetch_add(1, order::relaxed);
}

task<> many_sleepers(int count, std::uint64_t seed, atomic<int>& late) {
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < count; ++i) {
      auto one = [](std::uint64_t wait, atomic<int>& missed) -> task<> {
        co_await sleeps_until(clock::now() + std::chrono::nanoseconds(wait), missed);
      };
      const std::uint64_t wait = (static_cast<std::uint64_t>(i) * 2654435761U + seed) % 100'000'000;
      group.spawn(one(wait, late));
    }
    co_return;
  });
}

TEST(sleep, ten_thousand_sleepers_and_none_too_early) {
  atomic<int> early{0};
  EXPECT_TRUE(run_in_simulation(many_sleepers(10'000, 7, early)));
  EXPECT_EQ(early.load(order::relaxed), 0);
}

/// Sleepers that are due 10 us after each other; how many parks that took.
task<std::uint64_t> a_crowd_of_sleepers(int count, atomic<int>& early) {
  const auto first = clock::now() + 20ms;
  const std::uint64_t before = current_metrics().parks;
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < count; ++i) group.spawn(sleeps_until(first + i * 10us, early));
    co_return;
  });
  co_return current_metrics().parks - before;
}

// A park for each would be two thousand.  With a pause after each crowd that had come together
// again, the worst that a busy machine can do, it would be one for each 64 of 104.
TEST(sleep, concurrent_a_crowd_shares_wake_ups) {
  MAGPIE_NEED_KERNEL();
  atomic<int> early{0};
  options alone = cell_options();
  alone.workers = 1;
  EXPECT_LT(run_on(alone, a_crowd_of_sleepers(2000, early)).value(), 1500U);
  EXPECT_EQ(early.load(order::relaxed), 0);
}

task<> notes_turns(int number, int turns, std::vector<int>& order) {
  for (int i = 0; i < turns; ++i) {
    order.push_back(number);
    co_await yield();
  }
}

task<> yields_in_turn(std::vector<int>& order) {
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(notes_turns(1, 20, order));
    group.spawn(notes_turns(2, 20, order));
    co_return;
  });
}

TEST(yield, lets_everything_that_is_ready_run_first) {
  options one = simulation();
  one.workers = 1;
  std::vector<int> order;
  EXPECT_TRUE(run_on(one, yields_in_turn(order)));
  ASSERT_EQ(order.size(), 40U);
  int longest = 0;
  int row = 0;
  for (std::size_t i = 1; i < order.size(); ++i) {
    row = order[i] == order[i - 1] ? row + 1 : 0;
    longest = std::max(longest, row);
  }
  EXPECT_LE(longest, 1);
}

/// A hundred sleepers; whoever wakes first ends all the others.
struct crowd {
  std::vector<join_handle<void>> sleepers;
  int woken = 0;
};

task<> wakes_and_ends_the_others(crowd& all, clock::time_point at) {
  co_await sleep_until(at);
  ++all.woken;
  for (auto& other : all.sleepers) other.abort();
}

// C67: timers of one tick, which fire together, and of one slot of a higher level of the wheel.
task<> ends_its_neighbours(std::chrono::microseconds distance) {
  crowd all;
  const auto at = clock::now() + 10ms;
  for (int i = 0; i < 100; ++i)
    all.sleepers.push_back(spawn(wakes_and_ends_the_others(all, at + i * distance)));
  int finished = 0;
  for (auto& sleeper : all.sleepers) {
    const auto ended = co_await sleeper.join();
    if (ended) {
      ++finished;
    } else {
      EXPECT_EQ(error_of(ended), errc::aborted);
    }
  }
  EXPECT_EQ(finished, all.woken);
  EXPECT_GE(finished, 1);
  EXPECT_LE(finished, distance >= 10us ? 5 : 100);
}

TEST(sleep, c67_the_first_to_wake_may_end_its_neighbours) {
  for (std::uint64_t seed = 1; seed < 30; ++seed) {
    EXPECT_TRUE(run_in_simulation(ends_its_neighbours(0us), seed));
    EXPECT_TRUE(run_in_simulation(ends_its_neighbours(1us), seed));
    EXPECT_TRUE(run_in_simulation(ends_its_neighbours(10us), seed));
  }
}

task<> raises(atomic<bool>& flag, std::chrono::milliseconds pause) {
  co_await sleep_for(pause);
  flag.store(true, order::relaxed);
}

// C70
task<> turns_until_a_timer_fires() {
  atomic<bool> fired{false};
  auto sleeper = spawn(raises(fired, 10ms));
  const auto before = clock::now();
  while (!fired.load(order::relaxed)) co_await yield();
  EXPECT_GE(clock::now() - before, 10ms);
  const auto ended = co_await sleeper.join();
  EXPECT_TRUE(ended);
}

TEST(sleep, c70_a_task_that_never_rests_does_not_starve_timers) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(turns_until_a_timer_fires()));
  options alone = cell_options();
  alone.flavour = flavour::current_thread;
  EXPECT_TRUE(run_on(alone, turns_until_a_timer_fires()));
}

}  // namespace
}  // namespace magpie::tests::sleep_test
