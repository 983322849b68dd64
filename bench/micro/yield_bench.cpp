/// Measures: `yield`, per turn: one task alone, and 1000 tasks taking turns; one and two workers.
/// Against: a coroutine that puts itself at the tail of a ring of handles (floor).

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>

namespace magpie::bench {
namespace {

constexpr int batch = 1000;
constexpr int tasks = 1000;
constexpr int turns_each = 100;

task<> alone(benchmark::State& state) {
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) co_await yield();
  }
}

[[gnu::noinline]] task<> take_turns() {
  for (int i = 0; i < turns_each; ++i) co_await yield();
}

task<> many(benchmark::State& state) {
  meter counted(state);
  auto spawn_all = [](task_group& group) -> task<> {
    for (int i = 0; i < tasks; ++i) group.spawn(take_turns());
    co_return;
  };
  while (state.KeepRunningBatch(tasks * turns_each)) co_await with_task_group(spawn_all);
}

bare::detached bare_alone(benchmark::State& state, bare::run_queue& queue) {
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) co_await queue.turn();
  }
}

void alone_floor(benchmark::State& state) {
  bare::run_queue queue;
  bare_alone(state, queue);
  queue.run();
}

[[gnu::noinline]] bare::detached bare_turns(bare::run_queue& queue) {
  for (int i = 0; i < turns_each; ++i) co_await queue.turn();
}

void many_floor(benchmark::State& state) {
  bare::run_queue queue;
  while (state.KeepRunningBatch(tasks * turns_each)) {
    for (int i = 0; i < tasks; ++i) bare_turns(queue);
    queue.run();
  }
}

}  // namespace

void register_all() {
  add_floor("yield_1_task", alone_floor);
  add("yield_1_task", alone, {1, 2});
  add_floor("yield_1000_tasks", many_floor);
  add("yield_1000_tasks", many, {1, 2});
}

}  // namespace magpie::bench
