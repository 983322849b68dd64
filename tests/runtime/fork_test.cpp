/// What all forks have in common: depth, mixtures, and what an outer fork may do with an inner one.
#include <magpie/runtime/fork.hpp>

#include <magpie/runtime/as_completed.hpp>
#include <magpie/runtime/cancellation_token.hpp>
#include <magpie/runtime/cleanup.hpp>
#include <magpie/runtime/join.hpp>
#include <magpie/runtime/join_all.hpp>
#include <magpie/runtime/keyed_group.hpp>
#include <magpie/runtime/race.hpp>
#include <magpie/runtime/result_group.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/stop_token.hpp>
#include <magpie/runtime/task_local.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/forks.hpp>

#include <string>
#include <vector>

namespace magpie::tests::fork_test {
namespace {

// ---- depth: rule 3 of the fine print ----

constexpr int very_deep = 100'000;

task<int> joins(int depth, std::error_code ending) {
  if (depth == 0) {
    co_await sleep_for(1us);
    if (ending) co_await fail(ending);
    co_return 0;
  }
  auto [below, nothing] = co_await join(joins(depth - 1, ending), sleep_for(1us));
  co_return below + 1;
}

task<int> selects(int depth, std::chrono::nanoseconds pause) {
  if (depth == 0) {
    co_await sleep_for(pause);
    co_return 0;
  }
  auto first = co_await select(selects(depth - 1, pause), sleep_for(1h));
  co_return first.value<0>() + 1;
}

task<int> immediate(int depth) {
  if (depth == 0) co_return 0;
  auto first = co_await select(biased, immediate(depth - 1), sleep_for(1h));
  co_return first.value<0>() + 1;
}

TEST(fork, a_hundred_thousand_within_each_other) {
  MAGPIE_NEED_SIMULATION();
  EXPECT_EQ(run_in_simulation(joins(very_deep, {})).value(), very_deep);
  EXPECT_EQ(error_of(run_in_simulation(joins(very_deep, some_error()))), some_error());
}

task<int> stops_deep_selects() {
  const int never = co_await timeout(1ms, selects(very_deep, 2h));
  co_return never;
}

TEST(fork, a_hundred_thousand_selects_within_each_other) {
  MAGPIE_NEED_SIMULATION();
  EXPECT_EQ(run_in_simulation(selects(very_deep, 1us)).value(), very_deep);
  EXPECT_EQ(run_in_simulation(immediate(very_deep)).value(), very_deep);
  EXPECT_EQ(error_of(run_in_simulation(stops_deep_selects())), errc::deadline);
}

// ---- forks within forks ----

task<> a_mixture() {
  std::vector<task<int>> all;
  for (int i = 0; i < 5; ++i) all.push_back(after(1ms * i, i));
  auto inner = select(join_all(std::move(all)), sleep_for(1h));
  auto [chosen, raced] =
      co_await join(std::move(inner), race(after(1h, 1), timeout(2ms, after(1ms, 2))));
  EXPECT_EQ(chosen.index(), 0U);
  EXPECT_EQ(chosen.value<0>().size(), 5U);
  EXPECT_EQ(raced, 2);
}

TEST(fork, any_fork_within_any_other) { in_many_orders(&a_mixture); }

task<> inner_forks_are_stopped() {
  atomic<int> alive{0};
  auto slow = [](counted) -> task<int> {
    co_await sleep_for(1h);
    co_return 1;
  };
  auto left = join(slow(counted(alive)), slow(counted(alive)));
  auto right = race(slow(counted(alive)), slow(counted(alive)));
  auto first = co_await select(std::move(left), std::move(right), sleep_for(1ms));
  EXPECT_EQ(first.index(), 2U);
  EXPECT_EQ(error_of(*first.get<0>()), errc::stopped);
  EXPECT_EQ(error_of(*first.get<1>()), errc::stopped);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(fork, an_outer_fork_stops_inner_ones) { in_many_orders(&inner_forks_are_stopped); }

task<> inner_failures_climb() {
  auto inner = join(sleep_for(1h), fails_after(1ms));
  const auto ended = co_await as_result(join(sleep_for(1h), std::move(inner), after(1h, 1)));
  EXPECT_EQ(error_of(ended), some_error());
}

TEST(fork, a_failure_climbs_through_both) { in_many_orders(&inner_failures_climb); }

task<> fails_at_once_deep_inside() {
  for (int i = 0; i < 3; ++i) {
    const auto ended =
        co_await as_result(join(at_once(1), join(at_once(2), fail(some_error())), at_once(3)));
    EXPECT_EQ(error_of(ended), some_error());
    auto first = co_await select(biased, join(at_once(1), fail(some_error())), at_once(4));
    EXPECT_EQ(first.index(), 1U);
  }
}

TEST(fork, inner_forks_that_end_at_once) { in_many_orders(&fails_at_once_deep_inside); }

task<> moved_before_it_starts() {
  auto made = select(after(1ms, 1), when(false, after(1us, 2)));
  auto moved = std::move(made);
  auto first = co_await std::move(moved);
  EXPECT_EQ(first.index(), 0U);
  {
    const auto dropped = join(after(1ms, 1), after(2ms, 2));  // never awaited: nothing runs
  }
}

TEST(fork, may_be_moved_and_dropped_before_it_starts) { in_many_orders(&moved_before_it_starts); }

#if defined(__cpp_exceptions)
constinit task_local<int> around;

/// What throws after a while, within `throwing`, ends the branch beside it.
template <class A>
task<> throws_beside_a_sleep(A throwing) {
  const auto before = clock::now();
  int caught = 0;
  try {
    static_cast<void>(co_await join(sleep_for(1h), std::move(throwing)));
  } catch (int what) {
    caught = what;
  }
  EXPECT_EQ(caught, 17);
  EXPECT_LT(clock::now() - before, 1min);
}

task<> throws_from_within() {
  co_await throws_beside_a_sleep(shielded(throws_after(1ms, 17)));
  co_await throws_beside_a_sleep(finally(throws_after(1ms, 17), sleep_for(1ms)));
  const auto cleans_up = [](cleanup_stack&) -> task<int> { return throws_after(1ms, 17); };
  co_await throws_beside_a_sleep(with_cleanup(cleans_up));
  const auto follows = [](std::stop_token) { return throws_after(1ms, 17); };
  co_await throws_beside_a_sleep(with_stop_token(follows));
  co_await throws_beside_a_sleep(stopped_by(std::stop_token(), throws_after(1ms, 17)));
  co_await throws_beside_a_sleep(around.scope(1, throws_after(1ms, 17)));
  const auto blocks = []() -> int { throw 17; };
  co_await throws_beside_a_sleep(run_blocking(blocks));
  auto handle = spawn(throws_after(1ms, 17));
  co_await throws_beside_a_sleep(handle.join());
  co_await with_task_group([](result_group<int>& group) -> task<> {
    group.spawn(throws_after(1ms, 17));
    co_await throws_beside_a_sleep(group.next());
  });
  co_await with_task_group([](keyed_group<int, int>& group) -> task<> {
    group.spawn(1, throws_after(1ms, 17));
    co_await throws_beside_a_sleep(group.next());
  });
  std::vector<task<int>> elements;
  elements.push_back(throws_after(1ms, 17));
  const auto takes = [](completions<int>& done) -> task<> {
    co_await throws_beside_a_sleep(done.next());
  };
  co_await as_completed(std::move(elements), takes);
}

TEST(fork, an_exception_from_within_any_operation_ends_the_others) {
  in_many_orders(&throws_from_within);
}
#endif

task<> groups_in_branches() {
  // The last child of a group ends in a task of its own, maybe while the other branch runs.
  turnstile stile;
  auto grouping = [&]() -> task<> {
    for (int i = 0; i < 20; ++i) {
      co_await with_task_group([&](task_group& group) -> task<> {
        for (int k = 0; k < 3; ++k) group.spawn(after(1us * k, k));
        co_return;
      });
      stile.pass();
    }
  };
  auto first = grouping();
  auto second = grouping();
  static_cast<void>(co_await join(std::move(first), std::move(second)));
  EXPECT_FALSE(stile.crowded);
  EXPECT_EQ(stile.passed, 40);
}

// ---- what else wakes a branch by itself ----

task<> tokens_in_branches() {
  turnstile stile;
  auto cancelling = [&](int from) -> task<> {
    for (int i = from; i < from + 20; ++i) {
      const cancellation_token token;
      auto cancels = [](cancellation_token mine, int k) -> task<> {
        co_await sleep_for(std::chrono::microseconds(k % 3));
        mine.cancel();
      };
      spawn(cancels(token, i)).detach();
      static_cast<void>(co_await token.run_until_cancelled(after(1us * (i % 4), i)));
      stile.pass();
      static_cast<void>(co_await token.run_until_cancelled(after(1us, i)));  // cancelled, maybe
      stile.pass();
    }
  };
  auto first = cancelling(0);
  auto second = cancelling(1);
  static_cast<void>(co_await join(std::move(first), std::move(second)));
  EXPECT_FALSE(stile.crowded);
  EXPECT_EQ(stile.passed, 80);
}

TEST(fork, tokens_inside_of_branches_concurrent) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(tokens_in_branches()));
  in_many_orders(&tokens_in_branches);
}

// ---- each branch sees its own task-local values ----

task_local<int> label;

int seen() {
  const int* const value = label.get();
  return value == nullptr ? 0 : *value;
}

task<> sees(int expected) {
  EXPECT_EQ(seen(), expected);
  co_await yield();
  EXPECT_EQ(seen(), expected);
}

task<> labelled_branches() {
  EXPECT_EQ(seen(), 1);
  static_cast<void>(co_await join(label.scope(2, sees(2)), sees(1), label.scope(3, sees(3))));
  EXPECT_EQ(seen(), 1);
  static_cast<void>(co_await select(label.scope(4, sees(4)), sees(1)));
  EXPECT_EQ(seen(), 1);
  const cancellation_token token;
  token.cancel();
  const bool completed = co_await token.run_until_cancelled(label.scope(5, sees(5)));
  EXPECT_FALSE(completed);
  EXPECT_EQ(seen(), 1);
}

task<> branches_with_labels() { co_await label.scope(1, labelled_branches()); }

TEST(fork, branches_see_their_own_task_locals) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(branches_with_labels()));
  in_many_orders(&branches_with_labels);
}

TEST(fork, groups_end_inside_of_branches_concurrent) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(groups_in_branches()));
  in_many_orders(&groups_in_branches);
}

}  // namespace
}  // namespace magpie::tests::fork_test
