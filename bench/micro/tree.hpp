/// What the benchmarks of stops and of tokens have in common: 1e5 tasks that wait, and the proof
/// that all of them have ended.
#pragma once

#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/clock.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace magpie::bench {

inline constexpr std::size_t waiters = 100'000;

/// Who has come, and whose frame has been destroyed.  Each has a byte of its own: a common count
/// would be part of the figure.
class roll {
 public:
  /// In the frame of the waiter.
  class entry {
   public:
    entry(roll& of, std::size_t at) noexcept : gone_(&of.gone_[at]) {
      of.entered_.fetch_add(1, std::memory_order_relaxed);  // publishes nothing
    }
    entry(const entry&) = delete;
    entry& operator=(const entry&) = delete;
    ~entry() { *gone_ = 1; }

   private:
    char* gone_;
  };

  bool all_entered() const noexcept { return entered_.load(std::memory_order_relaxed) == waiters; }

  /// Fails unless everybody has gone; then all may come again.
  void check(benchmark::State& state) {
    if (!all_entered() || std::count(gone_.begin(), gone_.end(), char{1}) != waiters)
      state.SkipWithError("a frame was not destroyed");
    entered_.store(0, std::memory_order_relaxed);
    std::fill(gone_.begin(), gone_.end(), char{0});
  }

 private:
  std::atomic<std::size_t> entered_{0};
  std::vector<char> gone_ = std::vector<char>(waiters);
};

/// The part of an iteration that is measured: sets the time, the counters, and as `span_cpu_ns` the
/// CPU time of the process in that part, all of them for each of `each`.
class span_meter {
 public:
  span_meter(benchmark::State& state, std::size_t each) noexcept
      : state_(&state), each_(static_cast<double>(each)) {}
  span_meter(const span_meter&) = delete;
  span_meter& operator=(const span_meter&) = delete;
  ~span_meter() {
    meter::report(*state_, tally(), spent_, each_);
    state_->counters["span_cpu_ns"] =
        static_cast<double>(cpu_) / each_ / static_cast<double>(state_->iterations());
  }

  void begin() noexcept {
    before_ = tally_now();
    cpu_before_ = cpu_ns_so_far();
    began_ = clock::detail_now_ns();
  }
  void end() noexcept {
    const std::uint64_t took = clock::detail_now_ns() - began_;
    cpu_ += cpu_ns_so_far() - cpu_before_;
    spent_ += tally_now() - before_;
    state_->SetIterationTime(static_cast<double>(took) * 1e-9 / each_);
  }

 private:
  benchmark::State* state_;
  double each_;
  std::uint64_t began_ = 0;
  std::int64_t cpu_before_ = 0;
  std::int64_t cpu_ = 0;
  tally before_;
  tally spent_;
};

}  // namespace magpie::bench
