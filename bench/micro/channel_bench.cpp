/// Measures: the channels, for each message that is sent.
///
/// - From one task to one, and from four to one, through a channel with room for 1024 and through
///   an unbounded one.
/// - A oneshot: made, sent and received by one task.
/// - From one task to four that want every message (`broadcast`, which keeps 1024) or the latest
///   value (`watch`): the sender goes on as soon as its budget lets it, so a receiver that is late
///   misses some, which `missed` counts for each message.
///
/// Against (floor): a value through a ring of 1024 words between two coroutines that take turns;
/// for the oneshot a block from a free list.

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/sync/broadcast.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/oneshot.hpp>
#include <magpie/sync/unbounded_mpsc.hpp>
#include <magpie/sync/watch.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace magpie::bench {
namespace {

constexpr int batch = 1000;
constexpr int messages = 100'000;
constexpr std::size_t room = 1024;
constexpr int listeners = 4;

// ---- one receiver ----------------------------------------------------------------------------

[[gnu::noinline]] task<> sends(sync::mpsc_sender<std::int64_t> to, int count) {
  for (int i = 0; i < count; ++i) co_await to.send(std::int64_t{1});
}

/// Nobody bounds an unbounded channel but its users: a budget's worth, then the others' turn.
[[gnu::noinline]] task<> sends_unbounded(sync::unbounded_sender<std::int64_t> to, int count) {
  for (int i = 0; i < count; ++i) {
    static_cast<void>(to.send(std::int64_t{1}));
    co_await consume_budget();
  }
}

template <class Receiver>
[[gnu::noinline]] task<> receives(Receiver from, std::int64_t& sum) {
  for (;;) {
    const auto next = co_await as_result(from.receive());
    if (!next) break;
    sum += *next;
  }
}

template <int Senders>
task<> bounded(benchmark::State& state) {
  std::int64_t sum = 0;
  meter counted(state);
  auto spawn_all = [&](task_group& group) -> task<> {
    auto [to, from] = sync::mpsc<std::int64_t>(room);
    group.spawn(receives(std::move(from), sum));
    for (int i = 0; i < Senders; ++i) group.spawn(sends(to, messages / Senders));
    co_return;
  };
  while (state.KeepRunningBatch(messages)) co_await with_task_group(spawn_all);
  if (sum != state.iterations()) state.SkipWithError("a message was lost");
}

template <int Senders>
task<> unbounded(benchmark::State& state) {
  std::int64_t sum = 0;
  meter counted(state);
  auto spawn_all = [&](task_group& group) -> task<> {
    auto [to, from] = sync::unbounded_mpsc<std::int64_t>();
    group.spawn(receives(std::move(from), sum));
    for (int i = 0; i < Senders; ++i) group.spawn(sends_unbounded(to, messages / Senders));
    co_return;
  };
  while (state.KeepRunningBatch(messages)) co_await with_task_group(spawn_all);
  if (sum != state.iterations()) state.SkipWithError("a message was lost");
}

struct bare_ring {
  std::int64_t slots[room];
  std::size_t head = 0;
  std::size_t tail = 0;
};

bare::detached bare_sends(bare_ring& ring, bare::run_queue& queue) {
  for (int i = 0; i < messages; ++i) {
    while (ring.tail - ring.head == room) co_await queue.turn();
    ring.slots[ring.tail++ % room] = 1;
    benchmark::ClobberMemory();
  }
}

bare::detached bare_receives(bare_ring& ring, bare::run_queue& queue, std::int64_t& sum) {
  for (int i = 0; i < messages; ++i) {
    while (ring.tail == ring.head) co_await queue.turn();
    sum += ring.slots[ring.head++ % room];
    benchmark::ClobberMemory();
  }
}

void ring_floor(benchmark::State& state) {
  bare::run_queue queue;
  bare_ring ring{};
  std::int64_t sum = 0;
  while (state.KeepRunningBatch(messages)) {
    bare_sends(ring, queue);
    bare_receives(ring, queue, sum);
    queue.run();
  }
  if (sum != state.iterations()) state.SkipWithError("a message was lost");
}

// ---- one message -----------------------------------------------------------------------------

task<> one_message(benchmark::State& state) {
  std::int64_t sum = 0;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto [to, from] = sync::oneshot<std::int64_t>();
      static_cast<void>(std::move(to).send(1));
      sum += co_await from.receive();
    }
  }
  if (sum != state.iterations()) state.SkipWithError("a message was lost");
}

