/// `runtime`: workers, reactors and the root group, as one object that a program may own.
///
/// Most programs call `run` instead.  A runtime of the work-stealing flavour starts its threads at
/// once; `block_on` and `spawn` may be called from any thread that is not a worker.  In the
/// current-thread and simulated forms nothing runs outside of `block_on`, which must be called by
/// the thread that made the runtime.
///
/// Shutdown, in steps: (1) handles are shut out, and later spawns are born stopped, because (2) the
/// root scope is stopped; (3) the tasks drain until a deadline; (4) those left are named, and
/// leaked with everything that they use; (5) the workers leave their loops and are joined; (6)
/// queues are empty (asserted) and reactors closed.
#pragma once

#include <magpie/runtime/options.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <cstdint>
#include <source_location>
#include <system_error>
#include <vector>

namespace magpie {

/// What a runtime has counted since it was made; sums over the workers, not a snapshot in time.
struct runtime_metrics {
  std::uint64_t workers = 0;
  std::uint64_t live_tasks = 0;  ///< Root tasks: spawned or run by `block_on`.
  std::uint64_t spawned = 0;
  std::uint64_t polls = 0;
  std::uint64_t steals = 0;
  std::uint64_t parks = 0;
  std::uint64_t wakes = 0;
  std::uint64_t overflows = 0;
  std::uint64_t budget_yields = 0;
  std::uint64_t watches = 0;
  std::uint64_t watch_ns = 0;
  std::uint64_t rescues = 0;
  std::uint64_t kicks = 0;
  std::uint64_t long_runs = 0;      ///< Runs of tasks that the watchdog found too long.
  std::uint64_t ignored_stops = 0;  ///< Tasks that went on although they were stopped.
  std::uint64_t reactor_calls = 0;  ///< System calls of the reactors (ring enters, epoll calls).
  std::uint64_t waits_in_flight = 0;
  std::uint64_t timers = 0;
  std::uint64_t injected_now = 0;
  std::uint64_t blocking_threads = 0;  ///< Of the runtime's own pool, as the next two.
  std::uint64_t blocking_queued = 0;
  std::uint64_t blocking_running = 0;
};

class runtime;
class runtime_handle;
struct live_task;

namespace detail {

/// A root task that a thread waits for.
struct blocked_base : runnable {
  blocked_base(run_function begin, scheduler& home, stop_scope& parent,
               std::source_location where) noexcept;
  ~blocked_base();
  blocked_base(const blocked_base&) = delete;
  blocked_base& operator=(const blocked_base&) = delete;

  void finished(std::error_code with) noexcept;

  /// Counts and queues the task; the thread that calls then waits for it.
  void post() noexcept;
  /// Waits, on a thread that does not drive the runtime.
  void wait() noexcept;
  /// The calling thread drives worker 0 until `done`: said before `post`.
  void will_drive() noexcept { driven_ = true; }

  task_root root;
  stop_scope scope;
  std::error_code error = no_error;
  atomic<bool> done{false};

 private:
  friend void wait_for(blocked_base& root) noexcept;
  struct waiter;
  waiter* waiter_;
  bool driven_ = false;
};

template <class T>
struct blocked final : blocked_base {
  blocked(task<T>&& t, scheduler& home, stop_scope& parent, std::source_location where) noexcept
      : blocked_base(&begin, home, parent, where), body(std::move(t)) {}

  static void begin(runnable& work) noexcept {
    auto& self = static_cast<blocked&>(work);
    resume(self.body.start(continuation::end(&self, &arrived), self.scope));
  }
  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = *continuation::ended<blocked>(target);
    destroy_abandoned(next.abandoned);
    self.body.destroy_frame();
    self.finished(next.error);
    return std::noop_coroutine();
  }

  result<T> outcome() {
    if (error) return std::unexpected(error);
    return body.take();
  }

  task_operation<T> body;
};

/// Runs `root` and waits for its end.  Not on workers.
void wait_for(blocked_base& root) noexcept;

template <class T>
task<result<T>> join_it(join_handle<T>& handle) {
  result<T> ended = co_await handle.join();
  co_return std::move(ended);
}

}  // namespace detail

class runtime {
 public:
  /// Errors: what the kernel says when a reactor or thread cannot be had; invalid_argument for
  /// nonsense in the options or the environment.
  static result<runtime> make(const options& wanted = options()) noexcept;

