/// `event`: a flag that one can wait for.
///
///     sync::event ready;
///     …
///     co_await ready.wait();      // any number of tasks; at once if it is set
///     …
///     ready.set();                // all of them go on
///
/// It stays set until it is reset.  Who was waiting when it was set goes on, even if it is reset
/// before that has run; who comes later waits for the next `set`.  For a flag that is raised once
/// and for all below it there is `cancellation_token`; for a count, `latch`.
///
/// (A) `set` releases what was done before, (B) the look at the flag acquires it.
/// Threads: any, with or without a runtime; `wait` is awaited on workers.  Whoever has waited may
/// destroy it.
#pragma once

#include <magpie/runtime/thread_wait.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/sync/source_wait.hpp>
#include <magpie/util/atomic.hpp>

namespace magpie::sync {
namespace detail {

class event_source : public magpie::detail::wait_source {
 public:
  explicit event_source(bool set) noexcept : wait_source(&has_come), set_(set) {}

  void set() noexcept;
  /// The same for who has others to wake as well: they are posted with `woken`.
  void set(magpie::detail::wake_chain& woken) noexcept;
  /// Relaxed: takes back nothing that somebody has seen.
  void reset() noexcept { set_.store(false, order::relaxed); }
  bool is_set() const noexcept { return set_.load(order::acquire); }  // (B)

 private:
  static bool has_come(const wait_source& of) noexcept {
    return static_cast<const event_source&>(of).is_set();
  }

  atomic<bool> set_;
};

}  // namespace detail

class event {
 public:
  /// One that is not set, or that is from the start.
  explicit event(bool set = false) noexcept : source_(set) {}
  event(const event&) = delete;
  event& operator=(const event&) = delete;
  /// Nobody may be waiting (asserted).
  ~event() = default;

  /// Lets everybody go on who waits, and who comes until the next `reset`.  Idempotent.
  /// Threads: any.  Cost: a lock, and a post for each who waits.
  void set() noexcept { source_.set(); }
  void reset() noexcept { source_.reset(); }

  /// If so, what was done before it was set is visible.
  bool is_set() const noexcept { return source_.is_set(); }

  /// Waits until it is set; completes at once if it is.
  /// Errors: stopped.  Stop: ends the wait; nothing is consumed.
  /// Threads: any number of tasks.  Cost: no allocation.
  detail::source_wait wait() noexcept { return detail::source_wait(source_); }

  /// The same for a thread that is no worker (asserted).  Cost: blocks the thread.
  void blocking_wait() noexcept { magpie::detail::blocking_wait(source_); }

 private:
  detail::event_source source_;
};

}  // namespace magpie::sync
