/// The run queue of one worker: a FIFO ring that others steal half of.
///
/// Idea: the head is two indices in one word, (steal, real).  `real` is where the owner and new
/// thieves take; `steal` lags behind while a thief copies the slots it has claimed.  A thief claims
/// by moving `real`, copies at leisure, and frees by letting `steal` catch up.  The owner never
/// overwrites slots from `steal` on, so slots are plain memory and nobody reads one in vain.
/// Indices are 32 bits wide and wrap freely; a slot is the index modulo the capacity.
///
///   steal == real           nobody is stealing
///   steal != real           one thief copies [steal, real); other thieves go elsewhere
///   [real, tail)            the tasks;   tail - steal <= capacity always
///
/// Full: the owner moves half of the queue and the new task to the injector, as one chain, so that
/// a burst costs one lock for many tasks.
///
/// Callers: push, push_batch, pop, free_slots and check_invariants by the owner alone;
/// `victim.steal_into(mine)` by the owner of `mine`; size and empty by anybody.
///
/// The handshake with parking (idle.hpp): a push publishes the tail by a seq_cst store and then its
/// caller loads the idle word; a worker changes the idle word by a seq_cst read-modify-write and
/// then loads the tails.  One of the two sees the other, always.
///
/// A queue made with `shared` false has no thieves and no parking peers (one worker): it publishes
/// and pops by release stores, which cost nothing.
/// Source: the run queue of Go's scheduler (Vyukov, 2012) as refined by Tokio (Lerche, 2019-2020).
#pragma once

#include <magpie/runtime/runnable.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/cache_line.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie {

template <std::uint32_t Capacity>
class basic_local_queue {
  static_assert(Capacity >= 2 && (Capacity & (Capacity - 1)) == 0, "a power of two");

 public:
  static constexpr std::uint32_t capacity = Capacity;

  /// `first_index` lets tests start next to the wrap.
  explicit basic_local_queue(bool shared, std::uint32_t first_index = 0) noexcept
      : head_(pack(first_index, first_index)), tail_(first_index), shared_(shared) {}
  basic_local_queue(const basic_local_queue&) = delete;
  basic_local_queue& operator=(const basic_local_queue&) = delete;
  ~basic_local_queue() { MAGPIE_DEBUG_ASSERT(empty()); }

  /// Puts `task` at the tail; true if it stayed here.  When there is no room,
  /// `sink(first, last, count)` gets a chain that ends in `task`, and the result is false.
  template <typename Sink>
  bool push(runnable& task, Sink&& sink) noexcept {
    const std::uint32_t tail = tail_.load(order::relaxed);  // only the owner writes it
    for (;;) {
      // (D) acquire pairs with (C): a thief has done with the slots that `steal` has passed.
      const std::uint64_t head = head_.load(order::acquire);
      if (tail - steal_of(head) < Capacity) [[likely]] {
        slots_[tail % Capacity] = &task;
        publish(tail + 1);
        return true;
      }
      if (steal_of(head) != real_of(head)) {
        // A thief is copying: room is about to appear, so only the new task goes elsewhere.
        task.next = nullptr;
        sink(&task, &task, std::size_t{1});
        return false;
      }
      if (overflow(head, task, sink)) {
        return false;
      }
    }
  }

  /// Puts the chain from `first` to `last` at the tail and publishes it once; what does not fit
  /// goes to `sink(first, last, count)`, the oldest staying here.
  template <typename Sink>
  void push_batch(runnable* first, runnable* last, std::size_t count, Sink&& sink) noexcept {
    std::uint32_t tail = tail_.load(order::relaxed);        // only the owner writes it
    const std::uint64_t head = head_.load(order::acquire);  // (D), as in push
    std::uint32_t room = Capacity - (tail - steal_of(head));
    const std::uint32_t old_tail = tail;
    while (room != 0 && count != 0) {
      runnable* task = first;
      first = task->next;  // read before the task is published and may run
      slots_[tail % Capacity] = task;
      ++tail;
      --room;
      --count;
    }
    if (tail != old_tail) {
      publish(tail);
    }
    if (count != 0) {
      sink(first, last, count);
    }
  }

