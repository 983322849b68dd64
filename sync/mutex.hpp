/// `mutex`: one at a time, across suspensions, in the order in which they came.
///
///     sync::mutex table;
///     …
///     const auto guard = co_await table.lock();   // unlocked at the end of the block
///     co_await write(row);
///
/// A `std::mutex` blocks the worker and must not be held across a `co_await`; where nothing is
/// awaited inside it is the better one.  This one suspends the task.  Unlocking hands the mutex to
/// the first in line: nobody passes it, and nobody starves.  It is not recursive, and it is not
/// poisoned by a holder that fails: a failing frame's guard unlocks before anybody hears of the
/// failure.  A guard may be moved to another task and destroyed on any thread.
///
/// A stop gives the place in line up, also one that comes when the lock has been handed over but
/// the task has not run yet: then the next in line gets it.
///
/// It is a semaphore with one permit: see permit_queue.hpp.
/// Threads: any, with or without a runtime; `lock` is awaited on workers.  Whoever holds it last
/// may destroy it after unlocking.
#pragma once

#include <magpie/sync/permit_queue.hpp>
#include <magpie/util/result.hpp>

#include <optional>
#include <utility>

namespace magpie::sync {

/// The lock of a mutex, unlocked when it is destroyed; empty after a move.
class [[nodiscard("without a name the mutex is unlocked at once")]] mutex_guard
    : public detail::held_lock {
 public:
  mutex_guard() noexcept = default;

  /// For the library.
  explicit mutex_guard(detail::held_permits&& held) noexcept : held_lock(std::move(held)) {}
  /// For the library: `condition` gives it up and has it again in the middle of a wait.
  detail::held_permits& held() noexcept { return held_; }
};

namespace detail {

/// `mutex::lock`.
using lock_operation = permit_operation<mutex_guard>;

}  // namespace detail

class mutex {
 public:
  mutex() noexcept : queue_(1) {}
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;
  /// Nobody may be waiting (asserted).
  ~mutex() = default;

  /// Waits for the lock.
  /// Errors: stopped.  Stop: the place in line is given up, and the lock is not taken.
  /// Threads: any number of tasks.  Cost: an exchange when it is free; no allocation.
  detail::lock_operation lock() noexcept { return {queue_, 1}; }

  /// The same for a thread that is no worker (asserted): it waits in the same line.
  /// Cost: blocks the thread.
  mutex_guard blocking_lock() noexcept;

  /// Takes the lock if it is free.  Threads: any.
  std::optional<mutex_guard> try_lock() noexcept;

  /// A guess while others come and go.
  bool is_locked() const noexcept { return queue_.available() == 0; }

  /// Asserts what must hold whenever nobody is in the middle of something.
  void check_invariants() noexcept { queue_.check_invariants(); }

 private:
  detail::permit_queue queue_;
};

}  // namespace magpie::sync
