/// The runtime's clock: CLOCK_MONOTONIC, or the simulated time inside a simulated runtime.
#pragma once

#include <magpie/runtime/context.hpp>

#include <chrono>
#include <cstdint>

namespace magpie {

/// A monotonic clock in nanoseconds.  Any thread; about 20 ns.
struct clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<clock, duration>;
  static constexpr bool is_steady = true;

  static time_point now() noexcept {
    return time_point(duration(static_cast<rep>(detail_now_ns())));
  }

  /// The clock as the wheels and reactors count it.
  static std::uint64_t detail_now_ns() noexcept;
};

/// Now plus `d`, held at the ends of the clock instead of overflowing.
clock::time_point time_after(clock::duration d) noexcept;

/// The same for a duration of any kind, rounded up, however long or far in the past.
template <class Rep, class Period>
clock::time_point time_after(std::chrono::duration<Rep, Period> d) noexcept {
  using seconds = std::chrono::duration<double>;
  const seconds wide(d);
  if (!(wide > seconds::zero())) return time_after(clock::duration::zero());  // NaN is here too
  if (wide >= seconds(clock::duration::max())) return clock::time_point::max();
  return time_after(std::chrono::ceil<clock::duration>(d));
}

}  // namespace magpie
