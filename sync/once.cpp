#include <magpie/sync/once.hpp>

namespace magpie::sync::detail {

using magpie::detail::grant;
using magpie::detail::wake_chain;

bool once_core::try_take(once_entry& one) noexcept {
  std::uint8_t now = word_.load(order::acquire);  // (B)
  while (now == empty) {
    // (D), and (B) if it is done meanwhile.
    if (!word_.compare_exchange_weak(now, running, order::acquire, order::acquire)) continue;
    one.has_turn = true;
    one.is = grant::granted;
    return true;
  }
  if (now != done) return false;
  one.is = grant::granted;
  return true;
}

void once_core::offer(once_entry& one, wake_chain&) noexcept {
  for (;;) {
    if (try_take(one)) return;
    std::uint8_t now = running;
    // Relaxed: the mark publishes nothing, the list is under the lock.
    if (word_.compare_exchange_strong(now, running | waiting, order::relaxed, order::relaxed) ||
        now == (running | waiting))
      return;
  }
}

void once_core::finish() noexcept {
  wake_chain woken;
  std::uint8_t now = running;
  // (A).  The last access: whoever finds it done may destroy it.
  while (!word_.compare_exchange_strong(now, done, order::release, order::relaxed)) {
    const lock_scope guard(*this);
    while (auto* const one = static_cast<once_entry*>(first())) {
      one->is = grant::granted;
      take_out(*one, woken);
    }
    word_.store(running, order::relaxed);  // whoever lists itself marks it anew, under the lock
    now = running;
  }
  woken.post();
}

void once_core::hand_on() noexcept {
  std::uint8_t now = running;
  // (C).  The last access, as above.
  while (!word_.compare_exchange_strong(now, empty, order::release, order::relaxed)) {
    wake_chain woken;
    {
      const lock_scope guard(*this);
      if (auto* const one = static_cast<once_entry*>(first())) {
        one->is = grant::granted;
        one->has_turn = true;  // the lock, and the post, say what was done before
        take_out(*one, woken);
      } else {
        word_.store(running, order::relaxed);  // those who waited have gone
        now = running;
      }
    }
    if (woken.empty()) continue;
    woken.post();
    return;
  }
}

once_turn blocking_turn(once_core& of) noexcept {
  once_entry wanted;
  magpie::detail::blocking_grant(of, wanted);
  return once_turn(wanted.has_turn ? &of : nullptr);
}

}  // namespace magpie::sync::detail
