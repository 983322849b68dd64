/// Between the standard's stop tokens and stop scopes, both ways.
///
/// `stopped_by(token, x)` stops x when an `std::stop_token` is.  `with_stop_token(f)` gives code
/// that knows only `std::stop_token` one that follows the scope in which it is awaited: a loop on
/// the blocking pool, a library's call.
///
/// The second is an operation that never completes by itself, in a scope beside that of x: the stop
/// walk cancels it, which stops the token, and x's end takes it out of its scope.  If the walk is
/// at work with it at that moment it is BUSY (stop_scope.hpp), and the walk posts it: then that
/// second run goes on.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/interrupted.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/errc.hpp>

#include <concepts>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace magpie {
namespace detail {

class stop_token_trigger {
 public:
  explicit stop_token_trigger(std::stop_token watched) noexcept : token(std::move(watched)) {}
  stop_token_trigger(stop_token_trigger&& other) noexcept : token(std::move(other.token)) {}

  bool arm(runnable& work, task_root& root) noexcept {
    work_ = &work;
    root_ = &root;
    callback_.emplace(token, poster(*this));  // may post at once, on this thread
    return true;
  }
  /// The callback's end happens before that of its destructor, which waits for one on another
  /// thread: it only posts.
  bool disarm() noexcept {
    callback_.reset();
    return !posted_;
  }

  std::stop_token token;

 private:
  struct poster {
    explicit poster(stop_token_trigger& in) noexcept : trigger(&in) {}
    void operator()() const noexcept {
      trigger->posted_ = true;
      trigger->root_->post(*trigger->work_);
    }
    stop_token_trigger* trigger;
  };

  runnable* work_ = nullptr;
  task_root* root_ = nullptr;
  bool posted_ = false;
  std::optional<std::stop_callback<poster>> callback_;
};

template <class A>
class stopped_by_operation : public interrupted<stopped_by_operation<A>, A, stop_token_trigger> {
  using base = interrupted<stopped_by_operation<A>, A, stop_token_trigger>;

 public:
  using value_type = typename A::value_type;

  template <class Inner>
  stopped_by_operation(Inner&& inner, std::stop_token token) noexcept
      : base(std::forward<Inner>(inner), stop_token_trigger(std::move(token))) {}
  stopped_by_operation(stopped_by_operation&&) noexcept = default;

  bool try_complete(stop_scope& outer) {
    stop_scope& scope = this->open_scope(outer);
    if (this->trigger_.token.stop_requested()) scope.request_stop();
    return this->inner_.try_complete(scope);
  }
  std::error_code failed() const noexcept { return this->inner_.failed(); }

  std::coroutine_handle<> start(continuation to, stop_scope& outer) noexcept {
    stop_scope& scope = this->open_scope(outer);  // anew: `outer` may be another now
    if (this->trigger_.token.stop_requested()) scope.request_stop();
    this->arm(to);
    return this->start_inner();
  }

  result<value_type> take() { return this->inner_.take(); }

 private:
  friend base;

  std::error_code settle(std::error_code error, bool) const noexcept { return error; }
};

/// Stops a source when its scope is stopped.
class scope_follower : public operation {
 public:
  scope_follower() noexcept : operation(&released, &follow) {}

  std::stop_token token() const noexcept { return source_.get_token(); }

  /// `to` goes on when `finish` had to leave the follower to the walk.
  void start(detail::continuation to, stop_scope& outer) noexcept {
    scope_.emplace(&outer, outer.root(), stop_scope::kind::aside);
    prepare(to, *scope_);
    begun_ = begin();
    if (!begun_) source_.request_stop();
  }
  /// False: the walk is at work with it, and will post it.
  bool finish() noexcept {
    if (begun_ && !end()) return false;
    scope_.reset();
    return true;
  }

 private:
  static void follow(operation& op) noexcept {
    static_cast<scope_follower&>(op).source_.request_stop();
  }
  static void released(runnable& work) noexcept {
    auto& self = static_cast<scope_follower&>(static_cast<operation&>(work));
    static_cast<void>(self.end());
    self.scope_.reset();
    resume(deliver(self.continuation()));
  }

  std::stop_source source_;
  std::optional<stop_scope> scope_;
  bool begun_ = false;
};

template <class F, class A>
class with_stop_token_operation : public boundary {
 public:
  using value_type = typename A::value_type;

  explicit with_stop_token_operation(F function) noexcept : function_(std::move(function)) {}
  with_stop_token_operation(with_stop_token_operation&& other) noexcept
      : function_(std::move(other.function_)) {
    MAGPIE_ASSERT(!other.inner_);
  }

  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(continuation to, stop_scope& outer) noexcept {
    to_ = to;
    follower_.emplace();
    follower_->start({this, &released}, outer);
    inner_.emplace(function_(follower_->token()));
    if (!inner_->try_complete(outer)) return inner_->start({this, &arrived}, outer);
    step next({this, &arrived}, inner_->failed());
    return deliver_on(next);
  }

  result<value_type> take() { return inner_->take(); }

  bool has_exception() const noexcept { return inner_ && ended_with_exception(*inner_); }

 private:
  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<with_stop_token_operation>(target);
    self.error_ = next.error;
    self.traced_ = next.traced;
    destroy_abandoned(next.abandoned);
    if (!self.follower_->finish()) return std::noop_coroutine();
    return next.go_on(self.to_, self.error_);
  }
  static std::coroutine_handle<> released(void* target, step& next) noexcept {
    auto& self = boundary::from<with_stop_token_operation>(target);
    next.traced = self.traced_;
    return next.go_on(self.to_, self.error_);
  }

  F function_;
  std::optional<scope_follower> follower_;
  std::optional<A> inner_;
  std::error_code error_;
  bool traced_ = false;
};

}  // namespace detail

/// Gives what `a` gives, and stops it when `token` is stopped; then it ends with `stopped`, unless
/// it says otherwise.  If the token is stopped already, the first operation of `a` is stopped.
/// Errors: those of `a`.  Stop: passed on to `a`.
/// Threads: the token may be stopped on any thread, which then only posts.
/// Cost: a stop scope and a callback in the frame, no allocation.
template <class A>
auto stopped_by(std::stop_token token, A&& a) noexcept {
  static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
  return detail::stopped_by_operation<detail::operation_for<A>>(std::forward<A>(a),
                                                                std::move(token));
}

/// Awaits what `function(token)` makes, a task or an operation.  `token`, an `std::stop_token`, is
/// stopped when the surrounding scope is.
/// Errors and stop: those of what `function` makes; its operations are stopped as well.
/// Callbacks that are registered with the token run on the thread that stops the scope, in the
/// middle of that: they must be short and must not wait for a task.
/// Cost: the standard's stop state, one allocation; a stop scope in the frame.
/// `function` must not throw itself (what it makes may), and must be named, or a closure without
/// owning captures: GCC 12 would destroy others twice.
template <class F>
auto with_stop_token(F&& function) noexcept {
  using callable = std::remove_cvref_t<F>;
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<callable>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  using inner = detail::operation_for<std::invoke_result_t<callable&, std::stop_token>>;
  return detail::with_stop_token_operation<callable, inner>(std::forward<F>(function));
}

}  // namespace magpie
