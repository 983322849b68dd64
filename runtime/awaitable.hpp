/// The protocol that everything awaitable follows.
///
/// An awaitable is one object that is first described (`stream.read(buffer)`), may then be moved
/// into a combinator (`timeout(1s, …)`), and is started once, in place:
///
///   using value_type = T;
///   bool try_complete(stop_scope&)         completes at once if it can; true: `take` is ready.
///                                          Called at most once, before start.
///   coroutine_handle<> start(to, scope)    called once the awaiting frame is suspended; returns
///                                          what runs next.  From here on the outcome is delivered
///                                          to `to` exactly once, on any worker.
///   result<T> take()                       the outcome; rethrows a user's exception.  After an
///                                          error was delivered, `take` is not called.
///
/// One that may end with a user's exception also gives `bool has_exception() const`: forks ask
/// before they take the outcome.
///
/// `failed` asks, after try_complete returned true, whether that outcome is an error, and which.
#pragma once

#include <magpie/runtime/continuation.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/util/result.hpp>

#include <concepts>
#include <coroutine>
#include <system_error>

namespace magpie {

template <class A>
concept awaitable = requires(A& a, detail::continuation to, stop_scope& scope) {
  typename A::value_type;
  { a.try_complete(scope) } -> std::same_as<bool>;
  { a.failed() } -> std::same_as<std::error_code>;
  { a.start(to, scope) } -> std::same_as<std::coroutine_handle<>>;
  { a.take() } -> std::same_as<result<typename A::value_type>>;
};

namespace detail {

/// Whether `ended`, which has ended, did so with a user's exception.
template <class A>
bool ended_with_exception(const A& ended) noexcept {
  if constexpr (requires { ended.has_exception(); }) return ended.has_exception();
  return false;
}

}  // namespace detail
}  // namespace magpie
