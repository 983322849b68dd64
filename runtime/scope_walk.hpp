/// A way through a stop tree for an onlooker: one scope after the other, parents before children.
///
/// The scope that the walk is at is pinned, so it stays in the tree; its parents stay because it
/// does: a scope is closed after those below it.  Nothing else is held on to between two steps, so
/// the tree goes on changing.  A scope that was there before the walk began and is still there when
/// it is over was met, and none is met twice: children keep their order, and new ones come in front
/// of those that the walk has passed.
///
///     step       to its first child          to its next sibling         back to its parent
///     locks      its own, its parent's       its parent's                grandparent's, parent's
///     pins       the child, then not itself  the sibling and not itself  the parent, then not it
///
/// A worker that wants to close the pinned scope waits until the walk has gone on.  So between two
/// steps: no waiting, no user's code.  The onlooker alone (runtime_list.hpp).  Private header.
#pragma once

#include <magpie/runtime/stop_scope.hpp>

#include <cstddef>

namespace magpie::detail {

class scope_walk {
 public:
  /// Begins at `top`, which must stay alive by itself.
  explicit scope_walk(stop_scope& top) noexcept : top_(&top), at_(&top) {}
  scope_walk(const scope_walk&) = delete;
  scope_walk& operator=(const scope_walk&) = delete;
  ~scope_walk() {
    if (at_ != top_) unpin(*at_);
  }

  /// The next scope, or null when all have been met.
  stop_scope* next() noexcept {
    if (stop_scope* const child = at_->pin_first_child()) {
      if (at_ != top_) unpin(*at_);
      ++depth_;
      return at_ = child;
    }
    while (at_ != top_) {
      if (stop_scope* const sibling = pin_next(*at_)) return at_ = sibling;
      stop_scope& parent = *at_->parent_;
      if (&parent != top_) pin(parent);
      unpin(*at_);
      at_ = &parent;
      --depth_;
    }
    return nullptr;
  }

  /// Levels below the top.
  std::size_t depth() const noexcept { return depth_; }

 private:
  static void pin(stop_scope& scope) noexcept {
    lock_scope guard(scope.parent_->lock_);
    ++scope.pins_;
  }
  static void unpin(stop_scope& scope) noexcept {
    lock_scope guard(scope.parent_->lock_);
    --scope.pins_;
  }
  /// Moves the pin to the next sibling, if there is one.
  static stop_scope* pin_next(stop_scope& scope) noexcept {
    lock_scope guard(scope.parent_->lock_);
    stop_scope* const sibling = scope.next_;
    if (sibling == nullptr) return nullptr;
    ++sibling->pins_;
    --scope.pins_;
    return sibling;
  }

  stop_scope* top_;
  stop_scope* at_;
  std::size_t depth_ = 0;
};

}  // namespace magpie::detail
