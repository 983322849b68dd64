/// When a worker that sleeps for its timers shares a wake-up between several of them.
///
/// A system call for each timer costs more than most of them are for.  So while the timers of a
/// worker have been firing less than `gap_ns` apart on average, and the next is as near as the
/// slack, the worker sleeps `slack_ns` past the first of them: then about as many fire together as
/// come within it.  A timer that is alone, or among a few, is not delayed.
///
///     fired      together or close to those before    count more, up to twice a crowd
///                after a pause                        half of what was there: one pause, as of
///                                                     a worker that was kept from its processor,
///                                                     does not end a crowd, a few do
///     a crowd    at `enough`
///
/// Threads: the worker's.  Cost: a few instructions for each wake-up.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace magpie {

class timer_crowd {
 public:
  static constexpr std::uint64_t gap_ns = 50'000;     ///< Close enough to each other.
  static constexpr std::uint64_t slack_ns = 200'000;  ///< How late the first one may be.
  static constexpr std::uint32_t enough = 128;        ///< After so many that were close.

  /// `count` timers, one at least, fire at `now_ns`.
  void fired(std::uint64_t now_ns, std::size_t count) noexcept {
    const bool close = now_ns - fired_at_ns_ <= std::min(count * gap_ns, 2 * slack_ns);
    size_ = close ? std::min(size_ + static_cast<std::uint32_t>(count), 2 * enough) : size_ / 2;
    fired_at_ns_ = now_ns;
  }

  /// Until when to sleep at `now_ns`, if the next timer is due at `next_ns`.
  std::uint64_t wake_at(std::uint64_t next_ns, std::uint64_t now_ns) const noexcept {
    const bool crowded = size_ >= enough && next_ns - now_ns < slack_ns;
    return crowded ? next_ns + slack_ns : next_ns;
  }

 private:
  std::uint32_t size_ = 0;         ///< Timers of late that fired close to each other.
  std::uint64_t fired_at_ns_ = 0;  ///< When timers fired last.
};

}  // namespace magpie
