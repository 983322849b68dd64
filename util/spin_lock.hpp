/// A lock of one byte for critical sections of a few dozen instructions.
///
/// Idea: test and test-and-set.  A waiter spins on a load, so that the line stays shared until the
/// holder lets go, with pauses that double; then it gives its core away, because on a full machine
/// the holder may have been descheduled.  Not fair, not recursive.
///
/// Any thread may lock; only the holder unlocks.  Never call user code, allocate or enter the
/// kernel while holding one.
/// Source: Rudolph and Segall, "Dynamic decentralized cache schemes", 1984; Anderson, 1990.
#pragma once

#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>

namespace magpie {

class spin_lock {
 public:
  spin_lock() noexcept = default;
  spin_lock(const spin_lock&) = delete;
  spin_lock& operator=(const spin_lock&) = delete;

  /// Cost: one locked instruction when nobody holds it.
  void lock() noexcept {
    // free -> held.  (A) acquire pairs with (B): what the last holder wrote is visible here.
    if (held_.exchange(true, order::acquire)) [[unlikely]] {
      lock_slowly();
    }
  }

  bool try_lock() noexcept {
    // A look first: a failing exchange would take the line away from the holder.  Relaxed: the
    // exchange decides.
    return !held_.load(order::relaxed) && !held_.exchange(true, order::acquire);  // (A), as lock
  }

  void unlock() noexcept {
    MAGPIE_DEBUG_ASSERT(is_locked());
    // held -> free.  (B) release pairs with (A).
    held_.store(false, order::release);
  }

  /// For assertions: whether anybody holds it.
  bool is_locked() const noexcept { return held_.load(order::relaxed); }

 private:
  [[gnu::noinline, gnu::cold]] void lock_slowly() noexcept {
    constexpr unsigned pauses_max = 64;
    unsigned pauses = 1;
    for (;;) {
      while (held_.load(order::relaxed)) {  // only a hint: the exchange below decides
        if (pauses <= pauses_max) {
          for (unsigned i = 0; i != pauses; ++i) {
            cpu_relax();
          }
          pauses *= 2;
        } else {
          thread_yield();
        }
      }
      if (!held_.exchange(true, order::acquire)) {  // (A), as in lock
        return;
      }
    }
  }

  atomic<bool> held_{false};
};

/// Holds a lock for a scope: `std::lock_guard` without the header <mutex>.
template <typename Lock>
class [[nodiscard]] lock_scope {
 public:
  explicit lock_scope(Lock& lock) noexcept : lock_(lock) { lock_.lock(); }
  ~lock_scope() { lock_.unlock(); }
  lock_scope(const lock_scope&) = delete;
  lock_scope& operator=(const lock_scope&) = delete;

 private:
  Lock& lock_;
};

}  // namespace magpie
