#include <magpie/runtime/tracker_state.hpp>

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

void tracker_state::release(tracker_state* state) noexcept {
  if (state == nullptr) return;
  const std::uint64_t before = state->word_.fetch_sub(one_holder, order::acq_rel);  // (H)
  if ((before & ~closed) == one_holder) state->frees_(*state);
}

}  // namespace magpie::detail
