/// `interval`: ticks at a regular distance.
///
///     interval every(100ms);
///     for (;;) {
///       co_await every.tick();                 // the first at once
///       …
///     }
///
/// A tick has a *scheduled* time, which `tick` gives, and which the next one is counted from: the
/// ticks do not drift, however long the work between them takes.  A tick counts as *missed* when
/// it is taken more than 5 ms late, or so late that its successor is due as well; the policy says
/// what follows then:
///
///     period 10 ms, work from 0 until 35 ms; when the ticks are taken, and what they give:
///     burst    0    35 (10)   35 (20)   35 (30)   40    50     each one that was missed, at once
///     delay    0    35 (10)   45        55        65    75     a period from when it was taken
///     skip     0    35 (10)   40        50        60    70     what was missed is left out
///
/// An interval is a value: it may be copied and moved while no tick is awaited.
/// Threads: one task at a time.
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/util/result.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <system_error>

namespace magpie {

/// What follows a missed tick.
enum class missed_ticks : std::uint8_t {
  burst,  ///< Every tick comes, those that are late without a pause.
  delay,  ///< The next one comes a period after the late one was taken.
  skip,   ///< The next one is the first that still lies ahead; the rhythm is kept.
};

class interval {
 public:
  /// How late a tick may be taken before it counts as missed, if the period is not shorter.
  static constexpr clock::duration tolerance = std::chrono::milliseconds(5);

  class tick_operation;

  /// Ticks at once and then every `period`.  A period that is not positive is refused by `tick`.
  template <class Rep, class Period>
  explicit interval(std::chrono::duration<Rep, Period> period,
                    missed_ticks policy = missed_ticks::burst) noexcept
      : interval(clock::now(), clock_duration(period), policy) {}

  /// Ticks at `start` first; see also `interval_at`.
  interval(clock::time_point start, clock::duration period, missed_ticks policy) noexcept
      : next_(start), period_(period), policy_(policy) {}

  /// Waits for the next tick and gives the time that it was scheduled at.
  /// Errors: stopped; invalid_argument when the period is not positive.
  /// Stop: takes no tick; it comes to the next call.  Cost: that of a sleep.
  tick_operation tick() noexcept;

  /// The next tick comes a period from now.  Like the others: not while a tick is awaited.
  void reset() noexcept { next_ = time_after(period_); }
  /// The next tick comes after `d`, or at `at`; from there on every period.
  template <class Rep, class Period>
  void reset_after(std::chrono::duration<Rep, Period> d) noexcept {
    next_ = time_after(d);
  }
  void reset_at(clock::time_point at) noexcept { next_ = at; }

  clock::duration period() const noexcept { return period_; }
  missed_ticks policy() const noexcept { return policy_; }
  void set_policy(missed_ticks policy) noexcept { policy_ = policy; }
  /// When the next tick is due.
  clock::time_point next_tick() const noexcept { return next_; }

 private:
  void taken(clock::time_point scheduled) noexcept {
    const clock::time_point now = clock::now();
    next_ = after(scheduled);
    if (policy_ == missed_ticks::burst || now < scheduled) return;
    // Unsigned: a start far before the clock's own is farther away than a duration can say.
    const auto late = static_cast<std::uint64_t>(now.time_since_epoch().count()) -
                      static_cast<std::uint64_t>(scheduled.time_since_epoch().count());
    const auto period = static_cast<std::uint64_t>(period_.count());
    if (late <= static_cast<std::uint64_t>(tolerance.count()) && late < period) return;
    if (policy_ == missed_ticks::delay) {
      next_ = after(now);
    } else {
      next_ = after(now - clock::duration(static_cast<clock::rep>(late % period)));
    }
  }

  /// A period after `from`, held at the end of the clock.
  clock::time_point after(clock::time_point from) const noexcept {
    // The difference of a late time and the end of the clock does not overflow, that of an early
    // one may.
    const bool room = from.time_since_epoch() <= clock::duration::zero() ||
                      period_ <= clock::time_point::max() - from;
    return room ? from + period_ : clock::time_point::max();
  }

  clock::time_point next_;
  clock::duration period_;
  missed_ticks policy_;
};

/// The wait for one tick.
class interval::tick_operation : public detail::sleep_operation {
 public:
  using value_type = clock::time_point;

  explicit tick_operation(interval& of) noexcept
      : detail::sleep_operation(of.next_), of_(&of), scheduled_(of.next_) {}
  tick_operation(tick_operation&&) noexcept = default;

  bool try_complete(stop_scope& scope) noexcept {
    if (scope.stop_requested()) return false;
    return failed() || detail::sleep_operation::try_complete(scope);
  }
  std::error_code failed() const noexcept {
    if (of_->period_ > clock::duration::zero()) return {};
    return std::make_error_code(std::errc::invalid_argument);
  }

  /// The tick is taken here, when its value reaches somebody, and nowhere else.
  result<value_type> take() noexcept {
    of_->taken(scheduled_);
    return scheduled_;
  }

 private:
  interval* of_;
  clock::time_point scheduled_;
};

inline interval::tick_operation interval::tick() noexcept { return tick_operation(*this); }

/// An interval whose first tick is due at `start`, which may have passed.
template <class Rep, class Period>
interval interval_at(clock::time_point start, std::chrono::duration<Rep, Period> period,
                     missed_ticks policy = missed_ticks::burst) noexcept {
  return interval(start, clock_duration(period), policy);
}

}  // namespace magpie
