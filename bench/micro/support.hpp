/// What the micro benchmarks have in common: pinned runtimes, and counters per operation.
///
/// A program defines `register_all` and calls `add` and `add_floor` in it.  A loop is a task that
/// runs inside `block_on` on a runtime made beforehand, so neither is part of the figure:
///
///     task<> loop(benchmark::State& state) {
///       meter counted(state);
///       while (state.KeepRunningBatch(1000)) {
///         for (int i = 0; i < 1000; ++i) co_await what_is_measured();
///       }
///     }
///
/// One worker runs on one core; two on two.  Floors run on the core of the single worker.  A floor
/// is a loop written by hand for that one purpose: no scheduler, no stop, no safety.
#pragma once

#include <magpie/runtime/runtime.hpp>
#include <magpie/runtime/task.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace magpie::bench {

/// The figures that do not wobble: what one operation costs others.
struct tally {
  std::uint64_t allocations = 0;  ///< Calls of malloc and its kin, by any thread.
  std::uint64_t calls = 0;        ///< System calls of the reactors.
  std::uint64_t wakes = 0;
  std::uint64_t parks = 0;
  std::uint64_t steals = 0;

  tally& operator+=(const tally& more) noexcept;
  friend tally operator-(const tally& after, const tally& before) noexcept;
};

/// Calls of malloc, calloc, realloc and aligned_alloc since the program started.
std::uint64_t allocations_so_far() noexcept;

/// CPU time of the process, user and system.
std::int64_t cpu_ns_so_far() noexcept;

/// On a worker: that runtime's counts.  Elsewhere: the allocations alone.
tally tally_now() noexcept;
tally tally_of(const runtime& of) noexcept;

/// Counts from its construction to its destruction, and divides by the iterations of the state;
/// an iteration may stand for `each` operations.
class meter {
 public:
  explicit meter(benchmark::State& state, double each = 1.0) noexcept
      : state_(&state), each_(each), before_(tally_now()) {}
  meter(const meter&) = delete;
  meter& operator=(const meter&) = delete;
  ~meter() { report(*state_, before_, tally_now(), each_); }

  /// Writes the counters.
  static void report(benchmark::State& state, const tally& before, const tally& after, double each);

 private:
  benchmark::State* state_;
  double each_;
  tally before_;
};

/// The runtime with this many workers, pinned to as many cores; made at the first call.
runtime& runtime_of(std::size_t workers);

/// Lets the calling thread run on the first `count` cores that the program was given, or, with
/// `count` 0, on all of them.
void pin_to_first(std::size_t count) noexcept;
/// Lets the calling thread run on that core alone, counted from 0 among those the program has.
void pin_to(std::size_t core) noexcept;
std::size_t cores() noexcept;

using loop_function = task<> (*)(benchmark::State& state);
using plain_function = void (*)(benchmark::State& state);

/// Registers `name/1w`, `name/2w`, …  Time is wall time, CPU time that of the whole process.
void add(const std::string& name, loop_function loop,
         std::initializer_list<std::size_t> workers = {1},
         benchmark::TimeUnit unit = benchmark::kNanosecond);

/// Registers `name/floor`, a plain function on the single worker's core.
void add_floor(const std::string& name, plain_function loop,
               benchmark::TimeUnit unit = benchmark::kNanosecond);

/// Registers a benchmark that sets the time of each iteration itself (`SetIterationTime`) and
/// chooses its runtime and threads itself.
void add_manual(const std::string& name, plain_function loop, std::int64_t iterations,
                benchmark::TimeUnit unit = benchmark::kMicrosecond);
/// Registers `name/1w`, `name/2w`, …, whose loop sets the time of each iteration itself.
void add_manual(const std::string& name, loop_function loop,
                std::initializer_list<std::size_t> workers, std::int64_t iterations,
                benchmark::TimeUnit unit = benchmark::kNanosecond);

/// Defined by each program.
void register_all();

}  // namespace magpie::bench
