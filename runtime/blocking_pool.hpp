/// A pool of threads for calls that block: bounded in threads and in waiting jobs.
///
///     blocking_pool reports("reports", limits);        // outlives what uses it
///     co_await run_blocking(reports, render, page);    // waits when its queue is full
///
/// Threads are made on demand, up to a maximum, and end after an idle time.  If one cannot be made
/// the job waits for those that exist; with none at all it is refused.  Jobs start in FIFO order.
///
/// Protocol: everything is under one mutex, entering a job's stop scope too, so a stop either
/// comes before, and the job is refused, or finds it in the list.
///
///     job        submit               a thread takes it   withdraw, by a stop
///     (new)      listed, or refused   -                   false
///     listed     -                    running             (new), true: it will never run
///     running    -                    -                   false: it runs to its end
///
/// A job lies in the frame that waits for it, so those that were admitted to the queue and those
/// that wait in line for that are one list: the first `queue_max` are the queue, the rest is the
/// line. A slot that becomes free, by a thread or by a stop, is thereby the next one's, and none
/// can be lost.  Who does not want to wait in line (`when_full::refuse`) is refused from
/// `queue_max` on, and so never overtakes.
///
/// In a simulation a pool has no threads but as many *turns*: a job that gets one is computed at
/// once and holds it for a virtual time.  A pool is used by simulations or by threads, not by both.
///
/// `submit`, `withdraw` and `metrics` from any thread.  A job is owned by whoever submitted it and
/// must live until it ran or was withdrawn.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace magpie {

/// Intrusive; `call` runs on a pool thread.
struct blocking_job {
  explicit blocking_job(void (*function)(blocking_job&) noexcept) noexcept : call(function) {}
  void (*call)(blocking_job&) noexcept;
  blocking_job* next = nullptr;
  blocking_job* previous = nullptr;
  bool queued = false;  ///< Guarded by the pool.
};

struct blocking_limits {
  blocking_limits() noexcept = default;

  std::size_t threads_max = 8;
  std::size_t queue_max = 1024;  ///< Calls admitted without having a thread yet.
  /// Idle threads end after it.
  std::chrono::nanoseconds keep_alive = std::chrono::seconds(10);
};

/// What a pool does at this moment, and what it has done.
struct blocking_metrics {
  std::size_t threads = 0;
  std::size_t running = 0;           ///< Jobs.
  std::size_t queued = 0;            ///< Jobs that were admitted and have no thread yet.
  std::size_t waiting = 0;           ///< Jobs in line for the queue.
  std::uint64_t started = 0;         ///< Jobs, since the pool was made.
  std::uint64_t refused = 0;         ///< Jobs that found it full, or no thread.
  std::uint64_t threads_failed = 0;  ///< Times that a thread could not be made.
};

/// What a job does that finds the queue full.
enum class when_full : std::uint8_t { refuse, wait };

class blocking_pool {
 public:
  /// Asked under the pool's lock whether the job is still wanted; false: it is not taken.
  using enter_function = bool (*)(blocking_job& job) noexcept;

  /// The name is that of its threads, as far as the system's limit goes.
  explicit blocking_pool(std::string_view name,
                         const blocking_limits& limits = blocking_limits()) noexcept;
  blocking_pool(std::size_t threads_max, std::size_t queue_max,
                std::chrono::nanoseconds keep_alive) noexcept;
  blocking_pool(const blocking_pool&) = delete;
  blocking_pool& operator=(const blocking_pool&) = delete;
  /// Waits for running jobs; queued ones must have been withdrawn.
  ~blocking_pool();

  /// Queues the job.  Errors: `resource_unavailable_try_again` when the queue is full and the job
  /// does not wait, or when no thread could be made; `stopped` when `enter` said so.  Then the job
  /// was not taken.
  std::error_code submit(blocking_job& job, when_full then = when_full::refuse,
                         enter_function enter = nullptr) noexcept;

  /// Takes a job back that has not started; false when it has, or is done.
  bool withdraw(blocking_job& job) noexcept;

  /// For simulations: as `submit`; with `starts` the job has a turn and is to be run now.
  std::error_code submit_simulated(blocking_job& job, when_full then, enter_function enter,
                                   bool& starts) noexcept;
  /// A turn is over: the job whose turn is next, or null.
  blocking_job* next_simulated() noexcept;

  std::string_view name() const noexcept;
  blocking_metrics metrics() const noexcept;
  std::size_t threads() const noexcept { return metrics().threads; }
  std::size_t queued() const noexcept { return metrics().queued; }

 private:
  struct state;
  static void* thread_main(void* raw) noexcept;

  state* state_;
};

}  // namespace magpie
