/// Measures: the stop of 1e5 sleeping tasks, for each: from the call of `stop` until the last frame
/// is destroyed and the group has ended.  All children of one group; and a tree of groups with ten
/// children each, five levels deep, which adds a ninth as many groups.  One and two workers.
/// Against: as many timers taken out of a bare wheel, and the frames that wait for them resumed
/// from a ring of handles, so that they end (floor).

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/bench/micro/tree.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timer_wheel.hpp>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace magpie::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t iterations = 5;

[[gnu::noinline]] task<> sleeper(roll& of, std::size_t at) {
  roll::entry here(of, at);
  co_await sleep_for(1h);
}

void plant_flat(task_group& group, roll& of) {
  for (std::size_t i = 0; i < waiters; ++i) group.spawn(sleeper(of, i));
}

task<> branch(roll& of, std::size_t first, std::size_t size) {
  auto body = [&of, first, size](task_group& group) -> task<> {
    const std::size_t part = size / 10;
    for (std::size_t i = first; i < first + size; i += part)
      group.spawn(part == 1 ? sleeper(of, i) : branch(of, i, part));
    co_return;
  };
  co_await with_task_group(body);
}

void plant_tree(task_group& group, roll& of) { group.spawn(branch(of, 0, waiters)); }

/// Every task has armed its timer, which is the last that it does.
task<> all_asleep(const roll& of) {
  while (!of.all_entered() || current_metrics().timers < waiters) co_await sleep_for(1ms);
}

task<> stop_all(benchmark::State& state, void (*plant)(task_group&, roll&)) {
  roll of;
  span_meter measured(state, waiters);
  auto body = [&](task_group& group) -> task<> {
    plant(group, of);
    co_await all_asleep(of);
    measured.begin();
    group.stop();
  };
  for (auto _ : state) {
    co_await with_task_group(body);
    measured.end();
    of.check(state);
  }
}

// ---- floor -----------------------------------------------------------------------------------

struct bare_timer : timer_node {
  std::coroutine_handle<> sleeper;
};

struct bare_sleep {
  timer_wheel* wheel;
  bare_timer* timer;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame) const noexcept {
    timer->sleeper = frame;
    lock_scope guard(*wheel);
    wheel->insert(*timer);
  }
  void await_resume() const noexcept {}
};

[[gnu::noinline]] bare::detached bare_sleeper(roll& of, std::size_t at, timer_wheel& wheel,
                                              bare_timer& timer) {
  roll::entry here(of, at);
  co_await bare_sleep{&wheel, &timer};
}

void stop_floor(benchmark::State& state) {
  constexpr std::size_t at_once = 1000;  // what the ring has room for
  const auto wheel = std::make_unique<timer_wheel>(clock::detail_now_ns());
  const std::uint64_t at = clock::detail_now_ns() + 3600 * std::uint64_t{1'000'000'000};
  bare::run_queue queue;
  roll of;
  span_meter measured(state, waiters);
  std::vector<bare_timer> timers(waiters);
  for (auto _ : state) {
    for (std::size_t i = 0; i < waiters; ++i) {
      timers[i].deadline_ns = at + i * 1000;
      bare_sleeper(of, i, *wheel, timers[i]);
    }
    measured.begin();
    for (std::size_t first = 0; first < waiters; first += at_once) {
      for (std::size_t i = first; i < first + at_once; ++i) {
        lock_scope guard(*wheel);
        if (wheel->cancel(timers[i])) queue.push(timers[i].sleeper);
      }
      queue.run();
    }
    measured.end();
    of.check(state);
  }
}

}  // namespace

void register_all() {
  add_manual(
      "stop/floor",
      [](benchmark::State& state) {
        pin_to(0);
        stop_floor(state);
        pin_to_first(0);
      },
      iterations, benchmark::kNanosecond);
  add_manual(
      "stop_of_group", [](benchmark::State& s) { return stop_all(s, plant_flat); }, {1, 2},
      iterations);
  add_manual(
      "stop_of_tree", [](benchmark::State& s) { return stop_all(s, plant_tree); }, {1, 2},
      iterations);
}

}  // namespace magpie::bench
