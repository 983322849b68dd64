// A log-linear histogram in the manner of HdrHistogram: 128 linear steps per power of two, so
// that a recorded value is off by at most 0.8 % and recording costs one clz, one shift and one
// add. It is compared with sorting all samples, which costs memory and time inside the measured
// window.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bare {

class histogram {
 public:
  histogram() : counts_(bucket_count) {}

  void record(std::uint64_t value) noexcept {
    ++counts_[index_of(value)];
    ++total_;
    max_ = std::max(max_, value);
  }

  void reset() noexcept {
    std::fill(counts_.begin(), counts_.end(), 0);
    total_ = 0;
    max_ = 0;
  }

  std::uint64_t total() const noexcept { return total_; }
  std::uint64_t max() const noexcept { return max_; }

  /// The smallest value v such that at least `fraction` of the samples are <= v (rounded up to the
  /// end of its bucket, never above the largest sample); 0 when nothing was recorded.
  std::uint64_t percentile(double fraction) const noexcept {
    if (total_ == 0) return 0;
    auto wanted = static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(total_)));
    wanted = std::clamp<std::uint64_t>(wanted, 1, total_);
    std::uint64_t seen = 0;
    for (std::size_t index = 0; index < bucket_count; ++index) {
      seen += counts_[index];
      if (seen >= wanted) return std::min(last_value_of(index), max_);
    }
    return max_;
  }

 private:
  static constexpr unsigned step_bits = 7;
  static constexpr std::uint64_t steps = 1U << step_bits;
  static constexpr std::size_t bucket_count = (64 - step_bits + 1) * steps;

  // Values below 128 have a bucket each. Above, the octave picks a group of 128 buckets and the
  // seven bits below the leading one pick the bucket.
  static std::size_t index_of(std::uint64_t value) noexcept {
    if (value < steps) return value;
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - step_bits - 1;
    return (shift + 1) * steps + ((value >> shift) - steps);
  }

  static std::uint64_t last_value_of(std::size_t index) noexcept {
    if (index < steps) return index;
    const auto shift = index / steps - 1;
    return ((index % steps + steps + 1) << shift) - 1;
  }

  std::vector<std::uint64_t> counts_;
  std::uint64_t total_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace bare
