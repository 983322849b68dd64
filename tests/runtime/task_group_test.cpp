/// `with_task_group`: who fails, who is stopped, whose error it is, and what dies when.
#include <magpie/runtime/task_group.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/said.hpp>

#include <string>
#include <vector>

namespace magpie::tests::task_group_test {
namespace {

struct tally {
  atomic<int> alive{0};
  atomic<int> ended{0};
};

task<> adds(tally& counts) {
  const counted here(counts.alive);
  co_await yield();
  counts.ended.fetch_add(1, order::relaxed);
}

task<> sleeps_long(tally& counts) {
  const counted here(counts.alive);
  co_await sleep_for(1h);
  ADD_FAILURE() << "slept for an hour";
}

task<> fails_with(std::error_code error) {
  co_await yield();
  co_await fail(error);
}

task<int> runs_children(int count, tally& counts) {
  const int value = co_await with_task_group([&](task_group& group) -> task<int> {
    for (int i = 0; i < count; ++i) group.spawn(adds(counts));
    co_return 7;
  });
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
  EXPECT_EQ(counts.ended.load(order::relaxed), count);
  co_return value;
}

TEST(task_group, concurrent_waits_for_every_child_and_gives_the_value_of_its_body) {
  MAGPIE_NEED_CELL();
  for (const int count : {0, 1, 2, 1000}) {
    tally counts;
    EXPECT_EQ(run_in_cell(runs_children(count, counts)).value(), 7);
  }
}

TEST(task_group, a_hundred_thousand_children) {
  tally counts;
  EXPECT_EQ(run_in_simulation(runs_children(100'000, counts)).value(), 7);
}

task<> first_failure(tally& counts) {
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<int> {
    for (int i = 0; i < 20; ++i) group.spawn(sleeps_long(counts));
    group.spawn(fails_with(some_error()));
    co_await sleep_for(1h);
    co_return 1;
  }));
  EXPECT_EQ(error_of(ended), some_error());
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
}

TEST(task_group, concurrent_first_failure_stops_siblings_and_body) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 50; ++i) {
    tally counts;
    EXPECT_TRUE(run_in_cell(first_failure(counts)));
  }
}

task<> failing_body(tally& counts) {
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < 5; ++i) group.spawn(sleeps_long(counts));
    co_await sleep_for(10us);
    co_await fail(some_error());
  }));
  EXPECT_EQ(error_of(ended), some_error());
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
}

TEST(task_group, concurrent_failure_of_the_body_stops_the_children) {
  MAGPIE_NEED_CELL();
  tally counts;
  EXPECT_TRUE(run_in_cell(failing_body(counts)));
}

task<> isolated_failures(tally& counts) {
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < 10; ++i) {
      group.spawn_isolated(fails_with(some_error()));
      group.spawn(adds(counts));
    }
    co_return;
  });
  EXPECT_EQ(counts.ended.load(order::relaxed), 10);
}

TEST(task_group, concurrent_isolated_failures_end_nobody) {
  MAGPIE_NEED_CELL();
  tally counts;
  EXPECT_TRUE(run_in_cell(isolated_failures(counts)));
}

TEST(task_group, logs_isolated_and_later_failures) {
  tally counts;
  const std::string said = said_by(isolated_failures(counts));
  EXPECT_NE(said.find("task_group_test.cpp"), std::string::npos) << said;
  EXPECT_NE(said.find(some_error().message()), std::string::npos) << said;
}

/// Spawns two more until it is deep enough.
task<> branches(task_group& group, int depth, tally& counts) {
  counts.ended.fetch_add(1, order::relaxed);
  if (depth == 0) co_return;
  group.spawn(branches(group, depth - 1, counts));
  group.spawn(branches(group, depth - 1, counts));
  co_await yield();
}

task<> grows(int depth, tally& counts) {
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(branches(group, depth, counts));
    co_return;
  });
}

TEST(task_group, concurrent_children_spawn_children) {
  MAGPIE_NEED_CELL();
  tally counts;
  EXPECT_TRUE(run_in_cell(grows(12, counts)));
  EXPECT_EQ(counts.ended.load(order::relaxed), (1 << 13) - 1);
}

task<> stops_by_itself(tally& counts) {
  const int value = co_await with_task_group([&](task_group& group) -> task<int> {
    for (int i = 0; i < 10; ++i) group.spawn(sleeps_long(counts));
    co_await sleep_for(10us);
    group.stop();
    EXPECT_LE(group.size(), 10U);
    co_return 3;
  });
  EXPECT_EQ(value, 3);  // a stop of the group is nobody's failure
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
}

TEST(task_group, concurrent_stop_of_the_group_is_no_failure) {
  MAGPIE_NEED_CELL();
  tally counts;
  EXPECT_TRUE(run_in_cell(stops_by_itself(counts)));
}

task<> spawns_after_the_stop(tally& counts) {
  co_await with_task_group([&](task_group& group) -> task<> {
    group.stop();
    group.spawn(sleeps_long(counts));
    co_return;
  });
}

TEST(task_group, a_child_of_a_stopped_group_starts_and_its_first_operation_is_stopped) {
  tally counts;
  EXPECT_TRUE(run_in_simulation(spawns_after_the_stop(counts)));
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
}

task<> sleeping_group(tally& counts) {
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < 10; ++i) group.spawn(sleeps_long(counts));
    co_return;
  });
}

