/// What `select`, `join`, `race` and their kind have in common: a fork of one task into branches.
///
/// Each branch runs in a stop scope of its own, below that of the awaiting frame.  Branches are
/// looked at one after the other, from a chosen one on: what completes at once ends there and then;
/// what waits lets the next one start.  A branch that *decides* (see `ends_on`) stops those that
/// run, and those that have not started never do.  When the last one has ended the fork goes on
/// with the awaiting frame: no branch outlives it.
///
///     branch      looked at            its outcome arrives      the fork is decided
///     off         skipped              -                        -
///     fresh       ended, or running    -                        stays fresh
///     running     -                    ended                    its scope is stopped
///     ended       -                    -                        -
///
/// The branches never run in parallel with each other: everything here happens under the task's run
/// gate (run_gate.hpp), which the outermost fork opens, so there is not one atomic.
///
/// Nothing recurses: `start` returns the first branch, and as long as branches are left to start
/// the fork lies in front of the gate's work.  If its branch waits the worker's loop comes back for
/// it; if its branch ends at once it goes on from the hook.
///
/// A failure's abandoned frames are destroyed before siblings are stopped.  The error that will be
/// the fork's keeps its trace, which the siblings' `stopped` would overwrite.
#pragma once

#include <magpie/runtime/continuation.hpp>
#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/run_gate.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

namespace magpie::detail {

class fork_base;

/// A branch without its operation.
struct branch_base : boundary {
  enum class phase : std::uint8_t { off, fresh, running, ended };

  branch_base() noexcept = default;
  branch_base(branch_base&& other) noexcept : at(other.at) { MAGPIE_ASSERT(!other.scope); }

  bool ended() const noexcept { return at == phase::ended; }
  bool has_value() const noexcept { return ended() && !error; }

  fork_base* fork = nullptr;
  std::optional<stop_scope> scope;
  std::error_code error;
  std::size_t index = 0;
  branch_base* next_ended = nullptr;  ///< For `as_completed`.
  phase at = phase::fresh;
  bool looked_at = false;  ///< `try_complete` was called.
  bool threw = false;      ///< It ended with a user's exception.
};

/// What decides a fork.  A user's exception decides every one but the last; `take` rethrows it.
enum class ends_on : std::uint8_t {
  value,          ///< The first value; without any, the fork fails with the first error.
  value_or_none,  ///< The first value; without any, the fork ends well all the same.
  failure,        ///< The first error, which is the fork's.
  nothing,        ///< It ends with its last branch.
  body,           ///< The end of the last branch, whose outcome is the fork's.
};

/// In which order branches are looked at.
enum class fork_order : std::uint8_t {
  random,  ///< From one that chance picks; all are asked before the first is started.
  biased,  ///< From the first; none is started as long as one before it may complete at once.
  strict,  ///< From the first; each is started before the next is asked.
};

/// An operation has ended: its frame goes; true when it ended with a user's exception.
template <class A>
bool close_operation(A& a) noexcept {
  if constexpr (requires { a.destroy_frame(); }) a.destroy_frame();
  return ended_with_exception(a);
}

/// A leaf's `try_complete` says whether it can complete at once; a task's does not.
template <class A>
inline constexpr bool is_leaf_operation = std::is_base_of_v<operation, A>;

class fork_base : gated_runnable {
 public:
  fork_base(const fork_base&) = delete;
  fork_base& operator=(const fork_base&) = delete;

  bool try_complete(stop_scope& scope) noexcept;
  std::error_code failed() const noexcept { return error_; }
  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept;

  /// For forks around this one: a branch ended with an exception, which `take` rethrows.
  bool has_exception() const noexcept { return threw_ != none; }

 protected:
  static constexpr std::size_t none = ~std::size_t{0};

  fork_base(ends_on decides, fork_order from, std::size_t count) noexcept
      : gated_runnable(&resume_starting), count_(count), decides_(decides), order_(from) {}
  fork_base(fork_base&& other) noexcept
      : gated_runnable(&resume_starting),
        count_(std::exchange(other.count_, 0)),
        error_(other.error_),
        decides_(other.decides_),
        order_(other.order_) {
    MAGPIE_ASSERT(other.outer_ == nullptr);  // not while it runs
  }
  ~fork_base();

  // ---- what the kinds of forks say ----

