/// Measures: `join` of two and `join_all` of a thousand, each time with a check of the values.
///
/// - `join` of two operations that are ready, of two tasks that end at once, of two yields.
/// - `join_all` of a thousand tasks, for each: they end at once, or each yields once.  Making the
///   tasks and their vector is part of it.
///
/// Against (floors): two calls; the await of two lazy tasks; two detached coroutines with a ring of
/// handles and a countdown; a vector of a thousand lazy tasks awaited one after the other, and a
/// thousand detached ones that write into a vector.

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/ready_operation.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/join.hpp>
#include <magpie/runtime/join_all.hpp>
#include <magpie/runtime/sleep.hpp>

#include <cstdint>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

namespace magpie::bench {
namespace {

constexpr int batch = 1000;
constexpr std::int64_t sum_of_batch = std::int64_t{batch} * (batch - 1) / 2;

void check(benchmark::State& state, std::int64_t sum, std::int64_t wanted) {
  if (sum != wanted) state.SkipWithError("a wrong sum");
}

/// The values 0 to batch - 1, and those one larger, once for each batch.
void check_pairs(benchmark::State& state, std::int64_t sum) {
  check(state, sum, state.iterations() / batch * (2 * sum_of_batch + batch));
}

// ---- two -------------------------------------------------------------------------------------

task<> two_ready(benchmark::State& state) {
  std::int64_t sum = 0;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto both = co_await join(ready_operation(i), ready_operation(i + 1));
      sum += std::get<0>(both) + std::get<1>(both);
      benchmark::DoNotOptimize(sum);
    }
  }
  check_pairs(state, sum);
}

[[gnu::noinline]] task<int> child(int value) { co_return value; }

task<> two_tasks(benchmark::State& state) {
  std::int64_t sum = 0;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto both = co_await join(child(i), child(i + 1));
      sum += std::get<0>(both) + std::get<1>(both);
    }
  }
  check_pairs(state, sum);
}

[[gnu::noinline]] task<int> child_that_yields(int value) {
  co_await yield();
  co_return value;
}

task<> two_pending(benchmark::State& state) {
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto both = co_await join(yield(), yield());
      benchmark::DoNotOptimize(both);
    }
  }
}

task<> two_pending_tasks(benchmark::State& state) {
  std::int64_t sum = 0;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto both = co_await join(child_that_yields(i), child_that_yields(i + 1));
      sum += std::get<0>(both) + std::get<1>(both);
    }
  }
  check_pairs(state, sum);
}

// ---- a thousand ------------------------------------------------------------------------------

task<> thousand(benchmark::State& state, task<int> (*make)(int)) {
  std::int64_t sum = 0;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    std::vector<task<int>> tasks;
    tasks.reserve(batch);
    for (int i = 0; i < batch; ++i) tasks.push_back(make(i));
    auto values = co_await join_all(std::move(tasks));
    sum += std::accumulate(values.begin(), values.end(), std::int64_t{0});
  }
  check(state, sum, state.iterations() / batch * sum_of_batch);
}

// ---- floors ----------------------------------------------------------------------------------

[[gnu::noinline]] int answer(int value) noexcept { return value; }

void two_ready_floor(benchmark::State& state) {
  std::int64_t sum = 0;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      sum += answer(i) + answer(i + 1);
      benchmark::DoNotOptimize(sum);
    }
  }
  check_pairs(state, sum);
}

[[gnu::noinline]] bare::lazy bare_child(int value) { co_return value; }

bare::lazy bare_two_tasks(benchmark::State& state) {
  std::int64_t sum = 0;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      bare::lazy first = bare_child(i);
      bare::lazy second = bare_child(i + 1);
      sum += co_await first;
      sum += co_await second;
    }
  }
  check_pairs(state, sum);
  co_return 0;
}

bare::lazy bare_thousand_tasks(benchmark::State& state) {
  std::int64_t sum = 0;
  while (state.KeepRunningBatch(batch)) {
    std::vector<bare::lazy> tasks;
    tasks.reserve(batch);
    for (int i = 0; i < batch; ++i) tasks.push_back(bare_child(i));
    std::vector<int> values;
    values.reserve(batch);
    for (auto& one : tasks) values.push_back(co_await one);
    sum += std::accumulate(values.begin(), values.end(), std::int64_t{0});
  }
  check(state, sum, state.iterations() / batch * sum_of_batch);
  co_return 0;
}

bare::detached start(bare::lazy loop) { co_await loop; }

[[gnu::noinline]] bare::detached bare_waits(bare::run_queue& queue, bare::countdown& left,
                                            int value, int& into) {
  left.begin();
  co_await queue.turn();
  into = value;
  left.end();
}

bare::detached bare_two_pending(benchmark::State& state, bare::run_queue& queue) {
  bare::countdown left(queue);
  std::int64_t sum = 0;
  int first = 0;
  int second = 0;
  co_await queue.turn();
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      bare_waits(queue, left, i, first);
      bare_waits(queue, left, i + 1, second);
      co_await left;
      sum += first + second;
    }
  }
  check_pairs(state, sum);
}

bare::detached bare_thousand_pending(benchmark::State& state, bare::run_queue& queue) {
  bare::countdown left(queue);
  std::int64_t sum = 0;
  co_await queue.turn();
  while (state.KeepRunningBatch(batch)) {
    std::vector<int> values(batch);
    for (int i = 0; i < batch; ++i) bare_waits(queue, left, i, values[static_cast<std::size_t>(i)]);
    co_await left;
    sum += std::accumulate(values.begin(), values.end(), std::int64_t{0});
  }
  check(state, sum, state.iterations() / batch * sum_of_batch);
}

template <bare::detached (*loop)(benchmark::State&, bare::run_queue&)>
void in_queue(benchmark::State& state) {
  bare::run_queue queue;
  loop(state, queue);
  queue.run();
}

}  // namespace

void register_all() {
  add_floor("join_2_ready", two_ready_floor);
  add("join_2_ready", two_ready);
  add_floor("join_2_tasks", [](benchmark::State& state) { start(bare_two_tasks(state)); });
  add("join_2_tasks", two_tasks);
  add_floor("join_2_pending", in_queue<bare_two_pending>);
  add("join_2_pending", two_pending, {1, 2});
  add("join_2_pending_tasks", two_pending_tasks, {1, 2});
  add_floor("join_all_1000", [](benchmark::State& state) { start(bare_thousand_tasks(state)); });
  add("join_all_1000", [](benchmark::State& state) { return thousand(state, child); });
  add_floor("join_all_1000_pending", in_queue<bare_thousand_pending>);
  add("join_all_1000_pending",
      [](benchmark::State& state) { return thousand(state, child_that_yields); }, {1, 2});
}

}  // namespace magpie::bench
