/// The end of a runtime: tasks that wait, spawn or wake each other meanwhile, deadlines, leaks.
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/live_tasks.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/runtime.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests::shutdown_test {
namespace {

task<> waits(counted) { co_await sleep_for(1h); }

task<> leaves_waiting(int count, counted here) {
  for (int i = 0; i < count; ++i) spawn(waits(here)).detach();
  co_await yield();
}

TEST(shutdown, concurrent_waiting_tasks_are_stopped_and_drained) {
  MAGPIE_NEED_CELL();
  for (const int count : {0, 1, 10, 1000}) {
    atomic<int> alive{0};
    EXPECT_TRUE(run_in_cell(leaves_waiting(count, counted(alive))));
    EXPECT_EQ(alive.load(order::relaxed), 0);
  }
}

struct pair_of_handles {
  std::optional<join_handle<void>> first;
  std::optional<join_handle<void>> second;
};

/// Waits for the other; their destructors drop and abort each other's handles.
task<> waits_for_the_other(std::shared_ptr<pair_of_handles> both, bool first, counted) {
  struct at_the_end {
    std::shared_ptr<pair_of_handles> both;
    bool first;
    ~at_the_end() {
      auto& other = first ? both->second : both->first;
      if (other) other->abort();
    }
  } const cleans_up{both, first};
  co_await yield();
  co_await sleep_for(1h);
}

task<> leaves_a_pair(counted here) {
  auto both = std::make_shared<pair_of_handles>();
  both->first.emplace(spawn(waits_for_the_other(both, true, here)));
  both->second.emplace(spawn(waits_for_the_other(both, false, here)));
  co_await yield();
  auto keeps = [](std::shared_ptr<pair_of_handles> pair) -> task<> {
    auto& handle = *pair->first;
    co_await handle.join();
  };
  spawn(keeps, both).detach();
}

TEST(shutdown, concurrent_tasks_whose_ends_stop_each_other) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 50; ++i) {
    atomic<int> alive{0};
    EXPECT_TRUE(run_in_cell(leaves_a_pair(counted(alive))));
    EXPECT_EQ(alive.load(order::relaxed), 0);
  }
}

/// Each waits for the next one's end.
task<> waits_for(std::unique_ptr<join_handle<void>> next, counted) {
  if (next != nullptr) {
    co_await next->join();
  } else {
    co_await sleep_for(1h);
  }
}

task<> leaves_a_row(int length, counted here) {
  std::unique_ptr<join_handle<void>> last;
  for (int i = 0; i < length; ++i) {
    auto handle = spawn(waits_for(std::move(last), here));
    last = std::make_unique<join_handle<void>>(std::move(handle));
    if (i % 3 == 0) co_await yield();
  }
}

TEST(shutdown, concurrent_tasks_that_wait_for_each_other) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 30; ++i) {
    atomic<int> alive{0};
    EXPECT_TRUE(run_in_cell(leaves_a_row(50, counted(alive))));
    EXPECT_EQ(alive.load(order::relaxed), 0);
  }
}

task<> breeds(int generations, counted here) {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
  if (generations > 0) {
    spawn(breeds(generations - 1, here)).detach();
    spawn(breeds(generations - 1, here)).detach();
  }
}

task<> leaves_breeders(counted here) {
  spawn(breeds(6, here)).detach();
  co_return;
}

TEST(shutdown, concurrent_tasks_that_spawn_while_they_are_stopped) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 20; ++i) {
    atomic<int> alive{0};
    EXPECT_TRUE(run_in_cell(leaves_breeders(counted(alive))));
    EXPECT_EQ(alive.load(order::relaxed), 0);
  }
}

void pauses() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

task<> runs_blocking(counted) { co_await run_blocking(pauses); }

task<> leaves_blocking_calls(counted here) {
  for (int i = 0; i < 100; ++i) spawn(runs_blocking(here)).detach();
  co_await yield();
}

