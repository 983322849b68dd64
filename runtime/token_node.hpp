/// What a cancellation token refers to: a node of a tree, and those who wait for it.
///
/// Idea: a child holds a reference to its parent, so a node lives as long as a handle refers to it
/// or to one below it, and its place in the tree never changes.  When the handle of a node in the
/// middle is dropped nothing has to be moved: a cancel of the root still comes by.
///
///     state      a waiter joins  a child joins  a cancel comes         its walk leaves the node
///     live       is listed       is listed      -> flagged, wakes      -
///     flagged    is refused      is born done   goes on below, helping -> done
///     done       is refused      is born done   nothing                -
///
/// Joining and the step to `flagged` meet under the node's lock: either the walk finds the
/// waiter or the child, or these find the node flagged.  `done` says that everything below is
/// cancelled, so a cancel that finds it may return; one that finds `flagged` may not, because the
/// walk of the other may not have got there yet, and goes through the subtree itself.
///
/// The walk goes down to the first child, on to the next sibling, and up through the parents: no
/// recursion, no list, and several walks may be in one tree.  It holds a reference to each node on
/// its path; a node leaves its parent's list only when its last reference is gone, so the path and
/// the place in the list stay valid.  A child whose count is zero already is passed by.
///
/// Who waits is in the wait list (wait_list.hpp), whose source the node is; its lock is the node's.
///
/// (A) the stores of `flagged` and `done` release what the canceller did before, (B) the loads
/// acquire it.  (R) the countdown is acq_rel: who frees a node sees what the others did to it.
///
/// Threads: any, for everything; a caller holds a reference to the node.
#pragma once

#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/intrusive_list.hpp>

#include <cstdint>

namespace magpie::detail {

class token_node : public list_node, public wait_source {
 public:
  /// A node with one reference, below `parent` unless that is null or cancelled.
  explicit token_node(token_node* parent) noexcept;
  ~token_node() { MAGPIE_ASSERT(children_.empty()); }

  bool cancelled() const noexcept { return state_.load(order::acquire) != live; }  // (B)

  /// Cancels the node and everything below it; all are when it returns.  Idempotent.
  void cancel() noexcept;

  /// Relaxed: the caller's own reference keeps the node.
  void add_reference() noexcept { references_.fetch_add(1, order::relaxed); }
  /// Drops one reference, and with the last one the node and what it held above it.  Iterative.
  static void release(token_node* node) noexcept;

 private:
  // Numbers and no enumeration: the model checker prints them.
  static constexpr int live = 0;
  static constexpr int flagged = 1;
  static constexpr int done = 2;

  static bool is_cancelled(const wait_source& of) noexcept {
    return static_cast<const token_node&>(of).cancelled();
  }

  bool try_reference() noexcept;
  token_node* pin_from(token_node* child) noexcept;
  token_node* first_child() noexcept;
  token_node* next_child(token_node& child) noexcept;
  void mark() noexcept;
  void leave() noexcept;

  token_node* parent_ = nullptr;  ///< Never changes.
  intrusive_list<token_node> children_;
  atomic<std::uint32_t> references_{1};
  atomic<int> state_{live};
};

/// Ends a node without references and gives its memory back.
void free_node(token_node& node) noexcept;

}  // namespace magpie::detail
