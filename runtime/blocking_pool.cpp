#include <magpie/runtime/blocking_pool.hpp>

#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>

namespace magpie {

namespace {

constexpr std::size_t thread_name_max = 15;  // the system's limit

}  // namespace

/// Everything is guarded by the mutex.  idle counts threads that wait for a job: a submit that
/// finds idle > listed jobs makes no thread.
///
/// Threads are called one after the other: each that comes and takes a job calls the next while
/// there are jobs listed and threads idle.  So a burst of short jobs, which the first threads are
/// through with before the next has come, wakes few; and the one who submits pays for one call.
/// Invariant: while a job is listed and a thread is idle, one is on its way (`calling`).
struct blocking_pool::state {
  std::error_code admit(blocking_job& job, when_full then, enter_function enter) noexcept;
  std::error_code make_thread() noexcept;
  void append(blocking_job& job) noexcept;
  void unlink(blocking_job& job) noexcept;
  blocking_job& take_first() noexcept;
  void call_next() noexcept;
  std::chrono::steady_clock::time_point idle_until() const noexcept;
  std::error_code refuse() noexcept {
    ++refused;
    return std::make_error_code(std::errc::resource_unavailable_try_again);
  }

  char name[thread_name_max + 1] = {};
  blocking_limits limits;
  std::mutex mutex;
  std::condition_variable work;
  std::condition_variable gone;
  blocking_job* first = nullptr;
  blocking_job* last = nullptr;
  std::size_t listed = 0;  ///< The queue, and behind it the line.
  std::size_t threads = 0;
  std::size_t idle = 0;
  std::size_t running = 0;
  std::uint64_t started = 0;
  std::uint64_t refused = 0;
  std::uint64_t threads_failed = 0;
  bool calling = false;  ///< A thread was called and has not left its waiting yet.
  bool closing = false;
};

blocking_pool::blocking_pool(std::string_view name, const blocking_limits& limits) noexcept
    : state_(new(std::nothrow) state) {
  MAGPIE_ASSERT(limits.threads_max != 0);
  if (state_ == nullptr) return;
  state_->limits = limits;
  std::memcpy(state_->name, name.data(), std::min(name.size(), thread_name_max));
}

blocking_pool::blocking_pool(std::size_t threads_max, std::size_t queue_max,
                             std::chrono::nanoseconds keep_alive) noexcept
    : state_(new(std::nothrow) state) {
  if (state_ == nullptr) return;
  state_->limits.threads_max = threads_max;
  state_->limits.queue_max = queue_max;
  state_->limits.keep_alive = keep_alive;
  std::memcpy(state_->name, "magpie-block", sizeof "magpie-block");
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

// ---- the list; with the mutex held --------------------------------------------------------------

void blocking_pool::state::append(blocking_job& job) noexcept {
  job.next = nullptr;
  job.previous = last;
  job.queued = true;
  (last == nullptr ? first : last->next) = &job;
  last = &job;
  ++listed;
}

void blocking_pool::state::unlink(blocking_job& job) noexcept {
  job.queued = false;
  (job.previous == nullptr ? first : job.previous->next) = job.next;
  (job.next == nullptr ? last : job.next->previous) = job.previous;
  --listed;
}

blocking_job& blocking_pool::state::take_first() noexcept {
  blocking_job& job = *first;
  unlink(job);
  ++running;
  ++started;
  return job;
}

void blocking_pool::state::call_next() noexcept {
  if (calling || idle == 0 || first == nullptr) return;
  calling = true;
  work.notify_one();
}

/// When a thread that is idle from now on ends; at the clock's end where that would overflow it.
std::chrono::steady_clock::time_point blocking_pool::state::idle_until() const noexcept {
  using time_point = std::chrono::steady_clock::time_point;
  const time_point now = std::chrono::steady_clock::now();
  const auto wait = std::max(limits.keep_alive, std::chrono::nanoseconds::zero());
  return wait > time_point::max() - now ? time_point::max() : now + wait;
}

/// Whether the job is taken at all.
std::error_code blocking_pool::state::admit(blocking_job& job, when_full then,
                                            enter_function enter) noexcept {
  if (enter != nullptr && !enter(job)) return errc::stopped;
  if (closing) return errc::runtime_shutdown;
  if (listed >= limits.queue_max && then == when_full::refuse) return refuse();
  return {};
}

std::error_code blocking_pool::state::make_thread() noexcept {
  pthread_t thread;
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  const int code = ::pthread_create(&thread, &attributes, &thread_main, this);
  ::pthread_attr_destroy(&attributes);
  if (code == 0) {
    ++threads;
  } else {
    ++threads_failed;
    if (threads == 0) return refuse();  // nobody could ever run the job
  }
  return {};
}

// ---- jobs ---------------------------------------------------------------------------------------

std::error_code blocking_pool::submit(blocking_job& job, when_full then,
                                      enter_function enter) noexcept {
  if (state_ == nullptr) {
    if (enter != nullptr && !enter(job)) return errc::stopped;
    return std::make_error_code(std::errc::not_enough_memory);
  }
  state& pool = *state_;
  const std::lock_guard lock(pool.mutex);
  if (const std::error_code error = pool.admit(job, then, enter)) return error;
  if (pool.listed >= pool.idle && pool.threads < pool.limits.threads_max) {
    if (const std::error_code error = pool.make_thread()) return error;
  }
  pool.append(job);
  pool.call_next();
  return {};
}

bool blocking_pool::withdraw(blocking_job& job) noexcept {
  if (state_ == nullptr) return false;
  const std::lock_guard lock(state_->mutex);
  if (!job.queued) return false;
  state_->unlink(job);
  return true;
}

void* blocking_pool::thread_main(void* raw) noexcept {
  state& pool = *static_cast<state*>(raw);
  ::pthread_setname_np(::pthread_self(), pool.name);
  std::unique_lock lock(pool.mutex);
  for (;;) {
    if (pool.first == nullptr) {
      if (pool.closing) break;
      ++pool.idle;
      const std::cv_status ended = pool.work.wait_until(lock, pool.idle_until());
      --pool.idle;
      pool.calling = false;  // of several who leave, all but one call once too often
      if (ended == std::cv_status::timeout && pool.first == nullptr) break;
      continue;
    }
    blocking_job& job = pool.take_first();
    pool.call_next();
    lock.unlock();
    job.call(job);
    lock.lock();
    --pool.running;
  }
  --pool.threads;
  if (pool.threads == 0) pool.gone.notify_all();  // under the lock: the pool dies after it
  return nullptr;
}

// ---- simulated ----------------------------------------------------------------------------------

std::error_code blocking_pool::submit_simulated(blocking_job& job, when_full then,
                                                enter_function enter, bool& starts) noexcept {
  starts = false;
  if (state_ == nullptr) return submit(job, then, enter);
  state& pool = *state_;
  const std::lock_guard lock(pool.mutex);
  MAGPIE_ASSERT(pool.threads == 0);  // a pool is simulated or real
  if (const std::error_code error = pool.admit(job, then, enter)) return error;
  pool.append(job);
  if (pool.running < pool.limits.threads_max) {
    [[maybe_unused]] const blocking_job& next = pool.take_first();
    MAGPIE_ASSERT(&next == &job);  // nobody waits while there is a turn
    starts = true;
  }
  return {};
}

blocking_job* blocking_pool::next_simulated() noexcept {
  const std::lock_guard lock(state_->mutex);
  --state_->running;
  return state_->first == nullptr ? nullptr : &state_->take_first();
}

// ---- looks --------------------------------------------------------------------------------------

std::string_view blocking_pool::name() const noexcept {
  return state_ == nullptr ? std::string_view() : state_->name;
}

blocking_metrics blocking_pool::metrics() const noexcept {
  blocking_metrics seen;
  if (state_ == nullptr) return seen;
  const std::lock_guard lock(state_->mutex);
  seen.threads = state_->threads;
  seen.running = state_->running;
  seen.queued = std::min(state_->listed, state_->limits.queue_max);
  seen.waiting = state_->listed - seen.queued;
  seen.started = state_->started;
  seen.refused = state_->refused;
  seen.threads_failed = state_->threads_failed;
  return seen;
}

}  // namespace magpie
