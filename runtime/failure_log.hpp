/// Which failures that nobody awaits get a line on standard error.
///
/// Peers decide how often connections fail: without a bound they could fill a disk with lines, and
/// a worker that writes to a pipe which nobody reads would stand still. So lines come from a bucket
/// that holds `burst_max` and gains one each 100 ms, and none is printed while standard error takes
/// none; the next line that is printed is preceded by how many were left out.
///
/// Threads: any.  Cost: one system call for a line that is let through.
#pragma once

#include <magpie/util/spin_lock.hpp>

#include <cstdint>

namespace magpie {

class failure_log {
 public:
  static constexpr std::uint64_t burst_max = 50;
  static constexpr std::uint64_t gain_every_ns = 100'000'000;

  constexpr failure_log() noexcept = default;

  struct verdict {
    bool print;
    std::uint64_t left_out;  ///< Lines left out since the last one that was printed.
  };

  /// Decides about one line at `now_ns`; `writable`: standard error takes a line without blocking.
  verdict ask(std::uint64_t now_ns, bool writable) noexcept {
    lock_scope guard(lock_);
    // Threads may come with times that are a little out of order.
    const std::uint64_t gained = now_ns > counted_ns_ ? (now_ns - counted_ns_) / gain_every_ns : 0;
    counted_ns_ += gained * gain_every_ns;
    spent_ -= gained < spent_ ? gained : spent_;
    if (spent_ == burst_max || !writable) {
      ++left_out_;
      return {false, 0};
    }
    ++spent_;
    const std::uint64_t missing = left_out_;
    left_out_ = 0;
    return {true, missing};
  }

 private:
  spin_lock lock_;
  std::uint64_t counted_ns_ = 0;
  std::uint64_t spent_ = 0;
  std::uint64_t left_out_ = 0;
};

namespace detail {

/// Asks the log of this process, and prints how many lines were left out.
bool may_log_failure() noexcept;

}  // namespace detail
}  // namespace magpie
