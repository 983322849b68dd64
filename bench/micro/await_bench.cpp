/// Measures: `co_await` of a child task, alone and through 1, 5 and 9 frames; an error through as
/// many frames, against the value's way through them and against an exception's.
/// Against: a lazy task with a free list and symmetric transfer (floor); for errors, the value.

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/fail.hpp>

#include <stdexcept>

namespace magpie::bench {
namespace {

constexpr int batch = 1000;

[[gnu::noinline]] task<int> child(int value) { co_return value; }
[[gnu::noinline]] task<> nothing() { co_return; }
[[gnu::noinline]] bare::lazy bare_child(int value) { co_return value; }

task<> await_value(benchmark::State& state) {
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(co_await child(i));
  }
}

task<> await_void(benchmark::State& state) {
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) co_await nothing();
  }
}

bare::lazy bare_loop(benchmark::State& state) {
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(co_await bare_child(i));
  }
  co_return 0;
}

bare::detached start(bare::lazy loop) { co_await loop; }

void await_floor(benchmark::State& state) { start(bare_loop(state)); }

// ---- through several frames ------------------------------------------------------------------

enum class ending { value, error, exception };

[[gnu::noinline]] task<int> leaf(ending how) {
  if (how == ending::error) co_await fail(std::make_error_code(std::errc::broken_pipe));
#if defined(__cpp_exceptions)
  if (how == ending::exception) throw std::runtime_error("broken pipe");
#endif
  co_return 1;
}

[[gnu::noinline]] task<int> frame(int above, ending how) {
  if (above == 0) co_return co_await leaf(how) + 1;
  co_return co_await frame(above - 1, how) + 1;
}

task<int> chain(int frames, ending how) { return frames == 1 ? leaf(how) : frame(frames - 2, how); }

/// The same await for a value and for an error: `as_result` looks at both.
task<> look_at_result(benchmark::State& state, int frames, ending how) {
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto ended = co_await as_result(chain(frames, how));
      benchmark::DoNotOptimize(ended);
    }
  }
}

task<> plainly(benchmark::State& state, int frames) {
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) benchmark::DoNotOptimize(co_await chain(frames, ending::value));
  }
}

#if defined(__cpp_exceptions)
task<> caught(benchmark::State& state, int frames) {
  meter counted(state);
  while (state.KeepRunningBatch(10)) {
    for (int i = 0; i < 10; ++i) {
      try {
        benchmark::DoNotOptimize(co_await chain(frames, ending::exception));
      } catch (const std::runtime_error& error) {
        benchmark::DoNotOptimize(&error);
      }
    }
  }
}
#endif

template <int frames>
void add_frames() {
  const std::string count = std::to_string(frames) + "_frames";
  add("nested/" + count, [](benchmark::State& state) { return plainly(state, frames); });
  add("value/" + count,
      [](benchmark::State& state) { return look_at_result(state, frames, ending::value); });
  add("error/" + count,
      [](benchmark::State& state) { return look_at_result(state, frames, ending::error); });
#if defined(__cpp_exceptions)
  add("exception/" + count, [](benchmark::State& state) { return caught(state, frames); });
#endif
}

}  // namespace

void register_all() {
  add_floor("await", await_floor);
  add("await", await_value);
  add("await_void", await_void);
  add_frames<1>();
  add_frames<5>();
  add_frames<9>();
}

}  // namespace magpie::bench
