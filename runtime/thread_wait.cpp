#include <magpie/runtime/thread_wait.hpp>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace magpie::detail {

void thread_wait::wait() noexcept {
  static_assert(sizeof woken_ == sizeof(std::uint32_t));
  while (woken_.load(order::acquire) == 0)  // (W)
    ::syscall(SYS_futex, &woken_, FUTEX_WAIT_PRIVATE, 0, nullptr);
}

void thread_wait::wake(runnable& work) noexcept {
  auto& self = static_cast<thread_wait&>(work);
  self.woken_.store(1, order::release);  // (W); from here on it may be gone
  ::syscall(SYS_futex, &self.woken_, FUTEX_WAKE_PRIVATE, 1);
}

void blocking_wait(wait_source& on) noexcept {
  MAGPIE_ASSERT(!on_worker() && "waiting inside of a task would block its worker: use co_await");
  thread_wait waiter;
  wait_entry one;
  one.work = &waiter;
  if (on.add(one)) waiter.wait();
}

}  // namespace magpie::detail