TEST(shutdown, concurrent_blocking_calls_are_withdrawn_or_waited_for) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(leaves_blocking_calls(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<int> answers(counted) {
  co_await yield();
  co_return 42;
}

// C19: frames of tasks that wait are gone when the runtime is.  C23: handles from before and from
// after the shutdown are both done at once.
TEST(shutdown, concurrent_c19_c23_handles_from_before_and_after) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  runtime on(cell_options());
  auto before = on.spawn(waits(counted(alive)));
  EXPECT_TRUE(on.shutdown(30s));
  EXPECT_EQ(alive.load(order::relaxed), 0);
  auto after = on.spawn(answers(counted(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);  // destroyed without running
  EXPECT_TRUE(before.done());
  EXPECT_TRUE(after.done());
  EXPECT_EQ(after.id(), 0U);
  after.abort();
  auto joins = [](join_handle<void>& early, join_handle<int>& late) -> task<> {
    const auto stopped = co_await early.join();
    EXPECT_EQ(error_of(stopped), errc::stopped);
    const auto never_run = co_await late.join();
    EXPECT_EQ(error_of(never_run), errc::aborted);
  };
  EXPECT_TRUE(run_in_cell(joins(before, after)));
}

task<> waits_for_a_task(counted here) {
  auto child = spawn(waits(here));
  co_await child.join();
}

// C19 for a runtime that is dropped, with tasks of which some have not begun.
TEST(shutdown, concurrent_c19_a_runtime_that_is_dropped_leaves_no_frame) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 50; ++i) {
    atomic<int> alive{0};
    {
      runtime on(cell_options());
      for (int k = 0; k < 20; ++k) on.spawn(waits(counted(alive))).detach();
      for (int k = 0; k < 20; ++k) on.spawn(waits_for_a_task(counted(alive))).detach();
      if (i % 2 == 0) {
        EXPECT_TRUE(on.block_on(answers(counted(alive))));
      }
      for (int k = 0; k < 20; ++k) on.spawn(waits(counted(alive))).detach();
      EXPECT_GE(alive.load(order::relaxed), 60);
    }
    EXPECT_EQ(alive.load(order::relaxed), 0);
  }
}

/// Spawns a task in its destructor and keeps the handle where the test finds it.
class spawns_at_its_end {
 public:
  spawns_at_its_end(std::optional<join_handle<int>>& handle, counted here)
      : handle_(&handle), here_(here) {}
  spawns_at_its_end(const spawns_at_its_end&) = delete;
  spawns_at_its_end& operator=(const spawns_at_its_end&) = delete;
  ~spawns_at_its_end() { handle_->emplace(spawn(answers(here_))); }

 private:
  std::optional<join_handle<int>>* handle_;
  counted here_;
};

task<> waits_with_a_spawner(std::optional<join_handle<int>>& handle, counted here) {
  const spawns_at_its_end local(handle, here);
  co_await sleep_for(1h);
}

// C22: a task that is spawned by a destructor during the shutdown is stopped and its handle done.
// Magpie starts it (a stop is seen at operations), and its first operation is stopped.
TEST(shutdown, concurrent_c22_a_destructor_spawns) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 50; ++i) {
    atomic<int> alive{0};
    std::optional<join_handle<int>> handle;
    {
      runtime on(cell_options());
      on.spawn(waits_with_a_spawner(handle, counted(alive))).detach();
      if (i % 2 == 0) {
        EXPECT_TRUE(on.block_on(answers(counted(alive))));
      }
    }
    EXPECT_EQ(alive.load(order::relaxed), 0);
    ASSERT_TRUE(handle);
    EXPECT_TRUE(handle->done());
    auto joins = [](join_handle<int>& spawned) -> task<> {
      const auto ended = co_await spawned.join();
      EXPECT_EQ(error_of(ended), errc::stopped);
    };
    EXPECT_TRUE(run_in_cell(joins(*handle)));
  }
}

task<int> blocks_for(int i) {
  const int value = co_await run_blocking([i] { return i; });
  co_return value;
}

// C28: a blocking call that races with the shutdown always resolves: it ran, or it was stopped.
TEST(shutdown, concurrent_c28_blocking_calls_resolve) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 50; ++i) {
    std::vector<join_handle<int>> handles;
    {
      runtime on(cell_options());
      for (int k = 0; k < 8; ++k) handles.push_back(on.spawn(blocks_for(k)));
      if (i % 2 == 0) {
        EXPECT_TRUE(on.block_on(blocks_for(8)));
      }
    }
    auto joins = [](std::vector<join_handle<int>>& all) -> task<> {
      int expected = 0;
      for (auto& handle : all) {
        EXPECT_TRUE(handle.done());
        const auto ended = co_await handle.join();
        EXPECT_TRUE(ended ? *ended == expected : error_of(ended) == errc::stopped);
        ++expected;
      }
    };
    EXPECT_TRUE(run_in_cell(joins(handles)));
  }
}

task<> nothing() { co_return; }

