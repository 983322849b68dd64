/// `sleep_for`, `sleep_until` and `yield`: giving the worker to others for a while.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/timer.hpp>
#include <magpie/util/errc.hpp>

#include <coroutine>

namespace magpie {
namespace detail {

/// The wheel's lock orders begin, firing and cancel: a canceller that comes between the entering
/// of the scope and the arming waits for the lock and then finds the timer armed.
class sleep_operation : public operation {
 public:
  using value_type = void;

  explicit sleep_operation(clock::time_point until) noexcept
      : operation(&woken, &cancel_sleep), timer_(*this), until_(until) {}
  sleep_operation(sleep_operation&& other) noexcept
      : operation(std::move(other)), timer_(*this), until_(other.until_) {}

  bool try_complete(stop_scope& scope) noexcept {
    return !scope.stop_requested() && until_ <= clock::now() && spend_budget(this_context());
  }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
    prepare(to, scope);
    context& here = this_context();
    timer_wheel& wheel = *here.timers;
    timer_.wheel = &wheel;
    timer_.deadline_ns = to_wheel_ns(until_);
    {
      lock_scope guard(wheel);
      if (begin()) {
        wheel.insert(timer_);
        return std::noop_coroutine();
      }
    }
    refused_ = true;  // a stopped await goes through the queue, never inline
    here.post_last(*this);
    return std::noop_coroutine();
  }

  result<void> take() const noexcept { return {}; }

 private:
  static void woken(runnable& work) noexcept {
    auto& self = static_cast<sleep_operation&>(static_cast<operation&>(work));
    if (!self.refused_ && !self.end()) return;
    const bool stopped = self.refused_ || self.cancelled_;
    resume(stopped ? deliver_error(self.continuation(), errc::stopped)
                   : deliver(self.continuation()));
  }

  static void cancel_sleep(operation& op) noexcept {
    auto& self = static_cast<sleep_operation&>(op);
    {
      lock_scope guard(*self.timer_.wheel);
      if (!self.timer_.wheel->cancel(self.timer_)) return;  // it fired: that is the outcome
      self.cancelled_ = true;
    }
    self.scope().root().post(self);
  }

  timer timer_;
  clock::time_point until_;
  bool refused_ = false;
  bool cancelled_ = false;
};

class yield_operation : public operation {
 public:
  using value_type = void;

  yield_operation() noexcept : operation(&again, [](operation&) noexcept {}) {}
  yield_operation(yield_operation&&) noexcept = default;

  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return no_error; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
    prepare(to, scope);
    this_context().post_last(*this);
    return std::noop_coroutine();
  }
  result<void> take() const noexcept { return {}; }

 private:
  static void again(runnable& work) noexcept {
    auto& self = static_cast<yield_operation&>(static_cast<operation&>(work));
    resume(self.scope().stop_requested() ? deliver_error(self.continuation(), errc::stopped)
                                         : deliver(self.continuation()));
  }
};

}  // namespace detail

/// Suspends until `until`; never wakes early.  A deadline in the past completes at once.  Where
/// timers of this worker come less than 50 us apart, they share wake-ups and may be 0.2 ms late.
/// Errors: stopped.  Stop: ends the sleep at once.
/// Cost: one entry in the worker's wheel, no allocation, no system call of its own.
inline detail::sleep_operation sleep_until(clock::time_point until) noexcept {
  return detail::sleep_operation(until);
}

/// Suspends for `d`, counted from the call; zero and negative durations complete at once.
template <class Rep, class Period>
detail::sleep_operation sleep_for(std::chrono::duration<Rep, Period> d) noexcept {
  return detail::sleep_operation(time_after(d));
}

/// Lets everything that is ready on this worker run first.
/// Errors: stopped.  Stop: seen when the task's turn comes again.
/// Cost: one trip through the run queue, no allocation.
inline detail::yield_operation yield() noexcept { return detail::yield_operation(); }

}  // namespace magpie