  /// The same; prints the error and aborts when it fails.
  explicit runtime(const options& wanted = options()) noexcept;
  /// The one moved from is like one that was shut down: what asks for workers, reactor and metrics
  /// is not for it (asserted).
  runtime(runtime&& other) noexcept;
  runtime& operator=(runtime&&) = delete;

  /// Shuts down with the options' drain deadline.
  ~runtime();

  /// Runs `t` to its end and gives its outcome; a user's exception is rethrown.
  /// Errors: those of `t`; runtime_shutdown after a shutdown, and then `t` is destroyed.
  /// Threads: any but workers (asserted), several at once, none of them beside a shutdown: a
  /// handle's `block_on` is for that.
  template <class T>
  result<T> block_on(task<T> t, std::source_location where = std::source_location::current()) {
    if (core_ == nullptr) return std::unexpected(make_error_code(errc::runtime_shutdown));
    detail::blocked<T> root(std::move(t), scheduler_ref(), root_parent(), where);
    return outcome_of(root);
  }

  /// The same with a name for the task.
  template <class T>
  result<T> block_on(const task_name& name, task<T> t,
                     std::source_location where = std::source_location::current()) {
    if (core_ == nullptr) return std::unexpected(make_error_code(errc::runtime_shutdown));
    detail::blocked<T> root(std::move(t), scheduler_ref(), root_parent(), where);
    root.root.set_name(name);
    return outcome_of(root);
  }

  /// Starts `t` as a task of this runtime.  Any thread; of a simulation, the one that made it
  /// (asserted).  After a shutdown `t` is destroyed instead, and the handle's join gives
  /// `errc::aborted` at once.
  template <class T>
  join_handle<T> spawn(task<T> t,
                       std::source_location where = std::source_location::current()) noexcept {
    if (core_ == nullptr) return join_handle<T>(nullptr, true);
    return detail::spawn_on(scheduler_ref(), std::move(t), where);
  }

  /// The same with a name.
  template <class T>
  join_handle<T> spawn(const task_name& name, task<T> t,
                       std::source_location where = std::source_location::current()) noexcept {
    if (core_ == nullptr) return join_handle<T>(nullptr, true);
    return detail::spawn_on(scheduler_ref(), std::move(t), where, &name);
  }

  /// Stops every task and waits for them until the deadline; then names to standard error those
  /// that are left, and leaks them.  True when nothing was left.  Idempotent.
  bool shutdown(std::chrono::nanoseconds deadline) noexcept;

  /// The same without waiting for it, on a thread of its own, with the options' drain deadline; the
  /// process should outlive that.  A runtime without threads, which has nobody else to drain it,
  /// and one that gets no thread are shut down here.
  void shutdown_background() noexcept;

  /// Asks every task to stop; after a shutdown there is none.  Any thread; async-signal-safe is
  /// `run`'s business, not this one's.
  void request_stop() noexcept;

  /// A handle for other threads, which may outlive the runtime; runtime_handle.hpp.
  runtime_handle handle() const noexcept;

  std::size_t workers() const noexcept;
  /// Which reactor was chosen.
  reactor_kind reactor() const noexcept;
  runtime_metrics metrics() const noexcept;
  /// The tasks that are alive, by id; see live_tasks.hpp.  Any thread.
  std::vector<live_task> live_tasks() const;

 private:
  friend class run_frame;
  struct core;

  explicit runtime(core* made) noexcept : core_(made) {}
  static core* make_core(const options& wanted, bool caller_is_worker,
                         std::error_code& error) noexcept;

  core& alive() const noexcept;
  scheduler& scheduler_ref() noexcept;
  stop_scope& root_parent() noexcept;
  template <class T>
  result<T> outcome_of(detail::blocked<T>& root) {
    detail::wait_for(root);
    return root.outcome();
  }

  core* core_;
};

template <class T>
result<T> join_handle<T>::blocking_join(std::source_location where) & {
  MAGPIE_ASSERT(!on_worker() && "blocking_join on a worker: await join() instead");
  if (done()) return *join().take();
  scheduler& home = *state_->root.home;
  detail::blocked<result<T>> root(detail::join_it(*this), home, detail::spawn_parent(home), where);
  detail::wait_for(root);
  if (root.error) return std::unexpected(root.error);
  return *root.body.take();
}

/// The counters of the runtime that the caller runs on.
runtime_metrics current_metrics() noexcept;

/// Which reactor the runtime that the caller runs on has chosen, and how many workers it has.
reactor_kind current_reactor() noexcept;
std::size_t current_workers() noexcept;

}  // namespace magpie
