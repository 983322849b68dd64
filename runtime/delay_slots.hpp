/// What a delay queue keeps its items in: a slab, and a heap over it by deadline.
///
/// Idea: an item lies in a numbered slot that does not move; slots come in chunks, each twice as
/// large as the one before, so growing copies nothing.  The heap is an array of slot numbers, and
/// has never more cells than there are slots: cell n of it lies in slot n.  So one chunk is the
/// only allocation, and taking out of the middle needs no search.
///
/// Items are ordered by tick, and within a tick by when they were inserted or moved there last.  A
/// key holds the number that its item got at its insertion, which is never given again: the key of
/// an item that is gone finds nothing, whoever lies in its slot now.
///
/// Invariants: `place` of the slot that heap cell n names is n; no item comes before the one in the
/// cell above it; an id of 0 marks a free slot, and each free slot is on the free list, once.
/// Not synchronised.
#pragma once

#include <magpie/util/assert.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

namespace magpie {

/// Names an item of a delay queue, as long as it is in there.  The default one names none.
struct delay_key {
  std::uint64_t id = 0;
  std::uint32_t slot = 0;

  friend bool operator==(const delay_key&, const delay_key&) = default;
};

namespace detail {

template <class T>
class delay_slots {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T>, "items are moved under a lock");

  static constexpr std::uint32_t first_chunk = 64;
  static constexpr unsigned chunks_max = 24;
  static constexpr std::size_t slots_max = std::size_t{first_chunk} * ((1U << chunks_max) - 1);
  static constexpr std::uint32_t nowhere = ~std::uint32_t{0};

  /// Room for more items, on its way into the slab.
  class chunk;

  delay_slots() noexcept = default;
  /// Takes everything; the other is empty afterwards and has no room.
  delay_slots(delay_slots&& other) noexcept
      : size_(std::exchange(other.size_, 0)),
        chunk_count_(std::exchange(other.chunk_count_, 0)),
        free_(std::exchange(other.free_, nowhere)),
        numbers_(other.numbers_) {
    for (unsigned i = 0; i != chunks_max; ++i)
      chunks_[i] = std::exchange(other.chunks_[i], nullptr);
  }
  delay_slots& operator=(const delay_slots&) = delete;

  ~delay_slots() {
    for (std::uint32_t cell = 0; cell != size_; ++cell) at(at(cell).heap).item.~T();
    for (unsigned i = 0; i != chunk_count_; ++i) ::operator delete(chunks_[i], alignment);
  }

  std::size_t size() const noexcept { return size_; }
  std::size_t capacity() const noexcept { return first_of(chunk_count_); }
  bool full() const noexcept { return free_ == nowhere; }
  unsigned chunk_count() const noexcept { return chunk_count_; }

  /// Adds room; `more` was made for the present `chunk_count`.
  void grow(chunk&& more) noexcept {
    MAGPIE_ASSERT(more.slots_ != nullptr && more.level_ == chunk_count_);
    chunks_[chunk_count_] = std::exchange(more.slots_, nullptr);
    const auto first = static_cast<std::uint32_t>(first_of(chunk_count_));
    const std::uint32_t count = first_chunk << chunk_count_;
    ++chunk_count_;
    for (std::uint32_t i = count; i-- != 0;) {
      slot& made = *::new (static_cast<void*>(&at(first + i))) slot;
      made.place = std::exchange(free_, first + i);
    }
  }

  /// Not when full.  Cost: O(log n), like what follows.
  delay_key insert(T&& item, std::uint64_t tick) noexcept {
    MAGPIE_ASSERT(!full());
    const std::uint32_t number = free_;
    slot& to = at(number);
    free_ = to.place;
    ::new (static_cast<void*>(&to.item)) T(std::move(item));
    to.tick = tick;
    to.order = ++numbers_;
    to.id = numbers_;
    set_cell(size_, number);
    ++size_;
    rise(size_ - 1);
    return delay_key{to.id, number};
  }

  bool holds(const delay_key& key) const noexcept {
    return key.id != 0 && key.slot < capacity() && at(key.slot).id == key.id;
  }

  /// Of an item that is there, as the others.
  std::uint64_t tick_of(const delay_key& key) const noexcept { return at(key.slot).tick; }

  void move_to(const delay_key& key, std::uint64_t tick) noexcept {
    slot& moved = at(key.slot);
    moved.tick = tick;
    moved.order = ++numbers_;
    settle(moved.place);
  }

