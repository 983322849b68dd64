/// `as_result(x)`: the place where one looks at an error instead of passing it on.
#pragma once

#include <magpie/runtime/task.hpp>
#include <magpie/util/errc.hpp>

#include <optional>

namespace magpie {
namespace detail {

/// A boundary that turns an error into a value.  The frames that the error abandoned are destroyed
/// here, before anything else runs: in a `join` the other branches may be waiting for what they
/// hold.
template <class A>
class as_result_operation : public boundary {
 public:
  using value_type = result<typename A::value_type>;

  template <class Inner>
  explicit as_result_operation(Inner&& inner) noexcept : inner_(std::forward<Inner>(inner)) {}
  as_result_operation(as_result_operation&& other) noexcept : inner_(std::move(other.inner_)) {
    MAGPIE_ASSERT(other.to_.target == nullptr);
  }
  ~as_result_operation() = default;

  bool try_complete(stop_scope& scope) {
    if (!inner_.try_complete(scope)) return false;
    error_ = inner_.failed();
    return true;
  }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    to_ = to;
    return inner_.start({this, &arrived}, scope);
  }

  /// For forks: the inside ended with a user's exception, which `take` rethrows.
  bool has_exception() const noexcept { return ended_with_exception(inner_); }

  result<value_type> take() {
    if (error_) return value_type(std::unexpected(error_));
    return value_type(inner_.take());
  }

 private:
  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<as_result_operation>(target);
    self.error_ = next.error;
    destroy_abandoned(next.abandoned);
    return next.go_on(self.to_);
  }

  A inner_;
  std::error_code error_ = no_error;
};

}  // namespace detail

/// Gives what `a` ends with as a `result<T>`; a user's exception is still rethrown.
/// Errors: none of its own.  Stop: that of `a`; a stopped `a` gives `errc::stopped` as a value.
/// Cost: nothing beyond that of `a`.
template <class A>
auto as_result(A&& a) noexcept {
  static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
  return detail::as_result_operation<detail::operation_for<A>>(std::forward<A>(a));
}

}  // namespace magpie
