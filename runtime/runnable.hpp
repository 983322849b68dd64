/// What a run queue holds: an intrusive node with a function, not a coroutine handle.
///
/// A worker takes a runnable from a queue and calls `run`.  The function does what has to happen
/// before any frame goes on (it leaves the operation's stop scope, or raises an error instead of
/// resuming), so queues, wheels and reactors never need to know what they carry.
///
/// A runnable is in at most one queue at a time; whoever takes it out owns it until it runs.  It
/// may be destroyed by its own `run`.
#pragma once

namespace magpie {

struct runnable {
  using run_function = void (*)(runnable&) noexcept;

  explicit runnable(run_function function) noexcept : run(function) {}
  runnable(const runnable&) = delete;
  runnable& operator=(const runnable&) = delete;

  runnable* next = nullptr;  ///< Belongs to the queue that holds the node.
  run_function run;

 protected:
  ~runnable() = default;
};

}  // namespace magpie
