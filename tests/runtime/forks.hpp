/// What the tests of select, join, race and their kind share.
#pragma once

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <chrono>
#include <string>

namespace magpie::tests {

inline task<int> at_once(int value) { co_return value; }

inline task<int> after(std::chrono::nanoseconds pause, int value) {
  co_await sleep_for(pause);
  co_return value;
}

/// Ends with an error after a pause; with none if that is stopped.
inline task<int> fails_after(std::chrono::nanoseconds pause, std::error_code with = some_error()) {
  co_await sleep_for(pause);
  co_await fail(with);
  co_return 0;
}

/// Gives its value when it is stopped, too.
inline task<int> insists(std::chrono::nanoseconds pause, int value) {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(pause));
  co_return value;
}

#if defined(__cpp_exceptions)
inline task<int> throws_after(std::chrono::nanoseconds pause, int what) {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(pause));
  throw what;
}
#endif

/// Counts how many are inside at once; not atomic on purpose: a race is a finding.
struct turnstile {
  int inside = 0;
  int passed = 0;
  bool crowded = false;

  void pass() noexcept {
    if (++inside != 1) crowded = true;
    ++passed;
    for (int i = 0; i < 50; ++i) cpu_relax();
    --inside;
  }
};

/// Runs the same task with many seeds: every order of events that a simulation offers.
inline void in_many_orders(task<> (*make)()) {
  for (std::uint64_t seed = 1; seed < 40; ++seed) EXPECT_TRUE(run_in_simulation(make(), seed));
}

// ---- stop torture, as in stop_torture_test.cpp ----

struct fork_tally {
  atomic<int> alive{0};
  atomic<int> wrong{0};
  atomic<int> stopped{0};
  atomic<int> finished{0};

  void check(bool good) noexcept {
    if (!good) wrong.fetch_add(1, order::relaxed);
  }
};

using fork_victim = task<> (*)(int i, fork_tally& counts);

inline task<> stop_forks(fork_victim make, int first, int last, fork_tally& counts) {
  for (int i = first; i < last; ++i) {
    auto handle = spawn(make(i, counts));
    if (i % 3 == 1) {
      for (int k = 0; k < i % 7; ++k) co_await yield();
    } else if (i % 3 == 2) {
      co_await sleep_for(std::chrono::microseconds(i % 37));
    }
    handle.abort();
    const auto ended = co_await handle.join();
    if (ended) {
      counts.finished.fetch_add(1, order::relaxed);
    } else if (ended.error() == errc::aborted) {
      counts.stopped.fetch_add(1, order::relaxed);
    } else {
      counts.check(false);
    }
  }
}

inline task<> stop_forks_of_four(fork_victim make, int rounds, fork_tally& counts) {
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 4; ++k)
      group.spawn(stop_forks(make, rounds / 4 * k, rounds / 4 * (k + 1), counts));
    co_return;
  });
}

/// Stops ten thousand forks, each at another moment.
inline void torture_forks(fork_victim make) {
  MAGPIE_NEED_CELL();
  constexpr int rounds = 10'000;
  fork_tally counts;
  EXPECT_TRUE(run_in_cell(stop_forks_of_four(make, rounds, counts)));
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
  EXPECT_EQ(counts.wrong.load(order::relaxed), 0);
  EXPECT_EQ(counts.finished.load(order::relaxed) + counts.stopped.load(order::relaxed), rounds);
  EXPECT_GT(counts.stopped.load(order::relaxed), 0);
}

}  // namespace magpie::tests
