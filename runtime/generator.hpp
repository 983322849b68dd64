/// `generator<T>`: a coroutine that gives many values, one for each `next`.
///
///     generator<line> lines(tcp_stream& from) {
///       for (;;) {
///         …
///         co_await from.read(buffer);        // waits, and fails, as a task does
///         co_yield std::move(found);
///       }
///     }
///
///     auto all = lines(peer);
///     for (;;) {
///       auto one = co_await all.next();
///       if (!one) break;                     // it has ended
///       use(*one);
///     }
///
/// Its frame lives from the call to the end of the generator.  Between two values it is suspended
/// at its `co_yield` and runs in no task; `next` resumes it, in the stop scope of whoever awaits
/// that, by symmetric transfer, and a `co_yield` transfers back.  So each `next` may come from
/// another scope or task, and nothing is allocated for a value.
///
/// The generator object is the owner of the frame, as an awaiter is that of a task's: an error that
/// climbs through the frame destroys it, and the object knows then that there is none any more.
///
///     state      next                           co_yield    the body ends     an error climbs
///     suspended  -> running                     -           -                 -
///     running    (one at a time)                -> has one  -> ended          -> ended
///     has one    gives it, -> suspended         -           -                 -
///     ended      gives nothing                  -           -                 -
///
/// A value is moved when it is taken.  One that is not (`next` was a branch whose value was
/// dropped) stays in the frame, for the `next` that follows.
///
/// Threads: one task at a time, which may be another for each `next`.
#pragma once

#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/outcome.hpp>
#include <magpie/runtime/promise.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/assert.hpp>

#include <coroutine>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie {

template <class T>
class generator;

namespace detail {

template <class T>
struct generator_promise;

/// Where the frame's outcome goes: the frame's owner, and what it has given.
template <class T>
struct generator_state : frame_owner {
  generator_promise<T>& promise() const noexcept {
    return std::coroutine_handle<generator_promise<T>>::from_address(child.address()).promise();
  }
  bool has_outcome() const noexcept { return value != nullptr || ended || !child; }

  T* value = nullptr;         ///< In the frame, until it is taken.
  void* exception = nullptr;  ///< Of the body, until it is taken.
  std::error_code error;      ///< To be told once: a `failure` that was thrown, or no memory.
  bool ended = false;         ///< The body has.
};

/// Suspends the body with a value for whoever awaits `next`.
template <class T>
class yield_await {
 public:
  explicit yield_await(T& value) noexcept : value_(__builtin_addressof(value)) {}

  bool await_ready() const noexcept { return false; }
  transfer await_suspend(std::coroutine_handle<generator_promise<T>> frame) noexcept {
    auto& state = static_cast<generator_state<T>&>(*frame.promise().owner);
    state.value = value_;
    return transfer_to(deliver(state.to));
  }
  void await_resume() const noexcept {}

 private:
  T* value_;
};

/// The same with a copy.
template <class T>
class yield_copy_await {
 public:
  explicit yield_copy_await(const T& value) : copy_(value) {}

  bool await_ready() const noexcept { return false; }
  transfer await_suspend(std::coroutine_handle<generator_promise<T>> frame) noexcept {
    return yield_await<T>(copy_).await_suspend(frame);
  }
  void await_resume() const noexcept {}

 private:
  T copy_;
};

template <class T>
struct generator_end {
  bool await_ready() const noexcept { return false; }
  transfer await_suspend(std::coroutine_handle<generator_promise<T>> frame) noexcept {
    auto& state = static_cast<generator_state<T>&>(*frame.promise().owner);
    if (state.error) [[unlikely]]
      return transfer_to(raise(frame.promise(), std::exchange(state.error, {})));
    state.ended = true;
    return transfer_to(deliver(state.to));
  }
  void await_resume() const noexcept {}
};

/// Awaits as the promise of a task does, and yields.
template <class T>
struct generator_promise : promise_common<void> {
  static generator<T> get_return_object_on_allocation_failure() noexcept {
    return generator<T>(nullptr);
  }
  generator<T> get_return_object() noexcept {
    return generator<T>(std::coroutine_handle<generator_promise>::from_promise(*this));
  }
  generator_end<T> final_suspend() const noexcept { return {}; }

  yield_await<T> yield_value(T&& value) noexcept { return yield_await<T>(value); }
  yield_copy_await<T> yield_value(const T& value)
    requires std::is_copy_constructible_v<T>
  {
    return yield_copy_await<T>(value);
  }
  void return_void() const noexcept {}

