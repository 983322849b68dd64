/// Each allocation of the frame pool fails in turn: the answer is `not_enough_memory`, nothing is
/// lost, and the next try succeeds.
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <memory>

namespace magpie::tests::out_of_memory_test {
namespace {

std::error_code no_memory() { return std::make_error_code(std::errc::not_enough_memory); }

task<int> leaf(counted, std::unique_ptr<int> owned) { co_return *owned; }

task<int> tree(int depth, counted here) {
  if (depth == 0) {
    const int value = co_await leaf(here, std::make_unique<int>(1));
    co_return value;
  }
  const int left = co_await tree(depth - 1, here);
  auto below = tree(depth - 1, here);
  const int right = co_await timeout(1s, std::move(below));
  co_return left + right;
}

task<int> joins_a_tree(counted here) {
  auto handle = spawn(tree(2, here));
  const auto ended = co_await handle.join();
  if (!ended) co_await fail(ended.error());
  co_return *ended;
}

task<int> groups_trees(counted here) {
  const int value = co_await with_task_group([&](task_group& group) -> task<int> {
    group.spawn(tree(1, here));
    group.spawn(tree(2, here));
    const int own = co_await tree(1, here);
    co_return own;
  });
  co_return value;
}

/// Fails the n-th allocation of `make(…)` for every n; returns how many there are.
task<int> fails_each(task<int> (*make)(counted), counted here) {
  for (int n = 1;; ++n) {
    frame_pool_fail_nth(static_cast<std::uint64_t>(n));
    const auto ended = co_await as_result(make(here));
    frame_pool_fail_nth(0);
    if (ended) co_return n;
    EXPECT_EQ(error_of(ended), no_memory()) << "allocation " << n;
    if (n == 200) co_return -1;
  }
}

task<int> whole_tree(counted here) { return tree(3, here); }

void sweep(task<int> (*make)(counted), int allocations_at_least) {
  atomic<int> alive{0};
  options one = simulation();
  one.workers = 1;
  const auto count = run_on(one, fails_each(make, counted(alive)));
  ASSERT_TRUE(count);
  EXPECT_GE(*count, allocations_at_least);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(out_of_memory, in_a_tree_of_awaits) { sweep(&whole_tree, 15); }
TEST(out_of_memory, in_spawned_tasks) { sweep(&joins_a_tree, 8); }
TEST(out_of_memory, in_groups) { sweep(&groups_trees, 10); }

TEST(out_of_memory, of_the_first_frame) {
  atomic<int> alive{0};
  frame_pool_fail_nth(1);
  auto none = tree(1, counted(alive));
  frame_pool_fail_nth(0);
  EXPECT_FALSE(none);
  EXPECT_EQ(alive.load(order::relaxed), 0);
  EXPECT_EQ(error_of(run_in_simulation(std::move(none))), no_memory());
}

task<> nothing() { co_return; }

task<> joins_nothing() {
  auto t = nothing();
  frame_pool_fail_nth(1);  // the frame is there, the task's state will not be
  auto handle = spawn(std::move(t));
  frame_pool_fail_nth(0);
  EXPECT_TRUE(handle.done());
  handle.abort();
  const auto ended = co_await handle.join();
  EXPECT_EQ(error_of(ended), no_memory());
}

TEST(out_of_memory, of_a_spawned_task_is_told_by_its_join) {
  EXPECT_TRUE(run_in_simulation(joins_nothing()));
}

}  // namespace
}  // namespace magpie::tests::out_of_memory_test
