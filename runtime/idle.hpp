/// Who sleeps, who searches: the one file that decides when a worker is woken.
///
/// Idea: one word counts the searching and the parked workers.  A producer that made a task visible
/// looks at the word and wakes one sleeper only if there is one and nobody searches already: a
/// searcher will find the task, and who leaves searching with work wakes the next, so a burst wakes
/// workers one by one and only as long as there is work.  The sleepers' order is a stack, so that
/// the warm ones work and the cold ones sleep on.
///
/// States of a worker and the transitions (s = searching, p = parked, in the word):
///
///   running    --begin_search-->          searching   s+1          refused if half search already
///   searching  --end_search-->            running     s-1          it found work; true: s is 0:
///                                                                  wake another if should_wake
///   searching  --park(i, true)-->         parked      s-1, p+1     true: s is now 0, look again
///   running    --park(i, false)-->        parked      p+1          true: s is 0, look again
///   parked     --pick_to_wake-->          searching   s+1, p-1     by anybody; then wake worker i
///   parked     --unpark_self(i) true-->   running     p-1          woken by I/O or a timer
///   picked     --unpark_self(i) false-->  searching   (nothing)    it had been picked meanwhile
///
/// "Look again": after `park` returned true the worker loads every queue once more (their `empty`,
/// seq_cst) and, if one holds work, calls pick_to_wake and wakes whom it returns, itself perhaps.
/// Every parker that leaves nobody searching must look again, not the last searcher alone: one that
/// was refused the search could otherwise fall asleep between a producer's look (nobody parked yet)
/// and the leaving of the last searcher (nobody to wake yet).
///
/// Why no wake-up is lost.  Producer: (A) publishes by a seq_cst write of the queue's word, then
/// (B) loads this word, seq_cst.  Parker: (C) changes this word by a seq_cst read-modify-write,
/// then (D) loads the queues, seq_cst.  If (B) comes after (C) the producer sees the sleeper; else
/// (D) comes after (A) and the parker sees the task.  If (B) saw a searcher, that searcher leaves
/// later, and then it wakes another or looks again.
///
/// Invariants: the list holds exactly the parked workers; p is its length, under the lock;
/// s + p <= workers.
/// Any thread may call should_wake and pick_to_wake; the rest is for worker `index` itself.
/// Source: Tokio's `idle.rs` (Lerche, 2019) and the spinning threads of Go's scheduler (Vyukov).
#pragma once

#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/cache_line.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstdint>

namespace magpie {

template <std::uint32_t WorkersMax>
class basic_idle {
  static_assert(WorkersMax < 0x7fff);

 public:
  static constexpr std::uint32_t workers_max = WorkersMax;

  basic_idle() noexcept {
    for (std::uint32_t i = 0; i != WorkersMax; ++i) {
      parked_[i] = false;
    }
  }
  basic_idle(const basic_idle&) = delete;
  basic_idle& operator=(const basic_idle&) = delete;

  /// For a producer, after it made work visible: whether somebody has to be woken.
  bool should_wake() const noexcept {
    // (B) seq_cst: the load half of the producer's store-load handshake; pairs with (C).
    const std::uint32_t word = word_.load(order::seq_cst);
    return parked_in(word) != 0 && searching_in(word) == 0;
  }

  /// Takes the worker that parked last off the list and counts it as searching; the caller must
  /// wake it.  -1 if nobody is parked or somebody searches by now.
  int pick_to_wake() noexcept {
    if (!should_wake()) {
      return -1;
    }
    lock_scope guard(lock_);
    // Again under the lock, or two producers would wake two: (B), as in should_wake.
    return should_wake() ? pick_locked() : -1;
  }

  /// The same whether or not somebody searches: for a watcher's post and for shutdown.
  int pick_any() noexcept {
    lock_scope guard(lock_);
    return first_ == none ? -1 : pick_locked();
  }

  /// running -> searching, unless half of the `active` workers search.
  bool begin_search(std::uint32_t active) noexcept {
    std::uint32_t word = word_.load(order::relaxed);  // the exchange below decides
    do {
      if (2 * searching_in(word) >= active) {
        return false;
      }
      // s+1.  Relaxed: a producer that sees it relies on what this worker does when it leaves, and
      // that comes later in the order of this one word.
    } while (
        !word_.compare_exchange_weak(word, word + one_searching, order::relaxed, order::relaxed));
    return true;
  }

