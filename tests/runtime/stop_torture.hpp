/// Stops at every possible moment: the harness.  A victim is made again and again, stopped, looked
/// at meanwhile, and each outcome is counted exactly.
///
/// The moments: before its first operation is submitted; when it waits; when it completes at about
/// the same time, on another worker; when it has ended; twice, also by two threads at once; from
/// within its own completion; and at the end of the runtime.  The stopper is a worker or a foreign
/// thread.  Afterwards no object is alive, no value is wrong, and no descriptor is left open.
///
/// `MAGPIE_TEST_STOPS` sets how often each victim is stopped in a cell, for long runs.
#pragma once

#include <magpie/runtime/live_tasks.hpp>
#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/runtime_list.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <dirent.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

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
  /// Aborts it; with `twice`, so does the caller, at about the same time.
  task<> abort(join_handle<void>& handle, bool twice) {
    for (;;) {
      join_handle<void>* nobody = nullptr;
      if (next_.compare_exchange_strong(nobody, &handle, order::acq_rel)) break;
      co_await sleep_for(10us);
    }
    if (twice) handle.abort();
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

/// Stops the group that it is destroyed in.
class stops_at_its_end {
 public:
  explicit stops_at_its_end(task_group& group) noexcept : group_(&group) {}
  stops_at_its_end(const stops_at_its_end&) = delete;
  stops_at_its_end& operator=(const stops_at_its_end&) = delete;
  ~stops_at_its_end() { group_->stop(); }

 private:
  task_group* group_;
};

/// A victim that is stopped from within its own completion: its frames are being left or destroyed,
/// and nobody has gone on.
inline task<> stopping_itself(victim make, int i, tally& counts) {
  const auto inside = [](victim made, int n, tally& in, task_group& group) -> task<> {
    const stops_at_its_end last(group);
    co_await made(n, in);
  };
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(inside(make, i, counts, group));
    co_return;
  });
}

inline task<> stop_some(victim make, int first, int last, tally& counts, foreign_stopper* foreign) {
  for (int i = first; i < last; ++i) {
    const bool by_itself = i % 11 == 5;
    auto handle = spawn(by_itself ? stopping_itself(make, i, counts) : make(i, counts));
    if (by_itself) {
      co_await sleep_for(200us);  // so that it gets there
    } else if (i % 3 == 1) {
      for (int k = 0; k < i % 7; ++k) co_await yield();
    } else if (i % 3 == 2) {
      co_await sleep_for(std::chrono::microseconds(i % 37));
    }
    const bool twice = i % 5 == 0;
    if (foreign != nullptr && i % 8 == 0) {
      co_await foreign->abort(handle, twice);
    } else {
      if (foreign == nullptr && i % 8 == 0) look_at_all();
      handle.abort();
      if (twice) handle.abort();
    }
    const auto ended = co_await handle.join();
    if (i % 7 == 0) handle.abort();  // after its end
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

inline task<> leave_some(victim make, int first, int last, tally& counts,
                         std::vector<join_handle<void>>& handles) {
  for (int i = first; i < last; ++i) {
    handles.push_back(spawn(make(i, counts)));
    if (i % 10 == 0) co_await yield();
  }
  co_await sleep_for(std::chrono::microseconds(first % 37));
}

/// Victims are at work when their runtime ends: what they work with is stopped as well, so that
/// their own counts say nothing.
inline void torture_at_shutdown(victim make, int rounds) {
  constexpr int at_once = 50;
  for (int i = 0; i < rounds; i += at_once) {
    tally counts;
    std::vector<join_handle<void>> handles;
    {
      runtime on(cell_options());
      EXPECT_TRUE(on.block_on(leave_some(make, i, i + at_once, counts, handles)));
    }
    EXPECT_EQ(counts.alive.load(order::relaxed), 0);
    for (auto& handle : handles) {
      ASSERT_TRUE(handle.done());
      const auto ended = handle.blocking_join();
      EXPECT_TRUE(ended || ended.error() == errc::stopped) << ended.error().message();
    }
  }
}

/// How many descriptors this process has open.
inline int open_descriptors() {
  int count = 0;
  DIR* const all = ::opendir("/proc/self/fd");
  EXPECT_NE(all, nullptr);
  if (all == nullptr) return 0;
  while (::readdir(all) != nullptr) ++count;
  ::closedir(all);
  return count;
}

/// How often to stop each victim; a multiple of the parties.
inline int torture_rounds(int by_default) {
  const char* const text = std::getenv("MAGPIE_TEST_STOPS");
  return text != nullptr ? (std::atoi(text) + 3) / 4 * 4 : by_default;
}

/// `make(i, counts)` gives a task that holds a `counted`.  A simulated cell alone stops a victim
/// ten thousand times, those of the kernel do together.
inline void torture(victim make, int rounds = in_simulation() ? 10'000 : 2'000) {
  MAGPIE_NEED_CELL();
  rounds = torture_rounds(rounds);
  torture_at_shutdown(make, std::max(rounds / 50, 50));
  const int descriptors = open_descriptors();
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
  EXPECT_LE(open_descriptors(), descriptors);
  testing::Test::RecordProperty("stops", rounds);
}

}  // namespace magpie::tests
