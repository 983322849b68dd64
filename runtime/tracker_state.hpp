/// What the handles of a task tracker, its tokens and those who wait for it share.
///
/// Idea: one word counts the tokens (what is tracked) and the holders (handles of the tracker), and
/// says whether the tracker is closed.  *Ended* is the tracker that is closed and has no tokens.
/// Whoever makes it so wakes everybody who waits:
///
///     word            track         untrack                      close           reopen
///     open, 0         -> open, 1    -                            -> ended, wakes -
///     open, n         -> open, n+1  -> open, n-1                 -> closed, n    -
///     closed, n > 1   -> n+1        -> closed, n-1               -               -> open, n
///     closed, 1       -> closed, 2  -> ended, wakes              -               -> open, 1
///     ended           -> closed, 1  -                            -               -> open, 0
///
/// The last token becomes a holder in the same step as it goes: whoever waits may drop the last
/// handle as soon as the word says `ended`, and the waker still needs the block.  Who counts
/// holders and tokens down to zero frees it.
///
/// A waiter looks at the word under the lock before it lists itself, and a waker takes the lock
/// after it has changed the word: either the waiter finds the tracker ended, or the waker finds the
/// waiter.  A waker takes all who are listed in one go, so that one who comes after a `reopen` is
/// not woken for what was before.
///
/// (E1) `untrack` and `close` release what the task did before, (E2) the look at the word acquires
/// it; in between the additions of others belong to the same release sequence.  (H) the countdown
/// of holders is acq_rel: who frees the block sees what the others did to it.
///
/// Threads: any, for everything; a caller holds the block, by a handle or a token.
#pragma once

#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/intrusive_list.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie {

struct runnable;
struct task_root;

namespace detail {

/// Waits for a tracker to end; then `work` is posted.
struct tracker_waiter : list_node {
  runnable* work = nullptr;
  task_root* root = nullptr;
  tracker_waiter* next_woken = nullptr;  ///< The waker's.
};

class tracker_state {
 public:
  using free_function = void (*)(tracker_state&) noexcept;

  /// One with a holder, open.  `frees` ends it when nobody holds it any more.
  explicit tracker_state(free_function frees) noexcept : frees_(frees) {}
  tracker_state(const tracker_state&) = delete;
  tracker_state& operator=(const tracker_state&) = delete;
  ~tracker_state() { MAGPIE_ASSERT(waiters_.empty()); }

  /// One more token.  Relaxed: the caller's own token or handle keeps the block.
  void track() noexcept { word_.fetch_add(one_token, order::relaxed); }

  /// Gives a token up; the caller must not touch the tracker again.
  void untrack() noexcept;

  void close() noexcept;
  /// Relaxed: takes back nothing that somebody has seen.
  void reopen() noexcept { word_.fetch_and(~closed, order::relaxed); }

  bool is_closed() const noexcept { return (word_.load(order::relaxed) & closed) != 0; }
  std::size_t tokens() const noexcept { return tokens_in(word_.load(order::relaxed)); }
  /// Closed, and everything that was tracked is over and visible.
  bool ended() const noexcept { return is_end(word_.load(order::acquire)); }  // (E2)

  /// Under the lock: whoever waits decides by `ended`.
  void lock() noexcept { lock_.lock(); }
  void unlock() noexcept { lock_.unlock(); }
  void insert(tracker_waiter& waiter) noexcept { waiters_.push_back(waiter); }

  /// Takes `waiter` out; false: a waker has it, and posts it.
  bool remove(tracker_waiter& waiter) noexcept;

  /// One more holder.  Relaxed, as `track`.
  void hold() noexcept { word_.fetch_add(one_holder, order::relaxed); }
  /// Gives a hold up; null does nothing.
  static void release(tracker_state* state) noexcept;

 private:
  static constexpr std::uint64_t closed = 1;
  static constexpr std::uint64_t one_token = 2;
  static constexpr std::uint64_t one_holder = std::uint64_t{1} << 32;

  static constexpr std::size_t tokens_in(std::uint64_t word) noexcept {
    return static_cast<std::size_t>((word & (one_holder - 1)) / one_token);
  }
  static constexpr bool is_end(std::uint64_t word) noexcept {
    return (word & (one_holder - 1)) == closed;
  }

  void wake() noexcept;

  free_function frees_;  ///< Never changes.
  atomic<std::uint64_t> word_{one_holder};
  spin_lock lock_;
  intrusive_list<tracker_waiter> waiters_;
};

}  // namespace detail
}  // namespace magpie
