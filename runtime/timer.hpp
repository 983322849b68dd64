/// A timer that puts a runnable into the run queue of the worker whose wheel it fires in.
///
/// Arming and disarming take the wheel's lock byte, so a timer may be disarmed from any worker.
/// After `disarm` returned false the timer has fired and its runnable will run, or has run.
#pragma once

#include <magpie/runtime/runnable.hpp>
#include <magpie/runtime/timer_wheel.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstdint>

namespace magpie {

class timer : public timer_node {
 public:
  timer() noexcept = default;
  explicit timer(runnable& fired) noexcept : fires(&fired) {}

  /// Arms the timer in `in`, which belongs to the calling worker.
  void arm(timer_wheel& in, std::uint64_t at_ns) noexcept {
    deadline_ns = at_ns;
    wheel = &in;
    lock_scope guard(in);
    in.insert(*this);
  }

  /// True: the timer was armed and will not fire.  Any thread.
  bool disarm() noexcept {
    lock_scope guard(*wheel);
    return wheel->cancel(*this);
  }

  runnable* fires = nullptr;  ///< Set before it is armed.
  timer_wheel* wheel = nullptr;
};

}  // namespace magpie
