/// A worker: a run queue, a reactor, a timer wheel, and the loop that serves them.
///
/// Order of work: the LIFO slot (what a running task woke last; three times in a row at most), then
/// by turns the local queue (what was woken, oldest first) and the forks (what was spawned, newest
/// first, now and then the oldest); when what the last turn of the reactor brought has run, but not
/// before 8 tasks nor after 64, a look at the completions; every 61 tasks the injector.  What was
/// sent to this worker alone, its inbox, takes turns with all of that.  With nothing left: the
/// injector, half of another worker's queue or its oldest fork, then parking in the reactor.  While
/// parked, one worker is the *watcher*: it wakes up now and then to see that nobody is stuck
/// (rescue.cpp).
///
/// `post_local`, `post_last` and the loop belong to the worker's own thread.  `wake`, `post_inbox`,
/// and what a thief or rescuer uses (`queue`, `take_lifo`, the wheel under its lock), may be called
/// from any worker.  In a simulation all workers live on one thread and `step` is called by the
/// driver.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/fork_deque.hpp>
#include <magpie/runtime/injector.hpp>
#include <magpie/runtime/local_queue.hpp>
#include <magpie/runtime/reactor.hpp>
#include <magpie/runtime/runnable.hpp>
#include <magpie/runtime/task_name.hpp>
#include <magpie/runtime/timer_crowd.hpp>
#include <magpie/runtime/timer_wheel.hpp>
#include <magpie/runtime/worker_hooks.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/cache_line.hpp>
#include <magpie/util/random.hpp>

#include <cstddef>
#include <cstdint>
#include <source_location>

namespace magpie {

class scheduler;

/// How often tasks were refused an await, by the hash of their ids: who comes to the place of
/// another one has it.  The worker's own.
class refusal_counts {
 public:
  /// Counts one more of the task; how many there were here since it has its place.
  std::uint32_t count(std::uint64_t task) noexcept {
    entry& at = entries_[task % places];
    if (at.task != task) at = {task, 0};
    return at.seen == ~std::uint32_t{0} ? at.seen : ++at.seen;
  }

 private:
  static constexpr std::size_t places = 8;
  struct entry {
    std::uint64_t task = 0;
    std::uint32_t seen = 0;
  };
  entry entries_[places];
};

/// A report of an ignored stop on its way.  The refusal is seen under the lock of what would have
/// been waited on; the program hears of it from the loop.  The worker's own.
struct ignored_report final : runnable {
  ignored_report() noexcept : runnable(&say) {}
  static void say(runnable& work) noexcept;

  bool under_way = false;
  std::uint64_t task = 0;
  std::source_location place;
  std::uint8_t name_size = 0;
  char name[task_name::size_max] = {};  ///< A copy: the task may have ended.
};

/// What a worker counts.  Written by the worker, readable by anybody.
struct worker_counters {
  atomic<std::uint64_t> polls{0};  ///< Runnables run; also the heartbeat.
  atomic<std::uint64_t> lifo_polls{0};
  atomic<std::uint64_t> steals{0};  ///< Successful steals.
  atomic<std::uint64_t> parks{0};
  atomic<std::uint64_t> wakes{0};      ///< Wakes sent to this worker.
  atomic<std::uint64_t> overflows{0};  ///< Times the local queue spilled into the injector.
  atomic<std::uint64_t> watches{0};    ///< Looks of the watcher.
  atomic<std::uint64_t> rescues{0};    ///< Rescues of another worker that found something.
  atomic<std::uint64_t> kicks{0};
  atomic<std::uint64_t> watch_ns{0};   ///< Time spent watching.
  atomic<std::uint64_t> long_runs{0};  ///< Runs of tasks elsewhere that were too long.
  atomic<std::uint64_t> ignored_stops{0};

  /// A counter has one writer: no read-modify-write is needed.
  static void add(atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
    counter.store(counter.load(order::relaxed) + by, order::relaxed);
  }
};

class alignas(cache_line_size) worker final : public detail::context {
 public:
  static constexpr unsigned lifo_streak_max = 3;
  static constexpr unsigned io_interval = 8;
  static constexpr unsigned injector_interval = 61;
  static constexpr unsigned sweep_interval = 64;
  static constexpr unsigned oldest_fork_interval = 256;
  static constexpr std::uint64_t fork_age_max_ns = 10'000'000;  ///< Then the oldest one is next.
  static constexpr std::uint64_t wake_cost_ns = 20'000;         ///< Waiting work worth a wake-up.
  static constexpr std::uint64_t steal_cost_ns = 2'000;         ///< A fork worth a steal.
  static constexpr unsigned poll_after_max = 64;  ///< Tasks between two turns of the reactor.

  worker(scheduler& owner, std::size_t at, std::uint64_t seed, bool shared,
         std::uint64_t now_ns) noexcept;
  ~worker();

  /// Runs until the scheduler tells the workers to leave, or `done` becomes true.
  void run(const atomic<bool>* done) noexcept;

  /// Runs the loop for a while, in place of the thread that it belongs to; see block_in_place.hpp.
  void stand_in(const atomic<bool>& done) noexcept;

  /// Notes that the calling thread runs the loop.
  void note_thread() noexcept;

  /// One round of `run`: a task, or parking until there may be one.
  void run_one() noexcept;

  /// One unit of work without blocking; false when there is nothing to do.  For the simulation.
  bool step() noexcept;

  /// The worker has left its loop for good; on the thread that ran it.
  void finish() noexcept;

  /// Makes `work` the next thing that this worker runs, after the current task.
  void post_local(runnable& work) noexcept;

  /// Puts `work` behind everything that is ready here.
  void post_tail(runnable& work) noexcept;

