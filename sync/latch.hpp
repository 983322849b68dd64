/// `latch`: goes off when so many things have happened, once.
///
///     sync::latch started(3);
///     for (int i = 0; i < 3; ++i) group.spawn(serves(started));   // each counts down
///     co_await started.wait();                                    // all three have
///
/// As `std::latch`, for tasks.  It counts what has happened and not who did it; for tasks that meet
/// again and again there is `barrier`, and a group waits for its children by itself.
///
/// (A) a count-down releases what was done before, (B) the last one acquires it; those of others in
/// between are in the same release sequence.  Whoever waits has it by the lock.
/// Threads: any, with or without a runtime; `wait` is awaited on workers.  Whoever has waited may
/// destroy it.
#pragma once

#include <magpie/runtime/thread_wait.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/sync/source_wait.hpp>
#include <magpie/util/atomic.hpp>

#include <cstddef>

namespace magpie::sync {
namespace detail {

class latch_source : public magpie::detail::wait_source {
 public:
  explicit latch_source(std::size_t count) noexcept : wait_source(&is_over), left_(count) {}

  void count_down(std::size_t count) noexcept;
  /// Relaxed: who goes on passes the lock.
  std::size_t left() const noexcept { return left_.load(order::relaxed); }

 private:
  static bool is_over(const wait_source& of) noexcept {
    return static_cast<const latch_source&>(of).left() == 0;
  }

  atomic<std::size_t> left_;
};

}  // namespace detail

class latch {
 public:
  /// One that waits for `count` things; one of zero has gone off.
  explicit latch(std::size_t count) noexcept : source_(count) {}
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;
  /// Nobody may be waiting (asserted).
  ~latch() = default;

  /// So many have happened, no more than are left (asserted).
  /// Threads: any.  Cost: an exchange; for the last one a lock, and a post for each who waits.
  void count_down(std::size_t count = 1) noexcept { source_.count_down(count); }

  /// Whether it has gone off; then what was done before is visible, and it may be destroyed.
  bool try_wait() noexcept {
    if (source_.left() != 0) return false;
    detail::let_leave(source_);
    return true;
  }

  /// How many are left; a guess while others count.
  std::size_t count() const noexcept { return source_.left(); }

  /// Waits until none is left; completes at once if none is.
  /// Errors: stopped.  Stop: ends the wait; what was counted stays so.
  /// Threads: any number of tasks.  Cost: no allocation.
  detail::source_wait wait() noexcept { return detail::source_wait(source_); }

  /// The same for a thread that is no worker (asserted).  Cost: blocks the thread.
  void blocking_wait() noexcept { magpie::detail::blocking_wait(source_); }

 private:
  detail::latch_source source_;
};

}  // namespace magpie::sync
