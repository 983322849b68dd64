#include <magpie/sync/token_bucket.hpp>

namespace magpie::sync::detail {

token_bucket::token_bucket(const rate_limit& limit) noexcept
    : tokens_(limit.tokens),
      per_(static_cast<std::uint64_t>(limit.per.count())),
      burst_(limit.burst) {
  MAGPIE_ASSERT(limit.tokens >= 1 && limit.tokens <= rate_limit::tokens_max &&
                "a rate is of one token to a million millions");
  MAGPIE_ASSERT(limit.burst >= 1 && limit.burst <= rate_limit::tokens_max &&
                "a burst is of one token to a million millions");
  MAGPIE_ASSERT(limit.per > clock::duration::zero() && "a rate is for some time");
}

clock::duration token_bucket::take(std::uint64_t count, clock::time_point now) noexcept {
  MAGPIE_ASSERT(count <= burst_);
  const parts today = at(now);
  const parts full = full_after(count, today);
  if (full > latest(today)) return rounded_up(full - latest(today));
  full_at_ = full;
  return clock::duration::zero();
}

clock::duration token_bucket::until(std::uint64_t count, clock::time_point now) const noexcept {
  const parts today = at(now);
  const parts full =
      full_after(count < rate_limit::tokens_max ? count : rate_limit::tokens_max, today);
  if (full <= latest(today)) return clock::duration::zero();
  return rounded_up(full - latest(today));
}

std::uint64_t token_bucket::available(clock::time_point now) const noexcept {
  const parts today = at(now);
  const parts full = full_after(0, today);
  // Somebody's clock may have been ahead of ours by a little.
  if (full > latest(today)) return 0;
  return static_cast<std::uint64_t>((latest(today) - full) / per_);
}

clock::duration token_bucket::rounded_up(parts time) const noexcept {
  const parts ns = (time + tokens_ - 1) / tokens_;
  constexpr auto most = static_cast<std::uint64_t>(clock::duration::max().count());
  return clock::duration(
      static_cast<clock::rep>(ns < most ? static_cast<std::uint64_t>(ns) : most));
}

}  // namespace magpie::sync::detail
