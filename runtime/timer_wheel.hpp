/// The timers of one worker: a hierarchical wheel of 7 levels with 64 slots each, in ticks of 1 µs.
///
/// Idea: time is a number of base-64 digits.  A timer hangs in the level of the highest digit in
/// which its tick differs from now, in the slot of that digit.  When now reaches a slot of level 0
/// its timers fire; when it reaches a higher slot, its timers move down (cascade).  A bitmap for
/// each level finds the next slot with one instruction, so empty time costs nothing, and arming and
/// disarming are a list operation.
///
/// A deadline is rounded up to a tick: a timer never fires early.  A deadline that has passed fires
/// at the next `expire`; the largest one of all never fires.  Ticks farther than 63 slots of the
/// top level (50 days) wait in its farthest slot and are placed again when now gets there.
///
/// Timers fire in the order of their ticks, and within a tick in the order of insertion (timers
/// armed more than 50 days ahead may swap within a tick); a deadline that has passed counts as now.
///
/// One list, the pending one, holds what has to be handled next: a slot that now has reached, and
/// timers inserted meanwhile into the range of that slot.  So `expire` may stop anywhere and go on
/// in the next call without spoiling the order.
///
/// Invariants, under the lock: a bit is set exactly when its slot holds a timer; every timer in a
/// slot hangs where its tick and now place it, so below the top level a used slot lies ahead of
/// now's digit; horizon > now; a timer that is inserted below the horizon is pending; now moves
/// only when nothing is pending.
///
/// Any thread may call, holding the wheel's own lock (`lock`, `unlock`: `lock_scope` fits), which
/// debug builds assert; `next_deadline_ns` and `size` need no lock.  A canceller on another worker
/// takes the same lock: when `cancel` returns true the timer cannot fire any more.
/// Source: Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987; the bitmaps as in
/// Tokio's wheel and in the kernel's.
#pragma once

#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/intrusive_list.hpp>
#include <magpie/util/spin_lock.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>

namespace magpie {

/// One timer.  Set `deadline_ns` while it is not armed.
class timer_node : public list_node {
 public:
  std::uint64_t deadline_ns = 0;

  /// Whether it is in a wheel; under the wheel's lock.
  bool armed() const noexcept { return place_ != nowhere; }

 private:
  friend class timer_wheel;
  static constexpr std::uint32_t nowhere = 0xffff'ffff;

  std::uint32_t place_ = nowhere;  // the index of its slot, or what that was before it got pending
};

using timer_list = intrusive_list<timer_node>;

class timer_wheel {
 public:
  static constexpr std::uint64_t tick_ns = 1000;
  static constexpr std::uint64_t no_deadline = ~std::uint64_t{0};

  /// Time starts at `now_ns`.
  explicit timer_wheel(std::uint64_t now_ns = 0) noexcept
      : now_(now_ns / tick_ns), horizon_(now_ + 1) {}
  timer_wheel(const timer_wheel&) = delete;
  timer_wheel& operator=(const timer_wheel&) = delete;
  ~timer_wheel() { MAGPIE_DEBUG_ASSERT(size() == 0); }

  void lock() noexcept { lock_.lock(); }
  bool try_lock() noexcept { return lock_.try_lock(); }
  void unlock() noexcept { lock_.unlock(); }

  /// Arms a timer.  True: the next deadline became earlier, so a sleeper may have to be told.
  /// Cost: constant.
  bool insert(timer_node& timer) noexcept {
    MAGPIE_DEBUG_ASSERT(lock_.is_locked());
    MAGPIE_DEBUG_ASSERT(!timer.armed() && !timer.linked());
    add_to_size(1);
    const std::uint64_t tick = tick_of(timer.deadline_ns);
    std::uint64_t start = now_;
    if (tick >= horizon_) [[likely]] {
      start = place(timer, tick);
    } else {
      hang(timer, pending);
    }
    if (start >= next_) {
      return false;
    }
    publish_next(start, timer.place_);
    return true;
  }

  /// Disarms a timer.  False: it is not in the wheel; it has fired or was never armed.
  /// Cost: constant.
  bool cancel(timer_node& timer) noexcept {
    MAGPIE_DEBUG_ASSERT(lock_.is_locked());
    if (!timer.armed()) {
      return false;
    }
    const std::uint32_t list = timer.place_;
    take_out(timer);
    if (lists_[list].empty()) {
      emptied(list);
    }
    return true;
  }

