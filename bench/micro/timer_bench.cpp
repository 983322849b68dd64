/// Measures: a timer made and cancelled (a timeout around an operation that completes later, with
/// the clock read and with a given deadline, next to that operation alone); a timeout around an
/// operation that is ready; 1e5 sleeps of 1 to 1000 ms: CPU time for each, and how late they wake.
/// Against: insert and cancel in a bare timer wheel (floor).

#include <magpie/bench/micro/quantiles.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/runtime/timer_wheel.hpp>
#include <magpie/util/random.hpp>

#include <sys/resource.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
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

/// Completes at once.
struct ready_operation {
  using value_type = int;
  bool try_complete(stop_scope&) const noexcept { return true; }
  std::error_code failed() const noexcept { return {}; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope&) const noexcept {
    return detail::deliver(to);
  }
  result<int> take() const noexcept { return 1; }
};

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

void clock_floor(benchmark::State& state) {
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(clock::now());
  }
}

// ---- many sleepers ---------------------------------------------------------------------------

constexpr std::size_t sleepers = 100'000;

std::int64_t cpu_ns() noexcept {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto ns = [](const timeval& t) { return (t.tv_sec * 1'000'000 + t.tv_usec) * 1000; };
  return ns(used.ru_utime) + ns(used.ru_stime);
}

[[gnu::noinline]] task<> sleeper(std::uint64_t ns, std::int64_t& late) {
  const clock::time_point until = clock::now() + std::chrono::nanoseconds(ns);
  co_await sleep_until(until);
  late = (clock::now() - until).count();
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
  meter counted(state);
  const std::int64_t before = cpu_ns();
  while (state.KeepRunningBatch(static_cast<std::int64_t>(sleepers)))
    co_await with_task_group(body);
  const auto used = static_cast<double>(cpu_ns() - before);
  const quantiles of(std::move(late));
  state.counters["cpu_us"] = used / 1000.0 / static_cast<double>(state.iterations());
  state.counters["late_p50_us"] = of.microseconds(0.5);
  state.counters["late_p99_us"] = of.microseconds(0.99);
  if (of.least() < 0) state.SkipWithError("a sleep ended early");
}

}  // namespace

void register_all() {
  add_floor("timer_create_cancel", wheel_floor);
  add_floor("clock_read", clock_floor);
  add("yield_alone", yield_alone, {1, 2});
  add("timeout_pending", timeout_pending, {1, 2});
  add("timeout_at_pending", timeout_at_pending, {1, 2});
  add("timeout_ready", timeout_ready);
  add("timeout_at_ready", timeout_at_ready);
  add("sleeps", many_sleeps, {1, 2});
}

}  // namespace magpie::bench
