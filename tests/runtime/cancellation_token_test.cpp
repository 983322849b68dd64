/// `cancellation_token`: who is cancelled with whom, who is woken, and what becomes of the work.
#include <magpie/runtime/cancellation_token.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <memory>
#include <thread>
#include <vector>

namespace magpie::tests::cancellation_token_test {
namespace {

TEST(cancellation_token, is_sticky_and_copies_are_one_token) {
  const cancellation_token token;
  const cancellation_token copy = token;  // NOLINT(performance-unnecessary-copy-initialization)
  EXPECT_EQ(token, copy);
  EXPECT_FALSE(copy.is_cancelled());
  token.cancel();
  EXPECT_TRUE(copy.is_cancelled());
  copy.cancel();
  EXPECT_TRUE(token.is_cancelled());
  EXPECT_FALSE(cancellation_token().is_cancelled());
}

TEST(cancellation_token, goes_down_and_not_up) {
  const cancellation_token root;
  const cancellation_token child = root.child_token();
  const cancellation_token sibling = root.child_token();
  const cancellation_token grandchild = child.child_token();
  child.cancel();
  EXPECT_TRUE(grandchild.is_cancelled());
  EXPECT_FALSE(sibling.is_cancelled());
  EXPECT_FALSE(root.is_cancelled());
  root.cancel();
  EXPECT_TRUE(sibling.is_cancelled());
  EXPECT_TRUE(root.child_token().is_cancelled());  // born so
  EXPECT_TRUE(root.child_token().child_token().is_cancelled());
}

TEST(cancellation_token, conformance_c62_dropping_an_intermediate_keeps_the_grandchild) {
  const cancellation_token root;
  cancellation_token grandchild = [&] {
    const cancellation_token child = root.child_token();
    return child.child_token();
  }();
  EXPECT_FALSE(grandchild.is_cancelled());
  root.cancel();
  EXPECT_TRUE(grandchild.is_cancelled());
}

TEST(cancellation_token, a_moved_one_and_one_without_memory_are_cancelled) {
  cancellation_token token;
  const cancellation_token other = std::move(token);
  EXPECT_FALSE(other.is_cancelled());
  EXPECT_TRUE(token.is_cancelled());  // NOLINT(bugprone-use-after-move): what it says
  token.cancel();
  EXPECT_TRUE(token.child_token().is_cancelled());
  frame_pool_fail_nth(1);
  const cancellation_token poor = other.child_token();
  frame_pool_fail_nth(0);
  EXPECT_TRUE(poor.is_cancelled());
  EXPECT_FALSE(other.is_cancelled());
}

TEST(cancellation_token, guards_cancel_unless_they_are_disarmed) {
  const cancellation_token token;
  {
    const cancellation_token kept = token.drop_guard().disarm();
  }
  EXPECT_FALSE(token.is_cancelled());
  {
    auto guard = token.drop_guard();
    auto moved = std::move(guard);
    EXPECT_FALSE(token.is_cancelled());
  }
  EXPECT_TRUE(token.is_cancelled());
}

TEST(cancellation_token, a_chain_of_a_hundred_thousand_is_cancelled_and_freed_without_recursion) {
  const cancellation_token root;
  cancellation_token last = root;
  for (int i = 0; i < 100000; ++i) last = last.child_token();
  root.cancel();
  EXPECT_TRUE(last.is_cancelled());
}

TEST(cancellation_token, a_wide_tree_is_cancelled_with_its_gaps) {
  const cancellation_token root;
  std::vector<cancellation_token> kept;
  for (int i = 0; i < 1000; ++i) {
    const cancellation_token child = root.child_token();
    for (int k = 0; k < 5; ++k) {
      cancellation_token grandchild = child.child_token();
      if (k == 2) grandchild.cancel();
      if (k != 3) kept.push_back(std::move(grandchild));
    }
    if (i % 3 == 0) kept.push_back(child);
    if (i % 7 == 0) child.cancel();
  }
  root.cancel();
  for (const cancellation_token& token : kept) EXPECT_TRUE(token.is_cancelled());
}

// ---- waiting -----------------------------------------------------------------------------------

task<> counts_when_cancelled(cancellation_token token, atomic<int>& woken) {
  co_await token.cancelled();
  woken.fetch_add(1, order::relaxed);
}

/// A tree of which one subtree is cancelled: itself, two children, three grandchildren.
task<> wakes_a_subtree(atomic<int>& inside, atomic<int>& outside) {
  const cancellation_token root;
  const cancellation_token node = root.child_token();
  const cancellation_token sibling = root.child_token();
  const cancellation_token left = node.child_token();
  const cancellation_token right = node.child_token();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(counts_when_cancelled(node, inside));
    group.spawn(counts_when_cancelled(left, inside));
    group.spawn(counts_when_cancelled(right, inside));
    group.spawn(counts_when_cancelled(left.child_token(), inside));
    group.spawn(counts_when_cancelled(left.child_token(), inside));
    group.spawn(counts_when_cancelled(right.child_token(), inside));
    group.spawn(counts_when_cancelled(root, outside));
    group.spawn(counts_when_cancelled(sibling, outside));
    group.spawn(counts_when_cancelled(sibling.child_token(), outside));
    co_await sleep_for(1ms);
    node.cancel();
    while (inside.load(order::relaxed) != 6) co_await yield();
    for (int i = 0; i < 100; ++i) co_await yield();
    EXPECT_EQ(outside.load(order::relaxed), 0);
    root.cancel();
  });
}

