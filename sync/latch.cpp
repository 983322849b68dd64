#include <magpie/sync/latch.hpp>

#include <magpie/util/assert.hpp>

namespace magpie::sync {

void detail::latch_source::count_down(std::size_t count) noexcept {
  std::size_t now = left_.load(order::relaxed);  // the exchange decides
  while (now > count) {
    // (A) with (B).  The last access: whoever counts the rest may let it be destroyed.
    if (left_.compare_exchange_weak(now, now - count, order::release, order::relaxed)) return;
  }
  magpie::detail::wake_chain woken;
  {
    lock_scope guard(*this);
    now = left_.load(order::acquire);  // (B)
    MAGPIE_ASSERT(now == count && "more things than the latch was made for");
    left_.store(0, order::relaxed);  // the lock publishes it, with what the others did
    take_all(woken);
  }
  woken.post();
}

}  // namespace magpie::sync
