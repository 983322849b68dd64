/// The run gate: branches of one task never run in parallel with each other, whoever wakes them.
#include <magpie/runtime/run_gate.hpp>

#include <magpie/runtime/as_completed.hpp>
#include <magpie/runtime/join.hpp>
#include <magpie/runtime/join_all.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/tests/runtime/forks.hpp>

#include <vector>

namespace magpie::tests::run_gate_test {
namespace {

using detail::gated_runnable;
using detail::run_gate;

struct numbered final : gated_runnable {
  numbered() noexcept : gated_runnable(nullptr) {}
};

TEST(run_gate, hands_out_what_waits_in_its_order) {
  run_gate gate;
  numbered works[5];
  ASSERT_TRUE(gate.enter(works[0]));
  for (int i = 1; i < 5; ++i) EXPECT_FALSE(gate.enter(works[i]));
  EXPECT_EQ(gate.take_first(), nullptr);
  EXPECT_FALSE(gate.leave());
  for (int i = 1; i < 5; ++i) EXPECT_EQ(gate.take_first(), &works[i]);
  EXPECT_EQ(gate.take_first(), nullptr);
  EXPECT_TRUE(gate.leave());
  EXPECT_TRUE(gate.enter(works[0]));
  EXPECT_TRUE(gate.leave());
}

TEST(run_gate, keeps_what_is_put_first_before_what_is_put_last) {
  run_gate gate;
  numbered works[4];
  ASSERT_TRUE(gate.enter(works[0]));
  gate.put_last(works[1]);
  gate.put_last(works[2]);
  gate.put_first(works[3]);
  EXPECT_EQ(gate.take_first(), &works[3]);
  EXPECT_EQ(gate.take_first(), &works[1]);
  EXPECT_EQ(gate.take_first(), &works[2]);
  gate.put_first(works[1]);
  EXPECT_EQ(gate.take_first(), &works[1]);
  EXPECT_EQ(gate.take_first(), nullptr);
  EXPECT_TRUE(gate.leave());
}

// ---- nobody is inside together with another branch ----

task<> spins(turnstile& stile, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    stile.pass();
    if (i % 3 == 0) co_await yield();
    if (i % 3 == 1) co_await sleep_for(std::chrono::microseconds(i % 5));
    stile.pass();
  }
}

task<> joins_others(turnstile& stile, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto handle = spawn(after(std::chrono::microseconds(i % 4), i));
    stile.pass();
    if (i % 2 == 0) co_await yield();
    const auto value = co_await handle.join();
    stile.pass();
    EXPECT_EQ(value.value(), i);
  }
}

task<> bounds_others(turnstile& stile, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    // The timer and the sleep end together: the timer's party is often the second to come.
    const auto ended =
        co_await as_result(timeout(std::chrono::microseconds(i % 6), sleep_for(3us)));
    stile.pass();
    EXPECT_TRUE(ended || ended.error() == errc::deadline);
  }
}

task<> groups_others(turnstile& stile, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(after(std::chrono::microseconds(i % 5), 1));
      group.spawn(after(1us, 1));
      stile.pass();
      co_await yield();
      stile.pass();
    });
    stile.pass();
  }
}

int adds_one(int i) { return i + 1; }

task<> calls_others(turnstile& stile, int rounds) {
  for (int i = 0; i < rounds / 10; ++i) {
    const int more = co_await run_blocking(adds_one, i);
    stile.pass();
    EXPECT_EQ(more, i + 1);
  }
}

task<> forks_again(turnstile& stile, int rounds) {
  for (int i = 0; i < rounds / 10; ++i) {
    static_cast<void>(co_await join(spins(stile, 3), bounds_others(stile, 3)));
    stile.pass();
    static_cast<void>(co_await select(spins(stile, 3), sleep_for(3us)));
    stile.pass();
  }
}

task<> everything_at_once(turnstile& stile, int rounds) {
  static_cast<void>(co_await join(spins(stile, rounds), joins_others(stile, rounds),
                                  bounds_others(stile, rounds), groups_others(stile, rounds),
                                  calls_others(stile, rounds), forks_again(stile, rounds)));
}

task<> several_tasks(int rounds) {
  turnstile stiles[4];
  co_await with_task_group([&](task_group& group) -> task<> {
    for (turnstile& stile : stiles) group.spawn(everything_at_once(stile, rounds));
    co_return;
  });
  for (const turnstile& stile : stiles) {
    EXPECT_FALSE(stile.crowded);
    EXPECT_GT(stile.passed, 8 * rounds);
  }
}

TEST(run_gate, branches_never_run_in_parallel_concurrent) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(run_in_cell(several_tasks(200)));
}

task<> briefly() { return several_tasks(20); }

TEST(run_gate, branches_take_turns_in_every_order) { in_many_orders(&briefly); }

// ---- a joined task that is run in place may fork itself ----

task<int> forks_and_ends(turnstile& stile, int depth) {
  if (depth == 0) co_return 0;
  auto handle = spawn(forks_and_ends(stile, depth - 1));
  auto below = [&]() -> task<int> {
    const auto ended = co_await handle.join();
    stile.pass();
    co_return ended.value();
  };
  auto waits = below();
  auto [count, nothing] = co_await join(std::move(waits), yield());
  co_return count + 1;
}

task<> joins_in_place() {
  turnstile stile;
  // Each task has a gate of its own, so on several workers they may pass in parallel.
  const int depth = co_await forks_and_ends(stile, 50);
  EXPECT_EQ(depth, 50);
}

TEST(run_gate, gates_of_tasks_that_run_in_place_nest_concurrent) {
  options alone = cell_options();
  alone.workers = 1;
  if (!cell_is_there()) GTEST_SKIP() << "no io_uring here";
  EXPECT_TRUE(run_on(alone, joins_in_place()));
}

// ---- fairness: C10 ----

/// Two loops fight for one permit, each five times, with nothing to wait for but the run queue.
task<> fights(bool& permit, int& taken) {
  for (int i = 0; i < 5; ++i) {
    while (permit) co_await yield();
    permit = true;
    co_await yield();
    permit = false;
    ++taken;
  }
}

task<> two_fighters() {
  bool permit = false;
  int first = 0;
  int second = 0;
  static_cast<void>(co_await join(fights(permit, first), fights(permit, second)));
  EXPECT_EQ(first, 5);
  EXPECT_EQ(second, 5);
}

TEST(run_gate, c10_a_join_starves_no_branch) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(two_fighters()));
  in_many_orders(&two_fighters);
}

task<> starts_and_waits(const bool& other_ran, int& before) {
  if (!other_ran) ++before;
  co_await yield();
}

task<> many_starts() {
  bool other_ran = false;
  auto other = [](bool& ran) -> task<> {
    ran = true;
    co_return;
  };
  auto handle = spawn(other(other_ran));
  int before = 0;
  std::vector<task<>> all;
  for (int i = 0; i < 1000; ++i) all.push_back(starts_and_waits(other_ran, before));
  co_await join_all(std::move(all));
  // The gate gave the worker to the other task long before the last branch was started.
  EXPECT_LT(before, 100);
  EXPECT_TRUE(co_await handle.join());
}

TEST(run_gate, a_thousand_starts_let_others_in) {
  options alone = simulation();
  alone.workers = 1;
  EXPECT_TRUE(run_on(alone, many_starts()));
}

}  // namespace
}  // namespace magpie::tests::run_gate_test