task<> stopped_from_outside(tally& counts) {
  const auto late = co_await as_result(timeout(100us, sleeping_group(counts)));
  EXPECT_EQ(error_of(late), errc::deadline);
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
  auto handle = spawn(sleeping_group(counts));
  co_await sleep_for(100us);
  handle.abort();
  const auto ended = co_await handle.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
}

TEST(task_group, concurrent_stop_from_outside) {
  MAGPIE_NEED_CELL();
  tally counts;
  EXPECT_TRUE(run_in_cell(stopped_from_outside(counts)));
}

task<> stops_itself_alone() {
  // What a child of a stopped scope elsewhere ends with: an error that says stopped.
  co_await fail(errc::stopped);
}

task<> child_says_stopped() {
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(stops_itself_alone());
    co_await sleep_for(1h);
  }));
  EXPECT_EQ(error_of(ended), errc::stopped);
}

TEST(task_group, a_child_that_was_stopped_by_others_ends_the_group_as_stopped) {
  EXPECT_TRUE(run_in_simulation(child_says_stopped()));
}

// ---- clean-up -----------------------------------------------------------------------------------

/// A lock in name only: asserts that nobody holds it twice.
struct held_flag {
  bool held = false;
};

class hold {
 public:
  explicit hold(held_flag& flag) : flag_(&flag) {
    EXPECT_FALSE(flag_->held);
    flag_->held = true;
  }
  ~hold() { flag_->held = false; }
  hold(const hold&) = delete;
  hold& operator=(const hold&) = delete;

 private:
  held_flag* flag_;
};

task<> fails_holding(held_flag& flag) {
  const hold guard(flag);
  co_await sleep_for(1ms);
  co_await fail(some_error());
}

task<> cleans_up_holding(held_flag& flag) {
  const auto ended = co_await as_result(sleep_for(1h));
  EXPECT_EQ(error_of(ended), errc::stopped);
  const hold guard(flag);  // the failing sibling's guard must be gone by now
}

task<> needs_the_lock(held_flag& flag) {
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(cleans_up_holding(flag));
    group.spawn(fails_holding(flag));
    co_return;
  }));
  EXPECT_EQ(error_of(ended), some_error());
}

TEST(task_group, a_guard_in_an_abandoned_frame_is_released_before_siblings_clean_up) {
  for (std::uint64_t seed = 1; seed < 50; ++seed) {
    held_flag flag;
    EXPECT_TRUE(run_in_simulation(needs_the_lock(flag), seed));
    EXPECT_FALSE(flag.held);
  }
}

task<> spawns_callables(tally& counts) {
  co_await with_task_group([&](task_group& group) -> task<> {
    const std::string words = "captured words that need memory of their own";
    auto closure = [words, &counts](std::string more) -> task<> {
      co_await sleep_for(10us);
      EXPECT_EQ((words + more).size(), 47U);
      counts.ended.fetch_add(1, order::relaxed);
    };
    group.spawn(closure, std::string("abc"));
    group.spawn(std::move(closure), std::string("def"));
    co_return;
  });
}

TEST(task_group, concurrent_keeps_callables_and_arguments) {
  MAGPIE_NEED_CELL();
  tally counts;
  EXPECT_TRUE(run_in_cell(spawns_callables(counts)));
  EXPECT_EQ(counts.ended.load(order::relaxed), 2);
}

#if defined(__cpp_exceptions)

task<> throws(int i) {
  co_await yield();
  throw i;
}

task<int> catches(tally& counts) {
  try {
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(sleeps_long(counts));
      group.spawn(throws(5));
      co_return;
    });
  } catch (const int thrown) {
    EXPECT_EQ(counts.alive.load(order::relaxed), 0);
    co_return thrown;
  }
  co_return 0;
}

TEST(task_group, concurrent_exception_of_a_child_is_rethrown) {
  MAGPIE_NEED_CELL();
  tally counts;
  EXPECT_EQ(run_in_cell(catches(counts)).value(), 5);
}

task<int> catches_the_first() {
  try {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 1; i < 9; ++i) group.spawn(throws(i));
      co_await throws(9);
    });
  } catch (const int thrown) {
    co_return thrown;
  }
  co_return 0;
}

TEST(task_group, concurrent_exceptions_of_many_are_freed) {
  MAGPIE_NEED_CELL();
  EXPECT_GT(run_in_cell(catches_the_first()).value(), 0);
}

#endif

// ---- storms -------------------------------------------------------------------------------------

task<> wanders(int i, tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < i % 5; ++k) co_await yield();
  if (i % 7 == 3) co_await sleep_for(std::chrono::microseconds(i % 11));
  if (i % 37 == 36) co_await fail(some_error());
}

task<> storm(int rounds, tally& counts) {
  for (int round = 0; round < rounds; ++round) {
    const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 40; ++i) {
        if (i % 2 == 0) {
          group.spawn(wanders(round + i, counts));
        } else {
          group.spawn_isolated(wanders(round * 3 + i, counts));
        }
      }
      if (round % 5 == 1) group.stop();
      co_return;
    }));
    EXPECT_TRUE(ended || ended.error() == some_error());
    EXPECT_EQ(counts.alive.load(order::relaxed), 0);
  }
}

TEST(task_group, concurrent_storm) {
  MAGPIE_NEED_CELL();
  tally counts;
  EXPECT_TRUE(run_in_cell(storm(200, counts)));
}

}  // namespace
}  // namespace magpie::tests::task_group_test
