/// `as_completed(range, body)`: the elements of a range in the order in which they finish.
///
///     co_await as_completed(std::move(fetches), [&](completions<page>& done) -> task<> {
///       for (;;) {
///         auto next = co_await done.next();
///         if (!next) break;  // all were handed out
///         show(next->index, next->value);
///       }
///     });
///
/// The elements and the body run by turns, in the awaiting task (see fork.hpp): no element outlives
/// the expression, whatever becomes of the body.  When the body ends, elements that still run are
/// stopped and awaited, and what was not handed out is dropped.
///
/// A finished element is linked into a list; `next` takes from there.  Everything happens under the
/// task's run gate but the cancelling of a waiting `next`, which may come from any thread: it and
/// the end of an element exchange one flag (C1), and who comes first ends the wait.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/range_fork.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/transfer.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>

namespace magpie {

/// An element that has finished: which one, and how.
template <class T>
struct completed {
  completed(std::size_t at, result<T>&& with) : index(at), value(std::move(with)) {}

  std::size_t index;  ///< Its place in the range.
  result<T> value;
};

namespace detail {

/// The part of a wait for the next element that does not depend on its type.
class next_completed_base : public operation {
 public:
  next_completed_base(next_completed_base&&) noexcept = default;

  /// The end of an element: true if it ends the wait, which is then to be run.
  bool claim() noexcept {
    // (C1) acq_rel: the canceller and the end of an element decide which of them ends the wait.
    return !claimed_.exchange(true, order::acq_rel);
  }

 protected:
  explicit next_completed_base(run_function woken) noexcept : operation(woken, &cancel_next) {}

  bool refused_ = false;
  bool cancelled_ = false;

 private:
  /// An atomic that moves with an operation that has not begun.
  struct flag : atomic<bool> {
    flag() noexcept : atomic<bool>(false) {}
    flag(flag&&) noexcept : flag() {}
  };

  static void cancel_next(operation& op) noexcept {
    auto& self = static_cast<next_completed_base&>(op);
    if (!self.claim()) return;  // an element ended the wait
    self.cancelled_ = true;
    self.scope().root().post(self);
  }

  flag claimed_;
};

/// The finished elements that were not handed out, and who waits for one.
class completion_list {
 public:
  explicit completion_list(std::size_t count) noexcept : left_(count) {}

  bool has_one() const noexcept { return first_ != nullptr; }
  /// Elements that were not handed out.
  std::size_t left() const noexcept { return left_; }

  void add(branch_base& ended, run_gate* gate) noexcept {
    ended.next_ended = nullptr;
    (first_ == nullptr ? first_ : last_->next_ended) = &ended;
    last_ = &ended;
    if (next_completed_base* const waiting = std::exchange(waiting_, nullptr);
        waiting != nullptr && waiting->claim())
      gate->put_last(*waiting);
  }
  branch_base* take() noexcept {
    branch_base* const taken = first_;
    if (taken == nullptr) return nullptr;
    first_ = taken->next_ended;
    --left_;
    return taken;
  }
  /// Puts back what was taken and not handed out.
  void give_back(branch_base& taken) noexcept {
    taken.next_ended = first_;
    if (first_ == nullptr) last_ = &taken;
    first_ = &taken;
    ++left_;
  }

  void wait(next_completed_base& op) noexcept {
    MAGPIE_ASSERT(waiting_ == nullptr && "two tasks await `next` of one as_completed");
    waiting_ = &op;
  }
  void forget(next_completed_base& op) noexcept {
    if (waiting_ == &op) waiting_ = nullptr;
  }

 private:
  branch_base* first_ = nullptr;
  branch_base* last_ = nullptr;
  next_completed_base* waiting_ = nullptr;
  std::size_t left_;
};

}  // namespace detail

/// What the body of an `as_completed` takes finished elements from.
template <class T>
class completions {
 public:
  class next_operation final : public detail::next_completed_base {
   public:
    using value_type = std::optional<completed<T>>;

    explicit next_operation(completions& from) noexcept
        : next_completed_base(&woken), from_(&from) {}
    next_operation(next_operation&& other) noexcept
        : next_completed_base(std::move(other)), from_(other.from_) {}
    ~next_operation() {
      if (taken_ != nullptr) from_->list_.give_back(*taken_);
    }

    bool try_complete(stop_scope& scope) noexcept {
      if (scope.stop_requested()) return false;
      if (!from_->ready() || !detail::spend_budget(detail::this_context())) return false;
      taken_ = from_->list_.take();
      return true;
    }
    std::error_code failed() const noexcept { return no_error; }

    std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
      prepare(to, scope);
      if (!begin()) {
        refused_ = true;  // a stopped await goes through the queue, never inline
        detail::this_context().post_last(*this);
      } else if (from_->ready()) {
        if (claim()) detail::this_context().post_last(*this);
      } else {
        from_->list_.wait(*this);
      }
      return std::noop_coroutine();
    }

