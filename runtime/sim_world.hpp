/// What the logical workers of one simulation share: seed, chance, time and network.
///
/// The driver is the scheduler: it picks by `random` whose turn it is, says `step_passed` after
/// each turn that did something, and when nobody has anything to do advances time to the earlier
/// of the next timer and `next_event_ns`.  Nothing else moves time, so a simulated day costs what
/// happens in it, and the same seed gives the same run: `network.event_hash()` tells.
///
/// Blocking work is an operation that takes virtual time: run it at once, hand its completion to
/// `schedule_completion`, and `on_completion`'s function gets it when its time has come.
///
/// Everything on one thread.
#pragma once

#include <magpie/runtime/sim_network.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/random.hpp>

#include <cstdint>

namespace magpie {

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
  void step_passed() noexcept { advance_to(now_ns + random.below(step_max_ns)); }

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

  std::uint64_t seed;
  random_source random;  ///< The driver's; the network has its own.
  std::uint64_t now_ns = sim_network::start_ns;
  bool log;
  sim_network network;
};

}  // namespace magpie
