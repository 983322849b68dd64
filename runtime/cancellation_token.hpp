/// `cancellation_token`: a flag that is raised once, for whoever holds a copy and for all below.
///
/// Stop scopes follow the awaits and need no tokens.  A token is for what does not follow them: a
/// shutdown that only some tasks care about, a request that several tasks of different origins work
/// on.  It does not stop anybody by itself; a task looks (`is_cancelled`), waits (`cancelled()`) or
/// puts a part of its work under it (`run_until_cancelled`).
///
/// Copies refer to the same token.  `child_token` makes one below: it is cancelled with its parent
/// and not the other way round.  Once cancelled a token stays so.  The tree and its state table are
/// in token_node.hpp.
///
/// A token whose memory could not be had, or that was moved from, is a cancelled one: work that
/// should have been cancellable does not begin.
///
/// Threads: `cancel`, `is_cancelled`, `child_token`, copies and their destruction on any thread,
/// with or without a runtime; one object as any other.  Waiting on workers.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/interrupted.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/token_node.hpp>
#include <magpie/runtime/wait_operation.hpp>
#include <magpie/util/errc.hpp>

#include <optional>
#include <type_traits>
#include <utility>

namespace magpie {

class cancellation_guard;

namespace detail {

struct token_trigger {
  explicit token_trigger(token_node* watched) noexcept : node(watched) {}
  token_trigger(token_trigger&& other) noexcept : node(other.node) {}

  bool arm(runnable& work, task_root& root) noexcept {
    entry.work = &work;
    entry.root = &root;
    return node->add(entry);
  }
  bool disarm() noexcept { return node->remove(entry); }

  token_node* node;
  wait_entry entry;
};

template <class A>
class until_cancelled_operation
    : public interrupted<until_cancelled_operation<A>, A, token_trigger> {
  using base = interrupted<until_cancelled_operation<A>, A, token_trigger>;
  using inner_value = typename A::value_type;
  static_assert(!std::is_reference_v<inner_value>,
                "give a pointer: there is no optional reference");

 public:
  using value_type = std::conditional_t<std::is_void_v<inner_value>, bool,
                                        std::optional<std::remove_cv_t<inner_value>>>;

  template <class Inner>
  until_cancelled_operation(Inner&& inner, token_node* node) noexcept
      : base(std::forward<Inner>(inner), token_trigger(node)) {}
  until_cancelled_operation(until_cancelled_operation&&) noexcept = default;

  bool try_complete(stop_scope& scope) {
    token_node* const node = this->trigger_.node;
    cancelled_ = node == nullptr || node->cancelled();
    if (!cancelled_) return this->inner_.try_complete(scope);
    return !scope.stop_requested() && spend_budget(this_context());
  }
  std::error_code failed() const noexcept { return cancelled_ ? no_error : this->inner_.failed(); }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    if (!cancelled_) {
      this->open_scope(scope);
      if (this->arm(to)) return this->start_inner();
      this->scope_.reset();
      cancelled_ = true;
    }
    // x is not started; the answer goes through the queue, where a stop is looked for.
    this->to_ = to;
    outer_ = &scope;
    this->run = &left_out;
    this_context().post_last(*this);
    return std::noop_coroutine();
  }

  result<value_type> take() {
    if (cancelled_) return value_type();
    auto ended = this->inner_.take();
    if (!ended) return std::unexpected(ended.error());
    if constexpr (std::is_void_v<inner_value>) {
      return true;
    } else {
      return value_type(*std::move(ended));
    }
  }

 private:
  friend base;

  std::error_code settle(std::error_code error, bool by_token) noexcept {
    cancelled_ = by_token;
    return by_token ? no_error : error;
  }

  static void left_out(runnable& work) noexcept {
    auto& self = static_cast<until_cancelled_operation&>(work);
    if (pass_gate(self.outer_->root(), self, &answered)) answered(self);
  }
  static void answered(runnable& work) noexcept {
    auto& self = static_cast<until_cancelled_operation&>(work);
    step next(self.to_, self.outer_->stop_requested() ? make_error_code(errc::stopped) : no_error);
    resume(deliver_on(next));
  }

  stop_scope* outer_ = nullptr;
  bool cancelled_ = false;
};

}  // namespace detail

class cancellation_token {
 public:
  /// A token of its own.  Cost: one pooled block, as for each child.
  cancellation_token() noexcept;
  cancellation_token(const cancellation_token& other) noexcept : node_(other.node_) {
    if (node_ != nullptr) node_->add_reference();
  }
  cancellation_token(cancellation_token&& other) noexcept
      : node_(std::exchange(other.node_, nullptr)) {}
  cancellation_token& operator=(cancellation_token other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  /// Cancels nothing.
  ~cancellation_token() { detail::token_node::release(node_); }

  /// Cancels this token and all below: each of them says so when this returns.  Whoever waits is
  /// put into a run queue; nobody is resumed here.  Idempotent.
  /// Threads: any.  Cost: walks the subtree, without recursion, with one short lock a node.
  void cancel() const noexcept {
    if (node_ != nullptr) node_->cancel();
  }

  /// True for good once this token or one above it was cancelled; then what the canceller did
  /// before is visible.
  bool is_cancelled() const noexcept { return node_ == nullptr || node_->cancelled(); }

  /// A token that is cancelled with this one.  That of a cancelled token is born cancelled.
  /// It keeps those above in memory: a chain of children is as long as the newest one is deep.
  cancellation_token child_token() const noexcept;

  /// Waits until the token is cancelled; completes at once if it is.  The token, or another handle
  /// of it, must outlive the wait.
  /// Errors: stopped.  Stop: ends the wait; nothing is consumed.
  /// Threads: any number of tasks may wait.  Cost: no allocation.
  detail::wait_operation cancelled() const noexcept { return detail::wait_operation(node_); }

  /// Runs `a` and stops it when the token is cancelled.  Gives `std::optional` of its value, empty
  /// if it was stopped by the token; a bool for an `a` without a value.  `a` is not started if the
  /// token is cancelled already.  A value of `a` is handed out whenever there is one, also if the
  /// token was cancelled meanwhile.  The token, or another handle of it, must outlive the call.
  /// Errors: those of `a`; stopped if the surrounding scope was stopped.  Stop: passed on to `a`.
  /// Cost: no allocation; a stop scope and an entry in the token's list, in the frame.
  template <class A>
  auto run_until_cancelled(A&& a) const noexcept {
    static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
    return detail::until_cancelled_operation<detail::operation_for<A>>(std::forward<A>(a), node_);
  }

  /// An object that cancels this token when it is destroyed.
  cancellation_guard drop_guard() const noexcept;

  /// Whether both are copies of one token.
  friend bool operator==(const cancellation_token&, const cancellation_token&) noexcept = default;

 private:
  explicit cancellation_token(detail::token_node* node) noexcept : node_(node) {}

  detail::token_node* node_;
};

/// Cancels its token at the end of its life, unless it was disarmed.
class [[nodiscard("without a name it cancels at once")]] cancellation_guard {
 public:
  explicit cancellation_guard(cancellation_token guarded) noexcept : token_(std::move(guarded)) {}
  cancellation_guard(cancellation_guard&&) noexcept = default;  // an empty token cancels nothing
  cancellation_guard& operator=(cancellation_guard&&) = delete;
  ~cancellation_guard() { token_.cancel(); }

  /// Gives the token back, uncancelled.
  cancellation_token disarm() noexcept { return std::move(token_); }

 private:
  cancellation_token token_;
};

inline cancellation_guard cancellation_token::drop_guard() const noexcept {
  return cancellation_guard(*this);
}

}  // namespace magpie
