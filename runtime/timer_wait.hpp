/// A wait for a timer that others may end early: what waits for the earliest of several deadlines,
/// when deadlines come, go and move meanwhile.
///
/// It belongs to an object with a lock, which its one waiter is registered in.  Whoever makes the
/// deadline earlier takes the timer out of the wheel (`pull`, under that lock) and posts the wait
/// afterwards, without it; the wait then looks again and, if nothing is due, arms its timer anew,
/// on whichever worker it runs now.  So nobody arms a timer in the wheel of a foreign worker, which
/// may be parked.  A timer that fires too early, since its deadline moved away, does the same.
///
/// Three parties may end a wait: the timer, a `pull`, a stop.  The wheel's lock decides, since each
/// has to take the timer out of the wheel; who did posts the wait, once.
///
/// Order of locks: the object's, then the wheel's.  A stop takes the wheel's alone.  The wait
/// registers before it leaves the object's lock, and deregisters under it before it ends: so who
/// finds it registered, and holds that lock, finds it alive.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/timer.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstdint>

namespace magpie::detail {

class timer_wait : public operation {
 public:
  /// True: the timer will not fire, and the caller has to `post`.  Any thread, under the object's
  /// lock.
  bool pull() noexcept {
    lock_scope guard(*timer_.wheel);
    return timer_.wheel->cancel(timer_);
  }

  void post() noexcept { scope().root().post(*this); }

  /// When the timer was set to fire.  Under the object's lock.
  std::uint64_t armed_until_ns() const noexcept { return timer_.deadline_ns; }

 protected:
  explicit timer_wait(run_function runs) noexcept : operation(runs, &cancel_wait), timer_(*this) {}
  timer_wait(timer_wait&& other) noexcept : operation(std::move(other)), timer_(*this) {}
  ~timer_wait() = default;

  /// Begins to wait, on the calling worker; false when the scope is stopped.  Under the object's
  /// lock.
  bool arm(std::uint64_t at_ns) noexcept {
    timer_wheel& wheel = *this_context().timers;
    timer_.wheel = &wheel;
    timer_.deadline_ns = at_ns;
    lock_scope guard(wheel);
    if (!begin()) return false;
    wheel.insert(timer_);
    return true;
  }

  /// A stopped await goes through the queue, never inline.
  void refuse() noexcept {
    refused_ = true;
    this_context().post_last(*this);
  }

  /// The run function.  `Wait::waits_again` ends the wait, or goes on with it: true, and then
  /// nothing may be touched any more.
  template <class Wait>
  static void ran(runnable& work) noexcept {
    auto& self = static_cast<Wait&>(static_cast<operation&>(work));
    if (!self.refused_ && (!self.end() || self.waits_again())) return;
    const bool stopped = self.refused_ || self.cancelled_;
    resume(stopped ? deliver_error(self.continuation(), errc::stopped)
                   : deliver(self.continuation()));
  }

  bool cancelled_ = false;  ///< The wait was ended by a stop.

 private:
  static void cancel_wait(operation& op) noexcept {
    auto& self = static_cast<timer_wait&>(op);
    {
      lock_scope guard(*self.timer_.wheel);
      if (!self.timer_.wheel->cancel(self.timer_)) return;  // it runs already
      self.cancelled_ = true;
    }
    self.post();
  }

  timer timer_;
  bool refused_ = false;
};

}  // namespace magpie::detail
