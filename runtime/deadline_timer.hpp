/// `deadline_timer`: a sleep whose end may be moved while somebody sleeps.
///
///     deadline_timer idle(1min);
///     …                                        // one task:    co_await idle.wait();
///     idle.reset_after(1min);                  // another one: there was life, wait on
///
/// It stays elapsed until it is reset.  The wait is a `timer_wait`; see there for the protocol.
///
/// Threads: one waiter at a time (asserted); the rest from any thread.
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/timer_wait.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>
#include <magpie/util/spin_lock.hpp>

#include <chrono>
#include <coroutine>
#include <system_error>

namespace magpie {

class deadline_timer {
 public:
  class wait_operation;

  explicit deadline_timer(clock::time_point at) noexcept : at_(at) {}
  template <class Rep, class Period>
  explicit deadline_timer(std::chrono::duration<Rep, Period> d) noexcept : at_(time_after(d)) {}
  deadline_timer(const deadline_timer&) = delete;
  deadline_timer& operator=(const deadline_timer&) = delete;
  ~deadline_timer() { MAGPIE_ASSERT(waiter_ == nullptr); }

  /// Waits until the deadline, wherever it is moved meanwhile; at once when it has passed.
  /// Errors: stopped.  Stop: ends the wait; nothing is lost.
  /// Cost: that of a sleep, and one trip through the run queue more for each move that reaches it.
  wait_operation wait() & noexcept;

  /// Moves the deadline, to where it may have passed as well.  Cost: a lock; to an earlier time,
  /// with a waiter, a post.
  void reset_at(clock::time_point at) noexcept;
  template <class Rep, class Period>
  void reset_after(std::chrono::duration<Rep, Period> d) noexcept {
    reset_at(time_after(d));
  }

  clock::time_point deadline() const noexcept {
    lock_scope guard(lock_);
    return at_;
  }
  bool elapsed() const noexcept { return deadline() <= clock::now(); }

 private:
  mutable spin_lock lock_;  ///< Guards all of it.
  clock::time_point at_;
  wait_operation* waiter_ = nullptr;
};

class deadline_timer::wait_operation final : public detail::timer_wait {
 public:
  using value_type = void;

  explicit wait_operation(deadline_timer& on) noexcept
      : timer_wait(&timer_wait::ran<wait_operation>), on_(&on) {}
  wait_operation(wait_operation&&) noexcept = default;

  bool try_complete(stop_scope& scope) noexcept {
    return !scope.stop_requested() && on_->elapsed() &&
           detail::spend_budget(detail::this_context());
  }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
    prepare(to, scope);
    {
      lock_scope guard(on_->lock_);
      MAGPIE_ASSERT(on_->waiter_ == nullptr && "two tasks wait for one deadline_timer");
      if (arm(detail::to_wheel_ns(on_->at_))) {
        on_->waiter_ = this;
        return std::noop_coroutine();
      }
    }
    this->refuse();
    return std::noop_coroutine();
  }

  result<void> take() const noexcept { return {}; }

 private:
  friend detail::timer_wait;

  /// Ends the wait, or goes on with it; then nothing may be touched any more.
  bool waits_again() noexcept {
    lock_scope guard(on_->lock_);
    on_->waiter_ = nullptr;
    if (cancelled_ || on_->at_ <= clock::now()) return false;
    if (arm(detail::to_wheel_ns(on_->at_))) {
      on_->waiter_ = this;
      return true;
    }
    cancelled_ = true;
    return false;
  }

  deadline_timer* on_;
};

inline deadline_timer::wait_operation deadline_timer::wait() & noexcept {
  return wait_operation(*this);
}

inline void deadline_timer::reset_at(clock::time_point at) noexcept {
  wait_operation* pulled = nullptr;
  {
    lock_scope guard(lock_);
    at_ = at;
    if (waiter_ != nullptr && detail::to_wheel_ns(at) < waiter_->armed_until_ns() &&
        waiter_->pull())
      pulled = waiter_;
  }
  if (pulled != nullptr) pulled->post();
}

}  // namespace magpie
