#include <magpie/runtime/task_tracker.hpp>

#include <magpie/runtime/current_task.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/said.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests::task_tracker_test {
namespace {

task<> sleeps(std::chrono::nanoseconds time, counted) { co_await sleep_for(time); }

TEST(task_tracker, waits_until_it_is_closed_and_empty) {
  auto scenario = []() -> task<> {
    atomic<int> alive{0};
    const task_tracker tracker;
    for (const auto time : {1ms, 5ms, 3ms})
      EXPECT_TRUE(tracker.spawn(sleeps(time, counted(alive))));
    EXPECT_EQ(tracker.size(), 3U);
    auto waiting = spawn([&]() -> task<> { co_await tracker.wait(); });
    co_await sleep_for(10ms);
    EXPECT_EQ(tracker.size(), 0U);
    EXPECT_FALSE(waiting.done());  // empty, not closed
    EXPECT_FALSE(tracker.is_closed());
    tracker.close();
    EXPECT_TRUE((co_await waiting.join()).has_value());
    co_await tracker.wait();  // and stays so
    tracker.spawn(sleeps(1ms, counted(alive)));
    const auto early = co_await as_result(timeout(100us, tracker.wait()));
    EXPECT_EQ(error_of(early), errc::deadline);  // closed, not empty
    co_await tracker.wait();
    EXPECT_EQ(alive.load(order::relaxed), 0);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(task_tracker, can_be_reopened) {
  auto scenario = []() -> task<> {
    const task_tracker tracker;
    tracker.close();
    tracker.close();
    EXPECT_TRUE(tracker.is_closed());
    tracker.reopen();
    EXPECT_FALSE(tracker.is_closed());
    const auto early = co_await as_result(timeout(1ms, tracker.wait()));
    EXPECT_EQ(error_of(early), errc::deadline);
    // Who waited at the moment at which it was closed and empty is through.
    auto waiting = spawn([&]() -> task<> { co_await tracker.wait(); });
    co_await sleep_for(1ms);
    tracker.close();
    tracker.reopen();
    EXPECT_TRUE((co_await waiting.join()).has_value());
    const auto again = co_await as_result(timeout(1ms, tracker.wait()));
    EXPECT_EQ(error_of(again), errc::deadline);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(task_tracker, tokens_count_as_tasks_do) {
  auto scenario = []() -> task<> {
    const task_tracker tracker;
    std::optional<tracker_token> first(tracker.token());
    std::optional<tracker_token> second(*first);
    EXPECT_EQ(tracker.size(), 2U);
    tracker_token moved(std::move(*second));
    second.reset();
    EXPECT_EQ(tracker.size(), 2U);
    moved = *first;
    EXPECT_EQ(tracker.size(), 2U);
    first.reset();
    tracker.close();
    EXPECT_EQ(tracker.size(), 1U);
    const auto keeps = [](tracker_token) -> task<> { co_await sleep_for(2ms); };
    auto keeping = spawn(keeps(std::move(moved)));
    const auto begin = clock::now();
    co_await tracker.wait();
    EXPECT_GE(clock::now() - begin, 2ms);
    EXPECT_TRUE((co_await keeping.join()).has_value());
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(task_tracker, its_tasks_are_gone_when_the_wait_is_over) {
  MAGPIE_NEED_CELL();
  auto scenario = [](atomic<int>& alive) -> task<> {
    for (int round = 0; round < 100; ++round) {
      const task_tracker tracker;
      for (int i = 0; i < 10; ++i)
        tracker.spawn(sleeps(std::chrono::microseconds(i % 3 * 7), counted(alive)));
      tracker.close();
      co_await tracker.wait();
      EXPECT_EQ(alive.load(order::relaxed), 0);
    }
  };
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(scenario(alive)));
}

TEST(task_tracker, concurrent_waiters_all_wake) {
  MAGPIE_NEED_CELL();
  auto scenario = []() -> task<> {
    const task_tracker tracker;
    for (int round = 0; round < 50; ++round) {
      std::vector<join_handle<void>> waiting;
      const auto waits = [](task_tracker on) -> task<> { co_await on.wait(); };
      for (int i = 0; i < 8; ++i) waiting.push_back(spawn(waits(tracker)));
      for (int i = 0; i < 4; ++i)
        tracker.spawn([](int n) -> task<> { co_await sleep_for(std::chrono::microseconds(n)); }, i);
      co_await yield();
      tracker.close();
      for (auto& one : waiting) EXPECT_TRUE((co_await one.join()).has_value());
      tracker.reopen();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(task_tracker, its_handles_may_go_before_its_tasks) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  auto scenario = [](atomic<int>& count) -> task<> {
    for (int i = 0; i < 100; ++i) {
      const task_tracker tracker;
      tracker.spawn(sleeps(std::chrono::microseconds(i % 10), counted(count)));
      if (i % 2 == 0) tracker.close();
      if (i % 5 == 0) co_await yield();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(task_tracker, concurrent_tokens_on_foreign_threads) {
  MAGPIE_NEED_KERNEL();
  for (int i = 0; i < 50; ++i) {
    int written = 0;  // no atomic: the tracker orders it
    const task_tracker tracker;
    std::thread other([&written, token = std::optional(tracker.token())]() mutable {
      const tracker_token mine = *token;
      token.reset();
      written = 1;
    });
    auto waits = [&]() -> task<int> {
      tracker.close();
      co_await tracker.wait();
      co_return written;
    };
    EXPECT_EQ(run_in_cell(waits()).value(), 1);
    other.join();
  }
}

task<> fails() {
  co_await yield();
  co_await fail(some_error());
}

TEST(task_tracker, a_failure_is_told_with_the_name) {
  auto scenario = []() -> task<> {
    const task_tracker tracker;
    tracker.spawn(named("the one that fails"), fails());
    tracker.spawn([]() -> task<std::string> { co_return "a value that nobody takes"; });
    tracker.close();
    co_await tracker.wait();
  };
  const std::string said = said_by(scenario());
  EXPECT_NE(said.find("the one that fails"), std::string::npos) << said;
  EXPECT_NE(said.find("task_tracker_test.cpp"), std::string::npos) << said;
}

#if defined(__cpp_exceptions)
TEST(task_tracker, an_exception_ends_nobody_else) {
  auto scenario = []() -> task<> {
    const task_tracker tracker;
    tracker.spawn([]() -> task<int> {
      co_await yield();
      throw 5;
    });
    tracker.close();
    co_await tracker.wait();
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}
#endif

TEST(task_tracker, its_tasks_have_names_and_ids) {
  auto scenario = []() -> task<> {
    const task_tracker tracker;
    task_identity seen;
    const auto looks = [](task_identity& into) -> task<> {
      into = current_task();
      EXPECT_EQ(into.name, "looks around");
      co_return;
    };
    tracker.spawn(named("looks around"), looks(seen));
    tracker.close();
    co_await tracker.wait();
    EXPECT_NE(seen.id, 0U);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(task_tracker, tells_copies_from_others) {
  const task_tracker one;
  const task_tracker same = one;
  EXPECT_EQ(one, same);
  EXPECT_FALSE(one == task_tracker());
}

// ---- stops --------------------------------------------------------------------------------------

/// Stopped or not, the wait leaves the tracker as it was, and the tasks are counted exactly.
task<> waiting_for_a_tracker(int i, tally& counts) {
  const counted here(counts.alive);
  const task_tracker tracker;
  const auto ends = [](int n, counted) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 23));
  };
  tracker.spawn(ends(i, here));
  tracker.spawn(ends(i + 1, here));
  tracker.close();
  const auto first = co_await as_result(tracker.wait());
  counts.check(!first || tracker.size() == 0);
  co_await shielded(tracker.wait());
  counts.check(tracker.size() == 0 && tracker.is_closed());
  if (!first) co_await fail(first.error());
}

TEST(task_tracker, concurrent_stop_torture) { torture(&waiting_for_a_tracker); }

TEST(task_tracker, a_stopped_wait_does_not_begin) {
  auto scenario = []() -> task<> {
    const task_tracker tracker;
    tracker.close();
    auto waiting = spawn([&]() -> task<> { co_await tracker.wait(); });
    waiting.abort();
    EXPECT_EQ(error_of(co_await waiting.join()), errc::aborted);
    const auto first = co_await select(tracker.wait(), sleep_for(1ms));
    EXPECT_EQ(first.index(), 0U);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

}  // namespace
}  // namespace magpie::tests::task_tracker_test
