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

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/sync/permit_queue.hpp>
#include <magpie/util/result.hpp>

#include <optional>
#include <utility>

namespace magpie::sync {

/// The lock of a mutex, unlocked when it is destroyed; empty after a move.
class [[nodiscard("without a name the mutex is unlocked at once")]] mutex_guard {
 public:
  mutex_guard() noexcept = default;
  mutex_guard(mutex_guard&&) noexcept = default;
  mutex_guard& operator=(mutex_guard&&) noexcept = default;
  ~mutex_guard() = default;

  /// For the library.
  explicit mutex_guard(detail::held_permits&& held) noexcept : held_(std::move(held)) {}

  bool owns_lock() const noexcept { return held_.count() != 0; }
  explicit operator bool() const noexcept { return owns_lock(); }

  /// Unlocks now.  Threads: any.  Cost: an exchange when nobody waits.
  void unlock() noexcept { held_.release(); }

  /// For the library: `condition` gives it up and has it again in the middle of a wait.
  detail::held_permits& held() noexcept { return held_; }

 private:
  detail::held_permits held_;
};

namespace detail {

/// `mutex::lock`.
class lock_operation : public magpie::detail::grant_operation<permit_queue, permit_entry> {
 public:
  using value_type = mutex_guard;

  explicit lock_operation(permit_queue& from) noexcept : grant_operation(from, std::size_t{1}) {}
  lock_operation(lock_operation&&) noexcept = default;

  result<mutex_guard> take() noexcept {
    taken();
    return mutex_guard(held_permits(&source(), 1));
  }
};

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
  detail::lock_operation lock() noexcept { return detail::lock_operation(queue_); }

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
