/// The pool of blocking threads by itself: order, bounds, idle ends, and threads that the system
/// refuses.
#include <magpie/runtime/blocking_pool.hpp>

#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <pthread.h>

#include <deque>
#include <thread>
#include <vector>

namespace magpie::tests::blocking_pool_test {
namespace {

struct job : blocking_job {
  job() noexcept : blocking_job(&run) {}
  static void run(blocking_job& base) noexcept {
    auto& self = static_cast<job&>(base);
    if (self.gate != nullptr) {
      while (!self.gate->load(order::acquire)) std::this_thread::yield();
    }
    if (self.order != nullptr) self.order->push_back(self.number);  // one thread: no race
    self.done.store(true, order::release);
  }
  void wait() const {
    while (!done.load(order::acquire)) std::this_thread::yield();
  }
  atomic<bool>* gate = nullptr;
  std::vector<int>* order = nullptr;
  int number = 0;
  atomic<bool> done{false};
};

TEST(blocking_pool, concurrent_jobs_run_in_the_order_of_their_coming) {
  blocking_pool pool(1, 100, 1s);
  atomic<bool> gate{false};
  std::vector<int> order;
  std::deque<job> jobs(20);
  int number = 0;
  for (job& one : jobs) {
    one.gate = &gate;
    one.order = &order;
    one.number = number++;
    ASSERT_FALSE(pool.submit(one));
  }
  gate.store(true, order::release);
  for (const job& one : jobs) one.wait();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  EXPECT_EQ(pool.threads(), 1U);
}

TEST(blocking_pool, concurrent_withdraws_what_waits_and_nothing_else) {
  blocking_pool pool(1, 2, 1s);
  atomic<bool> gate{false};
  std::deque<job> jobs(4);
  jobs[0].gate = &gate;
  ASSERT_FALSE(pool.submit(jobs[0]));
  while (pool.queued() != 0) std::this_thread::yield();
  ASSERT_FALSE(pool.submit(jobs[1]));
  ASSERT_FALSE(pool.submit(jobs[2]));
  EXPECT_EQ(pool.submit(jobs[3]), std::errc::resource_unavailable_try_again);
  EXPECT_TRUE(pool.withdraw(jobs[1]));
  EXPECT_FALSE(pool.withdraw(jobs[1]));
  EXPECT_FALSE(pool.withdraw(jobs[0]));
  EXPECT_FALSE(pool.submit(jobs[3]));
  EXPECT_TRUE(pool.withdraw(jobs[3]));
  gate.store(true, order::release);
  jobs[2].wait();
  EXPECT_FALSE(jobs[1].done.load(order::relaxed));
  EXPECT_FALSE(jobs[3].done.load(order::relaxed));
}

TEST(blocking_pool, concurrent_idle_threads_may_stay_for_ever) {
  blocking_pool pool(1, 100, std::chrono::nanoseconds::max());
  for (int round = 0; round < 100; ++round) {
    job one;
    ASSERT_FALSE(pool.submit(one));
    one.wait();
    // It is idle from now on or will be; one that does not stay is seen gone at some round.
    while (pool.metrics().running != 0) std::this_thread::yield();
    EXPECT_EQ(pool.threads(), 1U);
  }
}

TEST(blocking_pool, concurrent_idle_threads_end_and_come_again) {
  blocking_pool pool(4, 100, 1ms);
  for (int round = 0; round < 5; ++round) {
    std::deque<job> jobs(8);
    for (job& one : jobs) ASSERT_FALSE(pool.submit(one));
    for (const job& one : jobs) one.wait();
    EXPECT_LE(pool.threads(), 4U);
    while (pool.threads() != 0) std::this_thread::yield();
  }
}

TEST(blocking_pool, concurrent_ends_after_its_running_jobs) {
  for (int round = 0; round < 50; ++round) {
    std::deque<job> jobs(3);
    {
      blocking_pool pool(3, 100, 1s);
      for (job& one : jobs) ASSERT_FALSE(pool.submit(one));
      while (pool.queued() != 0) std::this_thread::yield();
    }
    for (const job& one : jobs) EXPECT_TRUE(one.done.load(order::relaxed));
  }
}

// ---- threads that cannot be had -----------------------------------------------------------------

/// Makes every pthread_create with default attributes fail: no stack is as large as it asks for.
class no_threads {
 public:
  no_threads() {
    pthread_attr_t huge;
    ::pthread_getattr_default_np(&before_);
    ::pthread_attr_init(&huge);
    ::pthread_attr_setstacksize(&huge, std::size_t{1} << 47);
    EXPECT_EQ(::pthread_setattr_default_np(&huge), 0);
    ::pthread_attr_destroy(&huge);
  }
  ~no_threads() {
    EXPECT_EQ(::pthread_setattr_default_np(&before_), 0);
    ::pthread_attr_destroy(&before_);
  }
  no_threads(const no_threads&) = delete;
  no_threads& operator=(const no_threads&) = delete;

 private:
  pthread_attr_t before_;
};

#if defined(__SANITIZE_THREAD__)
#define MAGPIE_SANITIZER_ASKS_FOR_STACKS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define MAGPIE_SANITIZER_ASKS_FOR_STACKS 1  // sanitizers choose the stack's size by themselves
#endif
#endif

#if !defined(MAGPIE_SANITIZER_ASKS_FOR_STACKS)

TEST(blocking_pool, c31_refuses_when_there_is_no_thread_and_none_can_be_made) {
  blocking_pool pool(4, 100, 1s);
  job first;
  {
    const no_threads none;
    EXPECT_EQ(pool.submit(first), std::errc::resource_unavailable_try_again);
    EXPECT_EQ(pool.queued(), 0U);
  }
  EXPECT_FALSE(pool.submit(first));
  first.wait();
}

TEST(blocking_pool, c31_makes_do_with_the_threads_that_there_are) {
  blocking_pool pool(4, 100, 1s);
  atomic<bool> gate{false};
  job first;
  job second;
  first.gate = &gate;
  ASSERT_FALSE(pool.submit(first));
  while (pool.queued() != 0) std::this_thread::yield();
  {
    const no_threads none;
    EXPECT_FALSE(pool.submit(second));
    EXPECT_EQ(pool.threads(), 1U);
  }
  gate.store(true, order::release);
  second.wait();
}

TEST(blocking_pool, a_runtime_without_threads_does_not_start) {
  MAGPIE_NEED_KERNEL();
  const no_threads none;
  const auto made = runtime::make(cell_options());
  EXPECT_EQ(error_of(made), std::errc::resource_unavailable_try_again);
}

int gives() { return 3; }
task<int> calls() {
  const int value = co_await run_blocking(gives);
  co_return value;
}

TEST(blocking_pool, c31_run_blocking_tells_that_there_is_no_thread) {
  MAGPIE_NEED_KERNEL();
  runtime on(cell_options());
  {
    const no_threads none;
    EXPECT_EQ(error_of(on.block_on(calls())), std::errc::resource_unavailable_try_again);
  }
  EXPECT_EQ(on.block_on(calls()).value(), 3);
}

#endif

}  // namespace
}  // namespace magpie::tests::blocking_pool_test
