/// What the tests of select, join, race and their kind share.
#pragma once

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <chrono>
#include <string>

namespace magpie::tests {

inline task<int> at_once(int value) { co_return value; }

inline task<int> after(std::chrono::nanoseconds pause, int value) {
  co_await sleep_for(pause);
  co_return value;
}

/// Ends with an error after a pause; with none if that is stopped.
inline task<int> fails_after(std::chrono::nanoseconds pause, std::error_code with = some_error()) {
  co_await sleep_for(pause);
  co_await fail(with);
  co_return 0;
}

/// Gives its value when it is stopped, too.
inline task<int> insists(std::chrono::nanoseconds pause, int value) {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(pause));
  co_return value;
}

#if defined(__cpp_exceptions)
inline task<int> throws_after(std::chrono::nanoseconds pause, int what) {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(pause));
  throw what;
}

/// A value whose last move of so many throws 19.
struct throws_when_moved {
  explicit throws_when_moved(int until) noexcept : moves(until) {}
  throws_when_moved(throws_when_moved&& other) : moves(other.moves - 1) {
    if (moves == 0) throw 19;
  }
  int moves;
};

inline task<throws_when_moved> gives_what_throws(int moves) {
  co_await sleep_for(1ms);
  co_return throws_when_moved(moves);
}
#endif

/// Counts how many are inside at once; not atomic on purpose: a race is a finding.
struct turnstile {
  int inside = 0;
  int passed = 0;
  bool crowded = false;

  void pass() noexcept {
    if (++inside != 1) crowded = true;
    ++passed;
    for (int i = 0; i < 50; ++i) cpu_relax();
    --inside;
  }
};

/// Runs the same task with many seeds: every order of events that a simulation offers.
inline void in_many_orders(task<> (*make)()) {
  for (std::uint64_t seed = 1; seed < 40; ++seed) EXPECT_TRUE(run_in_simulation(make(), seed));
}

/// Stops ten thousand forks, each at another moment.
inline void torture_forks(victim make) { torture(make, 10'000); }

}  // namespace magpie::tests
