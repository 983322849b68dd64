#include <magpie/sync/broadcast_core.hpp>

#include <utility>

namespace magpie::sync::detail {

using magpie::detail::wake_chain;

std::size_t broadcast_core::publish(value_block* next, value_block*& before) noexcept {
  wake_chain woken;
  std::size_t wanted;
  {
    const lock_scope guard(*this);
    wanted = receivers();  // it changes under the lock
    if (wanted == 0) return 0;
    broadcast_slot& slot = slot_at(position_here());
    before = std::exchange(slot.block, next);
    slot.wanted = wanted;
    advance(woken);
  }
  woken.post();
  return wanted;
}

value_block* broadcast_core::take(std::uint64_t& position, std::uint64_t& missed) noexcept {
  const lock_scope guard(*this);
  const std::uint64_t end = position_here();
  missed = 0;
  if (position == end) return nullptr;
  if (end - position > size_) {
    missed = end - size_ - position;
    position = end - size_;
  }
  broadcast_slot& slot = slot_at(position++);
  if (--slot.wanted == 0) return std::exchange(slot.block, nullptr);
  slot.block->add_reference();
  return slot.block;
}

std::uint64_t broadcast_core::add_receiver() noexcept {
  add_end();
  const lock_scope guard(*this);
  abandonment().add_receiver();
  return position_here();
}

bool broadcast_core::end_receiver(std::uint64_t position) noexcept {
  bool last;
  {
    const lock_scope guard(*this);
    if (position != position_here()) return false;
    last = abandonment().drop_receiver();
  }
  if (last) abandonment().wake();
  return true;
}

}  // namespace magpie::sync::detail
