/// `timeout(d, x)`: x under a deadline.
///
/// x runs in a stop scope of its own.  When the timer fires the scope is stopped, and x still says
/// what became of it: a value is a value, even late; `stopped` turns into `deadline` unless the
/// surrounding scope was stopped as well; any other error is that error.  So a timeout is as prompt
/// as what it stops.  If x completes inline no timer is armed.
///
/// Two parties meet at the end, x and a timer that could not be disarmed any more; the second to
/// arrive goes on:
///
///     meeting_     x arrives                       the timer's runnable runs
///     none         disarmed: go on                 -> timer_ran
///                  else -> x_arrived
///     timer_ran    go on                           -
///     x_arrived    -                               go on
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/run_gate.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/timer.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/errc.hpp>

#include <optional>

namespace magpie {
namespace detail {

template <class A>
class timeout_operation : gated_runnable {
 public:
  using value_type = typename A::value_type;

  /// `until` is a time point's distance from the clock's start or, with `relative`, a duration that
  /// begins at the start: what completes inline never looks at the clock.
  template <class Inner>
  timeout_operation(Inner&& inner, clock::duration until, bool relative) noexcept
      : gated_runnable(&timer_fired),
        inner_(std::forward<Inner>(inner)),
        timer_(*this),
        until_(until),
        relative_(relative) {}
  timeout_operation(timeout_operation&& other) noexcept
      : gated_runnable(&timer_fired),
        inner_(std::move(other.inner_)),
        timer_(*this),
        until_(other.until_),
        relative_(other.relative_) {}

  bool try_complete(stop_scope& scope) { return inner_.try_complete(scope); }
  std::error_code failed() const noexcept { return inner_.failed(); }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    to_ = to;
    scope_.emplace(&scope, scope.root());
    const clock::time_point at = relative_ ? time_after(until_) : clock::time_point(until_);
    timer_.arm(*this_context().timers, to_wheel_ns(at));
    return inner_.start({this, &arrived}, *scope_);
  }

  result<value_type> take() { return inner_.take(); }

  /// For forks: the inside ended with a user's exception, which `take` rethrows.
  bool has_exception() const noexcept {
    if constexpr (requires { inner_.has_exception(); }) return inner_.has_exception();
    return false;
  }

 private:
  enum class meeting : std::uint8_t { none, x_arrived, timer_ran };

  static std::coroutine_handle<> arrived(void* boundary, step& next) noexcept {
    auto& self = *static_cast<timeout_operation*>(boundary);
    self.error_ = next.error;
    self.traced_ = next.traced;
    destroy_abandoned(next.abandoned);
    // (T1) acq_rel with (T2): the second to arrive sees what the first wrote.
    if (!self.timer_.disarm() &&
        self.meeting_.exchange(meeting::x_arrived, order::acq_rel) == meeting::none)
      return std::noop_coroutine();
    return next.go_on(self.to_, self.outcome());
  }

  static void timer_fired(runnable& work) noexcept {
    auto& self = static_cast<timeout_operation&>(work);
    self.fired_ = true;
    self.scope_->request_stop();
    if (self.meeting_.exchange(meeting::timer_ran, order::acq_rel) == meeting::none)
      return;  // (T2)
    if (pass_gate(self.scope_->root(), self, &both_came)) both_came(self);
  }

  /// The timer was the second to come, and the task may run.
  static void both_came(runnable& work) noexcept {
    auto& self = static_cast<timeout_operation&>(work);
    step next(self.to_, self.outcome());
    next.traced = self.traced_;
    resume(deliver_on(next));
  }

  std::error_code outcome() noexcept {
    stop_scope& outer = *scope_->parent();
    scope_.reset();
    if (error_ == errc::stopped && fired_ && !outer.stop_requested()) return errc::deadline;
    return error_;
  }

  A inner_;
  continuation to_;
  timer timer_;
  clock::duration until_;
  bool relative_;
  std::optional<stop_scope> scope_;
  std::error_code error_ = no_error;
  atomic<meeting> meeting_{meeting::none};
  bool traced_ = false;  ///< The error's trace has begun.
  bool fired_ = false;   ///< Ordered by the meeting, or by the timer being disarmed.
};

}  // namespace detail

/// Gives what `a` gives, or fails with `errc::deadline` when `until` passes first.
template <class A>
auto timeout_at(clock::time_point until, A&& a) noexcept {
  static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
  return detail::timeout_operation<detail::operation_for<A>>(std::forward<A>(a),
                                                             until.time_since_epoch(), false);
}

/// The same, counted from the moment at which `a` is started.  Durations beyond the clock's range
/// never pass.
/// Errors: deadline, and those of `a`.  Stop: passed on to `a`.
/// Cost: nothing when `a` completes inline; else one timer and one stop scope, in the frame.
template <class Rep, class Period, class A>
auto timeout(std::chrono::duration<Rep, Period> d, A&& a) noexcept {
  static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
  return detail::timeout_operation<detail::operation_for<A>>(std::forward<A>(a), clock_duration(d),
                                                             true);
}

}  // namespace magpie