void block_floor(benchmark::State& state) {
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      void* const block = bare::frames::take(64);
      benchmark::DoNotOptimize(block);
      bare::frames::give(block, 64);
    }
  }
}

// ---- many receivers --------------------------------------------------------------------------

struct seen {
  std::atomic<std::int64_t> got{0};
  std::atomic<std::int64_t> missed{0};
};

[[gnu::noinline]] task<> hears_all(sync::broadcast_receiver<std::int64_t> from, seen& all) {
  std::int64_t got = 0;
  std::int64_t missed = 0;
  for (;;) {
    const auto next = co_await as_result(from.receive());
    if (!next) break;
    missed += static_cast<std::int64_t>(next->missed());
    got += **next;
  }
  all.got.fetch_add(got, std::memory_order_relaxed);
  all.missed.fetch_add(missed, std::memory_order_relaxed);
}

[[gnu::noinline]] task<> tells_all(sync::broadcast_sender<std::int64_t> to) {
  for (int i = 0; i < messages; ++i) {
    static_cast<void>(to.send(std::int64_t{1}));
    co_await consume_budget();
  }
}

task<> broadcasting(benchmark::State& state) {
  seen all;
  {
    meter counted(state);
    auto spawn_all = [&](task_group& group) -> task<> {
      auto [to, from] = sync::broadcast<std::int64_t>(room);
      for (int i = 1; i < listeners; ++i) group.spawn(hears_all(to.subscribe(), all));
      group.spawn(hears_all(std::move(from), all));
      group.spawn(tells_all(std::move(to)));
      co_return;
    };
    while (state.KeepRunningBatch(messages)) co_await with_task_group(spawn_all);
  }
  if (all.got + all.missed != listeners * state.iterations())
    state.SkipWithError("a message was lost and not told");
  state.counters["missed"] =
      static_cast<double>(all.missed) / static_cast<double>(listeners * state.iterations());
}

[[gnu::noinline]] task<> sees_the_latest(sync::watch_receiver<std::int64_t> from, seen& all) {
  std::int64_t looks = 0;
  std::int64_t last = 0;
  for (;;) {
    if (!co_await as_result(from.changed())) break;
    last = *from.borrow_and_update();
    ++looks;
  }
  all.got.fetch_add(looks, std::memory_order_relaxed);
  all.missed.fetch_add(last == messages ? 0 : 1, std::memory_order_relaxed);
}

[[gnu::noinline]] task<> sets_often(sync::watch_sender<std::int64_t> to) {
  for (int i = 1; i <= messages; ++i) {
    static_cast<void>(to.send(std::int64_t{i}));
    co_await consume_budget();
  }
}

task<> watching(benchmark::State& state) {
  seen all;
  {
    meter counted(state);
    auto spawn_all = [&](task_group& group) -> task<> {
      auto [to, from] = sync::watch(std::int64_t{0});
      for (int i = 1; i < listeners; ++i) group.spawn(sees_the_latest(from, all));
      group.spawn(sees_the_latest(std::move(from), all));
      group.spawn(sets_often(std::move(to)));
      co_return;
    };
    while (state.KeepRunningBatch(messages)) co_await with_task_group(spawn_all);
  }
  if (all.missed != 0) state.SkipWithError("somebody did not see the last value");
  state.counters["missed"] =
      1.0 - static_cast<double>(all.got) / static_cast<double>(listeners * state.iterations());
}

}  // namespace

void register_all() {
  add_floor("mpsc", ring_floor);
  add("mpsc", bounded<1>, {1, 2});
  add("mpsc_of_4", bounded<4>, {1, 2});
  add("unbounded_mpsc", unbounded<1>, {1, 2});
  add("unbounded_mpsc_of_4", unbounded<4>, {1, 2});
  add_floor("oneshot", block_floor);
  add("oneshot", one_message);
  add("broadcast_to_4", broadcasting, {1, 2});
  add("watch_of_4", watching, {1, 2});
}

}  // namespace magpie::bench
