/// The `blocking_` twins: threads that are no workers wait in the same lines as tasks.
#include <magpie/runtime/thread_wait.hpp>

#include <magpie/sync/barrier.hpp>
#include <magpie/sync/event.hpp>
#include <magpie/sync/latch.hpp>
#include <magpie/sync/mutex.hpp>
#include <magpie/sync/notify.hpp>
#include <magpie/sync/oneshot.hpp>
#include <magpie/sync/semaphore.hpp>
#include <magpie/tests/sync/world.hpp>

#include <thread>
#include <vector>

namespace magpie::tests::blocking_test {
namespace {

/// Waits until somebody new is in line, and says who.
const detail::wait_entry* next_in_line(detail::wait_list& list, const detail::wait_entry* before) {
  for (;;) {
    list.lock();
    const detail::wait_entry* const last = list.last();
    list.unlock();
    if (last != nullptr && last != before) return last;
    std::this_thread::yield();
  }
}

TEST(blocking, what_is_there_is_had_at_once) {
  sync::semaphore two(2);
  const auto permit = two.blocking_acquire(2);
  EXPECT_EQ(permit->count(), 2U);
  sync::mutex one;
  EXPECT_TRUE(one.blocking_lock().owns_lock());
  sync::notify on;
  on.notify_one();
  on.blocking_notified();
  sync::event set(true);
  set.blocking_wait();
  sync::latch none(0);
  none.blocking_wait();
  sync::barrier alone(1);
  EXPECT_TRUE(alone.blocking_arrive_and_wait());
  auto [sender, receiver] = sync::oneshot<int>();
  EXPECT_TRUE(sender.send(1));
  EXPECT_EQ(receiver.blocking_receive().value(), 1);
  EXPECT_EQ(error_of(receiver.blocking_receive()), errc::closed);
  two.close();
  EXPECT_EQ(error_of(two.blocking_acquire()), errc::closed);
}

TEST(blocking, concurrent_threads_are_served_in_the_order_of_coming) {
  MAGPIE_NEED_KERNEL();
  sync::detail::permit_queue queue(0);
  std::vector<int> order;
  std::vector<std::thread> all;
  const detail::wait_entry* last = nullptr;
  for (int i = 0; i < 4; ++i) {
    all.emplace_back([&, i] {
      sync::detail::permit_entry wanted(1);
      detail::blocking_grant(queue, wanted);
      order.push_back(i);  // the only permit is ours
      queue.release(1);
    });
    last = next_in_line(queue, last);
  }
  queue.release(1);
  for (auto& each : all) each.join();
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3}));
}

TEST(blocking, concurrent_threads_and_tasks_exclude_each_other) {
  MAGPIE_NEED_KERNEL();
  constexpr int rounds = 300;
  sync::mutex one;
  int sum = 0;
  const auto counts = [](sync::mutex& by, int& up) -> task<> {
    for (int i = 0; i < rounds; ++i) {
      const auto guard = co_await by.lock();
      const int seen = up;
      co_await yield();
      up = seen + 1;
    }
  };
  std::vector<std::thread> all;
  for (int k = 0; k < 3; ++k)
    all.emplace_back([&] {
      for (int i = 0; i < rounds; ++i) {
        const auto guard = one.blocking_lock();
        ++sum;
      }
    });
  const auto scenario = [&]() -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int k = 0; k < 3; ++k) group.spawn(counts(one, sum));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  for (auto& each : all) each.join();
  EXPECT_EQ(sum, 6 * rounds);
}

TEST(blocking, concurrent_a_close_ends_the_wait) {
  MAGPIE_NEED_KERNEL();
  for (int i = 0; i < 50; ++i) {
    sync::semaphore none(0);
    std::error_code error;
    std::thread waits([&] { error = error_of(none.blocking_acquire()); });
    if (i % 2 == 0) std::this_thread::yield();
    none.close();
    waits.join();
    EXPECT_EQ(error, errc::closed);
  }
}

/// A thread and a task that wait for each other by all means there are, again and again.
TEST(blocking, concurrent_a_thread_and_a_task_take_turns) {
  MAGPIE_NEED_KERNEL();
  constexpr int rounds = 100;
  sync::notify ping;
  sync::barrier both(2);
  const auto scenario = [&]() -> task<> {
    for (int i = 0; i < rounds; ++i) {
      sync::event ready;
      sync::latch twice(2);
      auto [sender, receiver] = sync::oneshot<int>();
      std::thread other([&, from = std::move(receiver)]() mutable {
        ready.blocking_wait();
        ping.notify_one();
        EXPECT_EQ(from.blocking_receive().value(), i);
        twice.count_down();
        twice.blocking_wait();
        both.blocking_arrive_and_wait();
        ping.blocking_notified();
      });
      ready.set();
      co_await ping.notified();
      EXPECT_TRUE(sender.send(i));
      twice.count_down();
      co_await twice.wait();
      co_await both.arrive_and_wait();
      ping.notify_one();
      other.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(blocking, on_a_worker_is_an_abort) {
  const auto scenario = []() -> task<> {
    sync::mutex one;
    static_cast<void>(one.blocking_lock());
    co_return;
  };
  EXPECT_DEATH(static_cast<void>(run_in_simulation(scenario())), "use co_await");
}

}  // namespace
}  // namespace magpie::tests::blocking_test
