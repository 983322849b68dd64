#include <magpie/runtime/thread_wait.hpp>

namespace magpie::detail {

thread_wait::thread_wait() noexcept : runnable(&wake) {}

thread_wait::~thread_wait() {
  ::pthread_cond_destroy(&ended_);
  ::pthread_mutex_destroy(&mutex_);
}

void thread_wait::wait() noexcept {
  ::pthread_mutex_lock(&mutex_);
  while (!woken_) ::pthread_cond_wait(&ended_, &mutex_);
  ::pthread_mutex_unlock(&mutex_);
}

void thread_wait::wake(runnable& work) noexcept {
  auto& self = static_cast<thread_wait&>(work);
  ::pthread_mutex_lock(&self.mutex_);  // the waiter returns only after we let go
  self.woken_ = true;
  ::pthread_cond_signal(&self.ended_);
  ::pthread_mutex_unlock(&self.mutex_);
}

void blocking_wait(wait_source& on) noexcept {
  MAGPIE_ASSERT(!on_worker() && "waiting inside of a task would block its worker: use co_await");
  thread_wait waiter;
  wait_entry one;
  one.work = &waiter;
  if (on.add(one)) waiter.wait();
}

}  // namespace magpie::detail
