/// The main program of every micro benchmark, its pinned runtimes, and the counting malloc.

#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/options.hpp>

#include <sched.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

// glibc's allocator under its other names: what replaces malloc may call them.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {

// Relaxed: a sum that is read when those who add to it have been joined.
std::atomic<std::uint64_t> allocations{0};
void count_allocation() noexcept { allocations.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

extern "C" {

void* malloc(std::size_t size) noexcept {
  count_allocation();
  return __libc_malloc(size);
}

void* calloc(std::size_t count, std::size_t size) noexcept {
  count_allocation();
  return __libc_calloc(count, size);
}

void* realloc(void* memory, std::size_t size) noexcept {
  count_allocation();
  return __libc_realloc(memory, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  count_allocation();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
  count_allocation();
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"

namespace magpie::bench {
namespace {

/// The cores that the program may use, as it was started.
const cpu_set_t& given() noexcept {
  static const cpu_set_t set = [] {
    cpu_set_t now;
    CPU_ZERO(&now);
    ::sched_getaffinity(0, sizeof now, &now);
    return now;
  }();
  return set;
}

void pin(std::size_t first, std::size_t count) noexcept {
  cpu_set_t wanted;
  CPU_ZERO(&wanted);
  std::size_t seen = 0;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &given())) continue;
    if (seen >= first && seen < first + count) CPU_SET(cpu, &wanted);
    ++seen;
  }
  if (CPU_COUNT(&wanted) != 0) ::sched_setaffinity(0, sizeof wanted, &wanted);
}

constexpr std::size_t runtimes_max = 8;
std::unique_ptr<runtime> runtimes[runtimes_max + 1];

task<> run_loop(loop_function loop, benchmark::State& state) { co_await loop(state); }

/// Registers the loop for that many workers, inside their runtime.
benchmark::internal::Benchmark* register_loop(const std::string& name, loop_function loop,
                                              std::size_t workers) {
  const std::string full = name + "/" + std::to_string(workers) + "w";
  return benchmark::RegisterBenchmark(full.c_str(), [loop, workers](benchmark::State& state) {
    auto ended = runtime_of(workers).block_on(run_loop(loop, state));
    if (!ended) state.SkipWithError("the loop ended with an error");
  });
}

}  // namespace

std::uint64_t allocations_so_far() noexcept { return allocations.load(std::memory_order_relaxed); }

namespace {

tally tally_from(const runtime_metrics& counted) noexcept {
  return {allocations_so_far(), counted.reactor_calls, counted.wakes, counted.parks,
          counted.steals};
}

}  // namespace

tally tally_now() noexcept {
  if (on_worker()) return tally_from(current_metrics());
  return {allocations_so_far(), 0, 0, 0, 0};
}

tally tally_of(const runtime& of) noexcept { return tally_from(of.metrics()); }

std::int64_t cpu_ns_so_far() noexcept {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto ns = [](const timeval& t) { return (t.tv_sec * 1'000'000 + t.tv_usec) * 1000; };
  return ns(used.ru_utime) + ns(used.ru_stime);
}

tally& tally::operator+=(const tally& more) noexcept {
  allocations += more.allocations;
  calls += more.calls;
  wakes += more.wakes;
  parks += more.parks;
  steals += more.steals;
  return *this;
}

tally operator-(const tally& after, const tally& before) noexcept {
  return {after.allocations - before.allocations, after.calls - before.calls,
          after.wakes - before.wakes, after.parks - before.parks, after.steals - before.steals};
}

void meter::report(benchmark::State& state, const tally& before, const tally& after, double each) {
  const double operations = static_cast<double>(state.iterations()) * each;
  const auto per = [&](std::uint64_t from, std::uint64_t to) {
    return benchmark::Counter(static_cast<double>(to - from) / operations);
  };
  state.counters["allocs"] = per(before.allocations, after.allocations);
  state.counters["calls"] = per(before.calls, after.calls);
  state.counters["wakes"] = per(before.wakes, after.wakes);
  state.counters["parks"] = per(before.parks, after.parks);
  state.counters["steals"] = per(before.steals, after.steals);
}

std::size_t cores() noexcept { return static_cast<std::size_t>(CPU_COUNT(&given())); }
void pin_to_first(std::size_t count) noexcept { pin(0, count == 0 ? cores() : count); }
void pin_to(std::size_t core) noexcept { pin(core, 1); }

runtime& runtime_of(std::size_t workers) {
  if (workers == 0 || workers > runtimes_max) std::abort();
  std::unique_ptr<runtime>& made = runtimes[workers];
  if (!made) {
    options wanted;
    wanted.workers = workers;
    pin_to_first(workers);  // the workers' threads inherit it
    made = std::make_unique<runtime>(wanted);
    pin_to_first(0);
  }
  return *made;
}

void add(const std::string& name, loop_function loop, std::initializer_list<std::size_t> workers,
         benchmark::TimeUnit unit) {
  for (const std::size_t count : workers)
    register_loop(name, loop, count)->UseRealTime()->MeasureProcessCPUTime()->Unit(unit);
}

void add_manual(const std::string& name, loop_function loop,
                std::initializer_list<std::size_t> workers, std::int64_t iterations,
                benchmark::TimeUnit unit) {
  for (const std::size_t count : workers)
    register_loop(name, loop, count)
        ->UseManualTime()
        ->MeasureProcessCPUTime()
        ->Iterations(iterations)
        ->Unit(unit);
}

void add_floor(const std::string& name, plain_function loop, benchmark::TimeUnit unit) {
  benchmark::RegisterBenchmark((name + "/floor").c_str(),
                               [loop](benchmark::State& state) {
                                 pin_to(0);
                                 loop(state);
                                 pin_to_first(0);
                               })
      ->UseRealTime()
      ->Unit(unit);
}

void add_manual(const std::string& name, plain_function loop, std::int64_t iterations,
                benchmark::TimeUnit unit) {
  benchmark::RegisterBenchmark(name.c_str(), loop)
      ->UseManualTime()
      ->MeasureProcessCPUTime()
      ->Iterations(iterations)
      ->Unit(unit);
}

}  // namespace magpie::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
#if defined(__clang__)
  benchmark::AddCustomContext("compiler", "clang");
#else
  benchmark::AddCustomContext("compiler", "gcc");
#endif
  magpie::bench::register_all();
  benchmark::RunSpecifiedBenchmarks();
  for (auto& made : magpie::bench::runtimes) made.reset();
  benchmark::Shutdown();
  return 0;
}