TEST(cancellation_token, conformance_c62_wakes_exactly_its_subtree) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    atomic<int> inside{0};
    atomic<int> outside{0};
    EXPECT_TRUE(run_in_simulation(wakes_a_subtree(inside, outside), seed));
    EXPECT_EQ(inside.load(order::relaxed), 6);
    EXPECT_EQ(outside.load(order::relaxed), 3);
  }
}

TEST(cancellation_token, concurrent_c62_wakes_its_subtree) {
  MAGPIE_NEED_CELL();
  atomic<int> inside{0};
  atomic<int> outside{0};
  EXPECT_TRUE(run_in_cell(wakes_a_subtree(inside, outside)));
  EXPECT_EQ(outside.load(order::relaxed), 3);
}

task<> waits_for_what_is_there() {
  const cancellation_token token;
  token.cancel();
  for (int i = 0; i < 1000; ++i) co_await token.cancelled();  // beyond the budget
  const cancellation_token other;
  const auto late = co_await as_result(timeout(1ms, other.cancelled()));
  EXPECT_EQ(error_of(late), errc::deadline);
  other.cancel();
  co_await other.cancelled();
}

TEST(cancellation_token, a_wait_completes_at_once_when_it_is_cancelled) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(waits_for_what_is_there()));
}

/// A stop wins before the wait begins, whatever the token says.
task<> waits_in_a_stopped_scope(cancellation_token open, cancellation_token cancelled, int& right) {
  const auto slept = co_await as_result(sleep_for(1h));
  EXPECT_EQ(error_of(slept), errc::stopped);
  const auto one = co_await as_result(open.cancelled());
  right += error_of(one) == errc::stopped ? 1 : 0;
  const auto two = co_await as_result(cancelled.cancelled());
  right += error_of(two) == errc::stopped ? 1 : 0;
  const auto three = co_await as_result(cancelled.run_until_cancelled(sleep_for(1h)));
  right += error_of(three) == errc::stopped ? 1 : 0;
  co_await shielded(cancelled.cancelled());
  ++right;
}

task<> stops_the_waiter(int& right) {
  const cancellation_token open;
  const cancellation_token cancelled;
  cancelled.cancel();
  auto handle = spawn(waits_in_a_stopped_scope(open, cancelled, right));
  co_await sleep_for(1ms);
  handle.abort();
  static_cast<void>(co_await handle.join());
  auto waiting =
      spawn([](cancellation_token token) -> task<> { co_await token.cancelled(); }, open);
  co_await sleep_for(1ms);
  waiting.abort();
  const auto ended = co_await waiting.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
  EXPECT_FALSE(open.is_cancelled());
}

TEST(cancellation_token, a_wait_is_stopped_as_every_operation) {
  MAGPIE_NEED_CELL();
  int right = 0;
  EXPECT_TRUE(run_in_cell(stops_the_waiter(right)));
  EXPECT_EQ(right, 4);
}

// ---- run_until_cancelled -----------------------------------------------------------------------

task<int> nap(std::chrono::nanoseconds d, int value) {
  co_await sleep_for(d);
  co_return value;
}

task<int> notes_that_it_ran(bool& ran) {
  ran = true;
  co_return 1;
}

task<int> answers_a_stop(int value) {
  const auto slept = co_await as_result(sleep_for(1h));
  EXPECT_EQ(error_of(slept), errc::stopped);
  co_await shielded(sleep_for(1ms));
  co_return value;
}

task<int> fails_when_stopped() {
  static_cast<void>(co_await as_result(sleep_for(1h)));
  co_await fail(some_error());
  co_return 0;
}

task<> cancels_after(std::chrono::nanoseconds d, cancellation_token token) {
  co_await sleep_for(d);
  token.cancel();
}

