/// What `timeout`, `run_until_cancelled` and `stopped_by` share: x in a stop scope of its own, and
/// a trigger (a timer, a token) that stops the scope.
///
/// Two parties meet at the end, x and a trigger that could not be disarmed any more because it had
/// posted this runnable; the second to arrive goes on:
///
///     meeting_      x arrives                the trigger's runnable runs
///     none          disarmed: go on          -> trigger_ran
///                   else -> x_arrived
///     trigger_ran   go on                    -
///     x_arrived     -                        go on
///
/// A trigger gives `bool arm(runnable&, task_root&)`, false when it has fired already and then
/// posts nothing, and `bool disarm()`, true when the runnable will not be posted.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/run_gate.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/atomic.hpp>

#include <cstdint>
#include <optional>

namespace magpie::detail {

/// `Derived::settle(error, interrupted)` turns x's error (zero: a value) into the outcome's.
template <class Derived, class A, class Trigger>
class interrupted : public gated_runnable, public boundary {
 protected:
  template <class Inner>
  interrupted(Inner&& inner, Trigger trigger) noexcept
      : gated_runnable(&fired), inner_(std::forward<Inner>(inner)), trigger_(std::move(trigger)) {}
  interrupted(interrupted&& other) noexcept
      : gated_runnable(&fired),
        inner_(std::move(other.inner_)),
        trigger_(std::move(other.trigger_)) {
    MAGPIE_ASSERT(!other.scope_);
  }
  ~interrupted() = default;

  /// The scope of x.
  stop_scope& open_scope(stop_scope& outer) noexcept {
    return scope_.emplace(&outer, outer.root());
  }

  /// Arms the trigger for x, which starts next; false: it has fired.
  bool arm(continuation to) noexcept {
    to_ = to;
    return trigger_.arm(*this, scope_->root());
  }
  std::coroutine_handle<> start_inner() noexcept { return inner_.start({this, &arrived}, *scope_); }

  A inner_;
  Trigger trigger_;
  std::optional<stop_scope> scope_;

 public:
  /// For forks: x ended with a user's exception, which `take` rethrows.
  bool has_exception() const noexcept { return ended_with_exception(inner_); }

 private:
  enum class meeting : std::uint8_t { none, x_arrived, trigger_ran };

  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<interrupted>(target);
    self.error_ = next.error;
    self.traced_ = next.traced;
    destroy_abandoned(next.abandoned);
    // (T1) acq_rel with (T2): the second to arrive sees what the first wrote.
    if (!self.trigger_.disarm() &&
        self.meeting_.exchange(meeting::x_arrived, order::acq_rel) == meeting::none)
      return std::noop_coroutine();
    return next.go_on(self.to_, self.outcome());
  }

  static void fired(runnable& work) noexcept {
    auto& self = static_cast<interrupted&>(work);
    self.fired_ = true;
    self.scope_->request_stop();
    if (self.meeting_.exchange(meeting::trigger_ran, order::acq_rel) == meeting::none)
      return;  // (T2)
    if (pass_gate(self.scope_->root(), self, &both_came)) both_came(self);
  }

  /// The trigger was the second to come, and the task may run.
  static void both_came(runnable& work) noexcept {
    auto& self = static_cast<interrupted&>(work);
    step next(self.to_, self.outcome());
    next.traced = self.traced_;
    resume(deliver_on(next));
  }

  std::error_code outcome() noexcept {
    stop_scope& outer = *scope_->parent();
    scope_.reset();
    const bool by_trigger = error_ == errc::stopped && fired_ && !outer.stop_requested();
    return static_cast<Derived&>(*this).settle(error_, by_trigger);
  }

  std::error_code error_ = no_error;
  atomic<meeting> meeting_{meeting::none};
  bool traced_ = false;  ///< The error's trace has begun.
  bool fired_ = false;   ///< Ordered by the meeting, or by the trigger being disarmed.
};

}  // namespace magpie::detail
