/// The budget by hand: checkpoints that give way after 128, and code that does not give way at all.
#include <magpie/runtime/budget.hpp>

#include <magpie/runtime/select.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

namespace magpie::tests::budget_test {
namespace {

std::uint64_t yields() { return current_metrics().budget_yields; }

/// One worker alone: what the others count is not in the sum.
options one_worker() {
  options chosen = cell_options();
  chosen.workers = 1;
  return chosen;
}

task<> counts_yields() {
  co_await yield();  // a fresh budget
  const std::uint64_t before = yields();
  for (int i = 0; i < 128; ++i) co_await consume_budget();
  EXPECT_EQ(yields() - before, 0U);
  co_await consume_budget();
  EXPECT_EQ(yields() - before, 1U);
  for (int i = 0; i < 128; ++i) co_await consume_budget();
  EXPECT_EQ(yields() - before, 1U);
  co_await consume_budget();
  EXPECT_EQ(yields() - before, 2U);
}

TEST(budget, a_checkpoint_gives_way_when_the_budget_is_spent) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_on(one_worker(), counts_yields()));
}

task<> sets(bool& flag) {
  flag = true;
  co_return;
}

task<> computes_until(const bool& flag, int& rounds) {
  while (!flag && rounds < 10'000) {
    ++rounds;
    co_await consume_budget();
  }
}

/// C08 for a task that never waits.  The worker takes by turns what was woken and what was spawned:
/// two budgets' worth of checkpoints at most before the other one runs.
task<> gives_others_their_turn() {
  co_await yield();
  bool flag = false;
  int rounds = 0;
  auto other = spawn(sets(flag));
  co_await computes_until(flag, rounds);
  EXPECT_TRUE(flag);
  EXPECT_LE(rounds, 2 * 129);
  [[maybe_unused]] const auto ended = co_await other.join();
}

TEST(budget, conformance_c08_a_computing_task_lets_others_run) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_on(one_worker(), gives_others_their_turn()));
}

task<> stopped_at_a_checkpoint(int& rounds) {
  for (;; ++rounds) co_await consume_budget();
}

task<> stops_a_loop() {
  int rounds = 0;
  auto loop = spawn(stopped_at_a_checkpoint(rounds));
  co_await sleep_for(1ms);
  loop.abort();
  const auto ended = co_await loop.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
  EXPECT_GT(rounds, 0);
}

TEST(budget, concurrent_a_checkpoint_sees_a_stop) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(stops_a_loop()));
}

// ---- unconstrained ------------------------------------------------------------------------------

task<int> many_checkpoints(int count) {
  for (int i = 0; i < count; ++i) co_await consume_budget();
  co_return count;
}

task<> runs_without_a_budget() {
  co_await yield();
  bool flag = false;
  auto other = spawn(sets(flag));
  const std::uint64_t before = yields();
  const int made = co_await unconstrained(many_checkpoints(1'000));
  EXPECT_EQ(made, 1'000);
  EXPECT_EQ(yields() - before, 0U);
  EXPECT_FALSE(flag);
  co_await consume_budget();  // outside again, and nothing is left
  EXPECT_EQ(yields() - before, 1U);
  [[maybe_unused]] const auto ended = co_await other.join();
}

TEST(budget, unconstrained_code_does_not_give_way) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_on(one_worker(), runs_without_a_budget()));
}

task<> is_lifted_for_a_single_operation() {
  co_await yield();
  const std::uint64_t before = yields();
  for (int i = 0; i < 1'000; ++i) co_await unconstrained(consume_budget());
  EXPECT_EQ(yields() - before, 0U);
}

TEST(budget, a_single_operation_may_be_unconstrained) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_on(one_worker(), is_lifted_for_a_single_operation()));
}

task<> waits_within(int count) {
  for (int i = 0; i < count; ++i) {
    if (i % 300 == 299) co_await sleep_for(1us);
    co_await timeout(1s, many_checkpoints(10));
  }
}

/// Across suspensions, and in scopes below.
task<> stays_lifted() {
  const std::uint64_t before = yields();
  co_await unconstrained(waits_within(1'000));
  EXPECT_EQ(yields() - before, 0U);
}

TEST(budget, unconstrained_holds_across_waits_and_in_scopes_below) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_on(one_worker(), stays_lifted()));
}

task<> spawns_one(std::uint64_t& counted) {
  const std::uint64_t before = yields();
  co_await with_task_group([](task_group& group) -> task<> {
    auto child = []() -> task<> {
      [[maybe_unused]] const int n = co_await many_checkpoints(1'000);
    };
    group.spawn(child());
    co_return;
  });
  counted = yields() - before;
}

task<> is_not_inherited() {
  std::uint64_t counted = 0;
  co_await unconstrained(spawns_one(counted));
  EXPECT_GE(counted, 1'000U / 129);
}

TEST(budget, children_have_their_budgets_as_ever) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_on(one_worker(), is_not_inherited()));
}

task<int> fails() {
  co_await fail(some_error());
  co_return 1;
}

task<> passes_outcomes_on() {
  const auto failed = co_await as_result(unconstrained(fails()));
  EXPECT_EQ(error_of(failed), some_error());
  const auto late = co_await as_result(timeout(1ms, unconstrained(sleep_for(1h))));
  EXPECT_EQ(error_of(late), errc::deadline);
}

TEST(budget, unconstrained_passes_outcomes_on) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(passes_outcomes_on()));
}

#if defined(__cpp_exceptions)
task<int> throws() {
  co_await yield();
  throw 7;
}

task<> catches() {
  int caught = 0;
  try {
    [[maybe_unused]] const int value = co_await unconstrained(throws());
  } catch (int thrown) {
    caught = thrown;
  }
  EXPECT_EQ(caught, 7);
}

TEST(budget, unconstrained_rethrows) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(catches()));
}
#endif

/// C92: with the budget spent, a select whose branch could complete lets others run first.
task<> select_without_a_budget() {
  co_await yield();
  const std::uint64_t before = yields();
  for (int i = 0; i < 128; ++i) co_await consume_budget();
  EXPECT_EQ(yields() - before, 0U);
  auto ended = co_await select(consume_budget(), sleep_for(1h));
  EXPECT_EQ(ended.index(), 0U);
  EXPECT_GE(yields() - before, 1U);
}

TEST(budget, conformance_c92_a_select_without_budget_waits) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_on(one_worker(), select_without_a_budget()));
}

task<> checking(int i, tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < i % 300; ++k) co_await consume_budget();
  co_await unconstrained(sleeping(i, counts));
  [[maybe_unused]] const int made = co_await unconstrained(many_checkpoints(i % 200));
}

TEST(budget, concurrent_stop_torture) { torture(&checking); }

}  // namespace
}  // namespace magpie::tests::budget_test
