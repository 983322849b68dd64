/// `breaker`: calls nobody for a while who keeps failing.
///
///     sync::breaker database;                        // 5 failures of the last 10 calls open it
///     …
///     auto call = database.try_call();
///     if (!call) co_await fail(errc::refused);       // call.error(): try again after that time
///     auto reply = co_await as_result(client.ask(question));
///     call->tell(reply);                             // an error but `stopped` is a failure
///
/// A server that is down or overloaded is not helped by more calls, and those who call it wait for
/// its deadline each time.  An open breaker refuses at once.  After a pause it lets a few calls
/// through, to see; if one of them fails it is open again, for twice the pause.
///
///     state       try_call                  a call succeeds           a call fails
///     closed      yes                       -> closed, noted          noted; enough of the last
///                                                                     calls -> open
///     open        refused until the pause   -, it is an old one       -, the same
///                 is over, then -> probing
///     probing     yes, `probes` in all,     the last of them          -> open, for longer
///                 else refused; or, when    -> closed
///                 they took longer than a
///                 pause, yes: new probes
///
/// A call that is destroyed untold, because its task was stopped, counts for nothing; a probe's
/// place is free again.  Calls of an earlier state, and probes that others have replaced, are
/// ignored.
///
/// A deadline belongs between breaker and server, so that the call is told of it.  Around both it
/// is a stop to what is inside, which says nothing of the server, and one that hangs never opens
/// the breaker.
///
/// Source: Nygard, "Release It!", 2007.
/// Threads: any.  Cost: a spin lock, and the clock while it is not closed.
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>
#include <magpie/util/spin_lock.hpp>

#include <chrono>
#include <cstdint>
#include <expected>
#include <utility>

namespace magpie::sync {

struct breaker_policy {
  static constexpr unsigned window_max = 64;

  breaker_policy() noexcept = default;
  breaker_policy(unsigned failed, unsigned of_the_last) noexcept
      : failures(failed), window(of_the_last) {}

  /// It opens when so many of the last `window` calls have failed (asserted: 1 <= failures <=
  /// window <= 64).  The same number for both: so many in a row.
  unsigned failures = 5;
  unsigned window = 10;
  unsigned probes = 1;  ///< So many calls have to succeed before it closes; at least one.
  /// For how long it is open at first, and at most.
  clock::duration pause = std::chrono::seconds(1);
  clock::duration pause_max = std::chrono::minutes(1);
};

enum class breaker_state : std::uint8_t { closed, open, probing };

class breaker;

/// One call that a breaker let through; empty after a move or when it has been told.  The breaker
/// must outlive it.
class [[nodiscard("tell it how the call has ended")]] breaker_call {
 public:
  breaker_call(breaker_call&& other) noexcept
      : of_(std::exchange(other.of_, nullptr)), era_(other.era_) {}
  breaker_call& operator=(breaker_call other) noexcept {
    std::swap(of_, other.of_);
    std::swap(era_, other.era_);
    return *this;
  }
  ~breaker_call();

  /// How it has ended.  The first of these counts.
  void succeeded() noexcept;
  void failed() noexcept;

  /// A value is a success; `stopped` is neither; any other error is a failure.
  template <class T>
  void tell(const result<T>& outcome) noexcept {
    if (outcome) {
      succeeded();
    } else if (outcome.error() != errc::stopped) {
      failed();
    }
  }

 private:
  friend class breaker;
  breaker_call(breaker& of, std::uint64_t era) noexcept : of_(&of), era_(era) {}

  breaker* of_;
  std::uint64_t era_;
};

class breaker {
 public:
  explicit breaker(const breaker_policy& policy = breaker_policy()) noexcept;
  breaker(const breaker&) = delete;
  breaker& operator=(const breaker&) = delete;
  ~breaker() = default;

  /// A call, or the time after which it is worth while to ask again.
  std::expected<breaker_call, clock::duration> try_call() noexcept;

  /// An open one whose pause is over is `open` until somebody asks.
  breaker_state state() const noexcept;

 private:
  friend class breaker_call;
  enum class ended : std::uint8_t { well, badly, untold };

  void end(std::uint64_t era, ended how) noexcept;
  void open(clock::time_point now) noexcept;
  void enter(breaker_state next) noexcept;
  void wait_from(clock::time_point now) noexcept;

  const breaker_policy policy_;
  mutable spin_lock lock_;  // for all that follows
  breaker_state state_ = breaker_state::closed;
  std::uint64_t era_ = 0;     // counts changes of the state
  std::uint64_t failed_ = 0;  // of the last calls, a bit each, the newest lowest
  unsigned probing_ = 0;      // probes that are under way
  unsigned succeeded_ = 0;    // probes that were good
  clock::duration pause_;     // the next one
  clock::time_point until_;   // when the pause is over, or what the probes have
};

}  // namespace magpie::sync