  /// Advances to `now_ns` and appends the timers that are due to `fired`, disarmed.  Handles at
  /// most `handled_max` timers, fired or moved down; what is left stays due, and then
  /// `next_deadline_ns() <= now_ns`.  Returns how many fired.
  std::size_t expire(std::uint64_t now_ns, timer_list& fired, std::size_t handled_max) noexcept;

  /// When `expire` has to be called next: never later than the next timer can fire, earlier if
  /// timers have to move down before; `no_deadline` when nothing is armed.  Any thread, without the
  /// lock: a hint, who acts on it takes the lock.
  std::uint64_t next_deadline_ns() const noexcept {
    return next_ns_.load(order::relaxed);  // publishes nothing but itself
  }

  /// How many timers are armed.  Any thread, without the lock: a guess.
  std::size_t size() const noexcept {
    return size_.load(order::relaxed);  // publishes nothing but itself
  }

  /// Under the lock.  Cost: walks every timer.
  void check_invariants() const noexcept;

 private:
  static constexpr unsigned digit_bits = 6;
  static constexpr unsigned slots = 1U << digit_bits;
  static constexpr unsigned levels = 7;
  static constexpr unsigned top_shift = digit_bits * (levels - 1);
  static constexpr std::uint32_t pending = slots * levels;  // the list behind those of the slots

  static constexpr std::uint64_t tick_of(std::uint64_t ns) noexcept {
    return ns / tick_ns + (ns % tick_ns != 0 ? 1 : 0);
  }

  /// Hangs a timer of a tick after now into its slot; returns the tick at which the slot starts.
  std::uint64_t place(timer_node& timer, std::uint64_t tick) noexcept {
    const auto highest = 63U - static_cast<unsigned>(std::countl_zero(tick ^ now_));
    std::uint64_t digits = tick >> top_shift;
    unsigned level = levels - 1;
    if (highest < top_shift) [[likely]] {
      level = highest / digit_bits;
      digits = tick >> level * digit_bits;
    } else {
      const std::uint64_t farthest = (now_ >> top_shift) + slots - 1;
      digits = digits < farthest ? digits : farthest;
    }
    const auto slot = static_cast<unsigned>(digits % slots);
    used_[level] |= std::uint64_t{1} << slot;
    hang(timer, level * slots + slot);
    return digits << level * digit_bits;
  }

  void hang(timer_node& timer, std::uint32_t list) noexcept {
    timer.place_ = list;
    lists_[list].push_back(timer);
  }

  void take_out(timer_node& timer) noexcept {
    timer.place_ = timer_node::nowhere;
    timer_list::remove(timer);
    add_to_size(~std::size_t{0});
  }

  /// A cancel left this list empty: clears its bit, and looks for the next deadline if that may
  /// have been its.  For a timer that got pending with its whole slot, `list` is that slot, empty
  /// already and not in use again before now moves on.
  void emptied(std::uint32_t list) noexcept {
    if (list != pending) {
      used_[list / slots] &= ~(std::uint64_t{1} << list % slots);
    }
    if (list == next_list_ || next_ <= now_) {
      find_next();
    }
  }

  void find_next() noexcept;
  void advance() noexcept;

  void publish_next(std::uint64_t tick, std::uint32_t list) noexcept {
    next_ = tick;
    next_list_ = list;
    // Relaxed: publishes nothing but itself, and is written under the lock alone.
    next_ns_.store(tick <= no_deadline / tick_ns ? tick * tick_ns : no_deadline, order::relaxed);
  }
  void add_to_size(std::size_t change) noexcept {
    // Not a read-modify-write: written under the lock alone.
    size_.store(size_.load(order::relaxed) + change, order::relaxed);
  }

  spin_lock lock_;
  std::uint32_t next_list_ = pending;           // which list needs attention next
  std::uint64_t next_ = no_deadline;            // at which tick; no_deadline if none does
  atomic<std::uint64_t> next_ns_{no_deadline};  // the same for readers without the lock
  atomic<std::size_t> size_{0};
  std::uint64_t now_;      // every tick up to this one has been reached
  std::uint64_t horizon_;  // ticks before this one go to the pending list
  std::uint64_t used_[levels] = {};
  timer_list lists_[slots * levels + 1];
};

}  // namespace magpie
