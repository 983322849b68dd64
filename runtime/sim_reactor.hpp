/// The reactor of one logical worker in a simulation: the smallest backend; read it first.
///
/// Idea: a wait is either *held* by the network, while its descriptor is not ready, or *ready*, in
/// a list here, from where turns hand waits out in an order that the seed chooses.  All logical
/// workers live on one thread, so nothing is locked and no turn blocks; time moves on only when the
/// driver says so.
///
/// Invariants: a wait is in one place, `where` is set exactly while it is here, and what is ready
/// is handed out by the next turns however the worker came to them (no wake-up can be lost).
/// Every call comes from the simulation's thread; another thread aborts.
#pragma once

#include <magpie/runtime/reactor.hpp>
#include <magpie/runtime/sim_network.hpp>
#include <magpie/util/atomic.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace magpie {

class sim_reactor final : public reactor, private sim_watcher {
 public:
  explicit sim_reactor(sim_network& network) noexcept : network_(network) {}
  /// Waits that are still here are dropped: their tasks were leaked.
  ~sim_reactor() override { network_.unwatch_all(*this); }

  const char* name() const noexcept override { return "sim"; }
  bool wait(readiness_operation& op) noexcept override;
  void cancel(readiness_operation& op) noexcept override;
  void forget(descriptor& io) noexcept override;
  /// Never blocks, whatever the deadline.
  void turn(std::uint64_t deadline_ns, std::size_t limit, runnable_chain& out) noexcept override;
  bool ready() const noexcept override { return !ready_.empty(); }
  void wake() noexcept override;
  rescue_report rescue(bool on_core, std::size_t limit, runnable_chain& out) noexcept override;
  void set_parked(bool parked) noexcept override { parked_ = parked; }
  std::size_t in_flight() const noexcept override { return held_ + ready_.size(); }
  std::uint64_t system_calls() const noexcept override { return 0; }

  /// Somebody called `wake` since the last turn.  For the driver.
  bool woken() const noexcept { return woken_.load(order::relaxed); }

 private:
  enum place : std::uint32_t { at_network, in_ready };  ///< Of an operation; in its `slot`.

  void socket_ready(readiness_operation& op) noexcept override;
  std::size_t hand_out(std::size_t limit, runnable_chain& out) noexcept;

  sim_network& network_;
  std::vector<readiness_operation*> ready_;
  std::size_t held_ = 0;
  bool parked_ = false;
  // Atomic for a signal handler on the simulation's thread; it publishes nothing but itself.
  atomic<bool> woken_{false};
};

}  // namespace magpie
