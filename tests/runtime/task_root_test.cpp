/// Ids that nobody shares, and what a root costs.
#include <magpie/runtime/task_root.hpp>

#include <magpie/runtime/current_task.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests::task_root_test {
namespace {

task<std::uint64_t> own_id() {
  co_await yield();
  co_return current_task().id;
}

/// Ids as the tasks and as their handles see them; more than one block of a worker.
task<> collects_ids(std::vector<std::uint64_t>& ids, int count) {
  std::vector<join_handle<std::uint64_t>> handles;
  for (int i = 0; i < count; ++i) handles.push_back(spawn(own_id()));
  for (auto& handle : handles) {
    const std::uint64_t expected = handle.id();
    const auto seen = co_await handle.join();
    EXPECT_EQ(seen.value(), expected);
    EXPECT_NE(expected, 0U);
    ids.push_back(expected);
  }
}

void expect_all_different(std::vector<std::uint64_t> ids) {
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
}

TEST(task_root, concurrent_ids_are_never_used_twice) {
  MAGPIE_NEED_CELL();
  std::vector<std::uint64_t> ids;
  runtime on(cell_options());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(on.block_on(collects_ids(ids, 2500)));
  EXPECT_EQ(ids.size(), 7500U);
  expect_all_different(std::move(ids));
}

TEST(task_root, concurrent_ids_of_foreign_threads_and_of_other_runtimes) {
  MAGPIE_NEED_KERNEL();
  std::vector<std::uint64_t> ids[3];
  runtime one(cell_options());
  runtime other(cell_options());
  std::thread threads[3];
  for (int k = 0; k < 3; ++k)
    threads[k] = std::thread([&, k] {
      runtime& on = k == 0 ? one : other;
      for (int i = 0; i < 500; ++i) {
        auto handle = on.spawn(own_id());
        ids[k].push_back(handle.id());
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (int k = 1; k < 3; ++k) ids[0].insert(ids[0].end(), ids[k].begin(), ids[k].end());
  expect_all_different(std::move(ids[0]));
}

TEST(task_root, ids_of_a_simulation_come_again_with_its_seed) {
  std::vector<std::uint64_t> first;
  std::vector<std::uint64_t> second;
  EXPECT_TRUE(run_in_simulation(collects_ids(first, 300), 7));
  EXPECT_TRUE(run_in_simulation(collects_ids(second, 300), 7));
  EXPECT_EQ(first, second);
}

// ---- what it costs ------------------------------------------------------------------------------

task<int> gives_one() { co_return 1; }

/// Blocks that `count` spawns took from malloc, the pool being empty at first.
task<> spawns_many(int count) {
  std::vector<join_handle<int>> handles;
  handles.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) handles.push_back(spawn(named("literal"), gives_one()));
  for (auto& handle : handles) {
    const auto one = co_await handle.join();
    EXPECT_EQ(one.value(), 1);
  }
}

TEST(task_root, memory_of_a_spawned_task) {
  // Frames come in classes of 64 bytes: a spawned task's state stays in that of 192.
  EXPECT_LE(sizeof(task_root), 48U);
  EXPECT_LE(sizeof(detail::spawned<void>), 192U);
  EXPECT_LE(sizeof(detail::spawned<int>), 192U);
  EXPECT_LE(sizeof(detail::group_child<void>), 192U);
}

TEST(task_root, a_spawn_with_a_literal_name_takes_two_blocks) {
  options one = simulation();
  one.workers = 1;
  constexpr std::uint64_t count = 5000;
  EXPECT_TRUE(run_on(one, gives_one()));
  frame_pool_trim();
  const std::uint64_t before = frame_pool_stats().mallocs;
  EXPECT_TRUE(run_on(one, spawns_many(count)));
  const std::uint64_t taken = frame_pool_stats().mallocs - before;
  EXPECT_GE(taken, 2 * count);
  EXPECT_LE(taken, 2 * count + 10);
}

}  // namespace
}  // namespace magpie::tests::task_root_test
