/// Measures: a function that does nothing on the pool of blocking threads, awaited one by one and
/// a thousand at a time; one and two workers.  The pool's threads share the workers' cores.
/// Against: a hand-over to a thread and back through two futexes (floor of one by one).

#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/task_group.hpp>

#include <atomic>
#include <thread>

namespace magpie::bench {
namespace {

constexpr int at_a_time = 1000;

task<> one_by_one(benchmark::State& state) {
  meter counted(state);
  while (state.KeepRunningBatch(100)) {
    for (int i = 0; i < 100; ++i) {
      benchmark::DoNotOptimize(co_await run_blocking([] { return 1; }));
    }
  }
}

[[gnu::noinline]] task<> one() {
  co_await run_blocking([] {});
}

task<> thousand(benchmark::State& state) {
  meter counted(state);
  auto spawn_all = [](task_group& group) -> task<> {
    for (int i = 0; i < at_a_time; ++i) group.spawn(one());
    co_return;
  };
  while (state.KeepRunningBatch(at_a_time)) co_await with_task_group(spawn_all);
}

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

}  // namespace

void register_all() {
  add_floor("run_blocking", hand_over_floor);
  add("run_blocking", one_by_one, {1, 2});
  add("run_blocking_1000", thousand, {1, 2});
}

}  // namespace magpie::bench
