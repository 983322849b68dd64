/// `admission`: how a server says no in time.
///
///     sync::admission door(sync::admission_limits(64));     // 64 requests at once
///     …
///     auto admitted = co_await as_result(door.enter());
///     if (!admitted) co_return co_await answers(peer, 503); // errc::refused, at once or soon
///     co_await work(request);                               // admitted until the end of the block
///
/// A server that takes more than it can do gets slower for everybody, until no answer comes in time
/// and all its work is for nothing.  This one lets so many run at once, lets so many wait, and
/// refuses the others while refusing costs nothing yet.
///
/// How long one waits depends on how things stand.  As long as the line is empty now and then it is
/// a burst that waits, and may wait for `patience`.  A line that has not been empty for that long
/// is standing: it does not go away by waiting and delays everybody.  From then on who comes waits
/// for `impatience` at most, until the line has been empty once.
///
///     comes when                      is
///     less than `running` run         admitted, if nobody waits
///     `waiting` wait                  refused
///     the line is standing            in line for `impatience`, then refused
///     else                            in line for `patience`, then refused
///
/// `set_running` changes how many run at once.  If more run than then may, as many of them are not
/// replaced when they end.
///
/// Source: Nichols and Jacobson, "Controlling queue delay", 2012, in the form for servers of
/// Maurer, "Fail at scale", 2015.
/// Threads: any; `enter` is awaited on workers.
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/sync/semaphore.hpp>
#include <magpie/util/result.hpp>
#include <magpie/util/spin_lock.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace magpie::sync {

struct admission_limits {
  explicit admission_limits(std::size_t at_once) noexcept : running(at_once) {}
  admission_limits(std::size_t at_once, std::size_t in_line) noexcept
      : running(at_once), waiting(in_line) {}

  std::size_t running;        ///< How many are admitted at once.
  std::size_t waiting = 128;  ///< How many wait in line, at most.
  clock::duration patience = std::chrono::milliseconds(500);
  clock::duration impatience = std::chrono::milliseconds(20);
};

/// How many have come to what since the beginning, and how many are where now.
struct admission_counts {
  std::uint64_t admitted = 0;
  std::uint64_t refused_full = 0;  ///< The line was full.
  std::uint64_t refused_late = 0;  ///< They had waited for too long.
  std::size_t running = 0;
  std::size_t waiting = 0;
};

class admission;

/// That somebody was admitted, until it is destroyed; empty after a move.  The admission must
/// outlive it.
class [[nodiscard("without a name it ends at once")]] admitted {
 public:
  admitted() noexcept = default;
  admitted(admitted&& other) noexcept : by_(std::exchange(other.by_, nullptr)) {}
  admitted& operator=(admitted other) noexcept {
    std::swap(by_, other.by_);
    return *this;
  }
  ~admitted() { leave(); }

  /// Ends it now.  Threads: any.  Cost: a spin lock, and what `semaphore` costs.
  void leave() noexcept;

 private:
  friend class admission;
  explicit admitted(admission& by) noexcept : by_(&by) {}

  admission* by_ = nullptr;
};

class admission {
 public:
  explicit admission(const admission_limits& limits) noexcept
      : slots_(limits.running), limits_(limits) {}
  admission(const admission&) = delete;
  admission& operator=(const admission&) = delete;
  /// Nobody may be waiting or admitted (asserted), or be leaving: to have joined those tasks is a
  /// proof of that, `counts` is none.
  ~admission();

  /// Waits until it is admitted.
  /// Errors: refused; closed; stopped.  Stop: the place in line is given up.
  /// Threads: any number of tasks.  Cost: a frame; for who waits a timer.
  task<admitted> enter();

  /// Is admitted if nobody waits and there is room.
  /// Errors: refused; closed.  Threads: any.
  result<admitted> try_enter() noexcept;

  /// How many may run at once, from now on.  A place that was given to somebody in line who is
  /// stopped at this very moment goes to the next one all the same: it is one of those that run
  /// beyond the limit, and are not replaced.  Threads: any.
  void set_running(std::size_t at_once) noexcept;
  std::size_t running_max() const noexcept;

  /// Refuses whoever waits and comes, with `closed`.  Idempotent.  Threads: any.
  void close() noexcept { slots_.close(); }

  admission_counts counts() const noexcept;

 private:
  friend class admitted;
  class place;

  admitted admit(semaphore_permit permit) noexcept;
  result<semaphore_permit> try_slot() noexcept;
  bool join_line(clock::duration& patience) noexcept;
  void leave_line(bool too_late) noexcept;
  void leave() noexcept;

  semaphore slots_;
  admission_limits limits_;     // but for `running` they never change
  mutable spin_lock lock_;      // for all that follows, and `limits_.running`
  std::size_t surplus_ = 0;     // so many run beyond the limit, and are not replaced
  clock::time_point empty_at_;  // when the line was empty last
  admission_counts counts_;
};

}  // namespace magpie::sync
