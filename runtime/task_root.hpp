/// What the frames of one task have in common: where it runs, its name, its error trace.
///
/// Every spawned task, group child and `block_on` has a root; each of its stop scopes points to
/// it.  The root is owned by the task's state and outlives its frames.
#pragma once

#include <cstdint>
#include <source_location>

namespace magpie {

class scheduler;
struct runnable;
struct error_trace;

namespace detail {
class run_gate;
}

struct task_root {
  explicit task_root(scheduler& home_scheduler) noexcept : home(&home_scheduler) {}
  task_root(const task_root&) = delete;
  task_root& operator=(const task_root&) = delete;
  ~task_root() {
    if (trace != nullptr) [[unlikely]]
      drop_trace();
  }

  /// Puts a runnable of this task into a run queue of its home scheduler.  Any thread.
  void post(runnable& work) noexcept;

  void drop_trace() noexcept;

  scheduler* home;
  error_trace* trace = nullptr;  ///< Allocated at the first raise; null until then.
  std::source_location spawned;  ///< Where the task was spawned.
  /// While a fork is open in the task: what its branches pass through.  Changes only when nothing
  /// but the calling execution is under way in the task, so it is no atomic.
  detail::run_gate* gate = nullptr;
};

}  // namespace magpie
