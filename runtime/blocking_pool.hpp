/// The pool of threads for calls that block: bounded in threads and in waiting jobs.
///
/// Threads are made on demand, up to a maximum, and end after an idle time.  If one cannot be made
/// the job waits for those that exist; with none at all it is refused.  Jobs start in FIFO order.
///
/// `submit` and `withdraw` from any thread.  A job is owned by whoever submitted it and must live
/// until it ran or was withdrawn.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
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

class blocking_pool {
 public:
  blocking_pool(std::size_t threads_max, std::size_t queue_max,
                std::chrono::nanoseconds keep_alive) noexcept;
  blocking_pool(const blocking_pool&) = delete;
  blocking_pool& operator=(const blocking_pool&) = delete;
  /// Waits for running jobs; queued ones must have been withdrawn.
  ~blocking_pool();

  /// Queues the job.  Errors: `resource_unavailable_try_again` when the queue is full or no thread
  /// could be made; then the job was not taken.
  std::error_code submit(blocking_job& job) noexcept;

  /// Takes a job back that has not started; false when it has, or is done.
  bool withdraw(blocking_job& job) noexcept;

  std::size_t threads() const noexcept;
  std::size_t queued() const noexcept;

 private:
  struct state;
  static void* thread_main(void* raw) noexcept;

  state* state_;
};

}  // namespace magpie
