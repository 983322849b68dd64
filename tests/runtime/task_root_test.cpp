/// Who a task is: ids that nobody shares, names, and where they show.
#include <magpie/runtime/task_root.hpp>

#include <magpie/runtime/current_task.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests {
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

// ---- the current task ---------------------------------------------------------------------------

task<> awaited(std::uint64_t expected) {
  EXPECT_EQ(current_task().id, expected);
  co_await sleep_for(10us);
  EXPECT_EQ(current_task().id, expected);
}

/// Looks who it is when it dies.
class sees_at_its_end {
 public:
  explicit sees_at_its_end(std::uint64_t& id) noexcept : id_(&id) {}
  sees_at_its_end(const sees_at_its_end&) = delete;
  sees_at_its_end& operator=(const sees_at_its_end&) = delete;
  ~sees_at_its_end() { *id_ = current_task().id; }

 private:
  std::uint64_t* id_;
};

task<> waits_with(std::uint64_t& at_the_end) {
  const sees_at_its_end local(at_the_end);
  co_await sleep_for(1h);
}

task<> never_mistaken() {
  const std::uint64_t self = current_task().id;
  EXPECT_NE(self, 0U);
  co_await awaited(self);
  co_await timeout(1h, awaited(self));
  const auto late = co_await as_result(timeout(1us, sleep_for(1h)));
  EXPECT_EQ(error_of(late), errc::deadline);
  EXPECT_EQ(current_task().id, self);
  std::uint64_t child = 0;
  co_await with_task_group([&](task_group& group) -> task<> {
    EXPECT_EQ(current_task().id, self);  // the body is part of the awaiting task
    auto sees = [](std::uint64_t& id) -> task<> {
      co_await yield();
      id = current_task().id;
    };
    group.spawn(sees(child));
    co_await sleep_for(10us);
    EXPECT_EQ(current_task().id, self);
  });
  EXPECT_EQ(current_task().id, self);
  EXPECT_NE(child, self);
  EXPECT_NE(child, 0U);
  auto in_place = spawn(own_id());
  const auto other = co_await in_place.join();  // may run in the joiner's place
  EXPECT_EQ(other.value(), in_place.id());
  EXPECT_EQ(current_task().id, self);
  std::uint64_t at_the_end = 0;
  auto aborted = spawn(waits_with(at_the_end));
  co_await sleep_for(10us);
  aborted.abort();
  const auto ended = co_await aborted.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
  EXPECT_EQ(at_the_end, aborted.id());
  EXPECT_EQ(current_task().id, self);
}

TEST(task_root, concurrent_the_current_task_is_never_mistaken) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(current_task().id, 0U);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(run_in_cell(never_mistaken()));
  EXPECT_EQ(current_task().id, 0U);
}

// ---- names --------------------------------------------------------------------------------------

task<std::string> own_name() {
  co_await yield();
  co_return std::string(current_task().name);
}

std::string name_for(int i) { return "reader " + std::to_string(i); }

task<> knows_names() {
  auto literal = spawn(named("a literal"), own_name());
  auto copied = spawn(named(name_for(7)), own_name());
  auto long_one = spawn(named(std::string(100, 'x')), own_name());
  auto none = spawn(own_name());
  auto empty = spawn(named(std::string()), own_name());
  auto closure = spawn(named("called"), [] { return own_name(); });
  const auto first = co_await literal.join();
  EXPECT_EQ(first.value(), "a literal");
  const auto second = co_await copied.join();
  EXPECT_EQ(second.value(), "reader 7");
  const auto third = co_await long_one.join();
  EXPECT_EQ(third.value(), std::string(task_name::size_max, 'x'));
  const auto fourth = co_await none.join();
  EXPECT_EQ(fourth.value(), "");
  const auto fifth = co_await empty.join();
  EXPECT_EQ(fifth.value(), "");
  const auto sixth = co_await closure.join();
  EXPECT_EQ(sixth.value(), "called");
  std::string of_child;
  co_await with_task_group([&](task_group& group) -> task<> {
    auto tells = [](std::string& name) -> task<> { name = co_await own_name(); };
    group.spawn(named("child"), tells(of_child));
    co_return;
  });
  EXPECT_EQ(of_child, "child");
}

TEST(task_root, concurrent_names) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(knows_names()));
  runtime on(cell_options());
  EXPECT_EQ(on.block_on(named("blocked"), own_name()).value(), "blocked");
}

task<> fails() { co_await fail(some_error()); }

task<> leaves_failures() {
  spawn(named("reader 7"), fails()).detach();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn_isolated(named("writer 8"), fails());
    co_return;
  });
  co_await sleep_for(1ms);
}

TEST(task_root, the_log_of_failures_uses_names) {
  options loud = simulation();
  loud.log = true;
  testing::internal::CaptureStderr();
  EXPECT_TRUE(run_on(loud, leaves_failures()));
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("(reader 7)"), std::string::npos) << said;
  EXPECT_NE(said.find("(writer 8)"), std::string::npos) << said;
  EXPECT_NE(said.find("task_root_test.cpp"), std::string::npos) << said;
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
  EXPECT_LE(sizeof(task_root), 40U);
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
}  // namespace magpie::tests
