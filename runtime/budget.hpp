/// `consume_budget()` and `unconstrained(x)`: the budget, spent and lifted by hand.
///
/// A task that runs has a budget of inline completions (`detail::task_budget`).  Each operation
/// that completes at once spends one unit; when none is left the next goes through the tail of the
/// run queue, so that the other tasks of the worker get their turn.
///
/// A loop that computes and never waits spends nothing: `consume_budget` is its checkpoint.  Code
/// that must not be interrupted by turns runs in `unconstrained`.
///
/// Idea of the latter: x runs in a stop scope that is marked.  Whoever finds the budget spent looks
/// whether the running frame is below such a scope of its task, and goes on if it is; nobody pays
/// for it while there is budget left.  So x still uses up what there is, and what follows x finds
/// the rest: if that is nothing, its first operation lets the others run.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/errc.hpp>

#include <coroutine>
#include <optional>
#include <system_error>
#include <utility>

namespace magpie {
namespace detail {

/// A `yield` that has nothing to do while there is budget left.
class budget_operation final : public yield_operation {
 public:
  budget_operation() noexcept = default;
  budget_operation(budget_operation&&) noexcept = default;

  bool try_complete(stop_scope& scope) const noexcept {
    return !scope.stop_requested() && spend_budget(this_context());
  }
};

template <class A>
class unconstrained_operation : public boundary {
 public:
  using value_type = typename A::value_type;

  explicit unconstrained_operation(A&& inner) noexcept : inner_(std::move(inner)) {}
  unconstrained_operation(unconstrained_operation&& other) noexcept
      : inner_(std::move(other.inner_)) {
    MAGPIE_ASSERT(!other.scope_);  // it has not begun
  }

  bool try_complete(stop_scope& outer) {
    context& here = this_context();
    scope_.emplace(&outer, outer.root(), stop_scope::kind::unconstrained);
    stop_scope* const before = here.running_here();
    here.run_in(&*scope_);
    const bool completed = inner_.try_complete(*scope_);
    here.run_in(before);
    return completed;
  }
  std::error_code failed() const noexcept { return inner_.failed(); }

  std::coroutine_handle<> start(continuation to, stop_scope& outer) noexcept {
    to_ = to;
    scope_.emplace(&outer, outer.root(),
                   stop_scope::kind::unconstrained);  // `outer` may be another now
    run_in(*scope_);
    return inner_.start({this, &arrived}, *scope_);
  }

  result<value_type> take() { return inner_.take(); }

  /// For forks: x ended with a user's exception, which `take` rethrows.
  bool has_exception() const noexcept { return ended_with_exception(inner_); }

 private:
  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<unconstrained_operation>(target);
    destroy_abandoned(next.abandoned);
    if constexpr (requires { self.inner_.destroy_frame(); }) self.inner_.destroy_frame();
    run_in(*self.scope_->parent());
    self.scope_.reset();
    return next.go_on(self.to_, next.error);
  }

  A inner_;
  std::optional<stop_scope> scope_;
};

}  // namespace detail

/// Spends one unit of the running task's budget; when there is none left, lets everything that is
/// ready on this worker run first.
/// Errors: stopped.  Stop: seen at each call.
/// Cost: a decrement; every 129th call one trip through the run queue.
inline detail::budget_operation consume_budget() noexcept { return detail::budget_operation(); }

/// Gives what `a` gives; inside, what can complete at once does so, however often. Tasks that are
/// spawned inside, children of groups among them, have their budgets as ever, and so has what is
/// `shielded` inside.
/// Errors: those of `a`.  Stop: passed on to `a`.  Threads: it is the other tasks of its worker
/// that wait for it.  Cost: one stop scope, in the frame.
template <class A>
auto unconstrained(A&& a) noexcept {
  static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
  return detail::unconstrained_operation<detail::operation_for<A>>(
      detail::operation_for<A>(std::forward<A>(a)));
}

}  // namespace magpie
