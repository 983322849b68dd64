/// Looking while everything moves: no task is lost, held back or shown on a stack that it is not
/// on.  The torture of the stops (stop_torture.hpp) looks at every awaitable besides.
#include <magpie/runtime/join.hpp>
#include <magpie/runtime/live_tasks.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <sched.h>

#include <string_view>
#include <thread>
#include <vector>

namespace magpie::tests::live_tasks_torture_test {
namespace {

constexpr int parties = 6;
constexpr int rounds = 150;
constexpr int values_of_a_round = 9;

task<int> leaf(int i) {
  co_await sleep_for(std::chrono::microseconds(i % 5));
  co_return 1;
}
task<int> inner(int i) { co_return co_await timeout(1h, leaf(i)); }

task<> adds(atomic<int>& sum, int i) {
  const int value = co_await inner(i);
  sum.fetch_add(value, order::relaxed);
}

task<int> children(int i) {
  atomic<int> sum{0};
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 3; ++k) group.spawn(adds(sum, i + k));
    co_return;
  });
  co_return sum.load(order::relaxed);
}

/// Every kind of wait, one after the other; adds `values_of_a_round` for each round.
task<int> churns() {
  int sum = 0;
  for (int i = 0; i < rounds; ++i) {
    sum += co_await inner(i);
    sum += co_await children(i);
    auto [left, right] = co_await join(inner(i), leaf(i + 1));
    sum += left + right;
    sum += co_await shielded(leaf(i + 2));
    auto handle = spawn(named("spawned"), inner(i));
    sum += (co_await handle.join()).value();
    sum += co_await run_blocking([] { return 1; });
    co_await yield();
  }
  co_return sum;
}

/// Whether a task that is listed is at places where it can be.
bool is_plausible(const live_task& task) {
  for (const task_stack& stack : task.stacks) {
    if (stack.places.empty() || stack.cut) return false;
    const std::string_view root = stack.places.back().function_name();
    const bool right = task.name == "churn"     ? root.find("churns") != root.npos
                       : task.name == "spawned" ? root.find("inner") != root.npos
                       : task.parent != 0       ? root.find("adds") != root.npos
                                                : true;
    if (!right) return false;
  }
  return task.state != task_state::waiting || !task.stacks.empty();
}

void churns_under_eyes(const options& chosen, std::size_t onlookers) {
  runtime on(chosen);
  atomic<bool> leave{false};
  atomic<std::size_t> stacks{0};
  std::vector<std::thread> looking;
  for (std::size_t i = 0; i < onlookers; ++i) {
    looking.emplace_back([&] {
      while (!leave.load(order::acquire)) {
        for (const live_task& task : on.live_tasks()) {
          EXPECT_TRUE(is_plausible(task)) << task.id << ' ' << task.name;
          stacks.fetch_add(task.stacks.size(), order::relaxed);
        }
        ::sched_yield();
      }
    });
  }
  const auto joins = [](std::vector<join_handle<int>>& all) -> task<int> {
    int sum = 0;
    for (auto& handle : all) {
      const auto ended = co_await handle.join();
      sum += ended.value();
    }
    co_return sum;
  };
  // Until somebody has seen something: on a busy machine the first tasks may end before that.
  for (int batch = 0; batch < 1000 && stacks.load(order::relaxed) == 0; ++batch) {
    std::vector<join_handle<int>> handles;
    for (int i = 0; i < parties; ++i) handles.push_back(on.spawn(named("churn"), churns()));
    EXPECT_EQ(on.block_on(joins(handles)).value(), parties * rounds * values_of_a_round);
  }
  leave.store(true, order::release);
  for (auto& thread : looking) thread.join();
  EXPECT_GT(stacks.load(order::relaxed), 0U);
  EXPECT_TRUE(on.live_tasks().empty());
  EXPECT_TRUE(on.shutdown(30s));
}

TEST(live_tasks_torture, concurrent_onlookers_hold_nobody_back) {
  MAGPIE_NEED_KERNEL();
  churns_under_eyes(cell_options(), 2);
}

TEST(live_tasks_torture, concurrent_onlookers_at_tracked_tasks) {
  MAGPIE_NEED_KERNEL();
  options chosen = cell_options();
  chosen.track_tasks = true;
  churns_under_eyes(chosen, 1);
}

task<> looks_and_churns(std::size_t& looks) {
  auto churn = spawn(named("churn"), churns());
  while (!churn.done()) {
    for (const live_task& task : current_live_tasks())
      EXPECT_TRUE(is_plausible(task)) << task.id << ' ' << task.name;
    ++looks;
    co_await sleep_for(1us);
  }
  const auto ended = co_await churn.join();
  EXPECT_EQ(ended.value(), rounds * values_of_a_round);
}

TEST(live_tasks_torture, concurrent_a_task_that_looks_all_the_time) {
  MAGPIE_NEED_CELL();
  std::size_t looks = 0;
  EXPECT_TRUE(run_in_cell(looks_and_churns(looks)));
  EXPECT_GT(looks, 0U);
}

}  // namespace
}  // namespace magpie::tests::live_tasks_torture_test
