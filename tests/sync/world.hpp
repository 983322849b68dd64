/// What the tests of synchronisation share.
#pragma once

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/join.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/test_clock.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <cstdint>
#include <cstdlib>
#include <random>

namespace magpie::tests {

/// A simulation with one worker: tasks run in one order, and nothing is under way beside the test.
inline options one_at_a_time(std::uint64_t seed = 1) {
  options chosen = simulation(seed);
  chosen.workers = 1;
  return chosen;
}

/// In a simulation with one worker: returns when everybody has had its turns.  Each takes a little
/// time; what is not ready takes longer.
inline auto settled() { return sleep_for(100us); }

/// Runs a scenario with a clock that moves by hand, so that all happens at its very instant.
template <class Scenario>
void at_instants(Scenario scenario) {
  const auto paused = [](Scenario& inner) -> task<> {
    test_clock::pause();
    co_await inner();
    test_clock::resume();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), paused(scenario)));
}

/// How many operations a structure is compared with its reference for; `MAGPIE_TEST_OPERATIONS`
/// sets it for long runs.
inline int model_operations(int by_default = 20'000) {
  const char* const text = std::getenv("MAGPIE_TEST_OPERATIONS");
  return text != nullptr ? std::atoi(text) : by_default;
}

/// Numbers by chance, the same in each run.
class dice {
 public:
  explicit dice(std::uint64_t seed) : engine_(seed) {}
  /// From 0 to `bound` - 1.
  std::size_t below(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(engine_);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace magpie::tests
