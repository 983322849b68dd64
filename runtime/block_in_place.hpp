/// `block_in_place(f)`: a call that blocks, on this thread, while the worker goes on without it.
///
/// For calls that must stay where they are, because they work on the frame's locals or need this
/// thread, and for code that finds out late that it has to block.  Where the call can move,
/// `run_blocking` is cheaper.
///
/// Idea: a worker is an object; its thread only runs its loop.  Before `f` begins the loop is
/// handed to a thread of the runtime's blocking pool, queues, reactor and timers with it, and
/// afterwards it is taken back.  The ring may be entered from any thread (it is set up so), except
/// in the current-thread flavour.
///
/// Nothing is handed on, and `f` runs all the same, where there is nobody to take over or nothing
/// to hand on: in a simulation, in the current-thread flavour, in a pinned task (whose worker must
/// be nobody else's meanwhile), when the pool has no room, and on threads that are no workers.
/// Then what the worker has is left to the watcher.
///
/// While `f` runs, the thread is no worker: `on_worker()` is false, `block_on` and `blocking_join`
/// may be called.  Branches of the same `select` or `join` wait.  A lease of the hot buffer must
/// not be held.
///
/// A task that runs on the stand-in may block in place itself.  Calls that overlap on one worker so
/// return in the reverse order of their beginning: each waits for those that began meanwhile.  So
/// `f` must not wait for what another task does after a call of its own.
#pragma once

#include <magpie/runtime/blocking_pool.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/util/atomic.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

namespace magpie {
namespace detail {

/// The calling worker is somebody else's as long as it lives.
class handed_on : blocking_job {
 public:
  handed_on() noexcept;
  ~handed_on();
  handed_on(const handed_on&) = delete;
  handed_on& operator=(const handed_on&) = delete;

 private:
  struct meeting;

  void leave(context& here) noexcept;
  void come_back() noexcept;
  static void stand_in(blocking_job& job) noexcept;

  context* worker_ = nullptr;  ///< Null: nothing was handed on.
  execution execution_;
  stop_scope* running_ = nullptr;
  atomic<bool> wanted_{false};  ///< The worker is wanted back.
  meeting* meeting_ = nullptr;
};

}  // namespace detail

/// Gives what `function()` gives.
/// Threads: any.  Stop: none, `function` runs to its end.  Blocks: when `function` has ended, until
/// the task that runs on the worker then has suspended.
/// Cost: two thread hand-overs.
template <class F>
  requires std::invocable<F>
std::invoke_result_t<F> block_in_place(F&& function) {
  const detail::handed_on meanwhile;
  return std::forward<F>(function)();
}

}  // namespace magpie