TEST(shutdown, concurrent_many_starts_and_ends) {
  MAGPIE_NEED_CELL();
  const int rounds = in_simulation() ? 1000 : 200;
  atomic<int> alive{0};
  for (int i = 0; i < rounds; ++i) {
    runtime on(cell_options());
    if (i % 4 == 1) {
      EXPECT_TRUE(on.block_on(nothing()));
    }
    if (i % 4 == 2) {
      EXPECT_TRUE(on.block_on(leaves_waiting(5, counted(alive))));
    }
    if (i % 4 == 3 && !in_simulation()) on.spawn(leaves_breeders(counted(alive))).detach();
  }
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

// ---- deadlines ----------------------------------------------------------------------------------

/// Swallows stops until it is told to leave, and frees what it waits for.
task<> is_stubborn(atomic<bool>& leave) {
  while (!leave.load(order::acquire)) {
    [[maybe_unused]] const auto slept = co_await as_result(sleep_for(50us));
  }
}

task<> leaves_a_stubborn_task(atomic<bool>& leave) {
  spawn(is_stubborn(leave)).detach();
  co_await sleep_for(200us);
}

void ends_late(const options& wanted) {
  static atomic<bool> leave{false};  // the leaked task looks at it for ever
  options loud = wanted;
  loud.log = true;
  testing::internal::CaptureStderr();
  {
    runtime on(loud);
    EXPECT_TRUE(on.block_on(leaves_a_stubborn_task(leave)));
    EXPECT_FALSE(on.shutdown(20ms));
  }
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("still running"), std::string::npos) << said;
  EXPECT_NE(said.find("shutdown_test.cpp"), std::string::npos) << said;
}

TEST(shutdown, names_and_leaks_what_does_not_end_in_time) {
  MAGPIE_NEED_CELL();
  if (leaks_are_reported) GTEST_SKIP() << "leaks on purpose";
  ends_late(cell_options());
}

TEST(shutdown, the_same_on_the_calling_thread) {
  MAGPIE_NEED_KERNEL();
  if (leaks_are_reported) GTEST_SKIP() << "leaks on purpose";
  options alone = cell_options();
  alone.flavour = flavour::current_thread;
  ends_late(alone);
}

task<> sleeps_for_years_then_leaves_some(counted here) {
  co_await sleep_for(24h * 3650);
  for (int i = 0; i < 3; ++i) spawn(waits(here)).detach();
  co_await sleep_for(1ms);
}

TEST(shutdown, the_object_that_is_left_says_so) {
  MAGPIE_NEED_CELL();
  runtime on(cell_options());
  EXPECT_TRUE(on.shutdown(30s));
  atomic<int> alive{0};
  auto holds = [](counted) -> task<int> { co_return 1; };
  EXPECT_EQ(error_of(on.block_on(holds(counted(alive)))), errc::runtime_shutdown);
  EXPECT_EQ(error_of(on.block_on(named("late"), holds(counted(alive)))), errc::runtime_shutdown);
  EXPECT_EQ(alive.load(order::relaxed), 0);
  on.request_stop();
  EXPECT_TRUE(on.live_tasks().empty());
  EXPECT_TRUE(on.shutdown(0s));
}

TEST(shutdown, counts_its_deadline_in_simulated_time) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(sleeps_for_years_then_leaves_some(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> cleans_up_slowly(atomic<bool>& cleaned) {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
  const int done = co_await run_blocking([] { return 1; });  // refused: it is stopped
  cleaned.store(done == 1, order::relaxed);
}

task<> leaves_a_cleaner(atomic<bool>& cleaned) {
  spawn(cleans_up_slowly(cleaned)).detach();
  co_await sleep_for(1ms);
}

TEST(shutdown, a_stopped_task_starts_no_new_operation) {
  atomic<bool> cleaned{false};
  EXPECT_TRUE(run_in_simulation(leaves_a_cleaner(cleaned)));
  EXPECT_FALSE(cleaned.load(order::relaxed));
}

// ---- foreign threads ----------------------------------------------------------------------------

TEST(shutdown, concurrent_foreign_threads_abort_while_the_runtime_ends) {
  MAGPIE_NEED_KERNEL();
  for (int i = 0; i < 100; ++i) {
    atomic<int> alive{0};
    std::optional<runtime> on(std::in_place, cell_options());
    std::vector<join_handle<void>> handles;
    for (int k = 0; k < 4; ++k) handles.push_back(on->spawn(waits(counted(alive))));
    std::thread other([&] {
      for (auto& handle : handles) handle.abort();
    });
    if (i % 2 == 0) std::this_thread::yield();
    on.reset();
    other.join();
    for (auto& handle : handles) EXPECT_TRUE(handle.done());
    handles.clear();  // the last owners, after the runtime is gone
    EXPECT_EQ(alive.load(order::relaxed), 0);
  }
}

}  // namespace
}  // namespace magpie::tests::shutdown_test
