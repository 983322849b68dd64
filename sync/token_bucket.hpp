/// `token_bucket`: how many tokens there are by now, as arithmetic without a clock and a lock.
///
/// Idea: a bucket that fills evenly needs no counter and nobody to fill it.  One number says at
/// which time it would be full again.  To take n tokens moves that time n intervals on, and is
/// allowed as long as the bucket is full no later than a burst's worth of time from now:
///
///     full_at'  = max(full_at, now) + n * per / tokens
///     allowed   if full_at' <= now + burst * per / tokens
///
/// An interval need not be whole nanoseconds.  Times are counted in parts of a nanosecond, `tokens`
/// of them, so that an interval is `per` of these: nothing is rounded, and as long as the bucket is
/// not full what comes a little late is made up for.
///
/// Source: the generic cell rate algorithm of ITU-T I.371, 1993, as virtual scheduling.
/// Threads: one at a time.
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/util/assert.hpp>

#include <chrono>
#include <cstdint>

namespace magpie::sync {

/// So many in each such time, evenly; and so many at once, when none were taken for a while.
struct rate_limit {
  static constexpr std::uint64_t tokens_max = 1'000'000'000'000;

  /// `tokens` in each `per`, and as many at once.
  template <class Rep, class Period>
  rate_limit(std::uint64_t how_many, std::chrono::duration<Rep, Period> in) noexcept
      : tokens(how_many), per(clock_duration(in)), burst(how_many) {}
  template <class Rep, class Period>
  rate_limit(std::uint64_t how_many, std::chrono::duration<Rep, Period> in,
             std::uint64_t at_once) noexcept
      : tokens(how_many), per(clock_duration(in)), burst(at_once) {}

  /// From 1 to `tokens_max`, both (asserted).
  std::uint64_t tokens;
  clock::duration per;  ///< More than zero (asserted).
  std::uint64_t burst;
  /// Each wait takes longer by chance, by less than this, so that those who wait for several
  /// limiters of one rate do not all come at the same instant.  It is slept by the first in line,
  /// before it takes its tokens: so it only ever slows, and the limit is kept to the letter.  What
  /// comes meanwhile is saved up to a burst; keep it well below the time of a burst, or the rate
  /// becomes a burst for each such time.
  clock::duration jitter = clock::duration::zero();
};

namespace detail {

class token_bucket {
 public:
  /// A full one.
  explicit token_bucket(const rate_limit& limit) noexcept;

  /// Takes `count` tokens if they are there, and gives zero; or takes none, and gives the time
  /// until they are, if nobody else takes any.  At most `burst` (asserted).
  clock::duration take(std::uint64_t count, clock::time_point now) noexcept;

  /// The time until so many could have been taken one after the other; zero: now.
  clock::duration until(std::uint64_t count, clock::time_point now) const noexcept;

  std::uint64_t available(clock::time_point now) const noexcept;
  std::uint64_t burst() const noexcept { return burst_; }

 private:
  __extension__ using parts = unsigned __int128;  // of a nanosecond, `tokens_` of them

  parts at(clock::time_point now) const noexcept {
    return parts{magpie::detail::to_wheel_ns(now)} * tokens_;
  }
  /// When the bucket would be full if `count` more were taken, and when it may be at the latest.
  parts full_after(std::uint64_t count, parts now) const noexcept {
    return (full_at_ > now ? full_at_ : now) + parts{count} * per_;
  }
  parts latest(parts now) const noexcept { return now + parts{burst_} * per_; }
  clock::duration rounded_up(parts time) const noexcept;

  std::uint64_t tokens_;
  std::uint64_t per_;  // ns; one token's interval in parts
  std::uint64_t burst_;
  parts full_at_ = 0;
};

}  // namespace detail
}  // namespace magpie::sync
