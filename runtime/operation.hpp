/// What a frame is suspended on: the leaf of every await.
///
/// An operation is a runnable that knows where its outcome goes, which stop scope it runs in and
/// how it is asked to cancel.  It lives in the awaiting frame.  Before it starts it may be moved;
/// from `begin` on it is immovable, and it is destroyed only before it began or after it ended
/// (asserted): no frame dies under the kernel's hands.
///
/// Life:  new --begin()--> pending --(posted by whoever completes it)--> run() --end()--> done.
/// Exactly one party posts it: the reactor, a timer, a waker, or the one that cancelled it.  The
/// run function calls `end()` first; false means that a canceller is still using the operation and
/// will post it once more.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/continuation.hpp>
#include <magpie/runtime/run_gate.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/transfer.hpp>
#include <magpie/util/assert.hpp>

#include <cstdint>
#include <utility>

namespace magpie {

namespace detail {

/// The watchdog hears that an operation did not begin because of a stop; see watchdog.hpp.
void note_refusal(const task_root& root, continuation to) noexcept;

}  // namespace detail

class operation : public detail::gated_runnable {
 public:
  using cancel_function = void (*)(operation&) noexcept;

  operation(run_function runs, cancel_function cancels) noexcept
      : gated_runnable(runs), cancel_(cancels) {}

  operation(operation&& other) noexcept : gated_runnable(other.run), cancel_(other.cancel_) {
    MAGPIE_ASSERT(other.phase_ == phase::fresh);
  }
  operation& operator=(operation&&) = delete;

  /// Asks whatever works on the operation to give it back.  Called by the stop walk only, on any
  /// thread, while the scope is BUSY; must not resume anybody.
  void cancel() noexcept { cancel_(*this); }

  /// The scope that the operation runs in; set by `prepare`.
  stop_scope& scope() const noexcept { return *scope_; }

  /// Where the outcome will go: for who holds the operation in its scope.
  const detail::continuation& destination() const noexcept { return to_; }

 protected:
  ~operation() { MAGPIE_ASSERT(phase_ != phase::pending); }

  /// Notes where the outcome goes, and that the operation is a branch's or a pinned task's, if it
  /// is.  First thing of a start.
  void prepare(detail::continuation to, stop_scope& scope) noexcept {
    to_ = to;
    scope_ = &scope;
    if (scope.root().is_routed()) [[unlikely]]
      run = &detail::run_routed_operation;
  }

  /// Enters the scope: false when it is stopped, and the operation does not begin.
  bool begin() noexcept {
    phase_ = phase::pending;
    left_ = false;
    if (scope_->enter(*this)) return true;
    phase_ = phase::done;
    detail::note_refusal(scope_->root(), to_);
    return false;
  }

  /// Leaves the scope; false hands the operation to the canceller, who posts it again.
  bool end() noexcept {
    if (!left_) {
      left_ = true;
      if (!scope_->leave()) return false;
    }
    phase_ = phase::done;
    return true;
  }

  /// Where the outcome goes, for the run function that delivers it: what follows on this worker
  /// runs in the operation's scope.
  detail::continuation continuation() const noexcept {
    detail::context& here = detail::this_context();
    here.run_in(scope_);
    const task_root& root = scope_->root();
    here.note.set(root, to_.hook == nullptr ? static_cast<detail::promise_base*>(to_.target)->place
                                            : root.spawned);
    return to_;
  }

 private:
  enum class phase : std::uint8_t { fresh, pending, done };

  cancel_function cancel_;
  detail::continuation to_;
  stop_scope* scope_ = nullptr;
  phase phase_ = phase::fresh;
  bool left_ = false;
};

}  // namespace magpie