  /// searching -> running, with work found.  True: nobody searches now, so the caller wakes
  /// another if should_wake.
  bool end_search() noexcept {
    // s-1.  Relaxed: a producer that was told of this searcher loaded the word before this step, so
    // also before the (C) of whoever parks after it and finds nobody searching; and what this
    // worker put into its own queue it published by (A) and offers by should_wake, (B).
    const std::uint32_t before = word_.fetch_sub(one_searching, order::relaxed);
    MAGPIE_DEBUG_ASSERT(searching_in(before) != 0);
    return searching_in(before) == 1;
  }

  /// running or searching -> parked.  True: nobody searches now, so the caller must look at every
  /// queue again before it sleeps.
  bool park(std::uint32_t index, bool searching) noexcept {
    MAGPIE_ASSERT(index < WorkersMax);
    lock_scope guard(lock_);
    MAGPIE_DEBUG_ASSERT(!parked_[index]);
    const auto self = static_cast<std::uint16_t>(index);
    parked_[index] = true;
    previous_[index] = none;
    next_[index] = first_;
    if (first_ != none) {
      previous_[first_] = self;
    }
    first_ = self;
    // p+1, and s-1 for a searcher.  (C) seq_cst read-modify-write: the store half of the parker's
    // handshake; pairs with (B).  (D) is `empty` of the queues.
    const std::uint32_t change = one_parked - (searching ? one_searching : 0);
    const std::uint32_t before = word_.fetch_add(change, order::seq_cst);
    MAGPIE_DEBUG_ASSERT(!searching || searching_in(before) != 0);
    return searching_in(before) == (searching ? 1U : 0U);
  }

  /// parked -> running, for a worker that woke by itself.  False: somebody picked it meanwhile, so
  /// it counts as searching and must end that search or park as a searcher.
  bool unpark_self(std::uint32_t index) noexcept {
    MAGPIE_ASSERT(index < WorkersMax);
    lock_scope guard(lock_);
    if (!parked_[index]) {
      return false;
    }
    unlink(index);
    // p-1.  Relaxed: a producer that still sees the old count finds the list shorter, under the
    // lock.
    word_.fetch_sub(one_parked, order::relaxed);
    return true;
  }

  /// For metrics and tests; any thread.
  std::uint32_t searching() const noexcept { return searching_in(word_.load(order::relaxed)); }
  std::uint32_t parked() const noexcept { return parked_in(word_.load(order::relaxed)); }

  void check_invariants() noexcept {
    lock_scope guard(lock_);
    std::uint32_t count = 0;
    for (std::uint16_t i = first_, before = none; i != none; before = i, i = next_[i]) {
      ++count;
      MAGPIE_ASSERT(i < WorkersMax && parked_[i] && previous_[i] == before);
      MAGPIE_ASSERT(count <= WorkersMax);
    }
    MAGPIE_ASSERT(count == parked());
    MAGPIE_ASSERT(count + searching() <= WorkersMax);
  }

 private:
  static constexpr std::uint16_t none = 0xffff;
  static constexpr std::uint32_t one_searching = 1;
  static constexpr std::uint32_t one_parked = 1U << 16;

  static constexpr std::uint32_t searching_in(std::uint32_t word) noexcept {
    return word & 0xffffU;
  }
  static constexpr std::uint32_t parked_in(std::uint32_t word) noexcept { return word >> 16; }

  int pick_locked() noexcept {
    const std::uint16_t index = first_;
    MAGPIE_ASSERT(index != none);
    unlink(index);
    // p-1, s+1, in one step, so that no producer sees a moment without searcher and wakes a second.
    // Relaxed, as in begin_search.
    word_.fetch_add(one_searching - one_parked, order::relaxed);
    return index;
  }

  void unlink(std::uint32_t index) noexcept {
    const std::uint16_t before = previous_[index];
    const std::uint16_t after = next_[index];
    if (before == none) {
      first_ = after;
    } else {
      next_[before] = after;
    }
    if (after != none) {
      previous_[after] = before;
    }
    parked_[index] = false;
  }

  // The word has a line to itself: every producer reads it, the list is touched by parkers alone.
  alignas(cache_line_size) atomic<std::uint32_t> word_{0};
  alignas(cache_line_size) spin_lock lock_;
  plain<std::uint16_t> first_{none};
  plain<std::uint16_t> next_[WorkersMax];
  plain<std::uint16_t> previous_[WorkersMax];
  plain<bool> parked_[WorkersMax];
};

using idle = basic_idle<1024>;

}  // namespace magpie
