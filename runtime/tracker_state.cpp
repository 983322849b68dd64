#include <magpie/runtime/tracker_state.hpp>

#include <magpie/runtime/runnable.hpp>
#include <magpie/runtime/task_root.hpp>

namespace magpie::detail {

void tracker_state::untrack() noexcept {
  std::uint64_t now = word_.load(order::relaxed);  // the exchange decides
  for (;;) {
    MAGPIE_DEBUG_ASSERT(tokens_in(now) != 0);
    const bool last = tokens_in(now) == 1;
    const std::uint64_t next = now - one_token + (last ? one_holder : 0);
    // (E1) acq_rel: the last one, who may free the block, sees what the others wrote.
    if (!word_.compare_exchange_weak(now, next, order::acq_rel, order::relaxed)) continue;
    if (!last) return;
    if (is_end(next)) wake();
    release(this);
    return;
  }
}

void tracker_state::close() noexcept {
  const std::uint64_t before = word_.fetch_or(closed, order::release);  // (E1)
  if (tokens_in(before) == 0) wake();
}

bool tracker_state::remove(tracker_waiter& waiter) noexcept {
  lock_scope guard(lock_);
  if (!waiter.linked()) return false;
  waiter.unlink();
  return true;
}

/// Posts everybody who waits now.
void tracker_state::wake() noexcept {
  tracker_waiter* first = nullptr;
  lock_.lock();
  while (tracker_waiter* const waiter = waiters_.pop_back()) {
    waiter->next_woken = first;
    first = waiter;
  }
  lock_.unlock();
  while (first != nullptr) {
    tracker_waiter* const waiter = first;
    first = waiter->next_woken;  // once it is posted it may be gone
    waiter->root->post(*waiter->work);
  }
}

void tracker_state::release(tracker_state* state) noexcept {
  if (state == nullptr) return;
  const std::uint64_t before = state->word_.fetch_sub(one_holder, order::acq_rel);  // (H)
  if ((before & ~closed) == one_holder) state->frees_(*state);
}

}  // namespace magpie::detail
