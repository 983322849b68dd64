/// The run gate: what keeps the branches of one task (`select`, `join`, `race`) from running in
/// parallel with each other.
///
/// A task without a fork is one chain of frames: it waits for one thing, and whoever completes that
/// runs the task.  A fork makes several chains of it, which wait for several things, and those may
/// be completed on several workers at once.  So the outermost fork of a task opens a gate and notes
/// it in the task's root; nested forks use the same one.  While the gate is there, everything that
/// would run a frame of the task passes through it: operations (`operation::prepare` redirects
/// their run function, the only price that a task without a fork pays: one load for each wait), a
/// late timer of a `timeout`, the last child of a group.
///
///     word       enter(work)                  leave(), by the holder
///     free       -> held: runs work           -
///     held       -> work: it waits here       -> free
///     work …     -> work, in front of those   -> held: takes all that wait, runs them in order
///
/// Who finds the gate held leaves its work there and goes away; nobody blocks.  (R1) entering is an
/// acquire and pairs with (R2), the leaving of the last holder: a branch sees what the other
/// branches did.  (R3) leaving work there is a release and pairs with (R4), the holder's taking it.
///
/// A gate is held by an execution of a worker, from the entry until the worker's loop has control
/// again: `serve` then runs what waits, branches that are still to be started first, and leaves.
/// Held gates of one execution form a list, since a join may run another task in place.  After 32
/// pieces of work the gate goes to the tail of the run queue, still held, so that others get their
/// turn.
///
/// Threads: `enter` by any worker while a branch has not ended; the rest by the holder.  After
/// `leave` returned true the gate may be gone.
#pragma once

#include <magpie/runtime/runnable.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>

#include <cstdint>
#include <utility>

namespace magpie {

struct task_root;

namespace detail {

struct context;

/// A runnable that may have to pass a gate before it does what it is for.
struct gated_runnable : runnable {
  explicit gated_runnable(run_function function) noexcept : runnable(function), ungated(function) {}

  run_function ungated;  ///< What it is for; called once the gate is held.

 protected:
  ~gated_runnable() = default;
};

class run_gate : public runnable {
 public:
  static constexpr unsigned served_max = 32;  ///< Pieces of work before others get their turn.

  run_gate() noexcept;

  /// The first fork of `root` opens the gate; the calling execution holds it.
  void open(task_root& root, context& here) noexcept;

  /// The last branch has ended, and nothing waits.
  void close(task_root& root, context& here) noexcept;

  /// True: the caller holds the gate and goes on.  False: `work.ungated` will be called by the
  /// holder; the caller must not touch `work` again.
  bool enter(gated_runnable& work) noexcept {
    std::uintptr_t now = word_.load(order::relaxed);  // the exchange decides
    for (;;) {
      if (now == free) {
        // (R1) acquire with (R2): what ran before is visible.
        if (word_.compare_exchange_weak(now, held, order::acquire, order::relaxed)) return true;
      } else {
        work.next = now == held ? nullptr : reinterpret_cast<runnable*>(now);
        // (R3) release with (R4): the completion of `work` is visible to whoever runs it.
        if (word_.compare_exchange_weak(now, reinterpret_cast<std::uintptr_t>(&work),
                                        order::release, order::relaxed))
          return false;
      }
    }
  }

  /// Gives the gate up, unless work waits: then takes that over and returns false.
  bool leave() noexcept {
    std::uintptr_t now = held;
    // (R2)
    if (word_.compare_exchange_strong(now, free, order::release, order::relaxed)) return true;
    // (R4) acquire with (R3), also with those before the last: they are one release sequence.
    now = word_.exchange(held, order::acquire);
    MAGPIE_DEBUG_ASSERT(now != held && now != free);
    runnable* newest = reinterpret_cast<runnable*>(now);
    MAGPIE_DEBUG_ASSERT(first_ == nullptr);
    last_ = newest;
    while (newest != nullptr) {  // the oldest first
      runnable* const older = std::exchange(newest->next, first_);
      first_ = newest;
      newest = older;
    }
    return false;
  }

  /// For the holder: `work` is run next, or after everything that it holds.
  void put_first(runnable& work) noexcept {
    work.next = first_;
    first_ = &work;
    if (last_ == nullptr) last_ = &work;
  }
  void put_last(runnable& work) noexcept {
    work.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &work;
    last_ = &work;
  }

  /// For the holder: what is to run next, or null.
  gated_runnable* take_first() noexcept {
    runnable* const work = first_;
    if (work == nullptr) return nullptr;
    first_ = work->next;
    if (first_ == nullptr) last_ = nullptr;
    return static_cast<gated_runnable*>(work);
  }

  /// By a worker's loop: runs what the gates of this execution have to run, and leaves them.
  static void serve(context& here) noexcept;

 private:
  friend bool pass_gate(task_root& root, gated_runnable& work,
                        runnable::run_function then) noexcept;

  static constexpr std::uintptr_t free = 0;
  static constexpr std::uintptr_t held = 1;

  void hold(context& here) noexcept;
  static void go_on(runnable& work) noexcept;

  atomic<std::uintptr_t> word_{free};
  task_root* root_ = nullptr;  ///< The task that it is the gate of, while it is open.
  // The holder's: what it runs next, and the next gate that its execution holds.
  runnable* first_ = nullptr;
  runnable* last_ = nullptr;
  run_gate* outer_ = nullptr;
};

/// Lets an event into the task of `root`: true when there is no gate, or the calling execution has
/// entered it.  False: `then(work)` is called by the holder of the gate.  For a pinned task also
/// false on any worker but its own, where `then(work)` is called later.
bool pass_gate(task_root& root, gated_runnable& work, runnable::run_function then) noexcept;

/// The run function of operations whose task has a gate or is pinned.
void run_routed_operation(runnable& work) noexcept;

}  // namespace detail
}  // namespace magpie
