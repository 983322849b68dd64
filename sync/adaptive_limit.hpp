/// `adaptive_limit`: how many may run at once, found out while the program runs.
///
///     sync::admission door(sync::admission_limits(20));
///     sync::adaptive_limit limit(door, sync::adaptive_policy(100ms));  // what is fast enough
///     …
///     const auto admitted = co_await door.enter();
///     auto work = limit.begin();
///     const auto answer = co_await as_result(asks(database));
///     work.tell(answer);         // a value: how long it took; `deadline`, `refused`: too long
///
/// The right number of an `admission` depends on what stands behind it, and that changes: with the
/// load of others, with a cache that is cold, with a machine that is gone.  What can be seen is the
/// time that work takes.  Below the number at which something is used up it hardly depends on how
/// many run; above it each one more makes all of them slower.
///
/// So there are rounds.  One lasts for `round` at least, and until `samples` have ended.  What
/// began before the limit was cut last does not count: it says nothing about the limit as it is
/// now.
///
///     in the round                                    the limit
///     more than a tenth was slower than `target`      times `decrease`
///     else, and somebody began when it was used up    plus `increase`
///     else                                            stays: nobody knows what more would do
///
/// The sum grows slowly and is cut at once, and so it swings a little around what is there; several
/// that share one server come to equal shares.  Take as `target` two or three times what the work
/// takes when it is alone.
///
/// Source: Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion
/// avoidance in computer networks", 1989.
/// Threads: any.  Cost: two spin locks and the clock at the begin and one at the end.
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/sync/admission.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>
#include <magpie/util/spin_lock.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>

namespace magpie::sync {

struct adaptive_policy {
  explicit adaptive_policy(clock::duration slow) noexcept : target(slow) {}
  adaptive_policy(clock::duration slow, std::size_t at_least, std::size_t at_most) noexcept
      : target(slow), least(at_least), most(at_most) {}

  clock::duration target;  ///< What takes longer is too slow; more than zero (asserted).
  /// The limit stays between these; 1 <= least <= most (asserted).
  std::size_t least = 1;
  std::size_t most = 1000;
  std::size_t increase = 1;  ///< At least one (asserted).
  double decrease = 0.9;     ///< More than 0 and less than 1 (asserted).
  clock::duration round = std::chrono::milliseconds(100);
  std::size_t samples = 10;  ///< At least one (asserted).
};

class adaptive_limit;

/// Work whose time is taken, from where it was made; empty after a move or when it was told.
/// Destroyed untold, because its task was stopped, it counts if it has taken too long already: so a
/// deadline around the whole request is seen as well.  Else it counts for nothing.  The limit must
/// outlive it.
class [[nodiscard("tell it how the work has ended")]] timed_work {
 public:
  timed_work(timed_work&& other) noexcept
      : by_(std::exchange(other.by_, nullptr)), began_(other.began_) {}
  timed_work& operator=(timed_work other) noexcept {
    std::swap(by_, other.by_);
    std::swap(began_, other.began_);
    return *this;
  }
  ~timed_work() { give_up(); }

  /// It is done.  The first of these counts.
  void done() noexcept;
  /// It took too long, however long it took: a deadline has passed, or it was refused.
  void overloaded() noexcept;

  /// A value is done.  Of the errors `deadline` and `refused` say that there is too much, and the
  /// others count as if it was destroyed untold.
  template <class T>
  void tell(const result<T>& outcome) noexcept {
    if (outcome) {
      done();
    } else if (outcome.error() == errc::deadline || outcome.error() == errc::refused) {
      overloaded();
    } else {
      give_up();
    }
  }

 private:
  friend class adaptive_limit;
  timed_work(adaptive_limit& by, clock::time_point began) noexcept : by_(&by), began_(began) {}
  void give_up() noexcept;

  adaptive_limit* by_;
  clock::time_point began_;
};

class adaptive_limit {
 public:
  /// Changes how many run at once in `door`, which must outlive it, and nobody else may.  It begins
  /// with what `door` has, brought between the bounds.
  adaptive_limit(admission& door, const adaptive_policy& policy) noexcept;
  adaptive_limit(const adaptive_limit&) = delete;
  adaptive_limit& operator=(const adaptive_limit&) = delete;
  ~adaptive_limit() = default;

  /// Takes the time from now on; by who was admitted.
  timed_work begin() noexcept;

  /// How many may run at once now.
  std::size_t limit() const noexcept;

 private:
  friend class timed_work;

  enum class ended : std::uint8_t { done, overloaded, untold };

  void end(clock::time_point began, ended how) noexcept;
  bool ends_round(clock::time_point now) noexcept;
  void apply() noexcept;

  admission* door_;
  const adaptive_policy policy_;
  mutable spin_lock lock_;   // for all that follows
  std::size_t limit_;        // as it should be
  std::size_t applied_;      // as the door has it
  bool applying_ = false;    // somebody tells the door
  clock::time_point since_;  // the round
  clock::time_point cut_;    // when the limit became less
  std::size_t ended_ = 0;    // in the round, of those that began after the cut
  std::size_t slow_ = 0;     // the same
  bool used_up_ = false;     // somebody began when the limit was reached
};

}  // namespace magpie::sync