  /// Takes the oldest task, or null.
  runnable* pop() noexcept {
    const std::uint32_t tail = tail_.load(order::relaxed);  // only the owner writes it
    std::uint64_t head = head_.load(order::relaxed);        // the exchange below decides
    for (;;) {
      const std::uint32_t real = real_of(head);
      if (real == tail) {
        return nullptr;
      }
      const std::uint32_t next = real + 1;
      const std::uint64_t taken = pack(steal_of(head) == real ? next : steal_of(head), next);
      if (!shared_) {
        head_.store(taken, order::release);  // (E), should a foreign thread ask for the size
        return slots_[real % Capacity];
      }
      // real -> real + 1.  (E) release pairs with (F): who sees this head sees a tail that is not
      // behind it.  Acquire is not needed: the owner wrote the slot itself.
      if (head_.compare_exchange_weak(head, taken, order::release, order::relaxed)) {
        return slots_[real % Capacity];
      }
    }
  }

  /// Moves half of this queue, rounded up, to `mine`, and hands out the newest of it to be run at
  /// once; null when there is nothing, when another thief is at work, or when `mine` is over half
  /// full.  Callers: the owner of `mine`.
  runnable* steal_into(basic_local_queue& mine) noexcept {
    MAGPIE_DEBUG_ASSERT(this != &mine && shared_ && mine.shared_);
    const std::uint32_t my_tail = mine.tail_.load(order::relaxed);  // the caller owns it
    const std::uint64_t my_head = mine.head_.load(order::acquire);  // (D), as in push
    if (my_tail - steal_of(my_head) > Capacity / 2) {
      return nullptr;  // others still copy from here, or the caller has enough to do
    }
    std::uint32_t count = 0;
    const std::uint64_t claimed = claim_half(count);
    if (count == 0) {
      return nullptr;
    }
    const std::uint32_t first = steal_of(claimed);
    for (std::uint32_t i = 0; i != count - 1; ++i) {
      mine.slots_[(my_tail + i) % Capacity] = slots_[(first + i) % Capacity];
    }
    runnable* direct = slots_[(first + count - 1) % Capacity];
    release_claim(claimed);
    if (count != 1) {
      mine.publish(my_tail + count - 1);
    }
    return direct;
  }

  /// How many tasks wait; any thread, a guess unless the owner asks and nobody steals.
  std::size_t size() const noexcept {
    const std::uint64_t head = head_.load(order::acquire);  // (F): the tail is not behind it
    const std::uint32_t tail = tail_.load(order::relaxed);  // no slot is read
    const std::uint32_t tasks = tail - real_of(head);
    return tasks < Capacity ? tasks : Capacity;  // the tail may have run ahead of our old head
  }

  /// Whether no task waits; any thread.  True is certain in the sense of the handshake: a push
  /// whose caller did not see this thread's change of the idle word is seen here.
  bool empty() const noexcept {
    // Relaxed: a head that does not fit the tail, older or newer, looks like a task, not like none.
    const std::uint64_t head = head_.load(order::relaxed);
    // (B) seq_cst pairs with (A) in publish: the load half of the store-load handshake.
    return real_of(head) == tail_.load(order::seq_cst);
  }

  /// How many tasks a push_batch can take; the owner alone.  Thieves can only add room.
  std::size_t free_slots() const noexcept {
    // Relaxed: push_batch looks again before it writes, and the room only grows.
    const std::uint64_t head = head_.load(order::relaxed);
    return Capacity - (tail_.load(order::relaxed) - steal_of(head));
  }

  /// The owner alone; thieves may be at work.
  void check_invariants() const noexcept {
    // Relaxed: an older head than the owner has acquired by a push is never read.
    const std::uint64_t head = head_.load(order::relaxed);
    const std::uint32_t tail = tail_.load(order::relaxed);
    MAGPIE_ASSERT(tail - steal_of(head) <= Capacity);
    MAGPIE_ASSERT(tail - real_of(head) <= tail - steal_of(head));
  }