  void unhandled_exception() noexcept {
#if defined(__cpp_exceptions)
    auto& state = static_cast<generator_state<T>&>(*this->owner);
    try {
      throw;
    } catch (const failure& raised) {
      state.error = raised.code;
    } catch (...) {
      state.exception = capture_exception();
    }
#endif
  }
};

/// `generator::next`.
template <class T>
class generator_next final : public boundary {
 public:
  using value_type = std::optional<T>;

  explicit generator_next(generator_state<T>& of) noexcept : of_(&of) {}
  generator_next(generator_next&& other) noexcept : of_(other.of_) {
    MAGPIE_ASSERT(!other.turn_);  // it has not begun
  }

  /// It is an operation: it spends budget, and does not begin when the scope is stopped.
  bool try_complete(stop_scope& scope) noexcept {
    looked_ = true;
    may_begin_ = !scope.stop_requested() && spend_budget(this_context());
    return may_begin_ && look();
  }
  std::error_code failed() const noexcept { return error_; }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    to_ = to;
    scope_ = &scope;
    if (!looked_ && try_complete(scope)) return error_ ? deliver_error(to, error_) : deliver(to);
    if (may_begin_) return go_on();
    return turn_.emplace().start({this, &arrived}, scope);
  }

  bool has_exception() const noexcept { return of_->exception != nullptr; }

  result<value_type> take() {
    if (of_->value != nullptr)
      return value_type(std::in_place, std::move(*std::exchange(of_->value, nullptr)));
    if (of_->child) std::exchange(of_->child, nullptr).destroy();
    if (of_->exception != nullptr) [[unlikely]]
      rethrow_exception(std::exchange(of_->exception, nullptr));
    return value_type();
  }

 private:
  /// Resumes the body, whose outcome goes where ours does.
  std::coroutine_handle<> go_on() noexcept {
    of_->to = to_;
    generator_promise<T>& frame = of_->promise();
    frame.owner = of_;
    frame.scope = scope_;
    context& here = this_context();
    here.run_in(scope_);
    here.note.begin(scope_->root());
    return of_->child;
  }

  /// It has waited for its turn.
  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<generator_next>(target);
    if (next.error) return next.go_on(self.to_, next.error);
    if (self.look()) return next.go_on(self.to_, self.error_);
    return self.go_on();
  }

  /// Whether the outcome is there without the body.
  bool look() noexcept {
    if (!of_->has_outcome()) return false;
    if (!of_->child) error_ = std::exchange(of_->error, {});
    return true;
  }

  generator_state<T>* of_;
  stop_scope* scope_ = nullptr;
  std::optional<yield_operation> turn_;
  std::error_code error_;
  bool looked_ = false;
  bool may_begin_ = false;
};

}  // namespace detail

/// A coroutine that awaits what a task may await, and yields values.  It begins with the first
/// `next`.  Destroyed between two values, or before the first, it destroys its frame.
template <class T>
class [[nodiscard("a generator does nothing until its next is awaited")]] generator
    : detail::generator_state<T> {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>, "yield values, or pointers");

 public:
  using promise_type = detail::generator_promise<T>;
  using value_type = T;

  /// Not while a `next` is being awaited, neither the move nor the end.
  generator(generator&& other) noexcept { swap(other); }
  generator& operator=(generator other) noexcept {
    swap(other);
    return *this;
  }
  ~generator() {
    if (this->child) detail::destroy_unstarted(this->promise());
    if (this->exception != nullptr) detail::drop_exception(this->exception);
  }

  /// Runs the body up to its next `co_yield` and gives that value; empty when the body has ended,
  /// and ever after.  The generator must stay where it is meanwhile.
  /// Errors: what the body raises, once, and then it has ended; stopped; not_enough_memory, once,
  /// if there was none for the frame.  An exception of the body is rethrown, once.
  /// Stop: the body is unwound, as a task is, and the generator has ended: what its locals held is
  /// lost.  One that comes before `next` begins leaves the generator as it is.
  /// Threads: one task at a time.  Cost: two transfers; no allocation.
  detail::generator_next<T> next() noexcept { return detail::generator_next<T>(*this); }

 private:
  friend promise_type;

  explicit generator(std::coroutine_handle<promise_type> frame) noexcept {
    this->child = frame;
    if (!frame) this->error = std::make_error_code(std::errc::not_enough_memory);
  }

  void swap(generator& other) noexcept {
    std::swap(this->child, other.child);
    std::swap(this->value, other.value);
    std::swap(this->exception, other.exception);
    std::swap(this->ended, other.ended);
    std::swap(this->error, other.error);
  }
};

}  // namespace magpie
