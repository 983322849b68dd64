/// Measures: spawn and join, one task at a time and in batches of 200 and 1000, through join
/// handles and through a task group; one and two workers.
/// Against: a detached coroutine with a free list, a ring of handles and a countdown (floor).

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>

#include <optional>
#include <vector>

namespace magpie::bench {
namespace {

[[gnu::noinline]] task<> nothing() { co_return; }
[[gnu::noinline]] task<int> child(int value) { co_return value; }

task<> one_by_one(benchmark::State& state) {
  meter counted(state);
  while (state.KeepRunningBatch(1000)) {
    for (int i = 0; i < 1000; ++i) {
      auto handle = spawn(child(i));
      auto ended = co_await handle.join();
      benchmark::DoNotOptimize(ended);
    }
  }
}

task<> one_by_one_in_group(benchmark::State& state) {
  meter counted(state);
  auto spawn_one = [](task_group& group) -> task<> {
    group.spawn(nothing());
    co_return;
  };
  while (state.KeepRunningBatch(1000)) {
    for (int i = 0; i < 1000; ++i) co_await with_task_group(spawn_one);
  }
}

task<> through_handles(benchmark::State& state, int size) {
  meter counted(state);
  std::vector<std::optional<join_handle<void>>> handles(static_cast<std::size_t>(size));
  while (state.KeepRunningBatch(size)) {
    for (auto& handle : handles) handle.emplace(spawn(nothing()));
    for (auto& handle : handles) {
      auto ended = co_await handle->join();
      benchmark::DoNotOptimize(ended);
    }
  }
}

task<> through_group(benchmark::State& state, int size) {
  meter counted(state);
  auto spawn_all = [size](task_group& group) -> task<> {
    for (int i = 0; i < size; ++i) group.spawn(nothing());
    co_return;
  };
  while (state.KeepRunningBatch(size)) co_await with_task_group(spawn_all);
}

// ---- floors ----------------------------------------------------------------------------------

[[gnu::noinline]] bare::detached bare_child(bare::run_queue& queue, bare::countdown& left) {
  left.begin();
  co_await queue.turn();
  left.end();
}

bare::detached bare_batches(benchmark::State& state, bare::run_queue& queue, int size) {
  bare::countdown left(queue);
  co_await queue.turn();
  while (state.KeepRunningBatch(size)) {
    for (int i = 0; i < size; ++i) bare_child(queue, left);
    co_await left;
  }
}

void bare_batches_of(benchmark::State& state, int size) {
  bare::run_queue queue;
  bare_batches(state, queue, size);
  queue.run();
}

template <int size>
void add_batches() {
  const std::string count = std::to_string(size);
  add_floor("batch_" + count, [](benchmark::State& state) { bare_batches_of(state, size); });
  add("group_batch_" + count, [](benchmark::State& state) { return through_group(state, size); },
      {1, 2});
  add("handle_batch_" + count, [](benchmark::State& state) { return through_handles(state, size); },
      {1, 2});
}

}  // namespace

void register_all() {
  add_floor("spawn_join", [](benchmark::State& state) { bare_batches_of(state, 1); });
  add("spawn_join", one_by_one, {1, 2});
  add("group_of_one", one_by_one_in_group, {1, 2});
  add_batches<200>();
  add_batches<1000>();
}

}  // namespace magpie::bench
