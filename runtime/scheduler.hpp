/// The scheduler: the workers, what they share, and how they start and leave.
///
/// It knows runnables, not tasks.  `runtime` builds on it: spawning, the root scope, shutdown.
///
/// `post` may be called from any thread at any time between construction and destruction.  Workers
/// are created by the constructor's thread, their threads by `start`; a current-thread or simulated
/// scheduler has none and runs inside `run_here`.
#pragma once

#include <magpie/runtime/idle.hpp>
#include <magpie/runtime/injector.hpp>
#include <magpie/runtime/options.hpp>
#include <magpie/runtime/runnable.hpp>
#include <magpie/util/atomic.hpp>

#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <system_error>

namespace magpie {

class worker;
class blocking_pool;
class root_group;
struct sim_world;

class scheduler {
 public:
  /// Resolves the options (defaults, environment, code) and sets up every worker's reactor; null
  /// and `error` when a reactor that was asked for by name cannot be had.
  static scheduler* make(const options& wanted, std::error_code& error) noexcept;
  ~scheduler();

  /// Starts a thread for each worker from `first` on.
  std::error_code start(std::size_t first) noexcept;

  /// Worker 0 belongs to the thread that made the scheduler, not to a thread of its own.
  void run_on_caller() noexcept { on_caller_ = true; }
  bool runs_here() const noexcept { return on_caller_; }

  /// Runs worker 0 on the calling thread until `done`; for a simulation, all workers.
  void run_here(const atomic<bool>& done) noexcept;

  /// Waits until `done` or the deadline, running worker 0 where that is the caller's part.
  void run_until(const atomic<bool>& done, std::uint64_t deadline_ns) noexcept;

  /// Makes every worker leave its loop, and joins the threads.  `drained` says that all tasks have
  /// ended: then a worker runs what its hooks have spawned since before it leaves, and all do.
  /// Otherwise one may be stuck: false when a worker has not left in 100 ms, and its thread is left
  /// alone.
  bool stop_workers(bool drained) noexcept;

  /// Puts `work` into a run queue: the LIFO slot of the calling worker if it is one of ours, else
  /// the injector, waking a sleeper.  Any thread.
  void post(runnable& work) noexcept;

  /// Puts `work` into the inbox of one worker: it runs there and nowhere else.  Any thread.
  void post_to(std::size_t index, runnable& work) noexcept;

  /// Puts a chain from an overflowing queue into the injector.
  void inject(runnable* first, runnable* last, std::size_t count) noexcept;

  void wake_one() noexcept;
  /// Ends the parking of worker 0, or of whoever runs `run_here`.
  void wake_first() noexcept;

  /// The first of `count` task ids that nobody has had.  Any thread.
  std::uint64_t take_ids(std::uint64_t count) noexcept;

  /// Whether the watchdog may report a long run now: not sooner than a gap after the last one.
  bool may_report_long(std::uint64_t now_ns) noexcept { return may_report(now_ns, next_long_ns_); }
  /// The same for a task that ignores its stop.
  bool may_report_ignored(std::uint64_t now_ns) noexcept {
    return may_report(now_ns, next_ignored_ns_);
  }
  /// Notes that a task ignores its stop; false when it is among the last ones noted.
  bool remember_ignored(std::uint64_t task) noexcept;

  /// The time that deadlines are counted in: the simulated one, where there is one.
  std::uint64_t now_ns() const noexcept;

  bool leaving() const noexcept { return leaving_.load(order::acquire); }
  /// All tasks had ended when the workers were told to leave; ask after `leaving`.
  bool drained() const noexcept { return drained_; }
  const options& settings() const noexcept { return settings_; }
  reactor_kind reactor() const noexcept { return settings_.reactor; }
  std::size_t size() const noexcept { return settings_.workers; }
  worker& at(std::size_t i) noexcept { return *workers_[i]; }
  idle& sleepers() noexcept { return idle_; }
  injector& shared_queue() noexcept { return injector_; }
  blocking_pool& blocking() noexcept { return *blocking_; }
  sim_world* world() noexcept { return world_; }

  /// The root of the stop tree; set by the runtime that owns the scheduler.
  root_group* roots = nullptr;

  /// The index of the worker that watches for stuck ones, or -1.
  atomic<int> watcher{-1};
  /// The index of the one that takes over when the watcher has got work, or -1.
  atomic<int> deputy{-1};

 private:
  explicit scheduler(const options& resolved) noexcept : settings_(resolved) {}
  std::error_code set_up() noexcept;
  std::error_code set_up_reactors() noexcept;
  bool try_reactors(reactor_kind kind, std::error_code& error) noexcept;
  void run_simulation(const atomic<bool>& done, std::uint64_t until_ns) noexcept;
  void check_maker() const noexcept;
  static bool may_report(std::uint64_t now_ns, atomic<std::uint64_t>& at_ns) noexcept;
  static void* thread_main(void* raw) noexcept;

  struct thread_state;

  options settings_;
  worker** workers_ = nullptr;
  thread_state* threads_ = nullptr;
  bool on_caller_ = false;
  std::size_t first_thread_ = 0;
  std::size_t started_ = 0;
  injector injector_;
  idle idle_;
  atomic<bool> leaving_{false};
  bool drained_ = false;
  atomic<std::size_t> left_{0};
  atomic<std::uint64_t> simulated_ids_{1};    ///< The next task id of a simulation.
  atomic<std::size_t> posting_{0};            ///< Foreign threads inside `post`.
  atomic<std::uint64_t> next_long_ns_{0};     ///< When the watchdog may report a long run again.
  atomic<std::uint64_t> next_ignored_ns_{0};  ///< When it may report a task that ignores its stop.
  static constexpr std::size_t ignored_max = 8;
  atomic<std::uint64_t> ignored_[ignored_max] = {};  ///< Tasks that ignored a stop, the last ones.
  atomic<std::size_t> ignored_count_{0};
  blocking_pool* blocking_ = nullptr;
  sim_world* world_ = nullptr;
  pthread_t maker_;  ///< The thread that runs worker 0 where that has no thread of its own.
};

}  // namespace magpie
