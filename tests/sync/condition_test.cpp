/// `condition`: who is woken, who has the mutex then, and what a stop leaves behind.  Compared with
/// a simple reference in condition_random_test.cpp.
#include <magpie/sync/condition.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <deque>
#include <stdexcept>
#include <thread>
#include <vector>

namespace magpie::tests::condition_test {
namespace {

using sync::condition;
using sync::mutex;
using sync::mutex_guard;

task<> waits(mutex& lock, condition& on, int name, std::vector<int>& order) {
  auto guard = co_await lock.lock();
  co_await on.wait(guard);
  EXPECT_TRUE(guard.owns_lock());
  EXPECT_TRUE(lock.is_locked());
  order.push_back(name);
}

TEST(condition, wakes_the_oldest_or_all_and_keeps_nothing) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    mutex lock;
    condition on;
    on.notify_one();
    on.notify_all();
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 5; ++i) {
        group.spawn(waits(lock, on, i, order));
        co_await settled();
        EXPECT_FALSE(lock.is_locked());  // it waits without it
      }
      EXPECT_TRUE(order.empty());
      on.notify_one();
      co_await settled();
      EXPECT_EQ(order, std::vector{0});
      on.notify_one();
      on.notify_one();
      co_await settled();
      EXPECT_EQ(order, (std::vector{0, 1, 2}));
      on.notify_all();
    });
    EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
    EXPECT_FALSE(lock.is_locked());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(condition, goes_on_when_it_has_the_mutex_again) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    mutex lock;
    condition on;
    auto waiting = spawn(waits(lock, on, 1, order));
    co_await settled();
    auto guard = co_await lock.lock();
    on.notify_one();
    co_await sleep_for(5ms);
    EXPECT_TRUE(order.empty());
    guard.unlock();
    co_await waiting.join();
    EXPECT_EQ(order, std::vector{1});
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(condition, a_wait_for_a_predicate_looks_first_and_after_each_notification) {
  const auto scenario = []() -> task<> {
    mutex lock;
    condition on;
    int state = 1;
    int looks = 0;
    auto guard = co_await lock.lock();
    co_await on.wait(guard, [&] { return state == 1; });  // at once
    EXPECT_TRUE(guard);
    const auto waits_for = [](mutex& by, condition& change, const int& at, int& looked) -> task<> {
      auto inside = co_await by.lock();
      const auto is_three = [&] {
        ++looked;
        return at == 3;
      };
      co_await change.wait(inside, is_three);
      EXPECT_TRUE(inside && at == 3);
    };
    auto waiting = spawn(waits_for(lock, on, state, looks));
    guard.unlock();
    co_await settled();
    EXPECT_EQ(looks, 1);
    for (state = 2; state < 4; ++state) {
      on.notify_one();
      co_await settled();
      EXPECT_EQ(looks, state);
    }
    state = 3;
    co_await waiting.join();
    EXPECT_EQ(looks, 3);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

#if defined(__cpp_exceptions)
TEST(condition, what_a_predicate_throws_leaves_the_mutex_locked) {
  const auto scenario = []() -> task<> {
    mutex lock;
    condition on;
    auto guard = co_await lock.lock();
    const auto throws = []() -> bool { throw std::runtime_error("no"); };
    try {
      co_await on.wait(guard, throws);
      ADD_FAILURE();
    } catch (const std::runtime_error&) {
    }
    EXPECT_TRUE(guard.owns_lock());
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}
#endif

TEST(condition, misuse_is_an_abort) {
  mutex lock;
  condition on;
  mutex_guard none;
  EXPECT_DEATH(on.blocking_wait(none), "without its mutex");
}

// ---- stops --------------------------------------------------------------------------------------

/// One who waits, and what its guard holds afterwards.
struct waiter {
  bool woken = false;
  bool owned = false;
  std::error_code error;
};

task<> tries(mutex& lock, condition& on, waiter& who) {
  auto guard = co_await lock.lock();
  const auto ended = co_await as_result(on.wait(guard));
  who.woken = ended.has_value();
  who.owned = guard.owns_lock();
  who.error = error_of(ended);
}

TEST(condition, a_wait_that_is_stopped_leaves_the_guard_empty) {
  const auto scenario = []() -> task<> {
    mutex lock;
    condition on;
    waiter one;
    auto waiting = spawn(tries(lock, on, one));
    co_await settled();
    const auto held = co_await lock.lock();  // and so it would wait for us
    waiting.abort();
    [[maybe_unused]] const auto ended = co_await waiting.join();
    EXPECT_EQ(one.error, errc::stopped);
    EXPECT_FALSE(one.owned);
    auto mine = mutex_guard();
    mutex other;
    mine = co_await other.lock();
    const auto late = co_await as_result(timeout(1ms, on.wait(mine)));
    EXPECT_EQ(error_of(late), errc::deadline);
    EXPECT_FALSE(mine.owns_lock());
    EXPECT_FALSE(other.is_locked());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(condition, a_wait_that_does_not_begin_leaves_the_guard_empty_as_well) {
  const auto scenario = []() -> task<> {
    mutex lock;
    condition on;
    waiter one;
    const auto stubborn = [](mutex& by, condition& change, waiter& who) -> task<> {
      auto guard = co_await by.lock();
      [[maybe_unused]] const auto ignored = co_await as_result(sleep_for(1h));
      const auto ended = co_await as_result(change.wait(guard));
      who.owned = guard.owns_lock();
      who.error = error_of(ended);
    };
    auto waiting = spawn(stubborn(lock, on, one));
    co_await settled();
    waiting.abort();
    [[maybe_unused]] const auto ended = co_await waiting.join();
    EXPECT_EQ(one.error, errc::stopped);
    EXPECT_FALSE(one.owned);
    EXPECT_FALSE(lock.is_locked());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// The notification has come, and the task is stopped before it runs, or in line for the mutex.
TEST(condition, a_notification_that_was_not_used_goes_to_the_next) {
  for (const bool in_line : {false, true}) {
    const auto scenario = [&]() -> task<> {
      mutex lock;
      condition on;
      waiter one;
      waiter other;
      auto first = spawn(tries(lock, on, one));
      co_await settled();
      auto second = spawn(tries(lock, on, other));
      co_await settled();
      auto held = co_await lock.lock();
      on.notify_one();
      if (in_line) co_await settled();
      first.abort();
      [[maybe_unused]] const auto ended = co_await first.join();
      EXPECT_TRUE(!one.woken && !one.owned && one.error == errc::stopped);
      held.unlock();
      co_await second.join();
      EXPECT_TRUE(other.woken && other.owned);
      EXPECT_FALSE(lock.is_locked());
    };
    EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
  }
}

TEST(condition, one_of_notify_all_is_not_passed_on) {
  const auto scenario = []() -> task<> {
    mutex lock;
    condition on;
    waiter one;
    waiter late;
    auto first = spawn(tries(lock, on, one));
    co_await settled();
    auto held = co_await lock.lock();
    on.notify_all();
    co_await settled();
    held.unlock();  // it is the first's
    auto second = spawn(tries(lock, on, late));
    first.abort();
    co_await settled();
    EXPECT_TRUE(!one.woken && !late.woken && !lock.is_locked());
    on.notify_one();
    co_await second.join();
    EXPECT_TRUE(late.woken);
    [[maybe_unused]] const auto ended = co_await first.join();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- many at once -------------------------------------------------------------------------------

/// A queue of so many places, as everybody writes it once.
struct bounded {
  static constexpr std::size_t size_max = 3;

  task<> put(int item) {
    auto guard = co_await lock.lock();
    co_await room.wait(guard, [&] { return items.size() < size_max; });
    items.push_back(item);
    more.notify_one();
  }
  task<int> get() {
    auto guard = co_await lock.lock();
    co_await more.wait(guard, [&] { return !items.empty(); });
    const int item = items.front();
    items.pop_front();
    guard.unlock();
    room.notify_one();
    co_return item;
  }

  mutex lock;
  condition room;
  condition more;
  std::deque<int> items;
};

TEST(condition, concurrent_no_change_is_missed) {
  MAGPIE_NEED_CELL();
  constexpr int parties = 3;
  constexpr int rounds = 500;
  int sum = 0;
  const auto scenario = [&]() -> task<> {
    bounded queue;
    const auto puts = [](bounded& to) -> task<> {
      for (int i = 0; i < rounds; ++i) co_await to.put(1);
    };
    const auto gets = [](bounded& from, int& into) -> task<> {
      for (int i = 0; i < rounds; ++i) {
        const int got = co_await from.get();
        const auto guard = co_await from.lock.lock();
        into += got;
      }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < parties; ++i) {
        group.spawn(puts(queue));
        group.spawn(gets(queue, sum));
      }
      co_return;
    });
    EXPECT_TRUE(queue.items.empty());
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  EXPECT_EQ(sum, parties * rounds);
}

TEST(condition, concurrent_threads_and_tasks_wait_in_one_line) {
  MAGPIE_NEED_KERNEL();
  constexpr int rounds = 300;
  bounded queue;
  std::thread outside([&] {
    for (int i = 0; i < rounds; ++i) {
      auto guard = queue.lock.blocking_lock();
      queue.more.blocking_wait(guard, [&] { return !queue.items.empty(); });
      EXPECT_TRUE(guard.owns_lock());
      queue.items.pop_front();
      guard.unlock();
      queue.room.notify_one();
    }
  });
  const auto scenario = [&]() -> task<> {
    const auto puts = [](bounded& to) -> task<> {
      for (int i = 0; i < rounds; ++i) co_await to.put(1);
    };
    const auto gets = [](bounded& from) -> task<> {
      for (int i = 0; i < rounds; ++i) co_await from.get();
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(puts(queue));
      group.spawn(puts(queue));
      group.spawn(gets(queue));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  outside.join();
  EXPECT_TRUE(queue.items.empty());
}

// ---- stops at every moment ----------------------------------------------------------------------

/// Takes one of what is there, or gives up after a while.
task<> takes(mutex& lock, condition& more, int& there, int& taken, int i, tally& counts) {
  const counted here(counts.alive);
  const auto inside = [](mutex& by, condition& on, int& left, int& had, tally& all) -> task<> {
    auto guard = co_await by.lock();
    const auto ended = co_await as_result(on.wait(guard, [&] { return left != 0; }));
    all.check(guard.owns_lock() == ended.has_value());
    if (!ended) co_await fail(ended.error());
    --left;
    ++had;
  };
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 1h;
  const auto ended = co_await as_result(timeout(longest, inside(lock, more, there, taken, counts)));
  if (!ended && ended.error() != errc::deadline) co_await fail(ended.error());
}

/// As many come as are taken: whoever has no deadline gets one.
task<> giving_and_taking(int i, tally& counts) {
  const counted here(counts.alive);
  mutex lock;
  condition more;
  int there = 0;
  int taken = 0;
  int given = 0;
  const auto gives = [](mutex& by, condition& on, int& left, int& all, int n) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 13));
    auto guard = co_await by.lock();
    ++left;
    ++all;
    if (n % 2 == 0) guard.unlock();
    on.notify_one();
  };
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 3; ++k) {
      group.spawn(takes(lock, more, there, taken, i + k, counts));
      group.spawn(gives(lock, more, there, given, i + k));
    }
    co_return;
  }));
  counts.check(!lock.is_locked() && there + taken == given);
  if (!ended) co_await fail(ended.error());
}

TEST(sync_torture, concurrent_conditions) { torture(&giving_and_taking); }

}  // namespace
}  // namespace magpie::tests::condition_test
