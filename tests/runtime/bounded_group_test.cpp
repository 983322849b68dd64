/// Groups with a limit: never more at once, first come first served, and no slot is lost.
#include <magpie/runtime/bounded_group.hpp>

#include <magpie/runtime/current_task.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <string>
#include <vector>

namespace magpie::tests::bounded_group_test {
namespace {

struct occupancy {
  atomic<int> running{0};
  atomic<int> most{0};
  atomic<int> ended{0};
};

/// Counts how many of its kind run at once.
class running {
 public:
  explicit running(occupancy& counts) : counts_(&counts) {
    const int now = counts_->running.fetch_add(1, order::relaxed) + 1;
    int most = counts_->most.load(order::relaxed);
    while (most < now && !counts_->most.compare_exchange_weak(most, now, order::relaxed)) {
    }
  }
  running(const running&) = delete;
  running& operator=(const running&) = delete;
  ~running() {
    counts_->running.fetch_sub(1, order::relaxed);
    counts_->ended.fetch_add(1, order::relaxed);
  }

 private:
  occupancy* counts_;
};

task<> works(int i, occupancy& counts) {
  const running here(counts);
  if (i % 3 == 0) co_await yield();
  if (i % 3 == 1) co_await sleep_for(std::chrono::microseconds(i % 7));
}

task<int> runs(int count, std::size_t limit, occupancy& counts) {
  const int value =
      co_await with_task_group(at_most(limit), [&](bounded_group& group) -> task<int> {
        for (int i = 0; i < count; ++i) co_await group.spawn_when_free(works(i, counts));
        EXPECT_LE(group.size(), limit);
        co_return 3;
      });
  co_return value;
}

TEST(bounded_group, concurrent_runs_at_most_so_many_children) {
  MAGPIE_NEED_CELL();
  for (const std::size_t limit : {1U, 2U, 7U}) {
    occupancy counts;
    EXPECT_EQ(run_in_cell(runs(2000, limit, counts)).value(), 3);
    EXPECT_EQ(counts.ended.load(order::relaxed), 2000);
    EXPECT_LE(counts.most.load(order::relaxed), static_cast<int>(limit));
  }
}

task<> notes(int i, std::vector<int>& order_of_starts) {
  order_of_starts.push_back(i);
  co_await sleep_for(1ms);
}

task<> spawns_one(bounded_group& group, int i, std::vector<int>& order_of_starts) {
  co_await group.spawn_when_free(notes(i, order_of_starts));
}

/// Twenty waiters in a known order; one of them is stopped while it waits.
task<> waits_in_line(std::vector<int>& order_of_starts) {
  co_await with_task_group(at_most(1), [&](bounded_group& group) -> task<> {
    co_await group.spawn_when_free(notes(0, order_of_starts));
    std::vector<join_handle<void>> waiters;
    for (int i = 1; i <= 20; ++i) {
      waiters.push_back(spawn(spawns_one(group, i, order_of_starts)));
      for (int k = 0; k < 5; ++k) co_await yield();  // it waits before the next is made
    }
    auto late = notes(99, order_of_starts);
    EXPECT_FALSE(group.try_spawn(late));  // does not overtake
    EXPECT_TRUE(late);
    waiters[6].abort();
    for (auto& waiter : waiters) {
      [[maybe_unused]] const auto ended = co_await waiter.join();
    }
  });
}

TEST(bounded_group, who_waits_first_is_served_first) {
  options one = simulation();
  one.workers = 1;
  std::vector<int> order_of_starts;
  EXPECT_TRUE(run_on(one, waits_in_line(order_of_starts)));
  std::vector<int> expected;
  for (int i = 0; i <= 20; ++i) {
    if (i != 7) expected.push_back(i);
  }
  EXPECT_EQ(order_of_starts, expected);
}

task<> sleeps_long(occupancy& counts) {
  const running here(counts);
  co_await sleep_for(1h);
}

task<> fails() { co_await fail(some_error()); }

task<> fails_while_others_wait(occupancy& counts) {
  const auto ended =
      co_await as_result(with_task_group(at_most(2), [&](bounded_group& group) -> task<> {
        co_await group.spawn_when_free(sleeps_long(counts));
        co_await group.spawn_when_free(fails());
        for (;;) co_await group.spawn_when_free(sleeps_long(counts));
      }));
  EXPECT_EQ(error_of(ended), some_error());
  EXPECT_EQ(counts.running.load(order::relaxed), 0);
}

TEST(bounded_group, concurrent_a_failure_stops_who_waits_for_a_slot) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 50; ++i) {
    occupancy counts;
    EXPECT_TRUE(run_in_cell(fails_while_others_wait(counts)));
  }
}

