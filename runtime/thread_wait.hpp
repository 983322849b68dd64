/// A thread that waits in a wait list, beside tasks: what the `blocking_` twins are made of.
///
/// The entry lies on the thread's stack and has no task; whoever wakes it runs its runnable, which
/// does nothing but wake the thread.  So threads and tasks stand in one line.
///
/// Threads: those that are no workers (asserted).  A wait is not stopped.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/runnable.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/assert.hpp>

#include <pthread.h>

namespace magpie::detail {

class thread_wait : public runnable {
 public:
  thread_wait() noexcept;
  ~thread_wait();

  /// Returns when it was run, on whichever thread.
  void wait() noexcept;

 private:
  static void wake(runnable& work) noexcept;

  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t ended_ = PTHREAD_COND_INITIALIZER;
  bool woken_ = false;  ///< Under the mutex.
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
