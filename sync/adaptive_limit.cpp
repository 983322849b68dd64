#include <magpie/sync/adaptive_limit.hpp>

#include <magpie/util/assert.hpp>

#include <algorithm>

namespace magpie::sync {

void timed_work::done() noexcept {
  if (by_ != nullptr) std::exchange(by_, nullptr)->end(began_, adaptive_limit::ended::done);
}

void timed_work::overloaded() noexcept {
  if (by_ != nullptr) std::exchange(by_, nullptr)->end(began_, adaptive_limit::ended::overloaded);
}

void timed_work::give_up() noexcept {
  if (by_ != nullptr) std::exchange(by_, nullptr)->end(began_, adaptive_limit::ended::untold);
}

adaptive_limit::adaptive_limit(admission& door, const adaptive_policy& policy) noexcept
    : door_(&door),
      policy_(policy),
      applied_(door.running_max()),
      since_(clock::now()),
      cut_(since_) {
  MAGPIE_ASSERT(policy.target > clock::duration::zero() && policy.samples >= 1);
  MAGPIE_ASSERT(policy.least >= 1 && policy.least <= policy.most);
  MAGPIE_ASSERT(policy.increase >= 1 && policy.decrease > 0 && policy.decrease < 1);
  limit_ = std::clamp(applied_, policy.least, policy.most);
  apply();
}

timed_work adaptive_limit::begin() noexcept {
  const admission_counts inside = door_->counts();
  const clock::time_point now = clock::now();
  const lock_scope guard(lock_);
  if (inside.running >= limit_ || inside.waiting != 0) used_up_ = true;
  return timed_work(*this, now);
}

std::size_t adaptive_limit::limit() const noexcept {
  const lock_scope guard(lock_);
  return limit_;
}

void adaptive_limit::end(clock::time_point began, ended how) noexcept {
  const clock::time_point now = clock::now();
  const bool too_long = how == ended::overloaded || now - began > policy_.target;
  if (how == ended::untold && !too_long) return;
  {
    const lock_scope guard(lock_);
    if (began < cut_) return;  // under a larger limit
    ++ended_;
    if (too_long) ++slow_;
    if (!ends_round(now)) return;
  }
  apply();
}

/// Under the lock.  True: the limit has changed.
bool adaptive_limit::ends_round(clock::time_point now) noexcept {
  if (ended_ < policy_.samples || now - since_ < policy_.round) return false;
  const std::size_t before = limit_;
  if (slow_ * 10 > ended_) {
    const auto less = static_cast<std::size_t>(static_cast<double>(limit_) * policy_.decrease);
    limit_ = std::max(policy_.least, less);
    cut_ = now;
  } else if (used_up_) {
    limit_ += std::min(policy_.increase, policy_.most - limit_);
  }
  since_ = now;
  ended_ = 0;
  slow_ = 0;
  used_up_ = false;
  return limit_ != before;
}

/// Tells the door, which is not done under the lock: it wakes who waits.  One does it at a time, or
/// an old limit might come after a new one.
void adaptive_limit::apply() noexcept {
  for (;;) {
    std::size_t next = 0;
    {
      const lock_scope guard(lock_);
      if (next = limit_; applying_ || next == applied_) return;
      applied_ = next;
      applying_ = true;
    }
    door_->set_running(next);
    const lock_scope guard(lock_);
    applying_ = false;
  }
}

}  // namespace magpie::sync
