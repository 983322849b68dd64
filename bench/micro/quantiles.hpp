/// Quantiles of a set of samples, for what has a tail: wake-ups and timers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace magpie::bench {

class quantiles {
 public:
  /// Takes samples in nanoseconds; at least one.
  explicit quantiles(std::vector<std::int64_t> samples) noexcept : sorted_(std::move(samples)) {
    std::sort(sorted_.begin(), sorted_.end());
  }

  /// The sample below which the share `q` of all lies, in microseconds.
  double microseconds(double q) const noexcept {
    const auto last = static_cast<double>(sorted_.size() - 1);
    return static_cast<double>(sorted_[static_cast<std::size_t>(q * last + 0.5)]) / 1000.0;
  }

  std::int64_t least() const noexcept { return sorted_.front(); }

 private:
  std::vector<std::int64_t> sorted_;
};

}  // namespace magpie::bench
