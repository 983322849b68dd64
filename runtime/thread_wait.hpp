/// A thread that waits in a wait list, beside tasks: what the `blocking_` twins are made of.
///
/// The entry lies on the thread's stack and has no task; whoever wakes it runs its runnable, which
/// does nothing but wake the thread.  So threads and tasks stand in one line.
///
/// (W) the store that ends the wait releases what the waker did, the look of the thread acquires
/// it.  The kernel is then told an address and no more, as the thread may be gone by then.
///
/// Threads: those that are no workers (asserted).  A wait is not stopped.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/runnable.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>

#include <cstdint>

namespace magpie::detail {

class thread_wait : public runnable {
 public:
  thread_wait() noexcept : runnable(&wake) {}

  /// Returns when it was run, on whichever thread.
  void wait() noexcept;

 private:
  static void wake(runnable& work) noexcept;

  atomic<std::uint32_t> woken_{0};
};

/// Waits until `from` has given something to `one`, or is closed.
template <class Source, class Entry>
void blocking_grant(Source& from, Entry& one) noexcept {
  MAGPIE_ASSERT(!on_worker() && "waiting inside of a task would block its worker: use co_await");
  if (from.try_take(one)) return;
  thread_wait waiter;
  wake_chain woken;
  bool waits;
  {
    const lock_scope guard(from);
    one.work = &waiter;
    from.offer(one, woken);
    waits = one.is == grant::waiting;
    if (waits) from.insert(one);
  }
  woken.post();
  if (waits) waiter.wait();
}

/// Waits until `on` has come.
void blocking_wait(wait_source& on) noexcept;

}  // namespace magpie::detail