task<> isolated_ones(occupancy& counts) {
  co_await with_task_group(at_most(2), [&](bounded_group& group) -> task<> {
    for (int i = 0; i < 100; ++i) {
      if (i % 2 == 0) {
        co_await group.spawn_isolated_when_free(fails());
      } else {
        co_await group.spawn_isolated_when_free(works(i, counts));
      }
    }
  });
  EXPECT_EQ(counts.ended.load(order::relaxed), 50);
}

TEST(bounded_group, concurrent_isolated_failures_give_their_slots_back) {
  MAGPIE_NEED_CELL();
  occupancy counts;
  EXPECT_TRUE(run_in_cell(isolated_ones(counts)));
}

task<> impatient(occupancy& counts) {
  co_await with_task_group(at_most(1), [&](bounded_group& group) -> task<> {
    auto first = sleeps_long(counts);
    EXPECT_TRUE(group.try_spawn(first));
    EXPECT_FALSE(first);
    const auto late = co_await as_result(timeout(1ms, group.spawn_when_free(sleeps_long(counts))));
    EXPECT_EQ(error_of(late), errc::deadline);
    EXPECT_EQ(group.size(), 1U);
    group.stop();
  });
}

TEST(bounded_group, a_wait_under_a_timeout) {
  occupancy counts;
  EXPECT_TRUE(run_in_simulation(impatient(counts)));
  EXPECT_EQ(counts.ended.load(order::relaxed), 1);  // the task of the stopped wait never began
}

task<> tells_name(std::string& name) {
  name = current_task().name;
  co_return;
}

task<> works_once() { co_await sleep_for(10us); }

task<> names_a_child(std::string& name) {
  co_await with_task_group(at_most(1), [&](bounded_group& group) -> task<> {
    co_await group.spawn_when_free(named("first"), works_once());
    co_await group.spawn_when_free(named(std::string("child 2")), tells_name(name));
  });
}

TEST(bounded_group, children_have_names) {
  std::string name;
  EXPECT_TRUE(run_in_simulation(names_a_child(name)));
  EXPECT_EQ(name, "child 2");
}

// ---- stops --------------------------------------------------------------------------------------

task<> one_more(int i, tally& counts) {
  const counted here(counts.alive);
  if (i % 2 == 0) co_await sleep_for(std::chrono::microseconds(i % 11));
}

task<> two_compete(bounded_group& group, int i, tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < 3; ++k) {
    auto wait = group.spawn_when_free(one_more(i + k, counts));
    const auto got =
        co_await as_result(timeout(std::chrono::microseconds(i % 13), std::move(wait)));
    counts.check(got || got.error() == errc::deadline || got.error() == errc::stopped);
  }
}

/// Waits are stopped by timeouts, by the group's end and from outside; then a slot must be free.
task<> competing(int i, tally& counts) {
  const counted here(counts.alive);
  co_await with_task_group(at_most(1), [&](bounded_group& group) -> task<> {
    co_await group.spawn_when_free(one_more(i, counts));
    co_await with_task_group([&](task_group& waiters) -> task<> {
      waiters.spawn(two_compete(group, i, counts));
      waiters.spawn(two_compete(group, i + 5, counts));
      co_return;
    });
    co_await group.spawn_when_free(one_more(i, counts));
  });
}

TEST(bounded_group, concurrent_stop_torture) {
  MAGPIE_NEED_CELL();
  torture(&competing, 10'000);
}

}  // namespace
}  // namespace magpie::tests::bounded_group_test