task<> runs_until() {
  const cancellation_token token;
  const auto completed = co_await token.run_until_cancelled(nap(1ms, 5));
  EXPECT_EQ(completed, std::optional(5));
  const bool at_once = co_await token.run_until_cancelled(sleep_for(0s));
  EXPECT_TRUE(at_once);
  const auto failed = co_await as_result(token.run_until_cancelled(fail(some_error())));
  EXPECT_EQ(error_of(failed), some_error());

  const auto one = token.child_token();
  spawn(cancels_after(1ms, one)).detach();
  const auto ended = co_await one.run_until_cancelled(nap(1h, 5));
  EXPECT_EQ(ended, std::nullopt);
  const auto two = token.child_token();
  spawn(cancels_after(1ms, two)).detach();
  const auto late = co_await two.run_until_cancelled(answers_a_stop(6));
  EXPECT_EQ(late, std::optional(6));  // it completed after all
  const auto three = token.child_token();
  spawn(cancels_after(1ms, three)).detach();
  const auto error = co_await as_result(three.run_until_cancelled(fails_when_stopped()));
  EXPECT_EQ(error_of(error), some_error());

  bool ran = false;
  for (int i = 0; i < 1000; ++i) {
    const auto skipped = co_await one.run_until_cancelled(notes_that_it_ran(ran));
    EXPECT_EQ(skipped, std::nullopt);
  }
  const bool waited = co_await one.run_until_cancelled(sleep_for(0s));
  EXPECT_FALSE(waited);
  EXPECT_FALSE(ran);
  EXPECT_FALSE(token.is_cancelled());
}

TEST(cancellation_token, runs_until_it_is_cancelled) {
  for (std::uint64_t seed = 1; seed < 20; ++seed)
    EXPECT_TRUE(run_in_simulation(runs_until(), seed));
}

/// Both at the same moment: the work has completed.
task<> ties() {
  for (int i = 0; i < 50; ++i) {
    const cancellation_token token;
    const auto itself = [](cancellation_token own) -> task<int> {
      co_await sleep_for(1us);
      own.cancel();
      co_return 3;
    };
    const auto tied = co_await token.run_until_cancelled(itself(token));
    EXPECT_EQ(tied, std::optional(3));
    EXPECT_TRUE(token.is_cancelled());
  }
}

TEST(cancellation_token, a_tie_favours_completion) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(ties()));
}

/// Takes its time when it is stopped.
task<> lingers() {
  static_cast<void>(co_await as_result(sleep_for(1h)));
  co_await shielded(sleep_for(2ms));
  co_await sleep_for(0s);
}

task<> is_aborted(cancellation_token token, std::error_code& seen) {
  const auto ended = co_await as_result(token.run_until_cancelled(lingers()));
  seen = error_of(ended);
}

task<> aborts_it(std::error_code& seen, bool cancels_too) {
  const cancellation_token token;
  auto handle = spawn(is_aborted(token, seen));
  co_await sleep_for(1ms);
  handle.abort();
  if (cancels_too) token.cancel();
  static_cast<void>(co_await handle.join());
}

TEST(cancellation_token, a_stop_from_outside_is_no_cancellation) {
  for (const bool cancels_too : {false, true}) {
    std::error_code seen;
    EXPECT_TRUE(run_in_simulation(aborts_it(seen, cancels_too)));
    EXPECT_EQ(seen, errc::stopped);
  }
}

// ---- several threads ---------------------------------------------------------------------------

TEST(cancellation_token, concurrent_cancels_drops_and_births) {
  for (int round = 0; round < 2000; ++round) {
    const cancellation_token root;
    cancellation_token middle = root.child_token();
    cancellation_token leaf = middle.child_token();
    atomic<bool> returned{false};
    std::thread one([&] {
      root.cancel();
      returned.store(true, order::release);
    });
    std::thread two([middle = std::move(middle)] { middle.cancel(); });
    for (int i = 0; i < 10; ++i) {
      const cancellation_token child = leaf.child_token();
      const bool before = returned.load(order::acquire);
      EXPECT_TRUE(!before || child.is_cancelled());
    }
    one.join();
    EXPECT_TRUE(leaf.is_cancelled());  // by the time that the cancel of the root has returned
    two.join();
  }
}

/// Reliability, row 39: each cancels the other's token from within its own continuation, while the
/// body of the group cancels both.
task<> cancels_the_other(cancellation_token mine, cancellation_token others) {
  co_await mine.cancelled();
  others.cancel();
}

task<> cross_cancels(cancellation_token one, cancellation_token two) {
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(cancels_the_other(one, two));
    group.spawn(cancels_the_other(two, one));
    co_await yield();
    one.cancel();
    two.cancel();
  });
}

task<> cross_cancels_often(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const cancellation_token one;
    const cancellation_token two = i % 2 == 0 ? cancellation_token() : one.child_token();
    co_await cross_cancels(one, two);
  }
}

TEST(cancellation_token, concurrent_cross_cancelling_a_hundred_thousand_times) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(cross_cancels_often(100000)));
}

TEST(cancellation_token, concurrent_cancels_from_threads_that_are_no_workers) {
  MAGPIE_NEED_KERNEL();
  runtime on(cell_options());
  for (int i = 0; i < 1000; ++i) {
    const cancellation_token token;
    atomic<int> woken{0};
    const std::jthread canceller([token] { token.cancel(); });
    EXPECT_TRUE(on.block_on(counts_when_cancelled(token.child_token(), woken)));
    EXPECT_EQ(woken.load(order::relaxed), 1);
  }
}

}  // namespace
}  // namespace magpie::tests::cancellation_token_test
