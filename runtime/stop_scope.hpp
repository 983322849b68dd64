/// Stop scopes: the tree through which a stop request finds the operation it has to cancel.
///
/// Every chain of awaiting frames runs in one scope; `timeout`, a group and each spawned task open
/// a child.  A scope has at most one *current operation*: what its innermost frame is suspended
/// on.  A stop is a request: it marks the scope and everything below it, asks each current
/// operation to cancel, and returns.  The operations still complete, with what really happened.
///
/// One word per scope decides every race between entering, leaving and stopping an operation:
///
///     word = operation pointer | STOPPED | BUSY
///
///     state            enter(op)  leave()                 request_stop()      canceller done
///     idle             -> op      -                       -> STOPPED          -
///     op               (bug)      -> idle, true           -> op|STOPPED|BUSY  -
///     STOPPED          refused    -                       nothing             -
///     op|STOPPED       (bug)      -> STOPPED, true        nothing             -
///     op|STOPPED|BUSY  (bug)      -> STOPPED|BUSY, false  nothing             -> op|STOPPED
///     STOPPED|BUSY     (bug)      -                       nothing             -> STOPPED, posts op
///
/// BUSY means that a canceller is using the operation.  Whoever leaves meanwhile gets false and
/// must not touch the operation again: the canceller posts it when it is done, and its second run
/// goes on.  Each transition is one read-modify-write, acquire-release: enter (A) makes the
/// operation's fields visible to the canceller's mark (B); leave (C) makes the completion visible
/// to the canceller's end (D), and D makes the canceller's writes visible to the second run.
///
/// A scope is linked into its parent *lazily*, at its first operation: a task that never waits
/// never touches its parent.  Linking and the walk meet under the parent's spin lock: either the
/// walk sees the child, or the child sees the parent's STOPPED.  The walk pins a child while it
/// works on it, and the child's destructor waits for the pin; no lock is held while an operation
/// is cancelled.
///
/// Threads: enter, leave, stop_requested, link and destruction by the task that runs in the scope
/// (one thread at a time); request_stop from any thread that knows the scope to be alive.
#pragma once

#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstdint>

namespace magpie {

class operation;
struct task_root;

/// What a scope is besides: the `local_scope` of a task local, or one of code without a budget.
enum class scope_kind : std::uint8_t { plain, with_local, unconstrained };

class stop_scope {
 public:
  /// A scope below `parent`; null for the root of a tree.
  stop_scope(stop_scope* parent, task_root& root, scope_kind kind = scope_kind::plain) noexcept
      : parent_(parent), root_(&root), kind_(kind) {}
  stop_scope(const stop_scope&) = delete;
  stop_scope& operator=(const stop_scope&) = delete;

  ~stop_scope() { close(); }

  /// Takes the scope out of the tree: what ran in it has ended.  It may still be marked by a late
  /// request_stop (an abort through a handle), which then finds nothing.  The scope's own task.
  void close() noexcept {
    MAGPIE_ASSERT((word_.load(order::relaxed) & ~stopped_bit) == 0);  // no operation pending
    if (linked_) unlink();
    linked_ = false;
    parent_ = nullptr;
  }

  /// The task that this scope belongs to.
  task_root& root() const noexcept { return *root_; }
  stop_scope* parent() const noexcept { return parent_; }
  /// It is a `local_scope`; see task_local.hpp.
  bool has_local() const noexcept { return kind_ == scope_kind::with_local; }
  /// Code in it has no budget; see budget.hpp.
  bool is_unconstrained() const noexcept { return kind_ == scope_kind::unconstrained; }

  /// True once this scope or one above it was stopped.  An unlinked scope looks upwards, as far as
  /// the first linked one, which the walk has marked if need be: no lock, and no linking for a task
  /// that never waits.
  bool stop_requested() const noexcept {
    for (const stop_scope* scope = this;; scope = scope->parent_) {
      // Acquire pairs with (B): what the stopper did before is visible.
      if ((scope->word_.load(order::acquire) & stopped_bit) != 0) return true;
      if (scope->linked_ || scope->parent_ == nullptr) return false;
    }
  }

  /// Makes `op` the current operation; false when the scope is stopped, and then `op` must not
  /// begin.  After a true the operation may already be cancelled by another thread: publish it
  /// without touching it again, unless a lock keeps the canceller out.  Cost: one CAS.
  bool enter(operation& op) noexcept;

  /// Ends the current operation; false hands it to the canceller (see above).  Cost: one RMW.
  bool leave() noexcept {
    const std::uintptr_t before = word_.fetch_and(stopped_bit | busy_bit, order::acq_rel);  // (C)
    MAGPIE_DEBUG_ASSERT((before & ~(stopped_bit | busy_bit)) != 0);
    return (before & busy_bit) == 0;
  }

  /// Stops this scope and everything below it.  Idempotent, iterative, resumes nobody inline.
  void request_stop() noexcept;

  /// Calls `visitor(context, root)` for each linked child, under the lock: keep it short.
  void visit_children(void (*visitor)(void*, task_root&), void* context) noexcept {
    lock_scope guard(lock_);
    for (stop_scope* child = children_; child != nullptr; child = child->next_)
      visitor(context, *child->root_);
  }

  /// Links the scope (and those above) into the tree, so that a stop can reach it.
  void link() noexcept;

 private:
  static constexpr std::uintptr_t stopped_bit = 1;
  static constexpr std::uintptr_t busy_bit = 2;

  bool mark() noexcept;
  void unlink() noexcept;
  stop_scope* pin_first_child() noexcept;
  stop_scope* next_pinned(stop_scope* child, bool keep) noexcept;

  atomic<std::uintptr_t> word_{0};
  stop_scope* parent_;
  task_root* root_;
  // Guarded by the parent's lock_.
  stop_scope* next_ = nullptr;
  stop_scope* previous_ = nullptr;
  // Guarded by this lock_.
  stop_scope* children_ = nullptr;
  stop_scope* walk_next_ = nullptr;  ///< The walk's work list; owned by the walker that marked us.
  spin_lock lock_;
  bool linked_ = false;  ///< Written by the scope's own task only.
  scope_kind kind_;      ///< Never changes.
  std::uint8_t pins_ =
      0;  ///< By the one walk that may pass, twice at most; under the parent's lock_.
};

}  // namespace magpie
