/// The watchdog: which task has run for too long without coming back to its worker.
///
/// The watcher (rescue.cpp) compares heartbeats anyway.  When one has stood still for the threshold
/// it says so: by a counter, `runtime_metrics::long_runs`, and by a function of the program, with
/// the task's id and name and the place of the await after which it runs.
///
/// Each run is counted once and reported once at most, and one report comes in `report_gap` in all
/// of a runtime; a run that lasts is reported when its turn has come.  The watcher must be there:
/// with one worker, in a simulation, or with `options::rescue` switched off, nobody looks.  What
/// blocks the thread counts as running.
/// Cost: two stores each time that a task goes on; a named task, seven.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string_view>

namespace magpie {

/// What a report says.  The name lives for the call.
struct long_run {
  long_run() noexcept = default;

  std::uint64_t task = 0;
  std::string_view name;  ///< Empty when the task has none.
  /// The await after which the task runs; where it was spawned when it has not waited yet.
  std::source_location place;
  std::size_t worker = 0;
  std::chrono::nanoseconds ran{0};  ///< So far, and at least.
};

struct watchdog {
  using function = void (*)(void* context, const long_run& seen) noexcept;
  static constexpr std::chrono::milliseconds report_gap{100};

  watchdog() noexcept = default;

  /// A run that lasts longer is a long one; 0: nobody looks.
  std::chrono::nanoseconds threshold = std::chrono::milliseconds(10);
  void* context = nullptr;  ///< Handed to `reports`.
  /// Called on the thread of another worker; must not block.
  function reports = nullptr;
};

}  // namespace magpie
