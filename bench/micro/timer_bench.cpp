/// Measures: a timer made and cancelled (a timeout around an operation that completes later, with
/// the clock read and with a given deadline, next to that operation alone); a timeout around an
/// operation that is ready; 1e5 sleeps of 1 to 1000 ms: CPU time for each, how late they wake, and
/// how many wake early, of which there must be none.
/// Against (floors): insert and cancel in a bare timer wheel; a call; one thread that sleeps in the
/// kernel, once at a time: its overshoot, and its CPU time for each sleep.

#include <magpie/bench/micro/quantiles.hpp>
#include <magpie/bench/micro/ready_operation.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/runtime/timer_wheel.hpp>
#include <magpie/util/random.hpp>

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace magpie::bench {
namespace {

using namespace std::chrono_literals;

constexpr int batch = 1000;

void wheel_floor(benchmark::State& state) {
  const auto wheel = std::make_unique<timer_wheel>(clock::detail_now_ns());
  timer_node timer;
  const std::uint64_t at = clock::detail_now_ns() + 10'000'000'000;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      timer.deadline_ns = at + static_cast<std::uint64_t>(i) * 1000;
      wheel->insert(timer);
      benchmark::DoNotOptimize(wheel->cancel(timer));
    }
  }
}

/// The operation that the timeouts are put around.
task<> yield_alone(benchmark::State& state) {
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) co_await yield();
  }
}

task<> timeout_pending(benchmark::State& state) {
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) co_await timeout(10s, yield());
  }
}

task<> timeout_at_pending(benchmark::State& state) {
  meter counted(state);
  const clock::time_point until = clock::now() + 1h;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) co_await timeout_at(until, yield());
  }
}

task<> timeout_ready(benchmark::State& state) {
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i)
      benchmark::DoNotOptimize(co_await timeout(10s, ready_operation()));
  }
}

task<> timeout_at_ready(benchmark::State& state) {
  meter counted(state);
  const clock::time_point until = clock::now() + 1h;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i)
      benchmark::DoNotOptimize(co_await timeout_at(until, ready_operation()));
  }
}

[[gnu::noinline]] int answer() noexcept { return 1; }

void ready_floor(benchmark::State& state) {
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(answer());
  }
}

void clock_floor(benchmark::State& state) {
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(clock::now());
  }
}

// ---- many sleepers ---------------------------------------------------------------------------

constexpr std::size_t sleepers = 100'000;

[[gnu::noinline]] task<> sleeper(std::uint64_t ns, std::int64_t& late) {
  const clock::time_point until = clock::now() + std::chrono::nanoseconds(ns);
  co_await sleep_until(until);
  late = (clock::now() - until).count();
}

std::int64_t count_early(const std::vector<std::int64_t>& late) {
  return std::count_if(late.begin(), late.end(), [](std::int64_t one) { return one < 0; });
}

void report_sleeps(benchmark::State& state, std::int64_t cpu_ns, std::int64_t early,
                   std::vector<std::int64_t> late) {
  const quantiles of(std::move(late));
  state.counters["cpu_us"] =
      static_cast<double>(cpu_ns) / 1000.0 / static_cast<double>(state.iterations());
  state.counters["late_p50_us"] = of.microseconds(0.5);
  state.counters["late_p99_us"] = of.microseconds(0.99);
  state.counters["early"] = static_cast<double>(early);
}

task<> many_sleeps(benchmark::State& state) {
  std::vector<std::int64_t> late(sleepers);
  random_source random(1);
  auto body = [&](task_group& group) -> task<> {
    for (auto& one : late) {
      const auto ms = 1 + random.below(1000);
      group.spawn(sleeper(std::uint64_t{ms} * 1'000'000, one));
    }
    co_return;
  };
  std::int64_t early = 0;
  meter counted(state);
  const std::int64_t before = cpu_ns_so_far();
  while (state.KeepRunningBatch(static_cast<std::int64_t>(sleepers))) {
    co_await with_task_group(body);
    early += count_early(late);
  }
  report_sleeps(state, cpu_ns_so_far() - before, early, std::move(late));
}

/// The overshoot of one park, as a worker parks on epoll.
void park_floor(benchmark::State& state) {
  constexpr long park_ns = 1'000'000;
  ::prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);  // as in the workers
  const int epoll = ::epoll_create1(0);
  std::vector<std::int64_t> late;
  const std::int64_t before = cpu_ns_so_far();
  for (auto _ : state) {
    const auto began = clock::now();
    const timespec time{0, park_ns};
    epoll_event event;
    ::epoll_pwait2(epoll, &event, 1, &time, nullptr);
    const std::int64_t took = (clock::now() - began).count();
    state.SetIterationTime(static_cast<double>(took) * 1e-9);
    late.push_back(took - park_ns);
  }
  const std::int64_t used = cpu_ns_so_far() - before;
  ::close(epoll);
  ::prctl(PR_SET_TIMERSLACK, 0UL, 0, 0, 0);
  const std::int64_t early = count_early(late);
  report_sleeps(state, used, early, std::move(late));
}

}  // namespace

void register_all() {
  add_floor("timer_create_cancel", wheel_floor);
  add_floor("clock_read", clock_floor);
  add("yield_alone", yield_alone, {1, 2});
  add("timeout_pending", timeout_pending, {1, 2});
  add("timeout_at_pending", timeout_at_pending, {1, 2});
  add_floor("timeout_ready", ready_floor);
  add("timeout_ready", timeout_ready);
  add("timeout_at_ready", timeout_at_ready);
  add_manual(
      "sleeps/floor",
      [](benchmark::State& state) {
        pin_to(0);
        park_floor(state);
        pin_to_first(0);
      },
      200);
  add("sleeps", many_sleeps, {1, 2});
}

}  // namespace magpie::bench
