/// `timeout(d, x)`: x under a deadline.
///
/// x runs in a stop scope of its own.  When the timer fires the scope is stopped, and x still says
/// what became of it: a value is a value, even late; `stopped` turns into `deadline` unless the
/// surrounding scope was stopped as well; any other error is that error.  So a timeout is as prompt
/// as what it stops.  If x completes inline no timer is armed.
///
/// How x and a timer that fires meanwhile meet at the end is in interrupted.hpp.
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/interrupted.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/timer.hpp>
#include <magpie/util/errc.hpp>

#include <utility>

namespace magpie {
namespace detail {

class deadline_trigger {
 public:
  /// `until` is a time point's distance from the clock's start or, with `relative`, a duration that
  /// begins at the start: what completes inline never looks at the clock.
  deadline_trigger(clock::duration until, bool relative) noexcept
      : until_(until), relative_(relative) {}
  deadline_trigger(deadline_trigger&& other) noexcept
      : until_(other.until_), relative_(other.relative_) {}

  bool arm(runnable& work, task_root&) noexcept {
    const clock::time_point at = relative_ ? time_after(until_) : clock::time_point(until_);
    timer_.fires = &work;
    timer_.arm(*this_context().timers, to_wheel_ns(at));
    return true;
  }
  bool disarm() noexcept { return timer_.disarm(); }

 private:
  timer timer_;
  clock::duration until_;
  bool relative_;
};

template <class A>
class timeout_operation : public interrupted<timeout_operation<A>, A, deadline_trigger> {
  using base = interrupted<timeout_operation<A>, A, deadline_trigger>;

 public:
  using value_type = typename A::value_type;

  template <class Inner>
  timeout_operation(Inner&& inner, clock::duration until, bool relative) noexcept
      : base(std::forward<Inner>(inner), deadline_trigger(until, relative)) {}
  timeout_operation(timeout_operation&&) noexcept = default;

  bool try_complete(stop_scope& scope) { return this->inner_.try_complete(scope); }
  std::error_code failed() const noexcept { return this->inner_.failed(); }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    this->open_scope(scope);
    this->arm(to);
    return this->start_inner();
  }

  result<value_type> take() { return this->inner_.take(); }

 private:
  friend base;

  static std::error_code settle(std::error_code error, bool by_timer) noexcept {
    return by_timer ? make_error_code(errc::deadline) : error;
  }
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
