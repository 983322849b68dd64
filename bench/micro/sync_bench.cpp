/// Measures: the primitives, for each time that something is taken and given back.
///
/// - A mutex, and a semaphore, that nobody else wants.
/// - A mutex that eight tasks want, with an empty section and with a yield inside.
///
/// Against (floor): two exchanges of a word.  Asked as a queue is: who comes while others wait goes
/// behind them, so eight tasks and a yield inside are a change of tasks for each section.

#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/sync/mutex.hpp>
#include <magpie/sync/semaphore.hpp>

#include <atomic>
#include <cstdint>

namespace magpie::bench {
namespace {

constexpr int batch = 1000;
constexpr int tasks = 8;
constexpr int sections_each = 5000;

task<> lock_alone(benchmark::State& state) {
  sync::mutex alone;
  std::int64_t inside = 0;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      const auto guard = co_await alone.lock();
      benchmark::DoNotOptimize(++inside);
    }
  }
  if (inside != state.iterations()) state.SkipWithError("a section was left out");
}

task<> acquire_alone(benchmark::State& state) {
  sync::semaphore alone(4);
  std::int64_t inside = 0;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      const auto permit = co_await alone.acquire();
      benchmark::DoNotOptimize(++inside);
    }
  }
  if (inside != state.iterations()) state.SkipWithError("a section was left out");
}

void two_exchanges(benchmark::State& state) {
  std::atomic<std::uint64_t> word{1};
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      std::uint64_t free = 1;
      word.compare_exchange_strong(free, 0, std::memory_order_acquire, std::memory_order_relaxed);
      std::uint64_t taken = 0;
      word.compare_exchange_strong(taken, 1, std::memory_order_release, std::memory_order_relaxed);
    }
  }
  if (word.load(std::memory_order_relaxed) != 1) state.SkipWithError("an exchange failed");
}

/// What the mutex guards: no atomic, so that a second task inside would lose a count.
struct guarded {
  sync::mutex lock;
  std::int64_t inside = 0;
};

[[gnu::noinline]] task<> wants_often(guarded& it) {
  for (int i = 0; i < sections_each; ++i) {
    const auto guard = co_await it.lock.lock();
    ++it.inside;
  }
}

[[gnu::noinline]] task<> wants_and_yields(guarded& it) {
  for (int i = 0; i < sections_each; ++i) {
    const auto guard = co_await it.lock.lock();
    ++it.inside;
    co_await yield();
  }
}

task<> contended(benchmark::State& state, task<> (*wants)(guarded&)) {
  guarded it;
  meter counted(state);
  auto spawn_all = [&](task_group& group) -> task<> {
    for (int i = 0; i < tasks; ++i) group.spawn(wants(it));
    co_return;
  };
  while (state.KeepRunningBatch(tasks * sections_each)) co_await with_task_group(spawn_all);
  if (it.inside != state.iterations()) state.SkipWithError("two were inside at once");
}

task<> empty_sections(benchmark::State& state) { return contended(state, &wants_often); }
task<> sections_that_yield(benchmark::State& state) { return contended(state, &wants_and_yields); }

}  // namespace

void register_all() {
  add_floor("lock", two_exchanges);
  add("lock", lock_alone);
  add("acquire", acquire_alone);
  add("lock_of_8_tasks", empty_sections, {1, 2});
  add("lock_of_8_tasks_that_yield", sections_that_yield, {1, 2});
}

}  // namespace magpie::bench
