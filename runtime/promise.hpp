/// The promise of a task: what `co_await` and `co_return` mean inside one.
///
/// `co_await x` gives the value of x.  An error never resumes the frame: it climbs (see
/// continuation.hpp).  The only per-await costs beside the awaited thing itself are two stores:
/// the scope, handed to the child, and the source place, for the asynchronous stack and the error
/// return trace.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/continuation.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/outcome.hpp>
#include <magpie/runtime/transfer.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <coroutine>
#include <cstddef>
#include <source_location>
#include <type_traits>
#include <utility>

namespace magpie {

template <class T = void>
class task;

/// A user's way to turn a `catch` into an error: `throw magpie::failure(ec)` in a task finishes
/// the task with the error `ec`.  Costs what a throw costs.
struct failure {
  explicit failure(std::error_code error) noexcept : code(error) {}
  std::error_code code;
};

namespace detail {

template <class T>
struct promise;

/// Awaits a task from a task: the hot path of the library.
template <class T>
class task_await : outcome<T> {
 public:
  task_await(std::coroutine_handle<promise<T>> frame, promise_base& parent) noexcept {
    this->child = frame;
    this->to = continuation::plain(parent);
  }

  bool await_ready() const noexcept { return false; }

  template <class P>
  transfer await_suspend(std::coroutine_handle<P> parent) noexcept {
    promise_base& awaiting = parent.promise();
    if (!this->child) [[unlikely]]
      return transfer_to(raise(awaiting, std::make_error_code(std::errc::not_enough_memory)));
    auto frame = std::coroutine_handle<promise<T>>::from_address(this->child.address());
    promise_base& started = frame.promise();
    started.owner = this;
    started.scope = awaiting.scope;
    return transfer_to(frame);
  }

  T await_resume() {
    struct reaper {  // the child's frame goes before the value is used, also when this throws
      std::coroutine_handle<> frame;
      ~reaper() { frame.destroy(); }
    } const destroy{std::exchange(this->child, nullptr)};
    return this->take_value();
  }
};

/// Awaits any other awaitable from a task.  The awaited object stays where it is: the operand of
/// `co_await`, a temporary of the awaiting frame as a rule, lives until the expression has ended.
template <class A>
class plain_await {
 public:
  plain_await(promise_base& parent, A& awaited) noexcept : parent_(&parent), inner_(&awaited) {}

  bool await_ready() {
    completed_ = inner_->try_complete(*parent_->scope);
    return completed_ && !inner_->failed();
  }

  transfer await_suspend(std::coroutine_handle<>) noexcept {
    if (completed_) return transfer_to(raise(*parent_, inner_->failed()));
    return transfer_to(inner_->start(continuation::plain(*parent_), *parent_->scope));
  }

  typename A::value_type await_resume() {
    if constexpr (std::is_void_v<typename A::value_type>) {
      static_cast<void>(inner_->take());
    } else {
      return *inner_->take();
    }
  }

 private:
  promise_base* parent_;
  A* inner_;
  bool completed_ = false;
};

/// Unwraps a `result<T>` or raises its error.
template <class T>
class result_await {
 public:
  result_await(result<T>&& value, promise_base& parent) noexcept
      : value_(std::move(value)), parent_(&parent) {}

  bool await_ready() const noexcept { return value_.has_value(); }
  transfer await_suspend(std::coroutine_handle<>) noexcept {
    return transfer_to(raise(*parent_, value_.error()));
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return *std::move(value_);
  }

 private:
  result<T> value_;
  promise_base* parent_;
};

struct final_await {
  bool await_ready() const noexcept { return false; }

  template <class P>
  transfer await_suspend(std::coroutine_handle<P> finished) noexcept {
    auto& owner = static_cast<outcome<typename P::value_type>&>(*finished.promise().owner);
#if defined(__cpp_exceptions)
    if (owner.is == outcome<typename P::value_type>::kind::error) [[unlikely]]
      return transfer_to(raise(finished.promise(), owner.error));  // throw failure(…)
#endif
    return transfer_to(deliver(owner.to));
  }

  void await_resume() const noexcept {}
};

template <class T>
struct promise_common : promise_base {
  using value_type = T;

  static void* operator new(std::size_t size) noexcept { return frame_allocate(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { frame_free(frame, size); }

  static task<T> get_return_object_on_allocation_failure() noexcept { return task<T>(nullptr); }
  task<T> get_return_object() noexcept {
    return task<T>(
        std::coroutine_handle<promise<T>>::from_promise(static_cast<promise<T>&>(*this)));
  }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  final_await final_suspend() const noexcept { return {}; }

  void unhandled_exception() noexcept {
#if defined(__cpp_exceptions)
    auto& to = static_cast<outcome<T>&>(*this->owner);
    to.clear();
    try {
      throw;
    } catch (const failure& raised) {
      to.set_error(raised.code);
    } catch (...) {
      to.set_exception(capture_exception());
    }
#endif
  }

  template <class U>
  task_await<U> await_transform(
      task<U>&& child, std::source_location where = std::source_location::current()) noexcept {
    place = where;
    return task_await<U>(child.release(), *this);
  }

  template <class A>
    requires awaitable<std::remove_reference_t<A>> && (!std::is_lvalue_reference_v<A>)
  plain_await<A> await_transform(
      A&& a, std::source_location where = std::source_location::current()) noexcept {
    place = where;
    return plain_await<A>(*this, a);
  }

  fail_await await_transform(
      fail_operation&& failing,
      std::source_location where = std::source_location::current()) noexcept {
    place = where;
    return fail_await(*this, failing.failed());
  }

  template <class U>
  result_await<U> await_transform(
      result<U>&& r, std::source_location where = std::source_location::current()) noexcept {
    place = where;
    return result_await<U>(std::move(r), *this);
  }
};

template <class T>
struct promise : promise_common<T> {
  template <class U = T>
    requires std::is_constructible_v<stored<T>, U&&>
  void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<stored<T>, U&&>) {
    static_cast<outcome<T>&>(*this->owner).set_value(std::forward<U>(value));
  }
};

template <class T>
struct promise<T&> : promise_common<T&> {
  void return_value(T& value) noexcept {
    static_cast<outcome<T&>&>(*this->owner).set_value(__builtin_addressof(value));
  }
};

template <>
struct promise<void> : promise_common<void> {
  void return_void() noexcept { static_cast<outcome<void>&>(*this->owner).set_value(); }
};

}  // namespace detail
}  // namespace magpie
