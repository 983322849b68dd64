/// Measures: a function that does nothing on a pool of blocking threads, awaited one by one and a
/// thousand at a time, on the runtime's pool and on a named one with the same limits; one and two
/// workers.  The pool's threads share the workers' cores.
/// Against: a hand-over to a thread and back through two futexes (floor of one by one), and a
/// thousand hand-overs through two lists under mutexes to one thread, which is woken once (floor of
/// a thousand at a time).

#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/blocking_pool.hpp>
#include <magpie/runtime/options.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/task_group.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace magpie::bench {
namespace {

constexpr int at_a_time = 1000;

/// What a runtime gives its own pool.
blocking_limits limits_of_runtime() noexcept {
  const options defaults;
  blocking_limits limits;
  limits.threads_max = defaults.blocking_threads_max;
  limits.queue_max = defaults.blocking_queue_max;
  limits.keep_alive = defaults.blocking_keep_alive;
  return limits;
}

void check(benchmark::State& state, std::int64_t calls) {
  if (calls != state.iterations()) state.SkipWithError("a call was lost");
}

template <class Call>
task<> one_by_one(benchmark::State& state, Call call) {
  co_await call();  // starts a thread
  std::int64_t sum = 0;
  meter counted(state);
  while (state.KeepRunningBatch(100)) {
    for (int i = 0; i < 100; ++i) sum += co_await call();
  }
  check(state, sum);
}

template <class Call>
[[gnu::noinline]] task<> one(Call call, int& into) {
  into += co_await call();
}

template <class Call>
task<> thousand(benchmark::State& state, Call call) {
  std::vector<int> calls(at_a_time);
  auto spawn_all = [&](task_group& group) -> task<> {
    for (int& into : calls) group.spawn(one(call, into));
    co_return;
  };
  co_await with_task_group(spawn_all);  // starts the threads
  std::fill(calls.begin(), calls.end(), 0);
  {
    meter counted(state);
    while (state.KeepRunningBatch(at_a_time)) co_await with_task_group(spawn_all);
  }
  std::int64_t sum = 0;
  for (const int each : calls) sum += each;
  check(state, sum);
}

int nothing() noexcept { return 1; }

auto on_own_pool() noexcept { return run_blocking(&nothing); }

/// A pool for each runtime, as its own is: threads run on the cores of the worker that made them.
blocking_pool& pool_of(std::size_t workers) {
  static blocking_pool of_one("bench-1", limits_of_runtime());
  static blocking_pool of_two("bench-2", limits_of_runtime());
  return workers == 1 ? of_one : of_two;
}

template <class Loop>
task<> with_pool(benchmark::State& state, Loop loop) {
  blocking_pool& pool = pool_of(current_metrics().workers);
  auto call = [&pool]() noexcept { return run_blocking(pool, &nothing); };
  co_await loop(state, call);
}

// ---- floors ----------------------------------------------------------------------------------

void hand_over_floor(benchmark::State& state) {
  // 0: ours; 1: the thread's turn; 2: it shall end
  std::atomic<int> turn{0};
  std::thread other([&] {
    for (;;) {
      turn.wait(0, std::memory_order_acquire);
      if (turn.load(std::memory_order_acquire) == 2) return;
      turn.store(0, std::memory_order_release);
      turn.notify_one();
    }
  });
  while (state.KeepRunning()) {
    turn.store(1, std::memory_order_release);
    turn.notify_one();
    turn.wait(1, std::memory_order_acquire);
  }
  turn.store(2, std::memory_order_release);
  turn.notify_one();
  other.join();
}

/// Jobs that one side hands to the other.
class hand_over {
 public:
  void push(int job) {
    bool was_empty;
    {
      const std::lock_guard guard(mutex_);
      was_empty = jobs_.empty();
      jobs_.push_back(job);
    }
    if (was_empty) filled_.notify_one();
  }
  /// All that are there, at least one.
  void take(std::vector<int>& into) {
    into.clear();
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return !jobs_.empty(); });
    jobs_.swap(into);
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::vector<int> jobs_;
};

void thousand_floor(benchmark::State& state) {
  hand_over there;
  hand_over back;
  std::thread other([&] {
    std::vector<int> jobs;
    for (;;) {
      there.take(jobs);
      for (const int job : jobs) {
        if (job == 0) return;
        back.push(job);
      }
    }
  });
  std::int64_t sum = 0;
  std::vector<int> done;
  while (state.KeepRunningBatch(at_a_time)) {
    for (int i = 0; i < at_a_time; ++i) there.push(1);
    for (std::size_t left = at_a_time; left != 0; left -= done.size()) {
      back.take(done);
      for (const int one : done) sum += one;
    }
  }
  there.push(0);
  other.join();
  check(state, sum);
}

}  // namespace

void register_all() {
  add_floor("run_blocking", hand_over_floor);
  add("run_blocking", [](benchmark::State& state) { return one_by_one(state, on_own_pool); },
      {1, 2});
  add("run_blocking_named",
      [](benchmark::State& state) {
        return with_pool(state,
                         [](benchmark::State& in, auto call) { return one_by_one(in, call); });
      },
      {1, 2});
  add_floor("run_blocking_1000", thousand_floor);
  add("run_blocking_1000", [](benchmark::State& state) { return thousand(state, on_own_pool); },
      {1, 2});
  add("run_blocking_named_1000",
      [](benchmark::State& state) {
        return with_pool(state, [](benchmark::State& in, auto call) { return thousand(in, call); });
      },
      {1, 2});
}

}  // namespace magpie::bench
