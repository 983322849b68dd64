/// Stop scopes: the tree through which a stop request finds the operation it has to cancel.
///
/// Every chain of awaiting frames runs in one scope; `timeout`, a group and each spawned task open
/// a child.  A scope has at most one *current operation*: what its innermost frame is suspended
/// on.  A stop is a request: it marks the scope and everything below it, asks each current
/// operation to cancel, and returns.  The operations still complete, with what really happened.
///
/// One word per scope decides every race between entering, leaving and stopping an operation:
///
///     word = operation pointer | STOPPED | BUSY | HELD
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
/// HELD is the same for somebody who only looks (live_tasks.hpp): whoever leaves meanwhile gets
/// false, and the one of canceller and onlooker who is done last posts the operation.
///
///     state                leave()                hold()         release(), or canceller done
///     no operation         -                      refused        -
///     op | …               as above               -> op|HELD|…   -
///     op|HELD|…            -> HELD|…, false       (one at once)  -> op|…
///     HELD alone, or BUSY  -                      -              -> neither, posts op
///     HELD|BUSY            -                      -              -> the other one alone
///
/// Holding (E) is an acquire and pairs with (A): the onlooker sees the operation and the frames
/// that wait for it.  Its end (F) pairs with (C): its reads come before what the task does next;
/// and with (D), as each of the two may be the one who posts.
///
/// A scope's kind says what else is known of it.  The walk of a stop passes by a *shield*, which is
/// linked so that it can be listed, and nothing in it looks upwards for a stop.  A *shard* stands
/// beside others that the walk marks one after the other: who is below looks past it at the root,
/// which is marked before any of them, so that a task that ended by a stop in one shard cannot
/// spawn one in another that does not see it.
///
/// A scope is linked into its parent *lazily*, at its first operation: a task that never waits
/// never touches its parent.  Linking and the walk meet under the parent's spin lock: either the
/// walk sees the child, or the child sees the parent's STOPPED.  The walk pins a child while it
/// works on it, and the child's destructor waits for the pin; no lock is held while an operation
/// is cancelled.  An onlooker pins the same way; there is one at a time in the process.
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

namespace detail {
class scope_walk;
}

class stop_scope {
 public:
  enum class kind : std::uint8_t {
    plain,
    local,          ///< A `local_scope`; see task_local.hpp.
    shield,         ///< Out of reach of stops from above.
    group,          ///< A `group_scope`; see task_group.hpp.
    aside,          ///< Its operation waits beside the task's own chain of awaits.
    unconstrained,  ///< Code in it has no budget; see budget.hpp.
    shard,          ///< One of several equal parents of root tasks; see root_group.hpp.
  };

  /// A scope below `parent`; null for the root of a tree.
  stop_scope(stop_scope* parent, task_root& root, kind what = kind::plain) noexcept
      : parent_(parent), root_(&root), kind_(what) {}
  stop_scope(const stop_scope&) = delete;
  stop_scope& operator=(const stop_scope&) = delete;

  ~stop_scope() { close(); }

  /// Takes the scope out of the tree: what ran in it has ended.  It may still be marked by a late
  /// request_stop (an abort through a handle), which then finds nothing.  The scope's own task.
  void close() noexcept {
    MAGPIE_ASSERT((word_.load(order::relaxed) & ~stopped_bit) == 0 &&
                  "a frame was destroyed while an operation is pending in it");
    if (linked_) unlink();
    linked_ = false;
    parent_ = nullptr;
  }

  /// The task that this scope belongs to.
  task_root& root() const noexcept { return *root_; }
  stop_scope* parent() const noexcept { return parent_; }
  kind what() const noexcept { return kind_; }
  bool has_local() const noexcept { return kind_ == kind::local; }
  /// Code in it has no budget; see budget.hpp.
  bool is_unconstrained() const noexcept { return kind_ == kind::unconstrained; }

  /// True once this scope or one above it was stopped.  An unlinked scope looks upwards, as far as
  /// the first linked one, which the walk has marked if need be: no lock, and no linking for a task
  /// that never waits.
  bool stop_requested() const noexcept {
    for (const stop_scope* scope = this;; scope = scope->parent_) {
      // Acquire pairs with (B): what the stopper did before is visible.
      if ((scope->word_.load(order::acquire) & stopped_bit) != 0) return true;
      if (scope->parent_ == nullptr || scope->kind_ == kind::shield) return false;
      if (scope->linked_ && scope->kind_ != kind::shard) return false;
    }
  }

  /// Makes `op` the current operation; false when the scope is stopped, and then `op` must not
  /// begin.  After a true the operation may already be cancelled by another thread: publish it
  /// without touching it again, unless a lock keeps the canceller out.  Cost: one CAS.
  bool enter(operation& op) noexcept;

  /// Ends the current operation; false hands it to the canceller (see above).  Cost: one RMW.
  bool leave() noexcept {
    const std::uintptr_t before = word_.fetch_and(bits, order::acq_rel);  // (C)
    MAGPIE_DEBUG_ASSERT((before & ~bits) != 0);
    return (before & (busy_bit | held_bit)) == 0;
  }

  /// Keeps the current operation, which is returned, and the frames that wait for it, as they are
  /// until `release`; null when there is none.  The scope must be pinned.
  operation* hold() noexcept;
  void release(operation& held) noexcept;

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
  friend class detail::scope_walk;

  static constexpr std::uintptr_t stopped_bit = 1;
  static constexpr std::uintptr_t busy_bit = 2;
  static constexpr std::uintptr_t held_bit = 4;
  static constexpr std::uintptr_t bits = stopped_bit | busy_bit | held_bit;

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
  kind kind_;            ///< Never changes.
  /// By the one stop's walk that may pass and the one onlooker, each twice at most; under the
  /// parent's lock_.
  std::uint8_t pins_ = 0;
};

}  // namespace magpie
