#include <magpie/runtime/token_node.hpp>

namespace magpie::detail {

token_node::token_node(token_node* parent) noexcept : wait_source(&is_cancelled) {
  if (parent == nullptr) return;
  lock_scope guard(*parent);
  // Relaxed: the parent's state changes under its lock, and nobody knows this node yet.
  if (parent->state_.load(order::relaxed) != live) {
    state_.store(done, order::relaxed);
    return;
  }
  parent_ = parent;
  parent->add_reference();
  parent->children_.push_front(*this);
}

void token_node::release(token_node* node) noexcept {
  while (node != nullptr && node->references_.fetch_sub(1, order::acq_rel) == 1) {  // (R)
    token_node* const parent = node->parent_;
    if (parent != nullptr) {
      lock_scope guard(*parent);
      node->unlink();
    }
    free_node(*node);
    node = parent;  // and the reference that the child held
  }
}

/// One more reference unless there are none.  Under the parent's lock: the node is still there.
bool token_node::try_reference() noexcept {
  std::uint32_t count = references_.load(order::relaxed);
  do {
    if (count == 0) return false;  // it waits for the lock, to leave the list
    // Relaxed: the lock has published the node, and (R) orders its end.
  } while (!references_.compare_exchange_weak(count, count + 1, order::relaxed, order::relaxed));
  return true;
}

/// The first of `child` and its siblings behind that lives, with a reference; under the lock.
token_node* token_node::pin_from(token_node* child) noexcept {
  while (child != nullptr && !child->try_reference()) child = children_.next(*child);
  return child;
}

token_node* token_node::first_child() noexcept {
  lock_scope guard(*this);
  return pin_from(children_.front());
}

token_node* token_node::next_child(token_node& child) noexcept {
  lock_scope guard(*this);
  return pin_from(children_.next(child));
}

/// Cancels this node alone and posts its waiters.
void token_node::mark() noexcept {
  wake_chain woken;
  {
    lock_scope guard(*this);
    // Relaxed: it changes under the lock, but for `done`, which is no less.
    if (state_.load(order::relaxed) == live) state_.store(flagged, order::release);  // (A)
    take_all(woken);
  }
  woken.post();
}

/// Everything below is cancelled.
void token_node::leave() noexcept { state_.store(done, order::release); }  // (A)

void token_node::cancel() noexcept {
  if (state_.load(order::acquire) == done) return;  // (B)
  add_reference();
  for (token_node* at = this;;) {
    if (at->state_.load(order::acquire) != done) {  // (B)
      at->mark();
      if (token_node* const child = at->first_child()) {
        at = child;
        continue;
      }
    }
    // Nothing is left to do below: on to the next sibling, of this node or of one above.
    for (;;) {
      at->leave();
      if (at == this) {
        release(at);
        return;
      }
      token_node* const parent = at->parent_;
      token_node* const next = parent->next_child(*at);
      release(at);  // the parent is kept by the walk's own reference
      at = next != nullptr ? next : parent;
      if (next != nullptr) break;
    }
  }
}

}  // namespace magpie::detail
