#include <magpie/runtime/stop_scope.hpp>

#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task_root.hpp>

namespace magpie {

bool stop_scope::enter(operation& op) noexcept {
  if (!linked_ && parent_ != nullptr) [[unlikely]]
    link();
  std::uintptr_t idle = 0;
  const auto entered = reinterpret_cast<std::uintptr_t>(&op);
  // (A) pairs with (B) in mark(): the canceller sees every field that was written before.
  if (word_.compare_exchange_strong(idle, entered, order::acq_rel, order::acquire)) return true;
  MAGPIE_ASSERT(idle == stopped_bit &&
                "two operations are pending in one task: share it out among tasks");
  return false;
}

bool stop_scope::mark() noexcept {
  std::uintptr_t word = word_.load(order::relaxed);
  std::uintptr_t marked;
  do {
    if ((word & stopped_bit) != 0) return false;
    marked = word | stopped_bit | ((word & ~bits) != 0 ? busy_bit : 0);
    // (B)
  } while (!word_.compare_exchange_weak(word, marked, order::acq_rel, order::relaxed));
  if ((word & ~bits) == 0) return true;
  auto* op = reinterpret_cast<operation*>(word & ~bits);
  op->cancel();
  const std::uintptr_t before = word_.fetch_and(~busy_bit, order::acq_rel);  // (D) pairs with (C)
  if ((before & ~(stopped_bit | busy_bit)) == 0) root_->post(*op);  // it left while we were busy
  return true;
}

operation* stop_scope::hold() noexcept {
  static_assert(alignof(operation) > bits);
  std::uintptr_t word = word_.load(order::relaxed);
  do {
    if ((word & ~bits) == 0) return nullptr;
    MAGPIE_DEBUG_ASSERT((word & held_bit) == 0);  // one onlooker at a time
    // (E) pairs with (A)
  } while (!word_.compare_exchange_weak(word, word | held_bit, order::acquire, order::relaxed));
  return reinterpret_cast<operation*>(word & ~bits);
}

void stop_scope::release(operation& held) noexcept {
  const std::uintptr_t before = word_.fetch_and(~held_bit, order::acq_rel);  // (F) with (C), (D)
  // It left meanwhile, and no canceller is left to post it.
  if ((before & ~(stopped_bit | held_bit)) == 0) root_->post(held);
}

void stop_scope::link() noexcept {
  for (stop_scope* scope = this; scope->parent_ != nullptr && !scope->linked_;
       scope = scope->parent_) {
    stop_scope* parent = scope->parent_;
    parent->lock_.lock();
    scope->next_ = parent->children_;
    if (scope->next_ != nullptr) scope->next_->previous_ = scope;
    parent->children_ = scope;
    scope->linked_ = true;
    // Acquire pairs with (B): who is refused by it sees what the stopper did before.  Below a shard
    // the root counts too, at which this scope, once it is linked, does not look any more.
    const bool stopped = parent->kind_ == kind::shard
                             ? parent->stop_requested()
                             : (parent->word_.load(order::acquire) & stopped_bit) != 0;
    parent->lock_.unlock();
    if (stopped && scope->kind_ != kind::shield) scope->request_stop();
  }
}

void stop_scope::unlink() noexcept {
  constexpr unsigned pauses_max = 64;
  for (unsigned pauses = 0;; ++pauses) {
    parent_->lock_.lock();
    if (pins_ == 0) break;
    parent_->lock_.unlock();  // a walk has us on its list; it does not wait for us
    if (pauses < pauses_max) {
      cpu_relax();
    } else {
      thread_yield();  // the walker may have been descheduled
    }
  }
  if (previous_ != nullptr) {
    previous_->next_ = next_;
  } else {
    parent_->children_ = next_;
  }
  if (next_ != nullptr) next_->previous_ = previous_;
  parent_->lock_.unlock();
}

stop_scope* stop_scope::pin_first_child() noexcept {
  lock_.lock();
  stop_scope* child = children_;
  if (child != nullptr) ++child->pins_;
  lock_.unlock();
  return child;
}

/// Moves the walk's pin from `child` to its next sibling; `keep` leaves a pin for the work list.
stop_scope* stop_scope::next_pinned(stop_scope* child, bool keep) noexcept {
  lock_.lock();
  stop_scope* next = child->next_;
  if (next != nullptr) ++next->pins_;
  if (!keep) --child->pins_;
  lock_.unlock();
  return next;
}

void stop_scope::request_stop() noexcept {
  if (!mark()) return;
  stop_scope* work = this;
  walk_next_ = nullptr;
  while (work != nullptr) {
    stop_scope* scope = work;
    work = scope->walk_next_;
    for (stop_scope* child = scope->pin_first_child(); child != nullptr;) {
      // A child that is marked already has had its own walk.
      const bool descend = child->kind_ != kind::shield && child->mark();
      stop_scope* next = scope->next_pinned(child, descend);
      if (descend) {
        child->walk_next_ = work;
        work = child;
      }
      child = next;
    }
    if (scope != this) {
      scope->parent_->lock_.lock();
      --scope->pins_;
      scope->parent_->lock_.unlock();
    }
  }
}

}  // namespace magpie
