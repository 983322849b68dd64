/// Measures: spawn and end of children that write into a place of their own, a thousand at a time,
/// for each way to spawn: a task group; a bounded group with a slot for everybody, and with 16
/// slots, where the spawner has to wait; a graceful group, which lists its tasks for the report
/// under a lock; tasks with handles, and those that are pinned to their worker.  One and two
/// workers.  Also pinned tasks one at a time.
/// Against: a detached coroutine with a free list, a ring of handles and a countdown (floor).

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/bounded_group.hpp>
#include <magpie/runtime/graceful.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/spawn_local.hpp>
#include <magpie/runtime/task_group.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace magpie::bench {
namespace {

constexpr std::size_t batch = 1000;

/// How often each child of a batch has run.
using places = std::vector<std::int64_t>;

[[gnu::noinline]] task<> visits(std::int64_t& place) {
  ++place;
  co_return;
}

/// Every child of every batch has run once.
void check(benchmark::State& state, const places& all) {
  const std::int64_t batches = state.iterations() / static_cast<std::int64_t>(batch);
  if (!std::all_of(all.begin(), all.end(), [=](std::int64_t one) { return one == batches; }))
    state.SkipWithError("a child has not run, or has run twice");
}

task<> in_task_group(benchmark::State& state) {
  places all(batch);
  auto spawn_all = [&all](task_group& group) -> task<> {
    for (auto& place : all) group.spawn(visits(place));
    co_return;
  };
  {
    meter counted(state);
    while (state.KeepRunningBatch(batch)) co_await with_task_group(spawn_all);
  }
  check(state, all);
}

task<> in_bounded_group(benchmark::State& state, std::size_t slots) {
  places all(batch);
  auto spawn_all = [&all](bounded_group& group) -> task<> {
    for (auto& place : all) co_await group.spawn_when_free(visits(place));
  };
  {
    meter counted(state);
    while (state.KeepRunningBatch(batch)) co_await with_task_group(at_most(slots), spawn_all);
  }
  check(state, all);
}

/// One group for all batches: its end is a shutdown.  A yield lets the children run.
task<> in_graceful_group(benchmark::State& state) {
  places all(batch);
  auto body = [&](graceful_group& group) -> task<> {
    meter counted(state);
    while (state.KeepRunningBatch(batch)) {
      for (auto& place : all) group.spawn(visits(place));
      while (group.size() != 0) co_await yield();
    }
  };
  const graceful_options no_signals(std::chrono::seconds(10), std::chrono::seconds(1), false);
  auto report = co_await with_graceful_shutdown(no_signals, body);
  if (report.running != 0) state.SkipWithError("children were still running");
  check(state, all);
}

template <class Spawn>
task<> with_handles(benchmark::State& state, Spawn spawns) {
  places all(batch);
  std::vector<std::optional<join_handle<void>>> handles(batch);
  {
    meter counted(state);
    while (state.KeepRunningBatch(batch)) {
      for (std::size_t i = 0; i < batch; ++i) handles[i].emplace(spawns(all[i]));
      for (auto& handle : handles) {
        auto ended = co_await handle->join();
        benchmark::DoNotOptimize(ended);
      }
    }
  }
  check(state, all);
}

task<> spawned(benchmark::State& state) {
  return with_handles(state, [](std::int64_t& place) { return spawn(visits(place)); });
}

task<> pinned(benchmark::State& state) {
  return with_handles(state, [](std::int64_t& place) { return spawn_local(visits(place)); });
}

task<> pinned_one_by_one(benchmark::State& state) {
  places all(batch);
  {
    meter counted(state);
    while (state.KeepRunningBatch(batch)) {
      for (auto& place : all) {
        auto handle = spawn_local(visits(place));
        auto ended = co_await handle.join();
        benchmark::DoNotOptimize(ended);
      }
    }
  }
  check(state, all);
}

// ---- floors ----------------------------------------------------------------------------------

[[gnu::noinline]] bare::detached bare_visits(bare::run_queue& queue, bare::countdown& left,
                                             std::int64_t& place) {
  left.begin();
  co_await queue.turn();
  ++place;
  left.end();
}

bare::detached bare_batches(benchmark::State& state, bare::run_queue& queue, places& all) {
  bare::countdown left(queue);
  co_await queue.turn();
  while (state.KeepRunningBatch(batch)) {
    for (auto& place : all) bare_visits(queue, left, place);
    co_await left;
  }
}

bare::detached bare_one_by_one(benchmark::State& state, bare::run_queue& queue, places& all) {
  bare::countdown left(queue);
  co_await queue.turn();
  while (state.KeepRunningBatch(batch)) {
    for (auto& place : all) {
      bare_visits(queue, left, place);
      co_await left;
    }
  }
}

template <bare::detached (*loop)(benchmark::State&, bare::run_queue&, places&)>
void floor(benchmark::State& state) {
  bare::run_queue queue;
  places all(batch);
  loop(state, queue, all);
  queue.run();
  check(state, all);
}

}  // namespace

void register_all() {
  add_floor("spawn_into", floor<bare_batches>);
  add("spawn_into_task_group", in_task_group, {1, 2});
  add("spawn_into_bounded_group",
      [](benchmark::State& state) { return in_bounded_group(state, batch); }, {1, 2});
  add("spawn_into_bounded_group_of_16",
      [](benchmark::State& state) { return in_bounded_group(state, 16); }, {1, 2});
  add("spawn_into_graceful_group", in_graceful_group, {1, 2});
  add("spawn_with_handles", spawned, {1, 2});
  add("spawn_local", pinned, {1, 2});
  add_floor("spawn_local_join", floor<bare_one_by_one>);
  add("spawn_local_join", pinned_one_by_one, {1, 2});
}

}  // namespace magpie::bench
