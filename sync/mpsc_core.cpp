#include <magpie/sync/mpsc_core.hpp>

#include <magpie/runtime/frame_pool.hpp>

#include <cstdint>
#include <new>

namespace magpie::sync::detail {

using magpie::detail::grant;
using magpie::detail::wake_chain;

// ---- memory -------------------------------------------------------------------------------------

void* allocate_lines(std::size_t bytes) noexcept {
  void* const memory = frame_allocate(bytes + cache_line_size);
  if (memory == nullptr) return nullptr;
  // The pool aligns as malloc does: there is room for a pointer before the line.
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t line = (at + cache_line_size) & ~(std::uintptr_t{cache_line_size} - 1);
  static_assert(alignof(std::max_align_t) >= sizeof(void*));
  reinterpret_cast<void**>(line)[-1] = memory;
  return reinterpret_cast<void*>(line);
}

void free_lines(void* memory, std::size_t bytes) noexcept {
  frame_free(static_cast<void**>(memory)[-1], bytes + cache_line_size);
}

mpsc_block* mpsc_core::new_block() noexcept {
  void* const memory = allocate_lines(block_bytes_);
  return memory != nullptr ? ::new (memory) mpsc_block(slots_) : nullptr;
}

void mpsc_core::free_block(mpsc_block* one) noexcept {
  one->~mpsc_block();
  free_lines(one, block_bytes_);
}

mpsc_core::mpsc_core(std::size_t capacity, unsigned slots, std::size_t block_bytes) noexcept
    : slots_(slots),
      capacity_(capacity),
      block_bytes_(block_bytes),
      life_(one_sender | the_receiver),
      room(*this, capacity) {
  MAGPIE_ASSERT(slots >= 1 && slots <= mpsc_block::slots_max);
}

bool mpsc_core::make_blocks() noexcept {
  // One slot more than the capacity, at least: the message that a receiver has been given and has
  // not taken keeps its slot, but not its permit.
  const std::size_t count = bounded() ? capacity_ / slots_ + 1 : 1;
  mpsc_block* last = nullptr;
  for (std::size_t i = 0; i != count; ++i) {
    mpsc_block* const one = new_block();
    if (one == nullptr) return false;
    if (last == nullptr) {
      head_block_ = one;
    } else {
      last->next = one;
    }
    if (bounded()) one->next = head_block_;
    last = one;
  }
  tail_.store(word_of(head_block_), order::relaxed);  // nobody else is there yet
  return true;
}

mpsc_core::~mpsc_core() {
  free_passed();
  mpsc_block* const first = head_block_;
  mpsc_block* one = first;
  while (one != nullptr) {
    mpsc_block* const next = one->next;
    free_block(one);
    one = next != first ? next : nullptr;
  }
}

mpsc_core& mpsc_core::none() noexcept {
  struct closed_core final : mpsc_core {
    closed_core() noexcept : mpsc_core(1, 1, 0) {
      head_block_ = &block;
      life_.store(0, order::relaxed);  // nobody will ever send
      room.close();
    }
    ~closed_core() { head_block_ = nullptr; }
    mpsc_block block{1};
  };
  static closed_core instance;
  return instance;
}

// ---- senders ------------------------------------------------------------------------------------

/// `now` is closed, or has the last slot of its block to claim.
mpsc_core::claimed mpsc_core::claim_last(place& at, std::uintptr_t now) noexcept {
  if ((now & closed_bit) != 0) return claimed::closed;
  at = place_of(now);
  // A new block comes before the claim, which could not be taken back.
  mpsc_block* next = nullptr;
  if (bounded()) {
    next = at.block->next;
  } else {
    next = new_block();
  }
  if (next == nullptr) return claimed::no_memory;
  // (C) releases the new block's states, and acquires those of the old one.
  if (!tail_.compare_exchange_strong(now, word_of(next), order::acq_rel, order::relaxed)) {
    if (!bounded()) free_block(next);
    return claimed::again;
  }
  filled_.fetch_add(1, order::relaxed);
  if (!bounded()) at.block->next = next;  // (A) publishes it
  return claimed::yes;
}

void mpsc_core::wake_receivers() noexcept {
  wake_chain woken;
  {
    lock_scope guard(*this);
    if (auto* const one = static_cast<inbox_entry*>(first())) {
      offer(*one, woken);
      if (one->is != grant::waiting) take_out(*one, woken);
    }
  }
  woken.post();
}

// ---- the receiver -------------------------------------------------------------------------------

/// Passes what is void, up to a message or the first slot that is not done.
bool mpsc_core::look(wake_chain& woken) noexcept {
  for (;;) {
    const std::uint8_t state = head_state();
    if (state == ready) return true;
    if (state != voided) return false;
    const std::size_t owed = pass();
    if (owed != 0) room.release(owed, woken);
  }
}

bool mpsc_core::find_slowly() noexcept {
  wake_chain woken;
  const bool found = look(woken);
  woken.post();
  free_passed();
  return found;
}

bool mpsc_core::no_more() const noexcept {
  // Acquires (L): what was sent is visible.
  if (senders_in(life_.load(order::acquire)) == 0) return true;
  // Relaxed, all of them: they say that nobody has anything in hand.
  if (bounded()) return room.is_closed() && room.available() == capacity_;
  return tail_.load(order::relaxed) == (word_of(head_block_) | closed_bit | head_index_);
}

/// Says what the receiver gets; false: nothing yet.
bool mpsc_core::decide(inbox_entry& one, wake_chain& woken) noexcept {
  const bool wants_any = one.wants.most != 0;
  one.wants.found = wants_any && look(woken);
  if (wants_any && !one.wants.found) {
    if (!no_more()) return false;
    one.wants.found = look(woken);  // it may have come before the last of them went
  }
  one.is = one.wants.found || !one.wants.single ? grant::granted : grant::closed;
  return true;
}

bool mpsc_core::try_take_slowly(inbox_entry& one) noexcept {
  wake_chain woken;
  const bool decided = decide(one, woken);
  woken.post();
  free_passed();
  return decided;
}

void mpsc_core::offer(inbox_entry& one, wake_chain& woken) noexcept {
  MAGPIE_ASSERT((first() == nullptr || first() == &one) && "two receive at the same time");
  while (!decide(one, woken)) {
    if (arm()) return;
  }
}

/// Whoever fills the slot at the head will look for who waits.
bool mpsc_core::arm() noexcept {
  std::uint8_t before = empty;
  // Relaxed: the list is under the lock, which who finds the mark takes; who finds it done looks.
  return head_block_->states[head_index_].compare_exchange_strong(before, waited, order::relaxed,
                                                                  order::relaxed) ||
         before == waited;
}

void mpsc_core::pass_block() noexcept {
  mpsc_block* const block = head_block_;
  head_index_ = 0;
  head_block_ = block->next;  // by (A): it was linked before its last slot was done
  if (bounded()) return;
  block->next = passed_blocks_;
  passed_blocks_ = block;
}

void mpsc_core::free_passed_slowly() noexcept {
  mpsc_block* next = passed_blocks_;
  passed_blocks_ = nullptr;
  while (next != nullptr) {
    mpsc_block* const one = next;
    next = one->next;
    free_block(one);
  }
}

void mpsc_core::close() noexcept {
  if (bounded()) {
    room.close();
  } else {
    tail_.fetch_or(closed_bit, order::relaxed);  // says nothing of what was done before
    room.closing().set();
  }
  wake_receivers();
}

bool mpsc_core::leave_head() noexcept {
  atomic<std::uint8_t>& slot = head_block_->states[head_index_];
  std::uint8_t before = slot.load(order::relaxed);  // the exchange decides
  while (before == empty || before == waited) {
    // (G): who publishes here goes on with the head.
    if (slot.compare_exchange_weak(before, gone, order::release, order::relaxed)) return true;
  }
  return false;
}

std::size_t mpsc_core::length() const noexcept {
  // Relaxed: a gauge.  A block counts as filled a little after the tail has left it.
  const std::uint64_t claimed =
      filled_.load(order::relaxed) * slots_ + (tail_.load(order::relaxed) & index_bits);
  return claimed > passed_ ? static_cast<std::size_t>(claimed - passed_) : 0;
}

// ---- who is left --------------------------------------------------------------------------------

void mpsc_core::add(std::uint64_t what) noexcept {
  // Relaxed: the caller keeps the channel.
  [[maybe_unused]] const std::uint64_t before = life_.fetch_add(what, order::relaxed);
  MAGPIE_ASSERT((before / what & count_max) < count_max && "too many senders");
}

bool mpsc_core::upgrade() noexcept {
  std::uint64_t now = life_.load(order::relaxed);
  while (senders_in(now) != 0) {
    // Relaxed: the weak one keeps the channel.
    if (life_.compare_exchange_weak(now, now + one_sender, order::relaxed, order::relaxed))
      return true;
  }
  return false;
}

bool mpsc_core::drop_sender() noexcept {
  std::uint64_t now = life_.load(order::relaxed);  // the exchange decides
  for (;;) {
    const bool last = senders_in(now) == 1;
    const std::uint64_t next = now - one_sender + (last ? one_weak : 0);
    // (L): what it has sent is visible to who finds no sender, and to who frees the channel.
    if (!life_.compare_exchange_weak(now, next, order::release, order::relaxed)) continue;
    if (!last) return false;
    break;
  }
  wake_receivers();
  return drop_weak();
}

}  // namespace magpie::sync::detail