    result<value_type> take() {
      detail::branch_base* const taken = std::exchange(taken_, nullptr);
      if (taken == nullptr) return value_type();
      return value_type(std::in_place, taken->index, from_->outcome_(*from_, taken->index));
    }

    bool has_exception() const noexcept { return taken_ != nullptr && taken_->threw; }

   private:
    static void woken(runnable& work) noexcept {
      auto& self = static_cast<next_operation&>(static_cast<operation&>(work));
      self.from_->list_.forget(self);
      if (!self.refused_ && !self.end()) return;
      if (self.refused_ || self.cancelled_) {
        detail::resume(detail::deliver_error(self.continuation(), errc::stopped));
        return;
      }
      self.taken_ = self.from_->list_.take();
      detail::resume(detail::deliver(self.continuation()));
    }

    completions* from_;
    detail::branch_base* taken_ = nullptr;
  };

  completions(const completions&) = delete;
  completions& operator=(const completions&) = delete;

  /// The next element that finishes; empty once all were handed out.  An element's exception is
  /// rethrown here.
  /// Errors: stopped, the body's own.  Stop: no element is taken.
  /// Threads: the body's task, one `next` at a time.  Cost: no allocation.
  next_operation next() noexcept { return next_operation(*this); }

  /// Elements that were not handed out yet.
  std::size_t left() const noexcept { return list_.left(); }

 protected:
  using outcome_function = result<T> (*)(completions& self, std::size_t i);
  completions(std::size_t count, outcome_function outcome) noexcept
      : list_(count), outcome_(outcome) {}
  ~completions() = default;

  detail::completion_list list_;

 private:
  bool ready() const noexcept { return list_.has_one() || list_.left() == 0; }

  outcome_function outcome_;
};

namespace detail {

/// The elements, and the body as one more branch.
template <class A, class F, class B>
class as_completed_operation final : public range_fork<A>,
                                     public completions<typename A::value_type> {
  using fork = range_fork<A>;
  using list = completions<typename A::value_type>;

 public:
  using value_type = B;

  template <class R>
  as_completed_operation(R&& range, F function)
      : fork(ends_on::body, fork_order::strict, std::forward<R>(range), 1),
        list(fork::size(), &outcome),
        function_(std::move(function)) {}
  as_completed_operation(as_completed_operation&& other) noexcept
      : fork(std::move(other)),
        list(fork::size(), &outcome),
        function_(std::move(other.function_)) {}

  result<B> take() { return body_->take(); }

 private:
  bool is_body(std::size_t i) const noexcept { return i == fork::size(); }

  branch_base& at(std::size_t i) noexcept override {
    return is_body(i) ? body_branch_ : fork::at(i);
  }
  bool try_branch(std::size_t i, stop_scope& scope, std::error_code& error) noexcept override {
    return !is_body(i) && fork::try_branch(i, scope, error);
  }
  bool is_leaf(std::size_t i) const noexcept override { return !is_body(i) && fork::is_leaf(i); }
  std::coroutine_handle<> start_branch(std::size_t i, continuation to,
                                       stop_scope& scope) noexcept override {
    if (!is_body(i)) return fork::start_branch(i, to, scope);
    body_.emplace(call_for_task<B>(function_, static_cast<list&>(*this)));
    return body_->start(to, scope);
  }
  bool close_branch(std::size_t i) noexcept override {
    return is_body(i) ? close_operation(*body_) : fork::close_branch(i);
  }
  void branch_ended(std::size_t i) noexcept override {
    if (is_body(i)) return;
    branch_base& ended = fork::at(i);
    ended.index = i;
    this->list_.add(ended, this->gate());
  }
  static result<typename A::value_type> outcome(list& self, std::size_t i) {
    return static_cast<as_completed_operation&>(self).outcome_of(i);
  }

  F function_;
  branch_base body_branch_;
  std::optional<task_operation<B>> body_;
};

template <class T>
struct task_result;
template <class T>
struct task_result<task<T>> {
  using type = T;
};

}  // namespace detail

/// Runs the elements of `range`, and `body(completions)`, which takes them in the order in which
/// they finish; gives the body's value.  An element's failure stops nobody: it is a `result`.
/// Errors: the body's, and not_enough_memory.
/// Stop: passed on to every element and to the body.
/// Cost: one block for all elements, and the body's frame.
/// `body` must be a named callable moved in, or a closure without owning captures ([&] is fine):
/// GCC 12 would destroy others twice.
template <class R, class F>
  requires detail::branch_range<R>
auto as_completed(R&& range, F&& body) {
  using function = std::remove_cvref_t<F>;
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<function>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  using element = detail::branch_of<R>;
  using made = std::invoke_result_t<function&, completions<typename element::value_type>&>;
  using value = typename detail::task_result<made>::type;
  return detail::as_completed_operation<element, function, value>(std::forward<R>(range),
                                                                  std::forward<F>(body));
}

}  // namespace magpie
