/// Clean-up that waits: `finally(x, cleanup)` and `with_cleanup`.
///
/// Destructors cannot wait, and an error runs destructors only.  What has to suspend while it
/// cleans up is said beforehand and runs when the body has ended, however that was: by a value, an
/// error, an exception or a stop.
///
///     co_await with_cleanup([&](cleanup_stack& on_exit) -> task<> {
///       auto door = co_await open(house);
///       on_exit.push(close(door));
///       …
///     });
///
/// Rules.  The body's frame is destroyed first, so a clean-up may borrow what outlives the whole
/// expression, and what it is given by value.  Clean-ups run one after the other, the last one
/// first, each under a shield of its own (shielded.hpp): a stop does not reach it, and it has
/// `cleanup_time_default`.  A clean-up that fails does not keep the others from running.  Then the
/// body's outcome goes on.  The body's error or exception comes first: what clean-ups failed with
/// is logged.  If the body had a value, the first failure of a clean-up is the outcome, the value
/// is dropped, and later failures are logged.
///
/// Everything here belongs to one task: no threads meet.
#pragma once

#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/errc.hpp>

#include <concepts>
#include <optional>
#include <type_traits>

namespace magpie {

struct error_trace;

namespace detail {

/// How a body and its clean-ups have ended so far; the part without a type.
class cleanup_outcome {
 public:
  cleanup_outcome() noexcept = default;
  cleanup_outcome(const cleanup_outcome&) = delete;
  cleanup_outcome& operator=(const cleanup_outcome&) = delete;
  ~cleanup_outcome();

  /// The body has ended; keeps its trace from those of the clean-ups.
  void body_ended(std::error_code error, bool traced, void* exception, task_root& root) noexcept;

  /// A clean-up has ended with an error or an exception, which this takes over.
  void cleanup_failed(std::error_code error, void* exception, task_root& root) noexcept;

  /// For a hook: the outcome goes on to `to`.
  std::coroutine_handle<> go_on(step& next, continuation to, task_root& root) noexcept;

  bool has_exception() const noexcept { return exception_ != nullptr; }

  /// The exception that the outcome is, or null.
  void rethrow() {
    if (exception_ != nullptr) [[unlikely]]
      rethrow_exception(std::exchange(exception_, nullptr));
  }

 private:
  bool failed() const noexcept { return error_ || exception_ != nullptr; }

  std::error_code error_;
  void* exception_ = nullptr;
  error_trace* trace_ = nullptr;
  bool traced_ = false;
};

/// Takes the outcome of `a`, which has ended without an error; gives the exception, if it was one.
template <class A>
void* take_into(A& a, std::optional<result<typename A::value_type>>& value) noexcept {
#if defined(__cpp_exceptions)
  try {
    value.emplace(a.take());
  } catch (...) {
    return capture_exception();
  }
#else
  value.emplace(a.take());
#endif
  return nullptr;
}

/// The awaitable behind `finally`.
template <class A, class C>
class finally_operation : public boundary {
 public:
  using value_type = typename A::value_type;

  template <class Inner, class Cleanup>
  finally_operation(Inner&& inner, Cleanup&& cleanup) noexcept
      : inner_(std::forward<Inner>(inner)), cleanup_(shielded(std::forward<Cleanup>(cleanup))) {}
  finally_operation(finally_operation&& other) noexcept
      : inner_(std::move(other.inner_)), cleanup_(std::move(other.cleanup_)) {
    MAGPIE_ASSERT(other.outer_ == nullptr);
  }

  bool try_complete(stop_scope& scope) {
    ended_inline_ = inner_.try_complete(scope);
    return false;
  }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    to_ = to;
    outer_ = &scope;
    if (!ended_inline_) return inner_.start({this, &body_arrived}, scope);
    step next({this, &body_arrived}, inner_.failed());
    return deliver_on(next);
  }

  result<value_type> take() {
    ended_.rethrow();
    return *std::move(value_);
  }

  bool has_exception() const noexcept { return ended_.has_exception(); }

 private:
  using shielded_cleanup = shield_operation<timeout_operation<C>>;

  static std::coroutine_handle<> body_arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<finally_operation>(target);
    const bool traced = next.traced;
    destroy_abandoned(next.abandoned);
    void* exception = next.error ? nullptr : take_into(self.inner_, self.value_);
    self.ended_.body_ended(next.error, traced, exception, self.outer_->root());
    // What completes at once does so in this loop, and not in a delivery of its own.
    if (!self.cleanup_.try_complete(*self.outer_))
      return self.cleanup_.start({&self, &cleanup_arrived}, *self.outer_);
    next.go_on({&self, &cleanup_arrived}, self.cleanup_.failed());
    next.traced = false;
    return nullptr;
  }

  static std::coroutine_handle<> cleanup_arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<finally_operation>(target);
    task_root& root = self.outer_->root();
    destroy_abandoned(next.abandoned);
    std::optional<result<typename C::value_type>> dropped;
    void* exception = next.error ? nullptr : take_into(self.cleanup_, dropped);
    if (next.error || exception != nullptr) [[unlikely]]
      self.ended_.cleanup_failed(next.error, exception, root);
    return self.ended_.go_on(next, self.to_, root);
  }

  A inner_;
  shielded_cleanup cleanup_;
  stop_scope* outer_ = nullptr;
  std::optional<result<value_type>> value_;
  cleanup_outcome ended_;
  bool ended_inline_ = false;
};

template <class F, class T>
class cleanup_operation;

}  // namespace detail

