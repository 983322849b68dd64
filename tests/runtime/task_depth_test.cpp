/// Depth: a million awaits in a row, chains a hundred thousand awaits deep that end in every way,
/// as many nested timeouts, and tasks that hold tasks.  Nothing may need stack in proportion.
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <optional>

namespace magpie::tests::task_depth_test {
namespace {

constexpr int deep = 100'000;

task<int> one() { co_return 1; }

task<int> sums(int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await one();
  co_return sum;
}

TEST(task_depth, a_million_synchronous_awaits_in_a_row) {
  MAGPIE_NEED_SIMULATION();
  EXPECT_EQ(run_in_simulation(sums(1'000'000)).value(), 1'000'000);
}

task<int> fails_at_once() {
  co_await fail(some_error());
  co_return 0;
}

task<int> looks_at(int count) {
  int seen = 0;
  for (int i = 0; i < count; ++i) {
    const auto ended = co_await as_result(fails_at_once());
    if (!ended) ++seen;
  }
  co_return seen;
}

TEST(task_depth, a_million_errors_in_a_row) {
  MAGPIE_NEED_SIMULATION();
  EXPECT_EQ(run_in_simulation(looks_at(1'000'000)).value(), 1'000'000);
}

enum class ending { value, error, stop, exception };

task<int> chain(int depth, ending how, counted here) {
  if (depth > 0) {
    const int below = co_await chain(depth - 1, how, here);
    co_return below + 1;
  }
  if (how == ending::error) co_await fail(some_error());
  if (how == ending::stop) co_await sleep_for(1h);
#if defined(__cpp_exceptions)
  if (how == ending::exception) throw 17;
#endif
  co_return 0;
}

task<int> stops_a_chain(counted here) {
  auto handle = spawn(chain(deep, ending::stop, here));
  co_await sleep_for(1ms);
  handle.abort();
  const auto ended = co_await handle.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
  co_return 1;
}

TEST(task_depth, a_chain_that_ends_in_a_value) {
  atomic<int> alive{0};
  EXPECT_EQ(run_in_simulation(chain(deep, ending::value, counted(alive))).value(), deep);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(task_depth, a_chain_that_ends_in_an_error) {
  atomic<int> alive{0};
  const auto ended = run_in_simulation(chain(deep, ending::error, counted(alive)));
  EXPECT_EQ(error_of(ended), some_error());
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(task_depth, a_chain_that_ends_in_a_stop) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(stops_a_chain(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

#if defined(__cpp_exceptions)
TEST(task_depth, a_chain_that_ends_in_an_exception) {
  atomic<int> alive{0};
  // A throw costs microseconds for each frame.
  EXPECT_THROW(
      static_cast<void>(run_in_simulation(chain(deep / 4, ending::exception, counted(alive)))),
      int);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}
#endif

task<int> timeouts(int depth, ending how, std::chrono::nanoseconds each) {
  if (depth > 0) {
    auto below = timeouts(depth - 1, how, each);
    const int count = co_await timeout(each, std::move(below));
    co_return count + 1;
  }
  if (how == ending::value) co_await sleep_for(1us);
  if (how == ending::error) co_await fail(some_error());
  if (how == ending::stop) co_await sleep_for(1h);
  co_return 0;
}

TEST(task_depth, nested_timeouts_around_a_value) {
  EXPECT_EQ(run_in_simulation(timeouts(deep, ending::value, 10h)).value(), deep);
}

TEST(task_depth, nested_timeouts_around_an_error) {
  EXPECT_EQ(error_of(run_in_simulation(timeouts(deep, ending::error, 10h))), some_error());
}

TEST(task_depth, nested_timeouts_that_fire) {
  EXPECT_EQ(error_of(run_in_simulation(timeouts(deep, ending::stop, 1s))), errc::deadline);
}

task<int> outer_timeout_fires() {
  auto inside = timeouts(deep, ending::stop, 10h);
  const int never = co_await timeout(1ms, std::move(inside));
  co_return never;
}

TEST(task_depth, an_outer_timeout_stops_all_the_nested_ones) {
  EXPECT_EQ(error_of(run_in_simulation(outer_timeout_fires())), errc::deadline);
}

task<> holds(std::optional<task<>> inner, counted) {
  if (inner) co_await std::move(*inner);
}

task<> nest(int depth, atomic<int>& alive) {
  task<> outer = holds(std::nullopt, counted(alive));
  for (int i = 1; i < depth; ++i) outer = holds(std::move(outer), counted(alive));
  return outer;
}

TEST(task_depth, unstarted_tasks_that_hold_each_other_are_dropped) {
  atomic<int> alive{0};
  {
    const auto outer = nest(4 * deep, alive);
    EXPECT_EQ(alive.load(order::relaxed), 4 * deep);
  }
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(task_depth, tasks_that_hold_each_other_run) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(nest(deep, alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> fails_holding(task<> unstarted) {
  co_await fail(some_error());
  co_await std::move(unstarted);
}

TEST(task_depth, an_abandoned_frame_drops_the_unstarted_tasks_that_it_holds) {
  atomic<int> alive{0};
  EXPECT_EQ(error_of(run_in_simulation(fails_holding(nest(deep, alive)))), some_error());
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> groups(int depth, ending how, bool by_child) {
  if (depth == 0) {
    if (how == ending::error) co_await fail(some_error());
    if (how == ending::stop) co_await sleep_for(1h);
    co_return;
  }
  co_await with_task_group([&](task_group& group) -> task<> {
    if (by_child) {
      group.spawn(groups(depth - 1, how, by_child));
    } else {
      co_await groups(depth - 1, how, by_child);
    }
  });
}

TEST(task_depth, groups_nested_by_their_children) {
  MAGPIE_NEED_SIMULATION();
  EXPECT_TRUE(run_in_simulation(groups(deep, ending::value, true)));
  EXPECT_EQ(error_of(run_in_simulation(groups(deep, ending::error, true))), some_error());
}

TEST(task_depth, groups_nested_by_their_bodies) {
  MAGPIE_NEED_SIMULATION();
  EXPECT_TRUE(run_in_simulation(groups(deep, ending::value, false)));
  EXPECT_EQ(error_of(run_in_simulation(groups(deep, ending::error, false))), some_error());
}

task<> stops_groups(bool by_child) {
  const auto ended = co_await as_result(timeout(1s, groups(deep, ending::stop, by_child)));
  EXPECT_EQ(error_of(ended), errc::deadline);
}

TEST(task_depth, nested_groups_are_stopped) {
  MAGPIE_NEED_SIMULATION();
  EXPECT_TRUE(run_in_simulation(stops_groups(true)));
  EXPECT_TRUE(run_in_simulation(stops_groups(false)));
}

task<int> joins(int depth) {
  if (depth == 0) co_return 0;
  auto handle = spawn(joins(depth - 1));
  const auto below = co_await handle.join();
  co_return below.value() + 1;
}

TEST(task_depth, joins_of_joins) { EXPECT_EQ(run_in_simulation(joins(deep)).value(), deep); }

}  // namespace
}  // namespace magpie::tests::task_depth_test