  T take(const delay_key& key) noexcept {
    slot& from = at(key.slot);
    const std::uint32_t cell = from.place;
    T item(std::move(from.item));
    from.item.~T();
    from.id = 0;
    from.place = std::exchange(free_, key.slot);
    --size_;
    if (cell != size_) {
      set_cell(cell, at(size_).heap);
      settle(cell);
    }
    return item;
  }

  /// The key and the tick of the first item; not when empty.
  delay_key first() const noexcept { return {at(at(0).heap).id, at(0).heap}; }
  std::uint64_t first_tick() const noexcept { return at(at(0).heap).tick; }

  void check_invariants() const noexcept {
    MAGPIE_ASSERT(size_ <= capacity());
    for (std::uint32_t cell = 0; cell != size_; ++cell) {
      const slot& item = at(at(cell).heap);
      MAGPIE_ASSERT(item.place == cell && item.id != 0);
      MAGPIE_ASSERT(cell == 0 || !before(item, at(at((cell - 1) / 2).heap)));
    }
    std::size_t free = 0;
    for (std::uint32_t number = free_; number != nowhere; number = at(number).place, ++free)
      MAGPIE_ASSERT(at(number).id == 0);
    MAGPIE_ASSERT(free + size_ == capacity());
  }

 private:
  struct slot {
    slot() noexcept {}
    ~slot() {}

    std::uint64_t tick = 0;
    std::uint64_t order = 0;
    std::uint64_t id = 0;
    std::uint32_t place = 0;  ///< The item's heap cell; of a free slot, the next free one.
    std::uint32_t heap = 0;   ///< Heap cell of this slot's number: which slot lies there.
    union {
      T item;
    };
  };

  static constexpr std::align_val_t alignment{alignof(slot)};

  /// How many slots come before chunk `level`.
  static constexpr std::size_t first_of(unsigned level) noexcept {
    return std::size_t{first_chunk} * ((std::size_t{1} << level) - 1);
  }
  slot& at(std::uint32_t number) const noexcept {
    const std::uint32_t row = number / first_chunk + 1;
    const auto level = static_cast<unsigned>(std::bit_width(row)) - 1;
    return chunks_[level][number - static_cast<std::uint32_t>(first_of(level))];
  }

  static bool before(const slot& a, const slot& b) noexcept {
    return a.tick != b.tick ? a.tick < b.tick : a.order < b.order;
  }
  void set_cell(std::uint32_t cell, std::uint32_t number) noexcept {
    at(cell).heap = number;
    at(number).place = cell;
  }

  /// The item in `cell` may be on either side of its place.
  void settle(std::uint32_t cell) noexcept {
    if (!rise(cell)) sink(cell);
  }
  bool rise(std::uint32_t cell) noexcept {
    const std::uint32_t number = at(cell).heap;
    const std::uint32_t from = cell;
    while (cell != 0) {
      const std::uint32_t above = at((cell - 1) / 2).heap;
      if (!before(at(number), at(above))) break;
      set_cell(cell, above);
      cell = (cell - 1) / 2;
    }
    set_cell(cell, number);
    return cell != from;
  }
  void sink(std::uint32_t cell) noexcept {
    const std::uint32_t number = at(cell).heap;
    for (;;) {
      std::uint32_t child = 2 * cell + 1;
      if (child >= size_) break;
      if (child + 1 < size_ && before(at(at(child + 1).heap), at(at(child).heap))) ++child;
      const std::uint32_t below = at(child).heap;
      if (!before(at(below), at(number))) break;
      set_cell(cell, below);
      cell = child;
    }
    set_cell(cell, number);
  }

  std::uint32_t size_ = 0;
  unsigned chunk_count_ = 0;
  std::uint32_t free_ = nowhere;
  std::uint64_t numbers_ = 0;  ///< The last that was given out, as an id or an order.
  slot* chunks_[chunks_max] = {};
};

template <class T>
class delay_slots<T>::chunk {
 public:
  chunk() noexcept = default;
  /// Memory for the chunk after `level` others; false in a condition when there is none.
  explicit chunk(unsigned level) noexcept
      : slots_(static_cast<slot*>(::operator new(sizeof(slot) * (std::size_t{first_chunk} << level),
                                                 alignment, std::nothrow))),
        level_(level) {}
  chunk(const chunk&) = delete;
  chunk& operator=(const chunk&) = delete;
  ~chunk() {
    if (slots_ != nullptr) ::operator delete(slots_, alignment);
  }
  explicit operator bool() const noexcept { return slots_ != nullptr; }

 private:
  friend class delay_slots;
  slot* slots_ = nullptr;
  unsigned level_ = 0;
};

}  // namespace detail
}  // namespace magpie