/// The clean-ups that a body has asked for; see `with_cleanup`.
class cleanup_stack {
 public:
  cleanup_stack() noexcept = default;
  cleanup_stack(const cleanup_stack&) = delete;
  cleanup_stack& operator=(const cleanup_stack&) = delete;
  /// What was not run is destroyed unstarted.
  ~cleanup_stack();

  /// Runs `cleanup` when the body has ended, before those that were pushed earlier.  A clean-up
  /// may push further ones, which run next.
  /// Errors: none here; when memory runs out, which takes the frame of `cleanup` or this entry, it
  /// counts as a clean-up that failed with not_enough_memory.
  /// Threads: the body's task.  Cost: one pooled block.
  void push(task<> cleanup) noexcept;

  /// The same for the task that `function(args…)` makes, keeping both alive.
  template <class F, class... Args>
    requires std::invocable<F&, Args...>
  void push(F function, Args... args) noexcept {
    push(detail::call_and_keep<void, F, Args...>(std::move(function), std::move(args)...));
  }

  std::size_t size() const noexcept { return size_; }

 private:
  template <class, class>
  friend class detail::cleanup_operation;

  struct entry {
    explicit entry(task<>&& cleanup, entry* under) noexcept
        : work(std::move(cleanup)), below(under) {}
    task<> work;
    entry* below;
  };

  /// The newest clean-up; the stack must not be empty.
  task<> pop() noexcept;

  entry* top_ = nullptr;
  std::size_t size_ = 0;
  bool out_of_memory_ = false;
};

namespace detail {

/// The awaitable behind `with_cleanup`.
template <class F, class T>
class cleanup_operation : public boundary {
 public:
  using value_type = T;

  explicit cleanup_operation(F function) noexcept : function_(std::move(function)) {}
  cleanup_operation(cleanup_operation&& other) noexcept : function_(std::move(other.function_)) {
    MAGPIE_ASSERT(!other.body_);
  }

  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    to_ = to;
    outer_ = &scope;
    body_.emplace(call_for_task<T>(function_, stack_));
    return body_->start({this, &body_arrived}, scope);
  }

  result<T> take() {
    ended_.rethrow();
    return *std::move(value_);
  }

  bool has_exception() const noexcept { return ended_.has_exception(); }

 private:
  static std::coroutine_handle<> body_arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<cleanup_operation>(target);
    destroy_abandoned(next.abandoned);
    void* exception = next.error ? nullptr : take_into(*self.body_, self.value_);
    self.ended_.body_ended(next.error, next.traced, exception, self.outer_->root());
    return self.clean_up(next);
  }

  /// Starts the next clean-up, or hands the outcome on.
  std::coroutine_handle<> clean_up(step& next) noexcept {
    running_.reset();
    if (stack_.top_ == nullptr) {
      if (stack_.out_of_memory_) [[unlikely]]
        ended_.cleanup_failed(std::make_error_code(std::errc::not_enough_memory), nullptr,
                              outer_->root());
      return ended_.go_on(next, to_, outer_->root());
    }
    running_.emplace(shielded(stack_.pop()));
    static_cast<void>(running_->try_complete(*outer_));  // a task never does
    return running_->start({this, &cleanup_arrived}, *outer_);
  }

  static std::coroutine_handle<> cleanup_arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<cleanup_operation>(target);
    destroy_abandoned(next.abandoned);
    std::optional<result<void>> dropped;
    void* exception = next.error ? nullptr : take_into(*self.running_, dropped);
    if (next.error || exception != nullptr) [[unlikely]]
      self.ended_.cleanup_failed(next.error, exception, self.outer_->root());
    return self.clean_up(next);
  }

  F function_;
  stop_scope* outer_ = nullptr;
  cleanup_stack stack_;
  std::optional<task_operation<T>> body_;
  std::optional<shield_operation<timeout_operation<task_operation<void>>>> running_;
  std::optional<result<T>> value_;
  cleanup_outcome ended_;
};

}  // namespace detail

/// Runs `a`, then `cleanup` under a shield, and goes on with the outcome of `a`.  `cleanup` is a
/// task or an operation that has not begun; its value is dropped.  `shielded(d, …)` around it gives
/// it another time than `cleanup_time_default`.
/// Errors: those of `a`; if it had a value, that of `cleanup`, or deadline.
/// Stop: stops `a` and not `cleanup`.  Cost: that of `shielded`; no allocation.
template <class A, class C>
auto finally(A&& a, C&& cleanup) noexcept {
  static_assert(!std::is_lvalue_reference_v<A> && !std::is_lvalue_reference_v<C>,
                "move the tasks or operations in");
  return detail::finally_operation<detail::operation_for<A>, detail::operation_for<C>>(
      std::forward<A>(a), std::forward<C>(cleanup));
}

/// Runs `body(stack)`, then what it has pushed onto the stack, newest first; gives the body's
/// value.
/// Errors: those of the body; if it had a value, the first of a clean-up, or deadline.
/// Stop: stops the body and no clean-up.  Cost: one pooled block for each clean-up, one timer and
/// two stop scopes while it runs.
/// `body` must be a named callable moved in, or a closure without owning captures ([&] is fine):
/// GCC 12 would destroy others twice.
template <class F>
auto with_cleanup(F&& body) noexcept {
  using function = std::remove_cvref_t<F>;
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<function>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  using value = typename detail::task_value<std::invoke_result_t<function&, cleanup_stack&>>::type;
  return detail::cleanup_operation<function, value>(std::forward<F>(body));
}

}  // namespace magpie
