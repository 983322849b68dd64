/// Measures: two tasks that wake each other in turn, per round trip; one and two workers.
/// Against: the same two coroutines over a ring of handles and a flag (floor).

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/baton.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/spawn.hpp>

namespace magpie::bench {
namespace {

constexpr int batch = 1000;

struct court {
  baton ping;
  baton pong;
  bool over = false;  // handed over with the ping
};

task<> answer(court& on) {
  for (;;) {
    co_await on.ping.wait();
    if (on.over) co_return;
    on.pong.post();
  }
}

task<> rally(benchmark::State& state) {
  court on;
  auto other = spawn(answer(on));
  {
    meter counted(state);
    while (state.KeepRunningBatch(batch)) {
      for (int i = 0; i < batch; ++i) {
        on.ping.post();
        co_await on.pong.wait();
      }
    }
  }
  on.over = true;
  on.ping.post();
  auto ended = co_await other.join();
  if (!ended) state.SkipWithError("the other player failed");
}

struct bare_court {
  bare::baton ping;
  bare::baton pong;
  bool over = false;
};

bare::detached bare_answer(bare_court& on) {
  for (;;) {
    co_await on.ping;
    if (on.over) co_return;
    on.pong.post();
  }
}

bare::detached bare_rally(benchmark::State& state, bare_court& on) {
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      on.ping.post();
      co_await on.pong;
    }
  }
  on.over = true;
  on.ping.post();
}

void rally_floor(benchmark::State& state) {
  bare::run_queue queue;
  bare_court on{bare::baton(queue), bare::baton(queue)};
  bare_answer(on);
  bare_rally(state, on);
  queue.run();
}

}  // namespace

void register_all() {
  add_floor("ping_pong", rally_floor);
  add("ping_pong", rally, {1, 2});
}

}  // namespace magpie::bench
