/// Stops at every possible moment: the harness.  A victim is made again and again, aborted from
/// workers and from foreign threads, looked at meanwhile, and each outcome is counted exactly.
#pragma once

#include <magpie/runtime/live_tasks.hpp>
#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/runtime_list.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <sched.h>

#include <mutex>
#include <thread>

namespace magpie::tests {

/// What became of the victims, and what they left behind.
struct tally {
  atomic<int> alive{0};
  atomic<int> finished{0};
  atomic<int> stopped{0};
  atomic<int> wrong{0};

  void check(bool right) noexcept {
    if (!right) wrong.fetch_add(1, order::relaxed);
  }
};

using victim = task<> (*)(int i, tally& counts);

inline task<> sleeping(int i, tally& counts) {
  const counted here(counts.alive);
  co_await sleep_for(std::chrono::microseconds(i % 40));
}

/// Lists what is alive in every runtime, and copies each stack that waits: an operation has to bear
/// being looked at at every moment, as it has to bear being stopped.
inline void look_at_all() {
  const std::lock_guard alone(detail::runtime_list::looking());
  for (root_group* of = detail::runtime_list::first(); of != nullptr;
       of = detail::runtime_list::after(*of))
    static_cast<void>(detail::list_tasks(*of));
}

/// Aborts what it is given, on a thread that is no worker, and looks at everything meanwhile.
class foreign_stopper {
 public:
  foreign_stopper() : thread_([this] { work(); }) {}
  ~foreign_stopper() {
    leave_.store(true, order::release);
    thread_.join();
  }
  task<> abort(join_handle<void>& handle) {
    for (;;) {
      join_handle<void>* nobody = nullptr;
      if (next_.compare_exchange_strong(nobody, &handle, order::acq_rel)) break;
      co_await sleep_for(10us);
    }
    while (next_.load(order::acquire) == &handle) co_await sleep_for(5us);
  }

 private:
  void work() {
    while (!leave_.load(order::acquire)) {
      if (join_handle<void>* handle = next_.load(order::acquire)) {
        handle->abort();
        next_.store(nullptr, order::release);
      } else {
        look_at_all();
        ::sched_yield();
      }
    }
  }

  atomic<join_handle<void>*> next_{nullptr};
  atomic<bool> leave_{false};
  std::thread thread_;
};

inline task<> stop_some(victim make, int first, int last, tally& counts, foreign_stopper* foreign) {
  for (int i = first; i < last; ++i) {
    auto handle = spawn(make(i, counts));
    if (i % 3 == 1) {
      for (int k = 0; k < i % 7; ++k) co_await yield();
    } else if (i % 3 == 2) {
      co_await sleep_for(std::chrono::microseconds(i % 37));
    }
    if (foreign != nullptr && i % 8 == 0) {
      co_await foreign->abort(handle);
    } else {
      if (foreign == nullptr && i % 8 == 0) look_at_all();
      handle.abort();
    }
    const auto ended = co_await handle.join();
    atomic<int>& slot = ended                            ? counts.finished
                        : ended.error() == errc::aborted ? counts.stopped
                                                         : counts.wrong;
    slot.fetch_add(1, order::relaxed);
  }
}

inline task<> torture_all(victim make, int rounds, tally& counts, foreign_stopper* foreign) {
  co_await with_task_group([&](task_group& group) -> task<> {
    constexpr int parties = 4;
    for (int k = 0; k < parties; ++k)
      group.spawn(
          stop_some(make, rounds / parties * k, rounds / parties * (k + 1), counts, foreign));
    co_return;
  });
}

/// `make(i, counts)` gives a task that holds a `counted`.
inline void torture(victim make, int rounds = in_simulation() ? 10000 : 2000) {
  MAGPIE_NEED_CELL();
  tally counts;
  if (in_simulation()) {
    EXPECT_TRUE(run_in_cell(torture_all(make, rounds, counts, nullptr)));
  } else {
    foreign_stopper foreign;
    EXPECT_TRUE(run_in_cell(torture_all(make, rounds, counts, &foreign)));
  }
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
  EXPECT_EQ(counts.wrong.load(order::relaxed), 0);
  EXPECT_EQ(counts.finished.load(order::relaxed) + counts.stopped.load(order::relaxed), rounds);
  EXPECT_GT(counts.stopped.load(order::relaxed), 0);
}

}  // namespace magpie::tests