  virtual branch_base& at(std::size_t i) noexcept = 0;
  /// `try_complete` of the branch's operation; on true, its error.
  virtual bool try_branch(std::size_t i, stop_scope& scope, std::error_code& error) noexcept = 0;
  /// False when a branch that could not complete at once may do so when it is started.
  virtual bool is_leaf(std::size_t i) const noexcept = 0;
  virtual std::coroutine_handle<> start_branch(std::size_t i, continuation to,
                                               stop_scope& scope) noexcept = 0;
  /// The branch has ended: lets its frame go; true if it ended with a user's exception.
  virtual bool close_branch(std::size_t i) noexcept = 0;
  /// The branch has ended, and the fork knows.
  virtual void branch_ended(std::size_t) noexcept {}

  // ---- what they may use ----

  std::size_t count() const noexcept { return count_; }
  bool decided() const noexcept { return decided_; }
  /// The first branch that ended with a value; an exception counts as one.
  std::size_t winner() const noexcept { return winner_; }
  /// The first branch that ended with a user's exception.
  std::size_t threw() const noexcept { return threw_; }
  /// The fork fails before it begins.
  void fail_with(std::error_code error) noexcept {
    error_ = error;
    position_ = count_;
  }
  task_root& root() const noexcept { return outer_->root(); }
  /// The task's gate; null before the start.
  run_gate* gate() const noexcept { return outer_ == nullptr ? nullptr : root().gate(); }

 private:
  void choose_order() noexcept;
  std::size_t in_order(std::size_t position) const noexcept {
    const std::size_t i = first_ + position;
    return i < count_ ? i : i - count_;
  }
  void note_end(std::size_t i, bool traced) noexcept;
  void fail_with_that_of(std::size_t i, bool traced) noexcept;
  void decide() noexcept;
  std::coroutine_handle<> start_next(step& next) noexcept;
  std::coroutine_handle<> finish(step& next) noexcept;

  static std::coroutine_handle<> arrived(void* target, step& next) noexcept;
  static void resume_starting(runnable& work) noexcept;

  continuation to_;
  stop_scope* outer_ = nullptr;
  run_gate own_gate_;
  std::size_t count_;
  std::size_t first_ = none;
  std::size_t position_ = 0;  ///< Branches that have been looked at by the start.
  std::size_t running_ = 0;
  std::size_t winner_ = none;
  std::size_t threw_ = none;
  std::error_code error_;
  error_trace* trace_ = nullptr;  ///< Of `error_`.
  ends_on decides_;
  fork_order order_;
  bool decided_ = false;
  bool waits_to_start_ = false;  ///< In front of the gate's work.
  bool opened_ = false;          ///< The gate is ours.
};

/// A fork into a fixed number of branches, each of its own type.
template <class... As>
class static_fork : public fork_base {
 public:
  static constexpr std::size_t size = sizeof...(As);

 protected:
  template <class... Args>
  explicit static_fork(ends_on decides, fork_order from, Args&&... args) noexcept
      : fork_base(decides, from, size), operations_(std::forward<Args>(args)...) {}
  static_fork(static_fork&&) noexcept = default;
  ~static_fork() = default;

  branch_base& at(std::size_t i) noexcept final { return branches_[i]; }
  bool try_branch(std::size_t i, stop_scope& scope, std::error_code& error) noexcept final {
    return visit(i, [&](auto& a) {
      if (!a.try_complete(scope)) return false;
      error = a.failed();
      return true;
    });
  }
  bool is_leaf(std::size_t i) const noexcept final {
    constexpr bool leaves[] = {is_leaf_operation<As>...};
    return leaves[i];
  }
  std::coroutine_handle<> start_branch(std::size_t i, continuation to,
                                       stop_scope& scope) noexcept final {
    return visit(i, [&](auto& a) { return a.start(to, scope); });
  }
  bool close_branch(std::size_t i) noexcept final {
    return visit(i, [](auto& a) { return close_operation(a); });
  }

  template <std::size_t I>
  auto& get() noexcept {
    return std::get<I>(operations_);
  }

  /// `f(operation)` of branch `i`.
  template <std::size_t I = 0, class F>
  auto visit(std::size_t i, F&& f) {
    if constexpr (I + 1 < size) {
      if (i != I) return visit<I + 1>(i, std::forward<F>(f));
    }
    return std::forward<F>(f)(std::get<I>(operations_));
  }

  /// Rethrows the exception of the branch that threw first, if one did.
  void rethrow() {
    if (this->threw() != none) visit(this->threw(), [](auto& a) { static_cast<void>(a.take()); });
  }

 private:
  std::tuple<As...> operations_;
  std::array<branch_base, size> branches_;
};

}  // namespace magpie::detail
