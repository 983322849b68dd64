/// `semaphore`: at most so many at once; who comes too late waits in line.
///
///     sync::semaphore downloads(8);
///     …
///     const auto permit = co_await downloads.acquire();   // given back at the end of the block
///     co_await fetch(url);
///
/// A request may be for several permits.  They are given in the order in which the requests came: a
/// large one at the front is not passed by a small one, and so never starves; `try_acquire` passes
/// nobody either.  A stop gives the place in line up and takes nothing along, also one that comes
/// when the permits have been given but the task has not run yet: then the next in line gets them.
///
/// A semaphore counts; it does not know who has its permits.  A permit may be given back on any
/// thread, kept in an object, split, merged and forgotten.  One that keeps its semaphore alive is
/// in owned.hpp.
///
/// The word and its table are in permit_queue.hpp.
/// Threads: any, with or without a runtime; `acquire` is awaited on workers.  Whoever has got the
/// last permit may destroy the semaphore.
#pragma once

#include <magpie/runtime/wait_operation.hpp>
#include <magpie/sync/event.hpp>
#include <magpie/sync/permit_queue.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <system_error>
#include <utility>

namespace magpie::sync {

/// Permits of a semaphore, given back when it is destroyed; empty after a move.  The semaphore must
/// outlive it.
class [[nodiscard("without a name the permit is given back at once")]] semaphore_permit {
 public:
  semaphore_permit() noexcept = default;
  semaphore_permit(semaphore_permit&&) noexcept = default;
  semaphore_permit& operator=(semaphore_permit&&) noexcept = default;
  ~semaphore_permit() = default;

  /// For the library.
  explicit semaphore_permit(detail::held_permits&& held) noexcept : held_(std::move(held)) {}

  /// How many permits it stands for.
  std::size_t count() const noexcept { return held_.count(); }

  /// Gives all of them back now.  Threads: any.  Cost: an exchange when nobody waits.
  void release() noexcept { held_.release(); }

  /// Takes `count` of them, of which there must be as many (asserted), into a permit of their own.
  semaphore_permit split(std::size_t count) noexcept {
    return semaphore_permit(held_.split(count));
  }
  /// Adds those of another permit of the same semaphore (asserted).
  void merge(semaphore_permit other) noexcept { held_.merge(std::move(other.held_)); }

  /// They are never given back: the semaphore has fewer from now on.
  void forget() noexcept { held_.forget(); }

 private:
  detail::held_permits held_;
};

namespace detail {

/// `semaphore::acquire`.
using acquire_operation = permit_operation<semaphore_permit>;

}  // namespace detail

class semaphore {
 public:
  static constexpr std::size_t permits_max = detail::permit_queue::permits_max;

  /// One with so many permits, at most `permits_max` (asserted).
  explicit semaphore(std::size_t permits) noexcept : queue_(permits) {}
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;
  /// Nobody may be waiting (asserted).
  ~semaphore() = default;

  /// Waits for `count` permits at once; none are had before all are there.  Zero is had at once.
  /// Errors: closed; stopped.  Stop: the place in line is given up, and no permit is taken along.
  /// Threads: any number of tasks.  Cost: an exchange when they are there and nobody waits; no
  /// allocation.
  detail::acquire_operation acquire(std::size_t count = 1) noexcept {
    MAGPIE_ASSERT(count <= permits_max);
    return detail::acquire_operation(queue_, count);
  }

  /// The same for a thread that is no worker (asserted): it waits in the same line.
  /// Errors: closed.  Cost: blocks the thread.
  result<semaphore_permit> blocking_acquire(std::size_t count = 1) noexcept;

  /// Takes them if they are there and nobody waits.
  /// Errors: resource_unavailable_try_again; closed.  Threads: any.
  result<semaphore_permit> try_acquire(std::size_t count = 1) noexcept;

  /// Adds permits, or gives back such as were forgotten.  Also when it is closed.
  /// Threads: any.  Cost: an exchange when nobody waits; else a lock and a post for each it serves.
  void add(std::size_t count) noexcept { queue_.release(count); }

  /// Takes at most `count` of the permits that nobody has away for good, and says how many.
  std::size_t forget(std::size_t count) noexcept { return queue_.forget(count); }

  /// From now on `acquire` fails with `closed`, also for those who wait.  Permits that are out stay
  /// valid and are given back as ever.  For good; idempotent.  Threads: any.
  void close() noexcept;
  bool is_closed() const noexcept { return queue_.is_closed(); }

  /// Waits until it is closed.
  /// Errors: stopped.  Stop: ends the wait; nothing is consumed.
  /// Threads: any number of tasks.  Cost: no allocation.
  magpie::detail::wait_operation closed() noexcept {
    return magpie::detail::wait_operation(&closing_);
  }

  /// Permits that nobody has; a guess while others come and go, and who is first in line may be
  /// waiting for more of them.
  std::size_t available() const noexcept { return queue_.available(); }

  /// Asserts what must hold whenever nobody is in the middle of something.
  void check_invariants() noexcept { queue_.check_invariants(); }

 private:
  detail::permit_queue queue_;
  detail::event_source closing_{false};
};

}  // namespace magpie::sync
