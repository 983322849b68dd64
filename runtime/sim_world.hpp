/// What the logical workers of one simulation share: seed, chance, time and network.
///
/// The driver is the scheduler: it picks by `random` whose turn it is, says `step_passed` after
/// each turn that did something, and when nobody has anything to do advances time to the earlier
/// of the next timer and `next_event_ns`.  Nothing else moves time, so a simulated day costs what
/// happens in it, and the same seed gives the same run: `network.event_hash()` tells.
///
/// The clock may be moved by hand instead (test_clock.hpp): while it is *paused* neither turns nor
/// waiting move it, only an *advance*, a task's request to get to a time.  An advance goes from
/// event to event and ends when its time has come and nobody has anything left to do; or, since a
/// task may turn for ever, after `settle_turns_max` turns without a rest.
///
/// Blocking work is an operation that takes virtual time: run it at once, hand its completion to
/// `schedule_completion`, and `on_completion`'s function gets it when its time has come.
///
/// Everything on one thread.
#pragma once

#include <magpie/runtime/sim_network.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/intrusive_list.hpp>
#include <magpie/util/random.hpp>

#include <algorithm>
#include <cstdint>

namespace magpie {

/// Somebody moves the clock by hand; `ends` is run when `until_ns` has come.
struct sim_advance : list_node {
  explicit sim_advance(runnable& at_the_end) noexcept : ends(&at_the_end) {}
  runnable* ends;
  std::uint64_t until_ns = 0;
};

struct sim_world {
  explicit sim_world(std::uint64_t with_seed) noexcept : sim_world(sim_options(with_seed)) {}
  explicit sim_world(const sim_options& options) noexcept
      : seed(options.seed), random(~options.seed), log(options.log), network(options) {}

  /// When the network or a scheduled completion wants the time to move on;
  /// `sim_network::never` when nothing is under way.
  std::uint64_t next_event_ns() const noexcept { return network.next_event_ns(); }

  /// Moves the time and delivers everything that is due until then.
  void advance_to(std::uint64_t to_ns) noexcept {
    MAGPIE_ASSERT(to_ns >= now_ns);
    network.advance_to(to_ns);
    now_ns = to_ns;
  }

  /// A worker did something: that takes a little time too, so that events come in between, and so
  /// that a task that waits for the clock in a loop gets there.
  void step_passed() noexcept {
    if (!advances_.empty()) ++turns_;
    if (!paused_) advance_to(now_ns + random.below(step_max_ns));
  }

  /// Nobody has anything to do, and the next timer is due at `timer_ns`: moves the time on, to
  /// `until_ns` at most.  False: nothing is due, or the clock is paused and nobody moves it.
  bool move_on(std::uint64_t timer_ns, std::uint64_t until_ns) noexcept {
    turns_ = 0;
    std::uint64_t next = std::min(timer_ns, next_event_ns());
    if (sim_advance* first = advances_.front(); first != nullptr && first->until_ns < next) {
      next = std::max(first->until_ns, now_ns);
      advances_.pop_front();
      network.schedule(*first->ends, next - now_ns);
    } else if (first == nullptr && until_ns == sim_network::never &&
               (paused_ ? next > now_ns : next == sim_network::never)) {
      return false;
    }
    advance_to(std::max(std::min(next, until_ns), now_ns));
    return true;
  }

  // ---- the clock by hand

  bool paused() const noexcept { return paused_; }
  /// Stops the clock, on a whole tick of the timers, so that sums of whole ticks are exact.
  void pause() noexcept {
    if (draining_ || paused_) return;
    paused_ = true;
    advance_to((now_ns + tick_ns - 1) / tick_ns * tick_ns);
  }
  void resume() noexcept { paused_ = false; }
  /// The runtime is coming to its end, and its deadline must pass whatever tasks want.
  void resume_for_good() noexcept {
    draining_ = true;
    paused_ = false;
  }

  /// Moves the clock to `by.until_ns`, rounded up to a whole tick, and runs `by.ends` then.
  void begin_advance(sim_advance& by) noexcept {
    by.until_ns = (by.until_ns + tick_ns - 1) / tick_ns * tick_ns;
    for (sim_advance* other = advances_.front(); other != nullptr; other = advances_.next(*other)) {
      if (other->until_ns <= by.until_ns) continue;
      intrusive_list<sim_advance>::insert_before(*other, by);
      return;
    }
    advances_.push_back(by);
  }
  /// True: it had not ended, and will not.
  static bool cancel_advance(sim_advance& by) noexcept {
    if (!by.linked()) return false;
    by.unlink();
    return true;
  }
  /// Tasks have had their turns for so long that an advance goes on as if they were at rest.
  bool impatient() const noexcept { return turns_ >= settle_turns_max; }

  /// Who gets the runnables whose time has come; before the first is scheduled.
  void on_completion(sim_network::post_function post, void* user) noexcept {
    network.on_due(post, user);
  }
  void schedule_completion(runnable& work, std::uint64_t delay_ns) noexcept {
    network.schedule(work, delay_ns);
  }
  /// A duration from `least_ns` to `most_ns`, by chance.
  std::uint64_t any_duration(std::uint64_t least_ns, std::uint32_t spread_ns) noexcept {
    return least_ns + (spread_ns == 0 ? 0 : random.below(spread_ns));
  }

  static constexpr std::uint32_t step_max_ns = 2'000;
  static constexpr std::uint64_t tick_ns = 1'000;  ///< Of the timer wheels.
  static constexpr std::uint32_t settle_turns_max = 100'000;

  std::uint64_t seed;
  random_source random;  ///< The driver's; the network has its own.
  std::uint64_t now_ns = sim_network::start_ns;
  bool log;
  sim_network network;

 private:
  bool paused_ = false;
  bool draining_ = false;
  std::uint32_t turns_ = 0;               ///< Since time moved last, while somebody advances.
  intrusive_list<sim_advance> advances_;  ///< The nearest first.
};

}  // namespace magpie
