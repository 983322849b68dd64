/// `task<T>`: a lazy coroutine that is awaited once.
///
/// Calling a coroutine that returns `task<T>` allocates its frame and runs nothing.  `co_await`
/// starts it on the spot, by symmetric transfer, in the stop scope of the awaiting frame.  A task
/// that is dropped unstarted destroys its frame; a started one is owned by its awaiter.
///
/// Cost of awaiting a child: a frame from the worker's pool, two stores, two transfers.
/// Errors: whatever the body raises, and `not_enough_memory` if the frame could not be allocated.
/// Threads: created anywhere; runs on workers.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/promise.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/errc.hpp>

#include <coroutine>
#include <utility>

namespace magpie {
namespace detail {

/// Destroys the frame of a task that never started.  Frames held in its parameters are unstarted
/// tasks again: they are put on a list and destroyed one after the other, however deep.
void destroy_unstarted(promise_base& frame) noexcept;

}  // namespace detail

template <class T>
class [[nodiscard("a task does nothing until it is awaited or spawned")]] task {
 public:
  using promise_type = detail::promise<T>;
  using value_type = T;

  task(task&& other) noexcept : frame_(other.release()) {}
  task& operator=(task&& other) noexcept {
    if (this != &other) {
      reset();
      frame_ = other.release();
    }
    return *this;
  }
  ~task() { reset(); }

  /// False for a task that was moved from, or whose frame could not be allocated.
  explicit operator bool() const noexcept { return static_cast<bool>(frame_); }

  /// For the library: gives up the frame.
  std::coroutine_handle<promise_type> release() noexcept { return std::exchange(frame_, nullptr); }

 private:
  template <class>
  friend struct detail::promise_common;

  explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}

  void reset() noexcept {
    if (frame_) detail::destroy_unstarted(std::exchange(frame_, nullptr).promise());
  }

  std::coroutine_handle<promise_type> frame_;
};

namespace detail {

/// A task under the awaitable protocol, for combinators and roots.
template <class T>
class task_operation : outcome<T> {
 public:
  using value_type = T;

  explicit task_operation(task<T>&& t) noexcept { this->child = t.release(); }
  task_operation(task_operation&& other) noexcept {
    MAGPIE_ASSERT(other.to.target == nullptr);
    this->child = std::exchange(other.child, nullptr);
  }
  ~task_operation() {
    if (this->child && this->to.target == nullptr)
      destroy_unstarted(frame().promise());
    else if (this->child)
      this->child.destroy();
    this->child = nullptr;
  }

  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    this->to = to;
    if (!this->child) [[unlikely]]
      return deliver_error(to, std::make_error_code(std::errc::not_enough_memory));
    promise_base& started = frame().promise();
    started.owner = this;
    started.scope = &scope;
    context& here = this_context();
    here.run_in(&scope);
    here.note.begin(scope.root());
    return this->child;
  }

  /// The child's frame is destroyed before its value is handed on.
  result<T> take() {
    destroy_frame();
    return outcome<T>::take();
  }

  /// Destroys the frame of a task that has ended, before its outcome is taken.
  void destroy_frame() noexcept {
    if (this->child) std::exchange(this->child, nullptr).destroy();
  }

  /// The exception that ended the task, or null; for boundaries that log it.
  bool has_exception() const noexcept { return this->is == outcome<T>::kind::exception; }
  void* release_exception() noexcept {
    if (!has_exception()) return nullptr;
    this->is = outcome<T>::kind::empty;
    return this->exception;
  }
  /// For roots: what the task ended with, kept with its outcome.
  void set_error(std::error_code error) noexcept { outcome<T>::set_error(error); }
  std::error_code error() const noexcept {
    return this->is == outcome<T>::kind::error ? outcome<T>::error : std::error_code();
  }
  void drop_outcome() noexcept { this->clear(); }
  /// For groups: the outcome becomes this exception.
  void set_exception(void* captured) noexcept {
    this->clear();
    outcome<T>::set_exception(captured);
  }

 private:
  std::coroutine_handle<promise<T>> frame() const noexcept {
    return std::coroutine_handle<promise<T>>::from_address(this->child.address());
  }
};

/// A `result<T>` under the awaitable protocol.
template <class T>
class result_operation {
 public:
  using value_type = T;
  explicit result_operation(result<T>&& value) noexcept : value_(std::move(value)) {}
  bool try_complete(stop_scope&) const noexcept { return true; }
  std::error_code failed() const noexcept { return value_ ? no_error : value_.error(); }
  std::coroutine_handle<> start(continuation to, stop_scope&) noexcept {
    return value_ ? deliver(to) : deliver_error(to, value_.error());
  }
  result<T> take() { return std::move(value_); }

 private:
  result<T> value_;
};

template <class A>
struct operation_of {
  static_assert(awaitable<A>, "not awaitable: pass a task, an operation or a result by value");
  using type = A;
};
template <class T>
struct operation_of<task<T>> {
  using type = task_operation<T>;
};
template <class T>
struct operation_of<result<T>> {
  using type = result_operation<T>;
};

/// The operation that stands for `A` inside a combinator.
template <class A>
using operation_for = typename operation_of<std::remove_cvref_t<A>>::type;

#if defined(__cpp_exceptions)
template <class T>
task<T> rethrows(void* exception) {
  result<void> nothing;
  co_await std::move(nothing);  // what makes it a coroutine
  rethrow_exception(exception);
}
#endif

/// The task that `function(args…)` gives.  A function that is no coroutine may throw instead: then
/// one that ends with the exception.
template <class T, class F, class... Args>
task<T> call_for_task(F& function, Args&... args) noexcept {
#if defined(__cpp_exceptions)
  try {
    return function(args...);
  } catch (...) {
    void* const exception = capture_exception();
    task<T> made = rethrows<T>(exception);
    if (!made) drop_exception(exception);
    return made;
  }
#else
  return function(args...);
#endif
}

}  // namespace detail

/// The type that `co_await A` gives.
template <class A>
using await_value = typename detail::operation_for<A>::value_type;

}  // namespace magpie