  /// Gives `work` to this worker alone, and wakes it.  Any thread.
  void post_inbox(runnable& work) noexcept;

  /// Ends this worker's parking.  Any thread.
  void wake() noexcept;

  /// A thief takes what is in the LIFO slot.
  runnable* take_lifo() noexcept;

  local_queue& queue() noexcept { return queue_; }
  fork_deque& forks() noexcept { return forks_; }
  timer_wheel& wheel() noexcept { return wheel_; }
  worker_counters& counters() noexcept { return counters_; }
  refusal_counts& refusals() noexcept { return refusals_; }
  ignored_report& ignored() noexcept { return ignored_; }
  bool parked() const noexcept { return parked_.load(order::relaxed); }

  /// Whether this worker's thread executes at this moment: then its CPU clock moves between two
  /// readings.  One that was preempted, or blocks in the kernel, stands still.  Any thread; two
  /// system calls.
  bool on_core() const noexcept;

  /// Time until which the loop may sleep: the wheel's next deadline.
  std::uint64_t next_deadline_ns() const noexcept { return wheel_.next_deadline_ns(); }

 private:
  friend class scheduler;
  friend struct detail::context;

  void enter_loop() noexcept;
  void begin() noexcept;
  void call(worker_hooks::function hook) noexcept;
  bool found_by_hook() noexcept;
  void round() noexcept;
  runnable* next() noexcept;
  runnable* find_elsewhere() noexcept;
  runnable* steal() noexcept;
  runnable* steal_from(worker& victim) noexcept;
  runnable* steal_fork(worker& victim) noexcept;
  bool stole_in_vain() noexcept;
  void execute(runnable& work) noexcept;
  runnable* next_of_queues() noexcept;
  runnable* next_queued() noexcept;
  runnable* starving_fork() noexcept;
  void take_in(runnable_chain& chain) noexcept;
  void offer(std::size_t waiting) noexcept;
  void note_pace(std::uint64_t now_ns) noexcept;
  void poll_io(std::uint64_t deadline_ns) noexcept;
  void fire_timers(std::uint64_t now_ns) noexcept;
  void park() noexcept;
  bool work_is_visible() noexcept;
  void stop_searching() noexcept;

  // rescue.cpp
  void watch(std::uint64_t now_ns) noexcept;
  std::uint64_t watch_deadline(std::uint64_t now_ns) noexcept;
  std::uint64_t watch_again(std::uint64_t now_ns) noexcept;
  bool hold(atomic<int>& role) noexcept;
  void release(atomic<int>& role) noexcept;
  void stop_watching() noexcept;
  void wake_a_watcher() noexcept;
  bool rescue(worker& stuck) noexcept;
  void take_fork(worker& busy) noexcept;
  void sweep_neighbour() noexcept;
  void check_long_run(worker& other, std::uint64_t beat, std::uint64_t ran_ns,
                      std::uint64_t now_ns) noexcept;

  alignas(cache_line_size) atomic<runnable*> lifo_{nullptr};
  unsigned tick_ = 0;
  unsigned queue_tick_ = 0;  ///< Looks at forks and queue.
  unsigned polled_at_ = 0;   ///< The tick of the last turn of the reactor.
  unsigned poll_after_ = 0;  ///< Ticks until the next one is worth its system call.
  unsigned lifo_streak_ = 0;
  bool inbox_had_turn_ = false;
  std::int64_t oldest_fork_ = 0;  ///< The top of the forks as last looked at, and since when.
  std::uint64_t oldest_since_ns_ = 0;
  bool begun_ = false;  ///< The hook `starts` was called, and `stops` not yet.
  bool idle_ = false;   ///< In a simulation: found nothing to do at its last step.
  bool searching_ = false;
  bool watching_ = false;  ///< Has been the watcher or its deputy since it parked last.
  bool shared_;
  random_source rng_;
  // The watcher's memory: heartbeats as last seen and since when, and when one last moved.
  struct sighting {
    std::uint64_t beat = 0;
    std::uint64_t since_ns = 0;
  };
  sighting* seen_ = nullptr;
  std::uint64_t last_moved_ns_ = 0;
  std::uint64_t last_look_ns_ = 0;
  std::uint64_t watch_every_ns_ = 0;
  std::uint64_t stole_fork_ns_ = 0;  ///< When, until it is known what came of it.
  unsigned short_parks_ = 0;         ///< Parks in a row that ended sooner than a look is due.
  timer_crowd crowd_;
  std::uint64_t neighbour_seen_ = 0;
  std::uint64_t neighbour_seen_ns_ = 0;
  std::uint64_t neighbour_since_ns_ = 0;
  // How long a task runs here, on the average of late; until something is known, long.
  std::uint64_t pace_ns_ = wake_cost_ns;
  std::uint64_t paced_at_ns_ = 0;
  std::uint64_t paced_polls_ = 0;

  alignas(cache_line_size) local_queue queue_;
  fork_deque forks_;
  timer_wheel wheel_;
  worker_counters counters_;
  refusal_counts refusals_;  ///< By the tasks that run here.
  ignored_report ignored_;
  injector inbox_;  ///< What runs here and nowhere else: never stolen, never rescued.
  alignas(cache_line_size) atomic<bool> notified_{false};
  atomic<bool> parked_{false};
  atomic<int> cpu_clock_{-1};  ///< The CPU clock of the thread that runs the loop; -1 before.
  // Written by watchers: the heartbeats at which a run was counted and reported as a long one.
  atomic<std::uint64_t> counted_long_{0};
  atomic<std::uint64_t> reported_long_{0};
};

}  // namespace magpie
