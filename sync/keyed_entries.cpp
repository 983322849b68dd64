#include <magpie/sync/keyed_entries.hpp>

#include <magpie/util/assert.hpp>

#include <bit>

namespace magpie::sync::detail {

void keyed_shard::set_bound(std::size_t entries_max) {
  MAGPIE_ASSERT(size_ == 0 && entries_max != 0);
  size_max_ = entries_max;
  chains_.assign(std::bit_ceil(entries_max), nullptr);
}

bool keyed_shard::add(keyed_entry& one, keyed_entry*& forgotten) noexcept {
  for (int looks = 0; looks != looks_max; ++looks) {
    keyed_entry* const old = left_.front();
    if (old == nullptr) break;
    if (old->limiter.is_full()) {
      take_out(*old);
      old->next = forgotten;
      forgotten = old;
      break;
    }
    old->unlink();
    left_.push_back(*old);
  }
  if (size_ == size_max_) return false;
  keyed_entry** const chain = chain_of(one.hash);
  one.next = *chain;
  *chain = &one;
  one.pins = 1;
  ++size_;
  return true;
}

void keyed_shard::unpin(keyed_entry& one) noexcept {
  MAGPIE_DEBUG_ASSERT(one.pins != 0);
  if (--one.pins == 0) left_.push_back(one);
}

keyed_entry* keyed_shard::take_any() noexcept {
  keyed_entry* const one = left_.front();
  if (one != nullptr) take_out(*one);
  return one;
}

void keyed_shard::take_out(keyed_entry& one) noexcept {
  keyed_entry** at = chain_of(one.hash);
  while (*at != &one) at = &(*at)->next;
  *at = one.next;
  one.next = nullptr;
  one.unlink();
  --size_;
}

}  // namespace magpie::sync::detail
