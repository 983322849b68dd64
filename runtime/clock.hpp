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

namespace detail {

/// A time point as wheels and reactors count it; what lies before the clock's start is its start.
inline std::uint64_t to_wheel_ns(clock::time_point at) noexcept {
  const clock::rep count = at.time_since_epoch().count();
  return count > 0 ? static_cast<std::uint64_t>(count) : 0;
}

}  // namespace detail

/// Now plus `d`, held at the ends of the clock instead of overflowing.
clock::time_point time_after(clock::duration d) noexcept;

/// A duration of any kind in nanoseconds, rounded up and held at the ends of the range; what is not
/// positive (NaN too) is zero.
template <class Rep, class Period>
clock::duration clock_duration(std::chrono::duration<Rep, Period> d) noexcept {
  using seconds = std::chrono::duration<double>;
  const seconds wide(d);
  if (!(wide > seconds::zero())) return clock::duration::zero();
  // A floating-point number near the end may be rounded to one behind it.
  constexpr seconds rounding(std::chrono::treat_as_floating_point_v<Rep> ? 3600 : 0);
  if (wide >= seconds(clock::duration::max()) - rounding) return clock::duration::max();
  return std::chrono::ceil<clock::duration>(d);
}

/// Now plus a duration of any kind.
template <class Rep, class Period>
clock::time_point time_after(std::chrono::duration<Rep, Period> d) noexcept {
  return time_after(clock_duration(d));
}

}  // namespace magpie
