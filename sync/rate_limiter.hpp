/// `rate_limiter`: so many in each such time, and a burst; who comes too soon waits in line.
///
///     sync::rate_limiter calls(sync::rate_limit(100, 1s, 20));  // 100 a second, 20 at once
///     …
///     co_await calls.acquire();                                  // or acquire(n), for n at once
///     co_await client.call(request);
///
/// Tokens come evenly (token_bucket.hpp): there is no window at whose edge twice the burst would
/// pass.  They are used up and not given back; for what is given back there is `semaphore`.
///
/// Requests are served in the order in which they came: one for many tokens is not passed by a
/// small one behind it.  The tokens are taken when the wait is over, in one step.  So a stop costs
/// nothing: who is stopped in line, or while it is the first there, has taken none, and the next is
/// served as if it had never been there.
///
/// Idea: nobody but the first in line looks at the clock.  The line is a `mutex`; its holder
/// sleeps until its tokens are there.
///
///     lock              state                    acquire                       try_acquire
///     spin lock         nobody in line, enough   takes, at once                takes
///                       nobody in line           counts itself in, joins line  says how long
///                       somebody in line         the same                      says how long
///     mutex, spin lock  first in line            takes, or sleeps              -
///
/// Threads: any, for all but `acquire`, which is awaited on workers of one runtime or of several.
/// Inside of a simulation time is its own: do not share a limiter with what is outside.
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/sync/mutex.hpp>
#include <magpie/sync/token_bucket.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstdint>
#include <expected>

namespace magpie::sync {

class rate_limiter {
 public:
  explicit rate_limiter(const rate_limit& limit) noexcept : bucket_(limit), jitter_(limit.jitter) {}
  rate_limiter(const rate_limiter&) = delete;
  rate_limiter& operator=(const rate_limiter&) = delete;
  /// Nobody may be waiting (asserted).
  ~rate_limiter() = default;

  /// Waits until `count` tokens are there, and takes them.  None are had at once.
  /// Errors: invalid_argument if that is more than a burst, and will never be; stopped.
  /// Stop: the place in line is given up, and no token is taken.
  /// Threads: any number of tasks.  Cost: a frame; for who waits a timer, once it is first in line.
  task<> acquire(std::uint64_t count = 1);

  /// Takes `count` tokens if they are there and nobody waits.  Otherwise the error is the time
  /// after which they would be, if nobody else comes and those in line stay there; `max` if that
  /// is more than a burst.  Threads: any.  Cost: a spin lock and the clock.
  std::expected<void, clock::duration> try_acquire(std::uint64_t count = 1) noexcept;

  /// Tokens that are there; a guess while others take some, and who is first in line may be waiting
  /// for more of them.
  std::uint64_t available() const noexcept;

  /// As if it had never been used; the same guess.
  bool is_full() const noexcept { return available() == bucket_.burst(); }

 private:
  class place;

  bool enter(std::uint64_t count) noexcept;
  clock::duration take(std::uint64_t count) noexcept;

  mutable spin_lock lock_;
  detail::token_bucket bucket_;       // under the lock
  std::uint64_t tokens_in_line_ = 0;  // the same: what those want who wait
  clock::duration jitter_;            // never changes
  mutex line_;
};

}  // namespace magpie::sync
