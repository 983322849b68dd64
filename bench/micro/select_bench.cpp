/// Measures: `select` over two branches, each time with a check of who won.
///
/// - Two operations that are ready, and two tasks that end at once: the branch that chance picks
///   wins, and the other is not started.
/// - Two that wait: a yield, which comes back by the next turn of the queue and wins, and a loser
///   that is stopped and awaited: a baton that nobody posts, a sleep of an hour, or a task that
///   waits for a baton, against a task that yields.
///
/// Against (floors): a coin and a call; a coin and the await of one of two lazy tasks; a waiter
/// that lists itself in two places, is resumed from a ring of handles and leaves the other place.

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/baton.hpp>
#include <magpie/bench/micro/ready_operation.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/util/random.hpp>

#include <array>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace magpie::bench {
namespace {

using namespace std::chrono_literals;

constexpr int batch = 1000;

/// Who won how often.
class wins {
 public:
  void count(std::size_t winner) noexcept { ++of_[winner]; }

  /// One branch won each time.
  void all_by_second(benchmark::State& state) const {
    if (of_[0] != 0 || of_[1] != state.iterations()) state.SkipWithError("the wrong branch won");
  }
  /// Each of the two won about half the time.
  void by_chance(benchmark::State& state) const {
    const std::int64_t all = state.iterations();
    if (of_[0] + of_[1] != all || of_[0] < all / 4 || of_[1] < all / 4)
      state.SkipWithError("a branch won too often");
  }

 private:
  std::array<std::int64_t, 2> of_{};
};

// ---- ready -----------------------------------------------------------------------------------

task<> ready(benchmark::State& state) {
  wins won;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto first = co_await select(ready_operation(i), ready_operation(i + 1));
      const std::size_t winner = first.index();
      const int value = winner == 0 ? first.value<0>() : first.value<1>();
      won.count(static_cast<std::size_t>(value - i));
    }
  }
  won.by_chance(state);
}

[[gnu::noinline]] task<int> child(int value) { co_return value; }

task<> ready_tasks(benchmark::State& state) {
  wins won;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto first = co_await select(child(i), child(i + 1));
      const std::size_t winner = first.index();
      const int value = winner == 0 ? first.value<0>() : first.value<1>();
      won.count(static_cast<std::size_t>(value - i));
    }
  }
  won.by_chance(state);
}

// ---- pending ---------------------------------------------------------------------------------

task<> pending(benchmark::State& state) {
  baton never;
  wins won;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto first = co_await select(never.wait(), yield());
      won.count(first.index());
    }
  }
  won.all_by_second(state);
}

task<> pending_sleep(benchmark::State& state) {
  wins won;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto first = co_await select(sleep_for(1h), yield());
      won.count(first.index());
    }
  }
  won.all_by_second(state);
}

[[gnu::noinline]] task<> waits_for(baton& on) { co_await on.wait(); }
[[gnu::noinline]] task<> yields() { co_await yield(); }

task<> pending_tasks(benchmark::State& state) {
  baton never;
  wins won;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto first = co_await select(waits_for(never), yields());
      won.count(first.index());
    }
  }
  won.all_by_second(state);
}

// ---- floors ----------------------------------------------------------------------------------

[[gnu::noinline]] int answer(int value) noexcept { return value; }

void ready_floor(benchmark::State& state) {
  random_source random(1);
  wins won;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      const int value = answer(i + static_cast<int>(random.below(2)));
      benchmark::DoNotOptimize(value);
      won.count(static_cast<std::size_t>(value - i));
    }
  }
  won.by_chance(state);
}

[[gnu::noinline]] bare::lazy bare_child(int value) { co_return value; }

bare::lazy bare_ready_tasks(benchmark::State& state) {
  random_source random(1);
  wins won;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      bare::lazy first = bare_child(i);
      bare::lazy second = bare_child(i + 1);
      bare::lazy& chosen = random.below(2) == 0 ? first : second;
      const int value = co_await chosen;
      won.count(static_cast<std::size_t>(value - i));
    }
  }
  won.by_chance(state);
  co_return 0;
}

bare::detached start(bare::lazy loop) { co_await loop; }

/// Where one may wait.
struct bare_place {
  std::coroutine_handle<> waiter;
};

/// Lists itself in a place and in the queue, which resumes it.
struct bare_select {
  bare_place* place;
  bare::run_queue* queue;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) const noexcept {
    place->waiter = waiter;
    queue->push(waiter);
  }
  std::size_t await_resume() const noexcept {
    benchmark::DoNotOptimize(place->waiter);
    return std::exchange(place->waiter, nullptr) ? 1 : 0;
  }
};

bare::detached bare_pending(benchmark::State& state, bare::run_queue& queue) {
  bare_place never;
  wins won;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) won.count(co_await bare_select{&never, &queue});
  }
  won.all_by_second(state);
}

void pending_floor(benchmark::State& state) {
  bare::run_queue queue;
  bare_pending(state, queue);
  queue.run();
}

}  // namespace

void register_all() {
  add_floor("select_ready", ready_floor);
  add("select_ready", ready);
  add_floor("select_ready_tasks", [](benchmark::State& state) { start(bare_ready_tasks(state)); });
  add("select_ready_tasks", ready_tasks);
  add_floor("select_pending", pending_floor);
  add("select_pending", pending, {1, 2});
  add("select_pending_sleep", pending_sleep, {1, 2});
  add("select_pending_tasks", pending_tasks, {1, 2});
}

}  // namespace magpie::bench
