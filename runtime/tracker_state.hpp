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
/// Who waits is in the wait list (wait_list.hpp), whose source this is.
///
/// (E1) `untrack` and `close` release what the task did before, (E2) the look at the word acquires
/// it; in between the additions of others belong to the same release sequence.  (H) the countdown
/// of holders is acq_rel: who frees the block sees what the others did to it.
///
/// Threads: any, for everything; a caller holds the block, by a handle or a token.
#pragma once

#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie::detail {

class tracker_state : public wait_source {
 public:
  using free_function = void (*)(tracker_state&) noexcept;

  /// One with a holder, open.  `frees` ends it when nobody holds it any more.
  explicit tracker_state(free_function frees) noexcept : wait_source(&is_over), frees_(frees) {}

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

  static bool is_over(const wait_source& of) noexcept {
    return static_cast<const tracker_state&>(of).ended();
  }

  free_function frees_;  ///< Never changes.
  atomic<std::uint64_t> word_{one_holder};
};

}  // namespace magpie::detail
