/// `locked`, `rw_locked` and `mapped_guard`: what a guard lets one reach, and no longer than it is
/// held.
#include <magpie/sync/locked.hpp>

#include <magpie/sync/condition.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace magpie::tests::locked_test {
namespace {

using sync::locked;
using sync::mapped_guard;
using sync::rw_locked;

struct account {
  explicit account(int first = 0) : balance(first) {}
  int balance;
  std::string owner = "nobody";
};

TEST(locked, is_reached_by_its_guard) {
  locked<account> one(7);
  {
    auto guard = one.try_lock();
    ASSERT_TRUE(guard);
    EXPECT_EQ((*guard)->balance, 7);
    (**guard).balance = 8;
    EXPECT_FALSE(one.try_lock());
    auto moved = std::move(*guard);
    EXPECT_FALSE(guard->owns_lock());
    EXPECT_TRUE(moved);
    moved.unlock();
    EXPECT_FALSE(moved);
    EXPECT_EQ((*one.try_lock())->balance, 8);
    moved = *one.try_lock();
    EXPECT_FALSE(one.try_lock());
  }
  EXPECT_EQ(one.blocking_lock()->balance, 8);
}

TEST(locked, a_guard_that_was_unlocked_reaches_nothing) {
  locked<account> one;
  auto guard = one.blocking_lock();
  guard.unlock();
  EXPECT_DEATH(guard->balance = 1, "used after it was unlocked");
}

TEST(locked, a_guard_is_narrowed_down_to_a_part) {
  locked<account> one(1);
  auto owner = one.blocking_lock().map([](account& of) -> std::string& { return of.owner; });
  static_assert(std::is_same_v<decltype(owner), mapped_guard<std::string, sync::mutex_guard>>);
  *owner = "somebody";
  EXPECT_FALSE(one.try_lock());
  auto letter = std::move(owner).map([](std::string& name) -> char& { return name[0]; });
  EXPECT_FALSE(owner.owns_lock());
  EXPECT_EQ(*letter, 's');
  letter.unlock();
  EXPECT_EQ(one.blocking_lock()->owner, "somebody");
}

TEST(locked, a_guard_of_a_lock_of_ones_own_is_mapped_as_well) {
  sync::mutex lock;
  int state = 1;
  const mapped_guard guard(lock.blocking_lock(), state);
  ++*guard;
  EXPECT_TRUE(lock.is_locked());
  EXPECT_EQ(state, 2);
}

TEST(locked, readers_see_a_const_value_and_writers_become_readers) {
  rw_locked<account> one(3);
  auto first = one.try_read();
  auto second = one.blocking_read();
  ASSERT_TRUE(first);
  static_assert(std::is_same_v<decltype(**first), const account&>);
  EXPECT_EQ((*first)->balance + second->balance, 6);
  EXPECT_FALSE(one.try_write());
  first->unlock();
  second.unlock();
  auto writing = one.blocking_write();
  writing->balance = 4;
  EXPECT_FALSE(one.try_read());
  const auto reading = writing.downgrade();
  static_assert(std::is_same_v<decltype(*reading), const account&>);
  EXPECT_FALSE(writing.owns_lock());
  EXPECT_EQ(reading->balance + (*one.try_read())->balance, 8);
  EXPECT_FALSE(one.try_write());
}

TEST(locked, a_guard_may_hold_a_share) {
  const auto scenario = []() -> task<> {
    auto shared = std::make_shared<locked<account>>(5);
    const std::weak_ptr<locked<account>> seen = shared;
    auto guard = co_await sync::lock_owned(shared);
    EXPECT_FALSE(shared->try_lock());
    shared.reset();
    EXPECT_FALSE(seen.expired());
    EXPECT_EQ(guard->balance, 5);
    guard.unlock();
    EXPECT_TRUE(seen.expired());
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(locked, a_stop_leaves_it_to_the_next) {
  const auto scenario = []() -> task<> {
    locked<account> one;
    auto held = co_await one.lock();
    const auto late = co_await as_result(timeout(1ms, one.lock()));
    EXPECT_EQ(error_of(late), errc::deadline);
    const auto adds = [](locked<account>& to) -> task<> {
      const auto guard = co_await to.lock();
      ++guard->balance;
    };
    auto first = spawn(adds(one));
    co_await settled();
    auto second = spawn(adds(one));
    co_await settled();
    held.unlock();
    first.abort();
    co_await second.join();
    EXPECT_EQ((*one.try_lock())->balance, 1);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// A wait for a condition unlocks the guard inside; if it fails, there is no way to the value.
TEST(locked, a_condition_that_was_stopped_leaves_no_way_to_the_value) {
  const auto scenario = []() -> task<> {
    locked<account> one(5);
    sync::condition changed;
    auto guard = co_await one.lock();
    const auto late = co_await as_result(timeout(1ms, changed.wait(guard.guard())));
    EXPECT_EQ(error_of(late), errc::deadline);
    EXPECT_FALSE(guard.owns_lock());
    EXPECT_FALSE(guard);
    auto other = one.try_lock();
    EXPECT_TRUE(other);
    EXPECT_DEATH(static_cast<void>(guard->balance), "after it was unlocked");
    const auto notifies = [](sync::condition& on) -> task<> {
      on.notify_one();
      co_return;
    };
    auto notifying = spawn(notifies(changed));
    co_await changed.wait(other->guard());
    EXPECT_TRUE(other->owns_lock());
    EXPECT_EQ((*other)->balance, 5);
    co_await notifying.join();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(locked, concurrent_tasks_change_it_one_at_a_time) {
  MAGPIE_NEED_CELL();
  constexpr int tasks = 4;
  constexpr int rounds = 500;
  locked<std::vector<int>> all;
  rw_locked<int> count;
  const auto scenario = [&]() -> task<> {
    const auto adds = [](locked<std::vector<int>>& to, rw_locked<int>& sum) -> task<> {
      for (int i = 0; i < rounds; ++i) {
        {
          const auto guard = co_await to.lock();
          guard->push_back(i);
        }
        if (i % 3 == 0) {
          const auto guard = co_await sum.write();
          const int seen = *guard;
          co_await yield();
          *guard = seen + 1;
        } else {
          const auto guard = co_await sum.read();
          const int seen = *guard;
          if (i % 5 == 0) co_await yield();
          EXPECT_EQ(*guard, seen);
        }
      }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < tasks; ++i) group.spawn(adds(all, count));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  EXPECT_EQ(all.blocking_lock()->size(), static_cast<std::size_t>(tasks * rounds));
  EXPECT_EQ(*count.blocking_read(), tasks * ((rounds + 2) / 3));
}

}  // namespace
}  // namespace magpie::tests::locked_test
