/// `test_clock`: moving the simulated time by hand, for tests of code that waits.
///
/// In a simulated runtime time is virtual and moves by itself: a little with every turn of a task,
/// and to the next event when every task waits.  While the clock is paused it stands still, and
/// moves by `advance` alone, so that a test can say what happens at which instant:
///
///     test_clock::pause();
///     auto sleeper = spawn(sleeps(1ms));
///     co_await test_clock::advance(999us);     // not yet
///     co_await test_clock::advance(1us);       // now, and what the sleeper did then is done
///
/// A paused clock stands on a whole tick (1 µs), and an advance is rounded up to one: sleeps of
/// whole microseconds end at exactly their time.  What travels in the simulated network takes
/// virtual time too, up to 100 µs, and so needs an advance; a `run_blocking` that begins while the
/// clock is paused takes none.  When every task waits, the clock is paused and nobody advances it,
/// then nobody ever will: the simulation aborts and says so.  The end of the runtime resumes it.
///
/// Threads: tasks of a simulated runtime (asserted).
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/sim_world.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <chrono>
#include <coroutine>
#include <system_error>

namespace magpie {
namespace detail {

class advance_operation final : public operation {
 public:
  using value_type = void;

  explicit advance_operation(clock::duration by) noexcept
      : operation(&ended, &cancel_it), advance_(*this), by_(by) {}
  advance_operation(advance_operation&& other) noexcept
      : operation(std::move(other)), advance_(*this), by_(other.by_) {}

  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return no_error; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept;
  result<void> take() const noexcept { return {}; }

 private:
  static void ended(runnable& work) noexcept;
  static void cancel_it(operation& op) noexcept;

  sim_advance advance_;
  clock::duration by_;
  bool refused_ = false;
  bool cancelled_ = false;
};

}  // namespace detail

struct test_clock {
  /// Stops the clock; it may move up to the next microsecond before.  Idempotent.
  static void pause() noexcept;

  /// Lets time move by itself again.  Idempotent.
  static void resume() noexcept;

  static bool paused() noexcept;

  /// Moves the clock by `d`, from event to event: each timer fires at its time, in order, and what
  /// it woke runs before time goes on.  Completes when the last of it waits again or has ended.
  /// An `advance(0s)` only lets everything that is ready run.  On a clock that is not paused it
  /// waits until then in the same way.
  /// Errors: stopped.  Stop: the clock stays where it has got to.
  template <class Rep, class Period>
  [[nodiscard]] static detail::advance_operation advance(
      std::chrono::duration<Rep, Period> d) noexcept {
    return detail::advance_operation(clock_duration(d));
  }
};

}  // namespace magpie
