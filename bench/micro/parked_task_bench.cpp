/// Measures: bytes of memory for each of a million parked tasks: frame and state, as malloc counts
/// them and as the process grows; children of a group that wait, spawned tasks that wait, and
/// spawned tasks that sleep.
/// Against: the bytes of a waiting frame of a hand-written coroutine (floor).

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/baton.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>

#include <malloc.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <vector>

namespace magpie::bench {
namespace {

constexpr std::size_t tasks = 1'000'000;

struct memory {
  double allocated = 0;  ///< By malloc, its own words not counted.
  double resident = 0;
};

memory memory_now() noexcept {
  const struct mallinfo2 info = ::mallinfo2();
  unsigned long total = 0;
  unsigned long resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%lu %lu", &total, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return {static_cast<double>(info.uordblks + info.hblkhd),
          static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE))};
}

void report(benchmark::State& state, const memory& before) {
  const memory after = memory_now();
  const double count = static_cast<double>(tasks);
  state.counters["bytes"] = (after.allocated - before.allocated) / count;
  state.counters["resident_bytes"] = (after.resident - before.resident) / count;
}

/// Batons are what the tasks wait for: the user's, not counted.
struct waiting_room {
  std::unique_ptr<baton[]> batons = std::make_unique<baton[]>(tasks);
  std::size_t entered = 0;
};

[[gnu::noinline]] task<> wait_in(waiting_room& room, std::size_t at) {
  ++room.entered;
  co_await room.batons[at].wait();
}

/// A task does nothing between its counting and its parking, so all that entered are parked.
task<> all_entered(const std::size_t& entered) {
  while (entered != tasks) co_await yield();
}

task<> group_children(benchmark::State& state) {
  waiting_room room;
  auto body = [&](task_group& group) -> task<> {
    for (auto _ : state) {
      const memory before = memory_now();
      for (std::size_t i = 0; i < tasks; ++i) group.spawn(wait_in(room, i));
      co_await all_entered(room.entered);
      report(state, before);
    }
    for (std::size_t i = 0; i < tasks; ++i) room.batons[i].post();
  };
  co_await with_task_group(body);
}

task<> spawned_tasks(benchmark::State& state) {
  waiting_room room;
  for (auto _ : state) {
    const memory before = memory_now();
    for (std::size_t i = 0; i < tasks; ++i) spawn(wait_in(room, i)).detach();
    co_await all_entered(room.entered);
    report(state, before);
  }
  for (std::size_t i = 0; i < tasks; ++i) room.batons[i].post();
  while (current_metrics().live_tasks > 1) co_await yield();
}

[[gnu::noinline]] task<> sleep_long(std::size_t& entered) {
  ++entered;
  co_await sleep_for(std::chrono::hours(1));
}

task<> sleeping_tasks(benchmark::State& state) {
  std::size_t entered = 0;
  auto body = [&](task_group& group) -> task<> {
    for (auto _ : state) {
      const memory before = memory_now();
      for (std::size_t i = 0; i < tasks; ++i) group.spawn(sleep_long(entered));
      co_await all_entered(entered);
      report(state, before);
    }
    group.stop();
  };
  co_await with_task_group(body);
}

[[gnu::noinline]] bare::detached bare_wait(bare::baton& on) { co_await on; }

void bare_tasks(benchmark::State& state) {
  bare::run_queue queue;
  std::vector<bare::baton> batons(tasks, bare::baton(queue));
  for (auto _ : state) {
    const memory before = memory_now();
    for (auto& on : batons) bare_wait(on);
    report(state, before);
  }
  for (auto& on : batons) {
    on.post();
    queue.run();
  }
}

/// Once per process and repetition: what was freed serves the next.
template <loop_function loop>
void in_runtime(benchmark::State& state) {
  auto ended = runtime_of(1).block_on(loop(state));
  if (!ended) state.SkipWithError("the loop ended with an error");
}

void register_once(const char* name, plain_function loop) {
  benchmark::RegisterBenchmark(name, loop)->Iterations(1)->Unit(benchmark::kMillisecond);
}

}  // namespace

void register_all() {
  register_once("parked_task/floor", bare_tasks);
  register_once("parked_child/1w", in_runtime<group_children>);
  register_once("parked_task/1w", in_runtime<spawned_tasks>);
  register_once("sleeping_child/1w", in_runtime<sleeping_tasks>);
}

}  // namespace magpie::bench
