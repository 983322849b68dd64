/// Cases of docs/conformance.md about the scheduler that are no other unit's: who gets a turn
/// beside tasks that never rest, and that whoever waits is run once.
#include <magpie/runtime/cancellation_token.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <thread>
#include <vector>

namespace magpie::tests::conformance_test {
namespace {

// ---- C01: pairs that play ping-pong -------------------------------------------------------------

/// Each of two players waits for its own token and then cancels the other's.
struct ball {
  cancellation_token turn[2];
};

task<> plays(ball& with, std::size_t side, const atomic<bool>& leave, atomic<int>& rallies) {
  for (;;) {
    co_await with.turn[side].cancelled();
    const bool last = leave.load(order::relaxed);
    rallies.fetch_add(1, order::relaxed);
    with.turn[side] = cancellation_token();
    const cancellation_token other = with.turn[1 - side];  // its owner renews it meanwhile
    other.cancel();
    if (last) co_return;
  }
}

task<int> yields_five_times() {
  for (int i = 0; i < 5; ++i) co_await yield();
  co_return 5;
}

task<> joins_beside_players(int pairs, atomic<int>& rallies) {
  atomic<bool> leave{false};
  std::vector<ball> balls(static_cast<std::size_t>(pairs));
  co_await with_task_group([&](task_group& group) -> task<> {
    for (ball& with : balls) {
      group.spawn(plays(with, 0, leave, rallies));
      group.spawn(plays(with, 1, leave, rallies));
      with.turn[0].cancel();
    }
    while (rallies.load(order::relaxed) < 10 * pairs) co_await yield();  // all are at it
    auto handle = spawn(yields_five_times());
    const auto ended = co_await handle.join();
    EXPECT_EQ(ended.value(), 5);
    leave.store(true, order::relaxed);
  });
}

TEST(conformance, concurrent_c01_ping_pong_leaves_room_for_others) {
  MAGPIE_NEED_CELL();
  atomic<int> rallies{0};
  EXPECT_TRUE(run_in_cell(joins_beside_players(100, rallies)));
  EXPECT_GE(rallies.load(order::relaxed), 1000);
}

// ---- C02: a waiter that is woken from outside ---------------------------------------------------

/// Spawns itself anew and ends: on one worker the newest task always comes next.
task<> breeds(const atomic<bool>& leave) {
  if (!leave.load(order::relaxed)) spawn(breeds(leave)).detach();
  co_return;
}

task<> waits_beside_breeders(cancellation_token woken, atomic<bool>& waiting, atomic<bool>& leave) {
  spawn(breeds(leave)).detach();
  waiting.store(true, order::release);
  co_await woken.cancelled();
  leave.store(true, order::relaxed);
}

TEST(conformance, concurrent_c02_who_is_woken_from_outside_gets_a_turn_beside_breeders) {
  MAGPIE_NEED_KERNEL();
  options alone = cell_options();
  alone.workers = 1;
  for (int i = 0; i < 20; ++i) {
    const cancellation_token woken;
    atomic<bool> waiting{false};
    atomic<bool> leave{false};
    runtime on(alone);
    std::thread outside([&] {
      while (!waiting.load(order::acquire)) std::this_thread::yield();
      woken.cancel();
    });
    EXPECT_TRUE(on.block_on(waits_beside_breeders(woken, waiting, leave)));
    outside.join();
    EXPECT_TRUE(on.shutdown(30s));  // the last breeder still looks at `leave`
  }
}

// ---- C11: nobody is run for what concerns others ------------------------------------------------

/// Is woken at its own time, and wakes the one that waits when it is the last.
task<> wakes_beside(int i, atomic<int>& left, cancellation_token all_done) {
  co_await sleep_for(std::chrono::microseconds(20 * i));
  if (left.fetch_sub(1, order::acq_rel) == 1) all_done.cancel();
}

task<std::uint64_t> counts_runs(int others) {
  const cancellation_token all_done;
  atomic<int> left{others};
  const std::uint64_t before = current_metrics().polls;
  for (int i = 0; i < others; ++i) spawn(wakes_beside(i + 1, left, all_done)).detach();
  co_await all_done.cancelled();
  co_return current_metrics().polls - before;
}

TEST(conformance, concurrent_c11_who_waits_is_run_once) {
  MAGPIE_NEED_CELL();
  // Two runs of each of the others, and one of the task that waits.
  EXPECT_EQ(run_in_cell(counts_runs(24)).value(), 2U * 24 + 1);
}

// ---- a stop that is ignored ---------------------------------------------------------------------

task<> ignores_its_stop(const atomic<bool>& leave, atomic<int>& rounds) {
  while (!leave.load(order::relaxed)) {
    [[maybe_unused]] const auto ignored = co_await as_result(sleep_for(0s));
    rounds.fetch_add(1, order::relaxed);
  }
}

task<> runs_beside_the_stubborn() {
  atomic<bool> leave{false};
  atomic<int> rounds{0};
  auto stubborn = spawn(ignores_its_stop(leave, rounds));
  stubborn.abort();
  while (rounds.load(order::relaxed) < 1000) co_await yield();
  auto handle = spawn(yields_five_times());
  const auto ended = co_await handle.join();
  EXPECT_EQ(ended.value(), 5);
  leave.store(true, order::relaxed);
  const auto left = co_await stubborn.join();
  EXPECT_TRUE(left);
}

/// Each await of a stopped scope goes through the run queue, even if it could complete at once.
TEST(conformance, concurrent_a_loop_that_ignores_its_stop_starves_nobody) {
  MAGPIE_NEED_CELL();
  options alone = cell_options();
  alone.workers = 1;
  EXPECT_TRUE(run_on(alone, runs_beside_the_stubborn()));
}

}  // namespace
}  // namespace magpie::tests::conformance_test
