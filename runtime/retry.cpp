#include <magpie/runtime/retry.hpp>

#include <cmath>

namespace magpie {

clock::duration retry_policy::longest_pause(unsigned attempt) const noexcept {
  if (base <= clock::duration::zero() || cap <= clock::duration::zero()) return {};
  const double grown =
      static_cast<double>(base.count()) * std::pow(factor, static_cast<double>(attempt) - 1);
  // The comparison holds for infinity and NaN too, and keeps the conversion in range.
  if (!(grown < static_cast<double>(cap.count()))) return cap;
  return clock::duration(grown < 0 ? 0 : static_cast<clock::rep>(grown));
}

clock::duration retry_policy::pause(unsigned attempt, random_source& chance) const noexcept {
  const clock::duration longest = longest_pause(attempt);
  if (jitter == jitter::none) return longest;
  // The remainder favours small numbers by 2^-64 of the longest pause: by nothing that matters.
  const std::uint64_t part = chance.next() % (static_cast<std::uint64_t>(longest.count()) + 1);
  return clock::duration(static_cast<clock::rep>(part));
}

}  // namespace magpie
