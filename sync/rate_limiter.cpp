#include <magpie/sync/rate_limiter.hpp>

#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/util/random.hpp>

#include <system_error>

namespace magpie::sync {
namespace {

/// A random part, less than the whole.
clock::duration some_of(clock::duration whole) noexcept {
  if (whole <= clock::duration::zero()) return clock::duration::zero();
  const std::uint64_t part =
      magpie::detail::this_context().chance->next() % static_cast<std::uint64_t>(whole.count());
  return clock::duration(static_cast<clock::rep>(part));
}

}  // namespace

/// Who waits is counted, with what it wants, from `enter` until it is served or stopped.
class rate_limiter::place {
 public:
  place(rate_limiter& in, std::uint64_t count) noexcept : in_(&in), count_(count) {}
  place(const place&) = delete;
  place& operator=(const place&) = delete;
  ~place() {
    const lock_scope guard(in_->lock_);
    in_->tokens_in_line_ -= count_;
  }

 private:
  rate_limiter* in_;
  std::uint64_t count_;
};

/// Takes `count` if they are there and nobody waits; else counts the caller in.
bool rate_limiter::enter(std::uint64_t count) noexcept {
  const clock::time_point now = clock::now();
  const lock_scope guard(lock_);
  if (tokens_in_line_ == 0 && bucket_.take(count, now) == clock::duration::zero()) return true;
  tokens_in_line_ += count;
  return false;
}

/// For the first in line.
clock::duration rate_limiter::take(std::uint64_t count) noexcept {
  const clock::time_point now = clock::now();
  const lock_scope guard(lock_);
  return bucket_.take(count, now);
}

task<> rate_limiter::acquire(std::uint64_t count) {
  co_await consume_budget();  // a loop that always finds tokens lets others run, and is stopped
  if (count == 0) co_return;
  if (count > bucket_.burst()) co_await fail(std::make_error_code(std::errc::invalid_argument));
  if (enter(count)) co_return;
  mutex_guard first;
  const place counted(*this, count);  // goes before the lock: then the next may destroy all of it
  first = co_await line_.lock();
  for (;;) {
    const clock::duration left = take(count);
    if (left == clock::duration::zero()) co_return;
    const clock::duration more = some_of(jitter_);
    co_await sleep_for(left);  // two waits: the sum might overflow
    if (more != clock::duration::zero()) co_await sleep_for(more);
  }
}

std::expected<void, clock::duration> rate_limiter::try_acquire(std::uint64_t count) noexcept {
  if (count == 0) return {};
  if (count > bucket_.burst()) return std::unexpected(clock::duration::max());
  const clock::time_point now = clock::now();
  const lock_scope guard(lock_);
  if (tokens_in_line_ != 0) {
    const clock::duration left = bucket_.until(tokens_in_line_ + count, now);
    // Those in line are about to be served: look again.
    return std::unexpected(left > clock::duration::zero() ? left : clock::duration(1));
  }
  if (const clock::duration left = bucket_.take(count, now); left != clock::duration::zero())
    return std::unexpected(left);
  return {};
}

std::uint64_t rate_limiter::available() const noexcept {
  const clock::time_point now = clock::now();
  const lock_scope guard(lock_);
  return bucket_.available(now);
}

}  // namespace magpie::sync
