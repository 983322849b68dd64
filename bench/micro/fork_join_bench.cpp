/// Measures: fork and join of tiny tasks: skynet (a tree of ten children each, 1e6 leaves, which
/// sums them up) and fib(30) with a spawn at each call; one and two workers, in milliseconds.
/// Against: fib(30) with awaits alone, over a lazy task with a free list (floor).

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>

#include <array>
#include <cstdint>
#include <optional>

namespace magpie::bench {
namespace {

constexpr std::uint64_t leaves = 1'000'000;
constexpr std::uint64_t sum_of_leaves = leaves * (leaves - 1) / 2;
constexpr double skynet_spawns = 1'111'110;  // counters are for each spawn

// ---- skynet ----------------------------------------------------------------------------------

task<> grow(std::uint64_t first, std::uint64_t size, std::uint64_t& sum);

struct spawn_ten {
  std::uint64_t first;
  std::uint64_t size;
  std::array<std::uint64_t, 10>* sums;

  task<> operator()(task_group& group) {
    for (std::uint64_t i = 0; i < 10; ++i)
      group.spawn(grow(first + i * (size / 10), size / 10, (*sums)[i]));
    co_return;
  }
};

task<> grow(std::uint64_t first, std::uint64_t size, std::uint64_t& sum) {
  if (size == 1) {
    sum = first;
    co_return;
  }
  std::array<std::uint64_t, 10> sums;
  spawn_ten children{first, size, &sums};
  co_await with_task_group(children);
  sum = 0;
  for (const std::uint64_t part : sums) sum += part;
}

task<> skynet(benchmark::State& state) {
  meter counted(state, skynet_spawns);
  while (state.KeepRunning()) {
    std::uint64_t sum = 0;
    co_await grow(0, leaves, sum);
    if (sum != sum_of_leaves) state.SkipWithError("a wrong sum");
  }
}

task<std::uint64_t> grow_with_handles(std::uint64_t first, std::uint64_t size) {
  if (size == 1) co_return first;
  std::array<std::optional<join_handle<std::uint64_t>>, 10> children;
  for (std::uint64_t i = 0; i < 10; ++i)
    children[i].emplace(spawn(grow_with_handles(first + i * (size / 10), size / 10)));
  std::uint64_t sum = 0;
  for (auto& child : children) {
    auto part = co_await child->join();
    sum += *part;
  }
  co_return sum;
}

task<> skynet_with_handles(benchmark::State& state) {
  meter counted(state, skynet_spawns);
  while (state.KeepRunning()) {
    const std::uint64_t sum = co_await grow_with_handles(0, leaves);
    if (sum != sum_of_leaves) state.SkipWithError("a wrong sum");
  }
}

// ---- fib -------------------------------------------------------------------------------------

constexpr int fib_of = 30;
constexpr int fib_value = 832'040;
constexpr double fib_spawns = 1'346'268;

task<int> fib(int n) {
  if (n < 2) co_return n;
  auto spawned = spawn(fib(n - 1));
  const int second = co_await fib(n - 2);
  auto first = co_await spawned.join();
  co_return *first + second;
}

task<> fib_spawning(benchmark::State& state) {
  meter counted(state, fib_spawns);
  while (state.KeepRunning()) {
    if (co_await fib(fib_of) != fib_value) state.SkipWithError("a wrong value");
  }
}

task<int> fib_awaited(int n) {
  if (n < 2) co_return n;
  const int first = co_await fib_awaited(n - 1);
  const int second = co_await fib_awaited(n - 2);
  co_return first + second;
}

task<> fib_awaiting(benchmark::State& state) {
  meter counted(state, fib_spawns);
  while (state.KeepRunning()) {
    if (co_await fib_awaited(fib_of) != fib_value) state.SkipWithError("a wrong value");
  }
}

bare::lazy bare_fib(int n) {
  if (n < 2) co_return n;
  const int first = co_await bare_fib(n - 1);
  const int second = co_await bare_fib(n - 2);
  co_return first + second;
}

bare::detached bare_fib_loop(benchmark::State& state) {
  while (state.KeepRunning()) benchmark::DoNotOptimize(co_await bare_fib(fib_of));
}

}  // namespace

void register_all() {
  add("skynet", skynet, {1, 2}, benchmark::kMillisecond);
  add("skynet_with_handles", skynet_with_handles, {1, 2}, benchmark::kMillisecond);
  add_floor("fib", [](benchmark::State& state) { bare_fib_loop(state); }, benchmark::kMillisecond);
  add("fib", fib_spawning, {1, 2}, benchmark::kMillisecond);
  add("fib_awaits_alone", fib_awaiting, {1}, benchmark::kMillisecond);
}

}  // namespace magpie::bench
