/// The watchdog: which task has run for too long without coming back to its worker, and which one
/// goes on although it was stopped.
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
///
/// A task is stopped by its awaits: each says `stopped` instead of waiting.  One that takes no
/// notice, by a loop around `as_result`, say, lets the others have their turns and uses a core up.
/// After a thousand such awaits on one worker that is said, once: by the counter
/// `runtime_metrics::ignored_stops` and by a function of the program or, without one, by a line on
/// standard error (`options::log`), one in `report_gap`.  The worker that runs the task looks; no
/// watcher is needed.  It remembers few tasks, by their ids: of many that do this at the same time
/// not all are named, and one may be again.  Cost: nothing for tasks that are not stopped.
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

/// A task that awaited a thousand times although it was stopped.  The name lives for the call.
struct ignored_stop {
  ignored_stop() noexcept = default;

  std::uint64_t task = 0;
  std::string_view name;       ///< Empty when the task has none.
  std::source_location place;  ///< The last of these awaits.
};

struct watchdog {
  using function = void (*)(void* context, const long_run& seen) noexcept;
  static constexpr std::chrono::milliseconds report_gap{100};
  static constexpr std::uint32_t refusals_max = 1000;  ///< Awaits after a stop.

  watchdog() noexcept = default;

  using ignored_function = void (*)(void* context, const ignored_stop& seen) noexcept;

  /// A run that lasts longer is a long one; 0: nobody looks.
  std::chrono::nanoseconds threshold = std::chrono::milliseconds(10);
  void* context = nullptr;  ///< Handed to the functions.
  /// Called on the thread of another worker; must not block.
  function reports = nullptr;
  /// Called soon after by the worker on which the task ran, between two tasks; must not block.
  ignored_function ignores = nullptr;
};

}  // namespace magpie
