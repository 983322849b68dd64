/// `retry(policy, f)`: f again, until it gives a value or the policy says that it is enough.
///
///     retry_policy policy(5);                   // attempts
///     policy.attempt_timeout = 2s;
///     auto reply = co_await retry(policy, [&] { return client.call(request); });
///
/// `f` makes the task, operation or result anew for each attempt; it may take the attempt's number,
/// from 1 on.  Between two attempts there is a pause that grows: `base`, `base * factor`, … up to
/// `cap`; with full jitter a random part of it, so that clients that failed together do not come
/// back together.  There is none after the last attempt, nor one that would end after the whole
/// time is over.
///
/// The outcome is the value, or the last attempt's error; a `retry_report` keeps that error and the
/// number of attempts also when it ends well.  A stop is no failure: it ends the retry at once.
/// So does an exception, which is passed on.
#pragma once

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/random.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie {

enum class jitter : std::uint8_t {
  none,
  full,  ///< The pause is a random part of what it would be without, each equally likely.
};

struct retry_policy {
  retry_policy() noexcept = default;
  explicit retry_policy(unsigned most) noexcept : attempts(most) {}

  /// How often `f` is called at most; with 0 the retry fails with invalid_argument.
  unsigned attempts = 3;
  /// The pause after the first failure, what each further one multiplies it by, and its limit.
  clock::duration base = std::chrono::milliseconds(100);
  double factor = 2;
  clock::duration cap = std::chrono::seconds(30);
  magpie::jitter jitter = jitter::full;
  /// How long one attempt may take, and all of them with their pauses; `max` is for ever.  The one
  /// that runs when the whole time is over ends with `errc::deadline` and is the last.
  clock::duration attempt_timeout = clock::duration::max();
  clock::duration total_timeout = clock::duration::max();
  /// Whether an error is worth another attempt; null: each is.  Never asked about a stop.
  bool (*retry_if)(std::error_code error) = nullptr;

  /// The pause after attempt `attempt` (from 1 on) has failed, without and with jitter.  Neither
  /// overflows, whatever the numbers.
  clock::duration longest_pause(unsigned attempt) const noexcept;
  clock::duration pause(unsigned attempt, random_source& chance) const noexcept;
};

/// How a retry went.
struct retry_report {
  unsigned attempts = 0;       ///< How often `f` was called.
  std::error_code last_error;  ///< The last failed attempt's; none if none failed.
};

namespace detail {

template <class F>
auto call_attempt(F& function, [[maybe_unused]] unsigned attempt) {
  if constexpr (std::invocable<F&, unsigned>) {
    return function(attempt);
  } else {
    return function();
  }
}

template <class F>
using attempt_value = await_value<decltype(call_attempt(std::declval<F&>(), 0U))>;

template <class F>
task<attempt_value<F>> retry_loop(retry_policy policy, F function, retry_report* report) {
  retry_report own;
  retry_report& noted = report != nullptr ? *report : own;
  noted = retry_report();
  if (policy.attempts == 0) co_await fail(std::make_error_code(std::errc::invalid_argument));
  const clock::time_point until = time_after(policy.total_timeout);
  for (;;) {
    const unsigned attempt = ++noted.attempts;
    const clock::time_point limit = std::min(until, time_after(policy.attempt_timeout));
    auto bounded = timeout_at(limit, call_attempt(function, attempt));
    auto ended = co_await as_result(std::move(bounded));
    if (ended) {
      if constexpr (std::is_void_v<attempt_value<F>>) {
        co_return;
      } else {
        co_return *std::move(ended);
      }
    }
    noted.last_error = ended.error();
    const bool worth = noted.last_error != errc::stopped && attempt < policy.attempts &&
                       (policy.retry_if == nullptr || policy.retry_if(noted.last_error));
    const clock::duration pause =
        worth ? policy.pause(attempt, *this_context().chance) : clock::duration::zero();
    // Without a pause too: what has no time left is not tried again.
    if (!worth || time_after(pause) >= until) co_await fail(noted.last_error);
    co_await sleep_for(pause);
  }
}

template <class F>
auto make_retry(const retry_policy& policy, F&& f, retry_report* report) noexcept {
  using function = std::remove_cvref_t<F>;
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<function>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  return retry_loop<function>(policy, std::forward<F>(f), report);
}

}  // namespace detail

/// Gives the value of the first attempt that has one.
/// Errors: the last attempt's; invalid_argument when the policy allows no attempt; stopped.
/// Stop: that of the attempt, or of the pause, which it ends; nothing is tried again.
/// Cost: a frame, a timeout for each attempt, a sleep between two.
/// `f` must be a named callable, which is copied, or a closure without owning captures.  A copy
/// that throws ends the program.
template <class F>
auto retry(const retry_policy& policy, F&& f) noexcept {
  return detail::make_retry(policy, std::forward<F>(f), nullptr);
}

/// The same; how it went is in `report`, which must outlive the await, at each moment.
template <class F>
auto retry(const retry_policy& policy, F&& f, retry_report& report) noexcept {
  return detail::make_retry(policy, std::forward<F>(f), &report);
}

}  // namespace magpie
