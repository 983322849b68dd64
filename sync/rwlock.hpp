/// `rwlock`: many readers or one writer, across suspensions, in the order in which they came.
///
///     sync::rwlock routes;
///     …
///     const auto guard = co_await routes.read();    // with other readers
///     …
///     auto guard = co_await routes.write();         // alone
///     change(table);
///     const auto reading = guard.downgrade();       // and nobody has changed it since
///
/// Fair: a reader that comes when a writer waits in line stands behind it, though it could be let
/// in.  So writers do not starve where there is always somebody who reads.  And so a task that
/// reads must not read once more before it has unlocked: if a writer has come in between, the task
/// waits for the writer, which waits for the task.
///
/// It pays where readers hold it for long, across awaits.  For a look at a few words a `mutex`
/// costs less, and so does a `std::mutex` where nothing is awaited inside.
///
/// It is a semaphore of which a reader takes one permit and a writer all: see permit_queue.hpp.
/// What is said in mutex.hpp of recursion, failing holders, stops and guards that move holds here.
/// Threads: any, with or without a runtime; `read` and `write` are awaited on workers.  Whoever has
/// it last, alone, may destroy it after unlocking.
#pragma once

#include <magpie/sync/permit_queue.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <optional>
#include <utility>

namespace magpie::sync {

/// A reader's share of the lock, given back when it is destroyed; empty after a move.
class [[nodiscard("without a name it is unlocked at once")]] rwlock_read_guard
    : public detail::held_lock {
 public:
  rwlock_read_guard() noexcept = default;

  /// For the library.
  explicit rwlock_read_guard(detail::held_permits&& held) noexcept : held_lock(std::move(held)) {}
};

/// The lock for a writer, unlocked when it is destroyed; empty after a move.
class [[nodiscard("without a name it is unlocked at once")]] rwlock_write_guard
    : public detail::held_lock {
 public:
  rwlock_write_guard() noexcept = default;

  /// For the library.
  explicit rwlock_write_guard(detail::held_permits&& held) noexcept : held_lock(std::move(held)) {}

  /// Becomes a reader, and lets those in who are next in line and read; no writer comes between.
  /// Uses this guard, which must own the lock (asserted), up.
  /// Threads: any.  Cost: an exchange when nobody waits.
  rwlock_read_guard downgrade() noexcept {
    MAGPIE_ASSERT(owns_lock() && "a guard that owns nothing is no writer's");
    rwlock_read_guard reading(held_.split(1));
    held_.release();
    return reading;
  }
};

class rwlock {
 public:
  using read_guard = rwlock_read_guard;
  using write_guard = rwlock_write_guard;

  /// How many may read at once.
  static constexpr std::size_t readers_max_default = detail::permit_queue::permits_max;

  /// At least one may read, and no more than `readers_max_default` (asserted).
  explicit rwlock(std::size_t readers_max = readers_max_default) noexcept
      : queue_(readers_max), all_(readers_max) {
    MAGPIE_ASSERT(readers_max != 0 && "nobody could ever read");
  }
  rwlock(const rwlock&) = delete;
  rwlock& operator=(const rwlock&) = delete;
  /// Nobody may be waiting (asserted).
  ~rwlock() = default;

  /// Waits for a share of the lock, also behind a writer that waits itself.
  /// Errors: stopped.  Stop: the place in line is given up, and nothing is locked.
  /// Threads: any number of tasks.  Cost: an exchange when no writer is there; no allocation.
  detail::permit_operation<read_guard> read() noexcept { return {queue_, 1}; }
  /// Waits for the lock alone.
  /// Errors: stopped.  Stop: the place in line is given up, and readers behind it come in.
  /// Threads: any number of tasks.  Cost: an exchange when it is free; no allocation.
  detail::permit_operation<write_guard> write() noexcept { return {queue_, all_}; }

  /// The same for a thread that is no worker (asserted): it waits in the same line.
  /// Cost: blocks the thread.
  read_guard blocking_read() noexcept;
  write_guard blocking_write() noexcept;

  /// Lock if that can be had at once and nobody waits.  Threads: any.
  std::optional<read_guard> try_read() noexcept;
  std::optional<write_guard> try_write() noexcept;

  /// Asserts what must hold whenever nobody is in the middle of something.
  void check_invariants() noexcept { queue_.check_invariants(); }

 private:
  detail::permit_queue queue_;
  std::size_t all_;  ///< What a writer takes.  Never changes.
};

}  // namespace magpie::sync
