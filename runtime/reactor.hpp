/// The reactor: one contract, three backends (uring, epoll, sim).
///
/// A worker owns one reactor.  Sockets are used by *readiness*: the caller tries the system call
/// inline and, on EAGAIN, waits here until the descriptor may be ready, then tries again.  The
/// kernel holds no pointer to user memory meanwhile, so a wait may be abandoned at any time and
/// loses nothing.
///
/// Completions are handed out as a chain of runnables; the caller puts them into a run queue.  A
/// reactor never runs anybody's code inline.
///
/// Threads: `wait`, `turn`, `flush` and `pending` by the owning worker; `cancel`, `forget` and
/// `wake` from any thread; `rescue` from any worker, for an owner that is stuck in user code.
#pragma once

#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/runnable.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie {

enum class direction : std::uint8_t { read, write };

/// A file descriptor as reactors see it.  Lives in the socket object, does not own the number.
struct descriptor {
  int fd = -1;
  void* registration = nullptr;  ///< The epoll reactor's; null until the first wait.
  bool detached = false;         ///< A cancelled wait may still hold the file open in the kernel.
};

class reactor;

/// Waits for readiness.  Derived classes retry their system call when it runs.
class readiness_operation : public operation {
 public:
  readiness_operation(run_function runs, descriptor& on, direction way) noexcept
      : operation(runs, &cancel_wait), io(&on), dir(way) {}
  readiness_operation(readiness_operation&&) noexcept = default;

  descriptor* io;
  direction dir;
  bool cancelled = false;        ///< Set by the canceller: the wait ended without readiness.
  int wait_error = 0;            ///< Set by the reactor: an errno that waiting again won't mend.
  std::uint32_t slot = 0;        ///< For the reactor.
  std::uint32_t generation = 0;  ///< For the reactor.
  reactor* where = nullptr;      ///< Set by the reactor that holds the wait.

  using operation::begin;  // reactors begin an operation between preparing and publishing it

 protected:
  ~readiness_operation() = default;

 private:
  static void cancel_wait(operation& op) noexcept;
};

/// A chain of runnables on its way to a run queue, first completed first.
struct runnable_chain {
  runnable* first = nullptr;
  runnable* last = nullptr;
  std::size_t count = 0;

  void push(runnable& item) noexcept {
    item.next = nullptr;
    (first == nullptr ? first : last->next) = &item;
    last = &item;
    ++count;
  }
};

/// What a rescue did; for counters.
struct rescue_report {
  bool flushed = false;  ///< Submissions of the stuck owner were entered into the kernel.
  bool kicked = false;   ///< Its core was interrupted so that completions get posted.
  std::size_t reaped = 0;
};

class reactor {
 public:
  /// A turn that does not wait, and one without a time limit.
  static constexpr std::uint64_t no_wait = 0;
  static constexpr std::uint64_t forever = ~std::uint64_t{0};

  reactor() = default;
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;
  virtual ~reactor() = default;

  /// "uring", "epoll" or "sim".
  virtual const char* name() const noexcept = 0;

  /// Begins `op` (enters its scope) and publishes the wait; false when the scope is stopped, and
  /// then nothing was begun.  After a true the caller must not touch `op` again.  The wait ends by
  /// `op` being handed out by a turn or a rescue, or posted by a canceller.  A spurious end is
  /// allowed.  At most one wait per descriptor and direction.
  virtual bool wait(readiness_operation& op) noexcept = 0;

  /// Ends a wait without readiness: if the wait is still held, sets `op.cancelled` and posts `op`.
  /// Called by the stop walk while the operation's scope is busy.  Any thread.
  virtual void cancel(readiness_operation& op) noexcept = 0;

  /// The descriptor is about to be closed; no wait is pending on it.  Any thread.
  virtual void forget(descriptor& io) noexcept = 0;

  /// The descriptor `fd` is about to be closed: no poll that was given up may keep its file open.
  /// Any worker of the same runtime.
  virtual void let_go(int /*fd*/) noexcept {}

  /// Enters what was published into the kernel and collects at most `limit` completions into
  /// `out`; what is beyond stays for the next turn.  Blocks until `deadline_ns` (CLOCK_MONOTONIC),
  /// a completion or a wake when nothing was collected and the deadline is in the future; `no_wait`
  /// never blocks.  May return early and empty.
  virtual void turn(std::uint64_t deadline_ns, std::size_t limit, runnable_chain& out) noexcept = 0;

  /// Cheap check without a system call: completions are ready to be collected by a turn.
  virtual bool ready() const noexcept = 0;

  /// True for a backend that sees completions by a turn alone, so that an owner that is never idle
  /// has to take one now and then whatever `ready` says.
  virtual bool blind() const noexcept { return false; }

  /// Published waits that the kernel has not seen yet.  Always 0 on epoll.
  virtual std::size_t unflushed() const noexcept { return 0; }

  /// Ends the owner's blocking turn, now or the next one.  Any thread; async-signal-safe.
  virtual void wake() noexcept = 0;

  /// Collects completions of an owner that is stuck, on the calling worker: enters its unflushed
  /// submissions, kicks its core if completions are pending there, reaps up to `limit`.  Does
  /// nothing while the owner is parked or in a turn.  `on_core` says that the owner's thread is
  /// executing now: only then a kick can reach it.
  virtual rescue_report rescue(bool on_core, std::size_t limit, runnable_chain& out) noexcept = 0;

  /// The owner announces that it is about to block, and that it runs again: a rescue keeps away
  /// from a parked owner, whose wake-up it might swallow.
  virtual void set_parked(bool parked) noexcept = 0;

  /// Waits held and not yet handed out, including those detached by a cancel.
  virtual std::size_t in_flight() const noexcept = 0;

  /// System calls that this reactor made.
  virtual std::uint64_t system_calls() const noexcept = 0;
};

inline void readiness_operation::cancel_wait(operation& op) noexcept {
  auto& self = static_cast<readiness_operation&>(op);
  if (self.where != nullptr) self.where->cancel(self);
}

}  // namespace magpie
