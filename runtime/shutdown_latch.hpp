/// Who may still use a runtime from outside: the latch between handles and the shutdown.
///
/// A handle (runtime_handle.hpp) may be used by any thread at any time, also while the runtime is
/// being shut down and after it is gone.  Each use enters the latch and leaves it when it is
/// through; the shutdown closes it and waits for those who are inside.  Uses are short: a spawn
/// enters, not the task that it spawns.
///
///     word         enter            leave         close
///     open, n      -> open, n + 1   -> open, n-1  -> closed, n; waits for 0
///     closed, n    refused          -> closed, n-1  waits for 0
///
/// Once closed it stays so, and nobody enters any more: whoever came before has counted what it
/// spawned, and the drain that follows sees it.
///
/// (L1) leaving is a release and pairs with (L2), the closer's wait: what was done inside is
/// visible to the shutdown.  Entering is relaxed: what is used inside does not change, and was
/// published together with the handle.
///
/// The latch lives in a block of its own, counted by the runtime and its handles (L3).
///
/// Threads: any, for everything.
#pragma once

#include <magpie/util/atomic.hpp>

#include <cstdint>

namespace magpie {

class scheduler;

namespace detail {

class shutdown_latch {
 public:
  /// False: it is closed.
  bool enter() noexcept {
    std::uint64_t now = word_.load(order::relaxed);
    do {
      if ((now & closed) != 0) return false;
      // Relaxed: see above; that nobody enters a closed latch is a matter of this one word.
    } while (!word_.compare_exchange_weak(now, now + one_inside, order::relaxed, order::relaxed));
    return true;
  }

  void leave() noexcept { word_.fetch_sub(one_inside, order::release); }  // (L1)

  /// When it returns nobody is inside, and nobody will be.  Several may close it.
  void close() noexcept {
    word_.fetch_or(closed, order::relaxed);                       // the wait orders
    while (word_.load(order::acquire) != closed) thread_yield();  // (L2)
  }

  bool is_closed() const noexcept { return (word_.load(order::relaxed) & closed) != 0; }

 private:
  static constexpr std::uint64_t closed = 1;
  static constexpr std::uint64_t one_inside = 2;

  atomic<std::uint64_t> word_{0};
};

/// What handles share with their runtime.
struct runtime_link {
  explicit runtime_link(scheduler* of) noexcept : home(of) {}

  /// Relaxed: whoever takes one more has one.
  void hold() noexcept { references.fetch_add(1, order::relaxed); }
  /// True for the last, who frees it.
  bool let_go() noexcept {
    return references.fetch_sub(1, order::acq_rel) == 1;  // (L3) with itself
  }

  shutdown_latch latch;
  scheduler* home;  ///< Only inside the latch.
  atomic<std::uint32_t> references{1};
};

}  // namespace detail
}  // namespace magpie
