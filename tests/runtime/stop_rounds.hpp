/// Stops a kind of task again and again at every possible moment, as stop_torture_test.cpp does.
#pragma once

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <chrono>

namespace magpie::tests {

struct stop_tally {
  atomic<int> alive{0};
  atomic<int> finished{0};
  atomic<int> stopped{0};
  atomic<int> wrong{0};
};

inline void expect_that(bool right, stop_tally& counts) {
  if (!right) counts.wrong.fetch_add(1, order::relaxed);
}

template <class F>
task<> stop_rounds(F make, int first, int last, stop_tally& counts) {
  for (int i = first; i < last; ++i) {
    auto handle = spawn(make(i, counts));
    if (i % 3 == 1) {
      for (int k = 0; k < i % 7; ++k) co_await yield();
    } else if (i % 3 == 2) {
      co_await sleep_for(std::chrono::microseconds(i % 37));
    }
    handle.abort();
    const auto ended = co_await handle.join();
    atomic<int>& slot = ended                            ? counts.finished
                        : ended.error() == errc::aborted ? counts.stopped
                                                         : counts.wrong;
    slot.fetch_add(1, order::relaxed);
  }
}

/// 10,000 rounds on four tasks.  `make(i, counts)` gives a task that holds a `counted`.
template <class F>
void expect_to_survive_stops(F make) {
  constexpr int rounds = 10000;
  constexpr int parties = 4;
  stop_tally counts;
  auto all = [](F victim, stop_tally& into) -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int k = 0; k < parties; ++k)
        group.spawn(stop_rounds(victim, rounds / parties * k, rounds / parties * (k + 1), into));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(all(make, counts)));
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
  EXPECT_EQ(counts.wrong.load(order::relaxed), 0);
  EXPECT_EQ(counts.finished.load(order::relaxed) + counts.stopped.load(order::relaxed), rounds);
  EXPECT_GT(counts.stopped.load(order::relaxed), 0);
}

}  // namespace magpie::tests
