/// What code that runs on a worker may ask of it: the thin, inlinable face of `worker`.
///
/// The pointer to the current context is thread-local and null outside of workers.  It is read
/// anew after every suspension and never kept in a frame: a task may go on on another worker.
#pragma once

#include <magpie/runtime/running_note.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie {

class random_source;
class reactor;
class scheduler;
class stop_scope;
class timer_wheel;
struct runnable;

namespace detail {

class join_base;
class run_gate;

/// What belongs to the task that runs rather than to the worker; see block_in_place.hpp.
struct execution {
  /// Inline completions that it may still have before it must go through the queue.
  int budget = 0;
  /// Joins whose child is being run in the joiner's place, innermost first; see spawn.hpp.
  join_base* deferred_joins = nullptr;
  /// Run gates that it holds, innermost first; see run_gate.hpp.
  run_gate* gates = nullptr;
};

struct context : execution {
  reactor* io = nullptr;
  scheduler* home = nullptr;
  timer_wheel* timers = nullptr;
  std::size_t index = 0;
  /// The runtime has no other worker: what only workers touch needs no read-modify-write.
  bool alone = false;
  /// Simulated time in nanoseconds; null when the clock is the kernel's.
  const std::uint64_t* virtual_now = nullptr;
  /// This worker's source of chance; in a simulation it comes from the seed.
  random_source* chance = nullptr;
  /// The worker's hot buffer, shared by everything that runs on it; see `read_leased`.
  std::byte* hot_buffer = nullptr;
  atomic<std::uint64_t> budget_yields{0};
  /// Root tasks that were spawned and that ended here; one writer, see root_group.
  atomic<std::uint64_t> spawned{0};
  atomic<std::uint64_t> ended{0};
  /// The scope under which this worker's spawned tasks hang.
  stop_scope* spawn_scope = nullptr;
  /// The stop scope of the frame that runs now: exact at each await, null between two tasks.
  /// Written by the worker; relaxed, as others compare it with what they know to be alive.
  atomic<stop_scope*> running{nullptr};

  stop_scope* running_here() const noexcept { return running.load(order::relaxed); }
  void run_in(stop_scope* scope) noexcept { running.store(scope, order::relaxed); }
  /// What runs, copied for watchers on other threads.
  running_note note;
  /// This worker's block of task ids; see task_root.hpp.
  std::uint64_t next_id = 0;
  std::uint64_t ids_end = 0;

  /// Release, as the end's: what is counted happened before the count is seen.
  void count_spawn() noexcept { spawned.store(spawned.load(order::relaxed) + 1, order::release); }
  void count_end() noexcept { ended.store(ended.load(order::relaxed) + 1, order::release); }

  /// Puts `work` at the tail of this worker's own queue: behind everything that is ready.
  void post_last(runnable& work) noexcept;

  /// Puts a spawned, unstarted task where thieves find it.
  void post_fork(runnable& task) noexcept;

  /// A number from 0 to `bound` - 1, by chance; in a simulation the seed decides.
  std::uint32_t any_below(std::uint32_t bound) noexcept;

  /// Takes a task back that `post_fork` put here last, if nobody was faster.
  bool take_back(runnable& task) noexcept;
};

inline constexpr std::size_t hot_buffer_size = 64 * 1024;
inline constexpr int task_budget = 128;

#if defined(__clang__) || defined(__GNUC__)
#define MAGPIE_TLS [[gnu::tls_model("initial-exec")]]
#else
#define MAGPIE_TLS
#endif

MAGPIE_TLS extern constinit thread_local context* current_context;

/// The worker that the calling code runs on; asserts that there is one.
inline context& this_context() noexcept {
  MAGPIE_ASSERT(current_context != nullptr &&
                "outside of a runtime: only tasks may await and spawn (runtime::block_on, run)");
  return *current_context;
}

/// Says that the code that follows on this worker runs in `scope`.
inline void run_in(stop_scope& scope) noexcept { this_context().run_in(&scope); }

/// Whether what runs on `here` is inside an `unconstrained`; see budget.hpp.
bool runs_unconstrained(const context& here) noexcept;

/// Charges one inline completion; false when the budget is spent, and the operation must complete
/// through the queue instead, so that the worker's other tasks get their turn.
inline bool spend_budget(context& on) noexcept {
  if (on.budget > 0) [[likely]] {
    --on.budget;
    return true;
  }
  if (runs_unconstrained(on)) return true;
  on.budget_yields.store(on.budget_yields.load(order::relaxed) + 1, order::relaxed);
  return false;
}

}  // namespace detail

/// True on a worker of some runtime.
inline bool on_worker() noexcept { return detail::current_context != nullptr; }

}  // namespace magpie
