/// `shielded(x)`: x out of reach of stops from above, for clean-up in a stopped scope.
///
/// x runs in a stop scope without a parent: the walk of a stop does not come by, and who asks
/// upwards whether a stop was requested gets no farther than this scope.  The stop of the
/// surrounding scope is not lost: it stays there, and the next operation after x meets it.  x has a
/// deadline of its own, after which it is stopped and the outcome is `errc::deadline`; so a shield
/// holds a stop up for a bounded time only.
///
/// The surrounding scope is linked into the tree before x begins to wait: a scope links itself at
/// its first operation (stop_scope.hpp), and a task whose first operation is shielded would not be
/// named by a shutdown whose drain is over.
#pragma once

#include <magpie/runtime/timeout.hpp>

#include <chrono>
#include <optional>

namespace magpie {

/// How long `shielded(x)` and clean-ups may take: half of the drain that the default options give
/// to a program's end, so that a clean-up which hangs is ended before its task is leaked.
inline constexpr std::chrono::seconds cleanup_time_default{5};

namespace detail {

template <class A>
class shield_operation : public boundary {
 public:
  using value_type = typename A::value_type;

  explicit shield_operation(A&& inner) noexcept : inner_(std::move(inner)) {}
  shield_operation(shield_operation&& other) noexcept : inner_(std::move(other.inner_)) {
    MAGPIE_ASSERT(!other.scope_);  // it has not begun
  }

  bool try_complete(stop_scope& outer) {
    scope_.emplace(&outer, outer.root(), stop_scope::kind::shield);
    return inner_.try_complete(*scope_);
  }
  std::error_code failed() const noexcept { return inner_.failed(); }

  std::coroutine_handle<> start(continuation to, stop_scope& outer) noexcept {
    to_ = to;
    if (!scope_) scope_.emplace(&outer, outer.root(), stop_scope::kind::shield);
    outer.link();
    return inner_.start({this, &arrived}, *scope_);
  }

  result<value_type> take() { return inner_.take(); }

  bool has_exception() const noexcept { return ended_with_exception(inner_); }

 private:
  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<shield_operation>(target);
    destroy_abandoned(next.abandoned);
    self.scope_.reset();
    return next.go_on(self.to_, next.error);
  }

  A inner_;
  std::optional<stop_scope> scope_;
};

}  // namespace detail

/// Gives what `a` gives, whatever is stopped outside; fails with `errc::deadline` when `until`
/// passes first.
template <class A>
auto shielded(clock::time_point until, A&& a) noexcept {
  static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
  using inner = detail::timeout_operation<detail::operation_for<A>>;
  return detail::shield_operation<inner>(timeout_at(until, std::forward<A>(a)));
}

/// The same, counted from the moment at which `a` is started.
template <class Rep, class Period, class A>
auto shielded(std::chrono::duration<Rep, Period> d, A&& a) noexcept {
  static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
  using inner = detail::timeout_operation<detail::operation_for<A>>;
  return detail::shield_operation<inner>(timeout(d, std::forward<A>(a)));
}

/// The same, with `cleanup_time_default`.
/// Errors: deadline, and those of `a`.  Stop: held back until `a` has ended; what `a` spawns with
/// `spawn` is a task of its own and not shielded.
/// Cost: nothing when `a` completes inline; else one timer and two stop scopes, in the frame, and
/// the linking of the surrounding scope.
template <class A>
auto shielded(A&& a) noexcept {
  return shielded(cleanup_time_default, std::forward<A>(a));
}

}  // namespace magpie