 private:
  static constexpr std::uint64_t pack(std::uint32_t steal, std::uint32_t real) noexcept {
    return std::uint64_t{steal} << 32 | real;
  }
  static constexpr std::uint32_t steal_of(std::uint64_t head) noexcept {
    return static_cast<std::uint32_t>(head >> 32);
  }
  static constexpr std::uint32_t real_of(std::uint64_t head) noexcept {
    return static_cast<std::uint32_t>(head);
  }

  /// Makes the slots before `tail` visible.
  void publish(std::uint32_t tail) noexcept {
    if (shared_) {
      // (A) seq_cst: the store half of the handshake with (B) in empty; the caller's load of the
      // idle word is the other.  Also a release that pairs with (G): the slots are filled.
      tail_.store(tail, order::seq_cst);
    } else {
      tail_.store(tail, order::release);  // nobody steals or parks; for a foreign size()
    }
  }

  /// Full and nobody steals: moves the older half and `task` to the sink.  False if a thief came.
  template <typename Sink>
  bool overflow(std::uint64_t head, runnable& task, Sink&& sink) noexcept {
    constexpr std::uint32_t half = Capacity / 2;
    const std::uint32_t real = real_of(head);
    // real -> real + half on both sides: as half pops at once.  (E) release as in pop.
    if (!head_.compare_exchange_strong(head, pack(real + half, real + half), order::release,
                                       order::relaxed)) {
      return false;
    }
    runnable* first = slots_[real % Capacity];
    runnable* last = first;
    for (std::uint32_t i = 1; i != half; ++i) {
      runnable* next = slots_[(real + i) % Capacity];
      last->next = next;
      last = next;
    }
    last->next = &task;
    task.next = nullptr;
    sink(first, &task, std::size_t{half} + 1);
    return true;
  }

  /// As a thief: moves `real` over half of the tasks, leaving `steal` behind.  Returns the head as
  /// it then is; `count` 0 means that nothing was claimed.
  std::uint64_t claim_half(std::uint32_t& count) noexcept {
    // (F) acquire pairs with (E): the tail below is not older than this head.
    std::uint64_t head = head_.load(order::acquire);
    for (;;) {
      count = 0;
      const std::uint32_t real = real_of(head);
      if (steal_of(head) != real) {
        return head;  // another thief is at work
      }
      // (G) acquire pairs with publish: the slots up to it are filled.
      const std::uint32_t tasks = tail_.load(order::acquire) - real;
      if (tasks == 0) {
        return head;
      }
      const std::uint32_t half = tasks - tasks / 2;
      // (s, s) -> (s, s + half).  Release as (E): who sees this head sees a tail that is not behind
      // it.  Acquire for the failure, so that (F) holds in the next round; success gains nothing
      // by it, but may not be weaker than failure everywhere.
      if (head_.compare_exchange_weak(head, pack(real, real + half), order::acq_rel,
                                      order::acquire)) {
        MAGPIE_ASSERT(half <= Capacity / 2);
        count = half;
        return pack(real, real + half);
      }
    }
  }

  /// As the thief that claimed: lets `steal` catch up with where `real` is by now.
  void release_claim(std::uint64_t head) noexcept {
    for (;;) {
      MAGPIE_DEBUG_ASSERT(steal_of(head) != real_of(head));
      // (C) release pairs with (D): the slots have been read and may be overwritten.  Acquire is
      // not needed to hand on the owner's (E): a read-modify-write continues its release sequence.
      if (head_.compare_exchange_weak(head, pack(real_of(head), real_of(head)), order::release,
                                      order::relaxed)) {
        return;
      }
    }
  }

  // Head and tail share a line: the owner writes both all the time, and a thief that looks misses
  // once instead of twice.
  alignas(cache_line_size) atomic<std::uint64_t> head_;
  atomic<std::uint32_t> tail_;
  const bool shared_;
  alignas(cache_line_size) plain<runnable*> slots_[Capacity];
};

using local_queue = basic_local_queue<256>;

}  // namespace magpie
