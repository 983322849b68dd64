/// Small seeded generators for stealing order, jitter and simulation.  Not for secrets.
///
/// `split_mix64` spreads a seed; `random_source` is xoshiro256**, seeded through it.  The same seed
/// gives the same numbers on every machine.
/// Invariant: the state of `random_source` is never all zero (it would stay there).
/// Not synchronised: one per worker.
/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014;
/// Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018.
#pragma once

#include <magpie/util/assert.hpp>

#include <bit>
#include <cstdint>
#include <limits>

namespace magpie {

class split_mix64 {
 public:
  constexpr explicit split_mix64(std::uint64_t seed) noexcept : state_(seed) {}

  constexpr std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

class random_source {
 public:
  using result_type = std::uint64_t;

  constexpr explicit random_source(std::uint64_t seed = 0) noexcept {
    split_mix64 spread(seed);
    for (std::uint64_t& word : state_) {
      word = spread.next();
    }
    check_invariants();  // four consecutive outputs of a permutation of counters cannot all be 0
  }

  constexpr std::uint64_t next() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// A number from 0 to bound - 1, each equally likely.
  /// Source: Lemire, "Fast random integer generation in an interval", 2019.
  constexpr std::uint32_t below(std::uint32_t bound) noexcept {
    MAGPIE_ASSERT(bound != 0);
    std::uint64_t product = (next() >> 32) * bound;
    if (static_cast<std::uint32_t>(product) < bound) [[unlikely]] {
      const std::uint32_t reject_below = (0U - bound) % bound;
      while (static_cast<std::uint32_t>(product) < reject_below) {
        product = (next() >> 32) * bound;
      }
    }
    return static_cast<std::uint32_t>(product >> 32);
  }

  /// True once in `times` on average.
  constexpr bool one_in(std::uint32_t times) noexcept { return below(times) == 0; }

  // The interface of a standard uniform random bit generator.
  static constexpr std::uint64_t min() noexcept { return 0; }
  static constexpr std::uint64_t max() noexcept {
    return std::numeric_limits<std::uint64_t>::max();
  }
  constexpr std::uint64_t operator()() noexcept { return next(); }

  constexpr void check_invariants() const noexcept {
    MAGPIE_ASSERT((state_[0] | state_[1] | state_[2] | state_[3]) != 0);
  }

 private:
  std::uint64_t state_[4] = {};
};

}  // namespace magpie
