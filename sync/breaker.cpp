#include <magpie/sync/breaker.hpp>

#include <magpie/util/assert.hpp>

#include <algorithm>
#include <bit>

namespace magpie::sync {

breaker_call::~breaker_call() {
  if (of_ != nullptr) of_->end(era_, breaker::ended::untold);
}

void breaker_call::succeeded() noexcept {
  if (of_ != nullptr) std::exchange(of_, nullptr)->end(era_, breaker::ended::well);
}

void breaker_call::failed() noexcept {
  if (of_ != nullptr) std::exchange(of_, nullptr)->end(era_, breaker::ended::badly);
}

breaker::breaker(const breaker_policy& policy) noexcept : policy_(policy), pause_(policy.pause) {
  MAGPIE_ASSERT(policy.failures >= 1 && policy.failures <= policy.window &&
                policy.window <= breaker_policy::window_max &&
                "a breaker opens after 1 to 64 failures of as many calls or more");
  MAGPIE_ASSERT(policy.probes >= 1 && "without a probe it would never close");
}

void breaker::enter(breaker_state next) noexcept {
  state_ = next;
  ++era_;
  failed_ = 0;
  probing_ = 0;
  succeeded_ = 0;
}

void breaker::wait_from(clock::time_point now) noexcept {
  until_ = pause_ < clock::time_point::max() - now ? now + pause_ : clock::time_point::max();
}

void breaker::open(clock::time_point now) noexcept {
  enter(breaker_state::open);
  wait_from(now);
  pause_ = pause_ < policy_.pause_max / 2 ? pause_ * 2 : std::max(policy_.pause_max, policy_.pause);
}

std::expected<breaker_call, clock::duration> breaker::try_call() noexcept {
  // The clock is not looked at under the lock, and not by those who do not need it.
  const bool closed = state() == breaker_state::closed;
  const clock::time_point now = closed ? clock::time_point() : clock::now();
  const lock_scope guard(lock_);
  const bool all_out = state_ == breaker_state::probing && probing_ + succeeded_ >= policy_.probes;
  if (state_ == breaker_state::open || all_out) {
    // It may have opened since we looked: then we know no time, and are refused for the whole.
    if (closed || now < until_) return std::unexpected(closed ? policy_.pause : until_ - now);
    enter(breaker_state::probing);  // anew, if those that are out hang
    wait_from(now);
  }
  if (state_ == breaker_state::probing) ++probing_;
  return breaker_call(*this, era_);
}

breaker_state breaker::state() const noexcept {
  const lock_scope guard(lock_);
  return state_;
}

void breaker::end(std::uint64_t era, ended how) noexcept {
  const clock::time_point now = how == ended::badly ? clock::now() : clock::time_point();
  const lock_scope guard(lock_);
  if (era != era_) return;
  if (state_ == breaker_state::probing) {
    --probing_;
    if (how == ended::badly) {
      open(now);
    } else if (how == ended::well && ++succeeded_ == policy_.probes) {
      enter(breaker_state::closed);
      pause_ = policy_.pause;
    }
  } else if (how != ended::untold) {
    failed_ = failed_ << 1 | (how == ended::badly ? 1U : 0U);
    const std::uint64_t last = failed_ << (breaker_policy::window_max - policy_.window);
    if (static_cast<unsigned>(std::popcount(last)) >= policy_.failures) open(now);
  }
}

}  // namespace magpie::sync
