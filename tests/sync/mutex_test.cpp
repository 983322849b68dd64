/// `mutex`: one at a time, in the order of coming, whatever stops.
#include <magpie/sync/mutex.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/tests/sync/world.hpp>

#include <optional>
#include <vector>

namespace magpie::tests::mutex_test {
namespace {

using sync::mutex;
using sync::mutex_guard;

TEST(mutex, is_locked_and_unlocked) {
  mutex one;
  EXPECT_FALSE(one.is_locked());
  {
    auto guard = one.try_lock();
    ASSERT_TRUE(guard);
    EXPECT_TRUE(guard->owns_lock());
    EXPECT_TRUE(one.is_locked());
    EXPECT_FALSE(one.try_lock());
    mutex_guard moved = std::move(*guard);
    EXPECT_FALSE(guard->owns_lock());
    EXPECT_TRUE(moved);
    EXPECT_TRUE(one.is_locked());
    moved.unlock();
    EXPECT_FALSE(one.is_locked());
    moved = *one.try_lock();
    EXPECT_TRUE(one.is_locked());
  }
  EXPECT_FALSE(one.is_locked());
  EXPECT_FALSE(mutex_guard().owns_lock());
  one.check_invariants();
}

task<> enters(mutex& one, int name, std::vector<int>& order) {
  const auto guard = co_await one.lock();
  order.push_back(name);
  co_await sleep_for(1ms);
}

TEST(mutex, is_handed_on_in_the_order_of_coming) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    mutex one;
    co_await with_task_group([&](task_group& group) -> task<> {
      auto guard = co_await one.lock();
      for (int i = 0; i < 10; ++i) {
        group.spawn(enters(one, i, order));
        co_await settled();
      }
      guard.unlock();
      // It is the first's already, though that has not run: nobody passes it.
      EXPECT_TRUE(one.is_locked());
      EXPECT_FALSE(one.try_lock());
      guard = co_await one.lock();
      order.push_back(10);
    });
    EXPECT_FALSE(one.is_locked());
    EXPECT_TRUE(one.try_lock());  // also by the way past the line, which is empty
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
}

TEST(mutex, conformance_c43_who_is_stopped_in_line_does_not_own_it) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    mutex one;
    auto guard = co_await one.lock();
    auto first = spawn(enters(one, 1, order));
    co_await settled();
    auto second = spawn(enters(one, 2, order));
    co_await settled();
    first.abort();
    const auto ended = co_await first.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    guard.unlock();
    co_await second.join();
    EXPECT_EQ(order, std::vector{2});
    EXPECT_TRUE(one.try_lock());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mutex, c43_who_is_stopped_with_the_lock_on_its_way_hands_it_on) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    mutex one;
    auto guard = co_await one.lock();
    auto first = spawn(enters(one, 1, order));
    co_await settled();
    auto second = spawn(enters(one, 2, order));
    co_await settled();
    guard.unlock();
    first.abort();
    co_await second.join();
    EXPECT_EQ(order, std::vector{2});
    [[maybe_unused]] const auto ended = co_await first.join();
    EXPECT_FALSE(one.is_locked());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// Rule 2 of the fine print: a guard in an abandoned frame does not outlive the failure, or the
/// clean-up of a sibling would wait for it.
TEST(mutex, a_sibling_may_lock_it_in_its_clean_up) {
  const auto scenario = []() -> task<> {
    mutex one;
    bool cleaned = false;
    const auto fails = [](mutex& in) -> task<> {
      const auto guard = co_await in.lock();
      co_await sleep_for(1ms);
      co_await fail(some_error());
    };
    const auto cleans = [](mutex& in, bool& done) -> task<> {
      const auto ended = co_await as_result(sleep_for(1h));
      const auto guard = co_await shielded(in.lock());
      done = true;
      if (!ended) co_await fail(ended.error());
    };
    const auto group = co_await as_result(with_task_group([&](task_group& siblings) -> task<> {
      siblings.spawn(fails(one));
      siblings.spawn(cleans(one, cleaned));
      co_return;
    }));
    EXPECT_EQ(error_of(group), some_error());
    EXPECT_TRUE(cleaned);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

task<> counts_up(mutex& one, int& sum, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const auto guard = co_await one.lock();
    const int seen = sum;
    if (i % 4 == 0) co_await yield();  // on another worker, perhaps
    sum = seen + 1;
  }
}

TEST(mutex, concurrent_excludes_across_suspensions) {
  MAGPIE_NEED_CELL();
  constexpr int tasks = 8;
  constexpr int rounds = 1000;
  int sum = 0;
  const auto scenario = [&]() -> task<> {
    mutex one;
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < tasks; ++i) group.spawn(counts_up(one, sum, rounds));
      co_return;
    });
    EXPECT_FALSE(one.is_locked());
    one.check_invariants();
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  EXPECT_EQ(sum, tasks * rounds);
}

/// A guard is unlocked by whoever has it: here by another task, on another worker perhaps.
TEST(mutex, concurrent_a_guard_may_be_given_away) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    mutex one;
    const auto drops = [](mutex_guard guard) -> task<> {
      co_await yield();
      guard.unlock();
    };
    for (int i = 0; i < 500; ++i) {
      auto guard = co_await one.lock();
      spawn(drops(std::move(guard))).detach();
    }
    const auto last = co_await one.lock();
    EXPECT_TRUE(last.owns_lock());
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// The last one to lock it destroys it, while the one before is on its way out of `unlock`.
TEST(mutex, concurrent_may_be_destroyed_once_it_was_had) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 2000; ++i) {
      auto* const one = new mutex;
      const auto holds = [](mutex_guard guard) -> task<> {
        guard.unlock();
        co_return;
      };
      auto guard = co_await one->lock();
      auto other = spawn(holds(std::move(guard)));
      if (i % 3 == 0) co_await yield();
      guard = co_await one->lock();
      guard.unlock();
      delete one;
      co_await other.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// How often it had the lock before `ran`.
task<int> contends(sync::mutex& lock, const bool& ran) {
  int before = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto guard = co_await lock.lock();
    if (!ran) ++before;
    co_await yield();
  }
  co_return before;
}

task<> sets(bool& ran) {
  ran = true;
  co_return;
}

// Each hand-over goes by the slot of the worker, each yield by its queue: children of the group,
// which are in neither, have their turns all the same.
TEST(mutex, two_that_hand_it_on_to_each_other_do_not_starve_a_child) {
  MAGPIE_NEED_CELL();
  options one = cell_options();
  one.workers = 1;
  const auto scenario = []() -> task<> {
    sync::mutex lock;
    bool ran = false;
    int before = 0;
    const auto counts = [&]() -> task<> { before += co_await contends(lock, ran); };
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(sets(ran));
      group.spawn(counts());
      group.spawn(counts());
      co_return;
    });
    EXPECT_LT(before, 20);
  };
  EXPECT_TRUE(run_on(one, scenario()));
}

}  // namespace
}  // namespace magpie::tests::mutex_test
