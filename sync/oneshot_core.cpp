#include <magpie/sync/oneshot_core.hpp>

#include <magpie/util/assert.hpp>

namespace magpie::sync::detail {

using magpie::detail::grant;
using magpie::detail::wait_entry;
using magpie::detail::wake_chain;

oneshot_core& oneshot_core::none() noexcept {
  // Nobody ever waits in it: every look finds it ended and closed.
  struct closed_core final : oneshot_core {
    closed_core() noexcept : oneshot_core(ended | closed | sender_gone | receiver_gone) {}
  };
  static closed_core instance;
  return instance;
}

void oneshot_core::offer(oneshot_entry& one, wake_chain&) noexcept {
  std::uint32_t now = word_.load(order::acquire);  // (B)
  for (;;) {
    one.is = look(now, one.end);
    if (one.is != grant::waiting || (now & waiting) != 0) return;
    // The mark publishes nothing: the list is under the lock.  Acquire for what it fails by: (B).
    if (word_.compare_exchange_weak(now, now | waiting, order::acquire, order::acquire)) return;
  }
}

/// Adds `state` and tells those who wait for it: one at each end at most.  Under the lock, as every
/// change of what is looked at once somebody has waited.
void oneshot_core::change_in_line(std::uint32_t state, wake_chain& woken) noexcept {
  const std::uint32_t now = word_.fetch_or(state, order::release) | state;  // (A), if it is SENT
  for (wait_entry* const each : {first(), last()}) {
    auto* const one = static_cast<oneshot_entry*>(each);
    if (one == nullptr || !one->linked()) continue;
    one->is = look(now, one->end);
    if (one->is != grant::waiting) take_out(*one, woken);
  }
}

oneshot_sent oneshot_core::publish() noexcept {
  std::uint32_t now = word_.load(order::relaxed);  // the exchange decides
  while ((now & waiting) == 0) {
    if ((now & closed) != 0) return oneshot_sent::no;
    // (A) with (B), and (R).  The last access: the block is the receiver's from here on.
    if (word_.compare_exchange_weak(now, now | sent | sender_gone, order::release, order::relaxed))
      return oneshot_sent::yes;
  }
  wake_chain woken;
  {
    lock_scope guard(*this);
    for (const wait_entry* const each : {first(), last()})
      MAGPIE_ASSERT((each == nullptr ||
                     static_cast<const oneshot_entry*>(each)->end == oneshot_end::receiver) &&
                    "sends while it awaits `closed`");
    // Relaxed: it changes under the lock.
    if ((word_.load(order::relaxed) & closed) != 0) return oneshot_sent::no;
    change_in_line(sent, woken);
  }
  woken.post();
  return let_go(sender_gone) ? oneshot_sent::yes_and_last : oneshot_sent::yes;
}

bool oneshot_core::let_go(std::uint32_t gone) noexcept {
  constexpr std::uint32_t both = sender_gone | receiver_gone;
  return ((word_.fetch_or(gone, order::acq_rel) | gone) & both) == both;  // (R)
}

bool oneshot_core::end_with(std::uint32_t state, std::uint32_t gone) noexcept {
  constexpr std::uint32_t both = sender_gone | receiver_gone;
  std::uint32_t now = word_.load(order::relaxed);  // the exchange decides
  while ((now & waiting) == 0) {
    // (R), and the last access of who goes.
    const std::uint32_t next = now | state | gone;
    if (word_.compare_exchange_weak(now, next, order::acq_rel, order::relaxed))
      return gone != 0 && (next & both) == both;
  }
  wake_chain woken;
  {
    lock_scope guard(*this);
    change_in_line(state, woken);
  }
  woken.post();
  return gone != 0 && let_go(gone);
}

}  // namespace magpie::sync::detail
