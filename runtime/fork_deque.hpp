/// A worker's spawned but unstarted tasks: a stack for the owner, a queue for thieves.
///
/// Fork-join programs want their own newest task next (it is hot, and depth first needs little
/// memory), and want thieves to take the oldest (it is the largest part).  Chase and Lev's deque
/// with a fixed array: the owner pushes and takes at the bottom, thieves take at the top, one at a
/// time.  Indices are 64 bits wide and never wrap; a slot is the index modulo the capacity.
///
///   top == bottom             empty
///   top < bottom              the tasks are [top, bottom)
///   top == bottom + 1         for a moment: the owner reached for the last one and lost it
///
/// Owner and thief meet at the last task only.  take: (A) stores the lowered bottom, then loads the
/// top; steal: loads the top, then (B) the bottom. Both accesses of the bottom and take's load of
/// the top are seq_cst, so one of the two sees the other, and the exchange of the top decides. (C)
/// push's release store of the bottom pairs with (B): the slot is filled.
///
/// A thief reads its slot before its exchange succeeds: slots are atomics, and what was read is
/// thrown away if it fails.  Full: `push` refuses and the caller puts the task elsewhere.
///
/// Callers: push, take, take_if and empty_here by the owner; steal, empty and size by anybody.
/// Source: Chase and Lev, "Dynamic circular work-stealing deque", 2005; the orders follow Lê, Pop,
/// Cohen and Zappa Nardelli, 2013, with seq_cst operations in place of fences.
#pragma once

#include <magpie/runtime/runnable.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/cache_line.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie {

template <std::int64_t Capacity>
class basic_fork_deque {
  static_assert(Capacity >= 2 && (Capacity & (Capacity - 1)) == 0, "a power of two");

 public:
  static constexpr std::int64_t capacity = Capacity;

  /// Without thieves (`shared` false) nothing needs more than a plain store.  With `handshake` a
  /// push takes part in the parking handshake (idle.hpp), as the local queue's does; without it
  /// the watcher sees to it that no fork is left alone.
  explicit basic_fork_deque(bool shared, bool handshake = false) noexcept
      : shared_(shared), handshake_(handshake) {}
  basic_fork_deque(const basic_fork_deque&) = delete;
  basic_fork_deque& operator=(const basic_fork_deque&) = delete;
  ~basic_fork_deque() { MAGPIE_DEBUG_ASSERT(empty()); }

  /// False when it is full.
  bool push(runnable& task) noexcept {
    const std::int64_t bottom = bottom_.load(order::relaxed);  // only the owner writes it
    // Acquire with the thieves' exchange: they have read the slots below the top.  (No model shows
    // it missing: none lets a load see a store that comes later.)
    if (bottom - top_.load(order::acquire) >= Capacity) return false;
    slot(bottom).store(&task, order::relaxed);
    // (C); with the handshake also the store half of it, whose load half is the producer's look at
    // the idle word.
    bottom_.store(bottom + 1, handshake_ ? order::seq_cst : order::release);
    return true;
  }

  /// The newest task, or null.
  runnable* take() noexcept {
    return take_newest([](runnable*) noexcept { return true; });
  }

  /// `wanted` if it is the newest task: true when it was taken.
  bool take_if(runnable& wanted) noexcept {
    return take_newest([&wanted](runnable* newest) noexcept { return newest == &wanted; }) !=
           nullptr;
  }

  /// The oldest task, or null; also null when another thief was faster.
  runnable* steal() noexcept {
    std::int64_t top = top_.load(order::acquire);              // before (B)
    const std::int64_t bottom = bottom_.load(order::seq_cst);  // (B)
    if (top >= bottom) return nullptr;
    runnable* task = slot(top).load(order::relaxed);
    // Decides among thieves, and with the owner at the last one.
    if (!top_.compare_exchange_strong(top, top + 1, order::seq_cst, order::relaxed)) return nullptr;
    return task;
  }

  /// The index of the oldest task: unchanged as long as that is the same.  Any thread.
  std::int64_t top() const noexcept { return top_.load(order::relaxed); }

  /// A guess, from any thread.
  std::size_t size() const noexcept {
    const std::int64_t count = bottom_.load(order::relaxed) - top_.load(order::relaxed);
    return count > 0 ? static_cast<std::size_t>(count) : 0;
  }
  /// Certain in the sense of the handshake: the load half of it, on the parker's side.
  bool empty() const noexcept { return bottom_.load(order::seq_cst) <= top_.load(order::relaxed); }

 private:
  atomic<runnable*>& slot(std::int64_t at) noexcept { return slots_[at & (Capacity - 1)]; }

  template <class Wanted>
  runnable* take_newest(Wanted&& wanted) noexcept {
    const std::int64_t last = bottom_.load(order::relaxed) - 1;
    if (top_.load(order::relaxed) > last) return nullptr;  // only grows: empty for certain
    runnable* task = slot(last).load(order::relaxed);
    if (!wanted(task)) return nullptr;
    if (!shared_) {
      bottom_.store(last, order::relaxed);
      return task;
    }
    bottom_.store(last, order::seq_cst);           // (A)
    std::int64_t top = top_.load(order::seq_cst);  // after (A)
    if (top < last) return task;
    // The last one: the exchange decides between the owner and a thief.  Relaxed: the owner wrote
    // the slot itself, and hands nothing on.
    const bool won =
        top == last && top_.compare_exchange_strong(top, top + 1, order::relaxed, order::relaxed);
    bottom_.store(last + 1, order::relaxed);
    return won ? task : nullptr;
  }

  alignas(cache_line_size) atomic<std::int64_t> top_{0};
  alignas(cache_line_size) atomic<std::int64_t> bottom_{0};
  const bool shared_;
  const bool handshake_;
  alignas(cache_line_size) atomic<runnable*> slots_[static_cast<std::size_t>(Capacity)];
};

using fork_deque = basic_fork_deque<1024>;

}  // namespace magpie
