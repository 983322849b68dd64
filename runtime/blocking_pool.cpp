#include <magpie/runtime/blocking_pool.hpp>

#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <new>

namespace magpie {

/// Everything is guarded by the mutex.  idle counts threads that wait for a job and have not been
/// promised one: a submit that finds idle > 0 takes one promise and notifies.
struct blocking_pool::state {
  std::size_t threads_max;
  std::size_t queue_max;
  std::chrono::nanoseconds keep_alive;
  std::mutex mutex;
  std::condition_variable work;
  std::condition_variable gone;
  blocking_job* first = nullptr;
  blocking_job* last = nullptr;
  std::size_t queued = 0;
  std::size_t threads = 0;
  std::size_t idle = 0;
  bool closing = false;
};

blocking_pool::blocking_pool(std::size_t threads_max, std::size_t queue_max,
                             std::chrono::nanoseconds keep_alive) noexcept
    : state_(new(std::nothrow) state) {
  if (state_ == nullptr) return;
  state_->threads_max = threads_max;
  state_->queue_max = queue_max;
  state_->keep_alive = keep_alive;
}

blocking_pool::~blocking_pool() {
  if (state_ == nullptr) return;
  {
    std::unique_lock lock(state_->mutex);
    MAGPIE_ASSERT(state_->first == nullptr);
    state_->closing = true;
    state_->work.notify_all();
    state_->gone.wait(lock, [this] { return state_->threads == 0; });
  }
  delete state_;
}

std::error_code blocking_pool::submit(blocking_job& job) noexcept {
  const std::error_code full = std::make_error_code(std::errc::resource_unavailable_try_again);
  if (state_ == nullptr) return std::make_error_code(std::errc::not_enough_memory);
  std::unique_lock lock(state_->mutex);
  if (state_->closing) return errc::runtime_shutdown;
  if (state_->queued >= state_->queue_max) return full;
  if (state_->queued >= state_->idle && state_->threads < state_->threads_max) {
    pthread_t thread;
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    const int code = ::pthread_create(&thread, &attributes, &thread_main, state_);
    ::pthread_attr_destroy(&attributes);
    if (code == 0) ++state_->threads;
    if (code != 0 && state_->threads == 0) return full;  // nobody could ever run it
  }
  job.next = nullptr;
  job.previous = state_->last;
  job.queued = true;
  (state_->last == nullptr ? state_->first : state_->last->next) = &job;
  state_->last = &job;
  ++state_->queued;
  state_->work.notify_one();
  return {};
}

bool blocking_pool::withdraw(blocking_job& job) noexcept {
  std::unique_lock lock(state_->mutex);
  if (!job.queued) return false;
  job.queued = false;
  (job.previous == nullptr ? state_->first : job.previous->next) = job.next;
  (job.next == nullptr ? state_->last : job.next->previous) = job.previous;
  --state_->queued;
  return true;
}

void* blocking_pool::thread_main(void* raw) noexcept {
  state& pool = *static_cast<state*>(raw);
  ::pthread_setname_np(::pthread_self(), "magpie-block");
  std::unique_lock lock(pool.mutex);
  for (;;) {
    if (pool.first == nullptr) {
      if (pool.closing) break;
      ++pool.idle;
      const bool called = pool.work.wait_for(
          lock, pool.keep_alive, [&pool] { return pool.first != nullptr || pool.closing; });
      --pool.idle;
      if (!called) break;
      continue;
    }
    blocking_job& job = *pool.first;
    pool.first = job.next;
    (pool.first == nullptr ? pool.last : pool.first->previous) = nullptr;
    --pool.queued;
    job.queued = false;
    lock.unlock();
    job.call(job);
    lock.lock();
  }
  --pool.threads;
  if (pool.threads == 0) pool.gone.notify_all();  // under the lock: the pool dies after it
  return nullptr;
}

std::size_t blocking_pool::threads() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->threads;
}

std::size_t blocking_pool::queued() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->queued;
}

}  // namespace magpie
