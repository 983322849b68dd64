/// How a runtime is set up.
#pragma once

#include <magpie/runtime/watchdog.hpp>
#include <magpie/runtime/worker_hooks.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace magpie {

enum class reactor_kind : std::uint8_t {
  automatic,  ///< io_uring where the kernel allows it, else epoll, with one log line.
  uring,
  epoll,
  sim,  ///< Logical workers on one thread, virtual time, in-memory sockets; for tests.
};

/// "auto", "uring", "epoll", "sim".
const char* to_string(reactor_kind kind) noexcept;

enum class flavour : std::uint8_t {
  work_stealing,   ///< One thread per worker; tasks move between them.
  current_thread,  ///< Everything on the thread that calls `run` or `block_on`.
};

/// Defaults first; `MAGPIE_WORKERS` and `MAGPIE_REACTOR` override a default; what code sets to
/// something else than the default overrides both.
struct options {
  options() noexcept = default;

  static constexpr std::size_t workers_max = 512;

  /// Worker threads; 0: as many as the CPU affinity and the cgroup's quota allow.
  std::size_t workers = 0;
  reactor_kind reactor = reactor_kind::automatic;
  magpie::flavour flavour = flavour::work_stealing;

  /// How long the end of `run` or a shutdown waits for tasks that are still draining.
  std::chrono::nanoseconds drain_deadline = std::chrono::seconds(10);
  /// `run` turns SIGINT and SIGTERM into a stop of everything; a second one exits at once.
  bool handle_signals = true;

  /// An idle worker rescues the completions, timers and tasks of one that is stuck.
  bool rescue = true;
  /// How often the watcher looks while the runtime is busy; more than zero.
  std::chrono::nanoseconds watch_interval = std::chrono::microseconds(100);

  /// Which tasks run for too long.
  magpie::watchdog watchdog;

  /// Threads that run blocking calls, and how many calls may wait for one.
  std::size_t blocking_threads_max = 64;  ///< At least one.
  std::size_t blocking_queue_max = 4096;
  std::chrono::nanoseconds blocking_keep_alive = std::chrono::seconds(10);

  /// `live_tasks` also lists tasks that have never waited, and says how old each task is.
  /// Cost: for each task a pooled block, a lock and a look at the clock.
  bool track_tasks = false;
  /// A signal on which all live tasks are printed to standard error, as a stack dump of threads
  /// would be: SIGQUIT, say.  0: none.  Not in a simulation.
  int dump_signal = 0;

  /// Called on the workers' threads.
  worker_hooks hooks;

  /// Everything that a simulated runtime decides by chance comes from this.
  std::uint64_t seed = 1;

  /// Print the choice of a fall-back reactor, leaked tasks and lost failures to standard error.
  bool log = true;
};

}  // namespace magpie
