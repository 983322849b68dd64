/// The epoll reactor: one epoll instance and one eventfd per worker.
///
/// A descriptor registers once, edge-triggered and for both directions, with the reactor of the
/// worker that first waits on it.  Tasks that wait on it later from other workers use the same
/// registration: their waits end in the turn of the first worker, and the tasks go on there.  The
/// registration (epoll_registration.hpp) decides every race between a wait, an event and a cancel;
/// it names the operation's end once, so an operation is handed out or posted exactly once.
///
///     who                      may touch                                guarded by
///     owner: wait              registrations, the ready chain           their locks
///     owner: turn              the instance's events, parked, woken     reap lock
///     rescuer of a stuck owner the same                                 reap lock, by try
///     canceller, closer        registrations                            their locks
///
/// What ends without an event waits in the *ready chain* for the next turn: a wait that finds its
/// direction ready, one that the kernel refused to register, and what an event ended beyond a
/// turn's limit.
///
/// The reap lock is held for as long as somebody collects events, by a blocking turn even while it
/// sleeps.  All others only try it, so nobody ever waits for a sleeper.  A rescuer that swallows a
/// wake notes it in `woken_`, and the owner's next blocking turn does not block.
///
/// The eventfd is edge-triggered and never read: each write is an edge.
///
/// Destroyed when no thread waits or cancels on it any more.  Descriptors that it registered and
/// that are still open then register anew, with whichever reactor they are used on next; other
/// threads may be closing some.
#pragma once

#include <magpie/runtime/epoll_slab.hpp>
#include <magpie/runtime/reactor.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/cache_line.hpp>
#include <magpie/util/spin_lock.hpp>
#include <magpie/util/unique_fd.hpp>

#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>
#include <system_error>

namespace magpie {

class epoll_reactor final : public reactor {
 public:
  /// Events that one system call brings at most.
  static constexpr std::size_t batch_size = 256;

  epoll_reactor() noexcept = default;
  ~epoll_reactor() override;

  /// Makes the kernel's objects; once, before anything else.
  [[nodiscard]] std::error_code open() noexcept;

  const char* name() const noexcept override { return "epoll"; }
  /// Cost: a lock and a compare-exchange; the first wait on a descriptor adds a system call.
  bool wait(readiness_operation& op) noexcept override;
  void cancel(readiness_operation& op) noexcept override;
  void forget(descriptor& io) noexcept override;
  void turn(std::uint64_t deadline_ns, std::size_t limit, runnable_chain& out) noexcept override;
  /// Looks at the ready chain alone: the kernel cannot be asked without a system call.
  bool ready() const noexcept override { return ready_count_.load(order::relaxed) != 0; }
  bool blind() const noexcept override { return true; }
  void wake() noexcept override;
  rescue_report rescue(bool on_core, std::size_t limit, runnable_chain& out) noexcept override;
  void set_parked(bool parked) noexcept override;
  std::size_t in_flight() const noexcept override;
  std::uint64_t system_calls() const noexcept override;

  /// Events for descriptors that had been closed; dropped.  Any thread.
  std::uint64_t stale_events() const noexcept;

 private:
  using registration = epoll_slab::registration;

  /// Registers `io` in place of `dead` (null: for the first time).  0, or the kernel's errno.
  int add(descriptor& io, registration* dead, registration*& added) noexcept;
  /// Waits, and polls a descriptor that has hung up.
  registration::outcome wait_on(registration& on, readiness_operation& op) noexcept;
  bool end_at_once(readiness_operation& op, int error) noexcept;
  bool has_readiness(const descriptor& io, direction way) noexcept;

  void push_ready(readiness_operation& op) noexcept;
  std::size_t take_ready(std::size_t limit, runnable_chain& out) noexcept;
  static void hand_out(readiness_operation& op, runnable_chain& out) noexcept;

  // Under the reap lock.
  std::size_t collect(std::uint64_t deadline_ns, std::size_t limit, runnable_chain& out) noexcept;
  int enter(std::uint64_t deadline_ns, int most) noexcept;

  void count_system_call() noexcept;

  unique_fd epoll_;
  unique_fd wake_;
  bool fine_timeouts_ = false;  ///< The kernel has epoll_pwait2; constant after open().

  alignas(cache_line_size) spin_lock reap_lock_;
  // Guarded by reap_lock_.
  bool parked_ = false;
  bool woken_ = false;  ///< A wake was collected that ended no blocking turn yet.
  epoll_event events_[batch_size];

  alignas(cache_line_size) spin_lock ready_lock_;
  runnable_chain ready_;  ///< Guarded by ready_lock_; holds readiness_operations only.
  atomic<std::size_t> ready_count_{0};

  alignas(cache_line_size) atomic<std::size_t> in_flight_{0};
  atomic<std::uint64_t> system_calls_{0};
  atomic<std::uint64_t> stale_events_{0};
};

}  // namespace magpie
