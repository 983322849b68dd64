/// The stop scope: its state table, the lazily linked tree, and walks over wide and deep trees.
#include <magpie/runtime/stop_scope.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/scope_walk.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <deque>
#include <memory>
#include <thread>
#include <vector>

namespace magpie::tests::stop_scope_test {
namespace {

/// An operation by hand: counts cancels, and does in them what a test wants.
class manual_operation : public operation {
 public:
  manual_operation() noexcept : operation([](runnable&) noexcept {}, &cancelled) {}

  using operation::begin;
  using operation::end;
  void place_in(stop_scope& scope) noexcept { prepare({}, scope); }

  int cancels = 0;
  bool leaves_in_cancel = false;
  bool left = false;
  stop_scope* links_in_cancel = nullptr;
  bool linked_is_stopped = false;

 private:
  static void cancelled(operation& op) noexcept {
    auto& self = static_cast<manual_operation&>(op);
    ++self.cancels;
    if (self.leaves_in_cancel) self.left = self.end();
    if (self.links_in_cancel == nullptr) return;
    self.links_in_cancel->link();
    self.linked_is_stopped = self.links_in_cancel->stop_requested();
  }
};

/// A runtime whose scheduler takes posts, for roots made by hand.
task<scheduler*> own_scheduler() { co_return &detail::current_scheduler(); }

class stop_scopes : public testing::Test {
 protected:
  stop_scopes() : on(simulation()), root(*on.block_on(own_scheduler()).value()) {}
  ~stop_scopes() override = default;
  runtime on;
  task_root root;
};

TEST_F(stop_scopes, idle_enter_leave) {
  stop_scope scope(nullptr, root);
  EXPECT_FALSE(scope.stop_requested());
  for (int i = 0; i < 3; ++i) {
    manual_operation op;
    op.place_in(scope);
    EXPECT_TRUE(op.begin());
    EXPECT_TRUE(op.end());
    EXPECT_EQ(op.cancels, 0);
  }
}

TEST_F(stop_scopes, who_is_linked_below_a_shard_that_the_walk_has_not_come_to_is_stopped) {
  stop_scope top(nullptr, root);
  stop_scope shard(&top, root, stop_scope::kind::shard);
  shard.link();
  stop_scope late(&shard, root);
  manual_operation op;
  op.links_in_cancel = &late;
  op.place_in(top);  // where the walk begins
  ASSERT_TRUE(op.begin());
  top.request_stop();
  EXPECT_TRUE(op.linked_is_stopped);
  EXPECT_TRUE(op.end());
}

TEST_F(stop_scopes, a_stop_cancels_the_current_operation_once) {
  stop_scope scope(nullptr, root);
  manual_operation op;
  op.place_in(scope);
  ASSERT_TRUE(op.begin());
  scope.request_stop();
  scope.request_stop();
  EXPECT_EQ(op.cancels, 1);
  EXPECT_TRUE(scope.stop_requested());
  EXPECT_TRUE(op.end());
}

TEST_F(stop_scopes, a_stopped_scope_refuses_operations) {
  stop_scope scope(nullptr, root);
  scope.request_stop();
  manual_operation op;
  op.place_in(scope);
  EXPECT_FALSE(op.begin());
  EXPECT_EQ(op.cancels, 0);
}

task<> nothing() { co_return; }

TEST_F(stop_scopes, an_operation_that_leaves_while_it_is_cancelled_is_posted_by_the_canceller) {
  {
    stop_scope scope(nullptr, root);
    manual_operation op;
    op.leaves_in_cancel = true;
    op.place_in(scope);
    ASSERT_TRUE(op.begin());
    scope.request_stop();
    EXPECT_EQ(op.cancels, 1);
    EXPECT_FALSE(op.left);                // BUSY: the canceller goes on with it
    EXPECT_TRUE(op.end());                // the second run
    EXPECT_TRUE(on.block_on(nothing()));  // takes what was posted out of the queue
  }
}

TEST_F(stop_scopes, there_is_nothing_to_hold_without_an_operation) {
  stop_scope scope(nullptr, root);
  EXPECT_EQ(scope.hold(), nullptr);
  scope.request_stop();
  EXPECT_EQ(scope.hold(), nullptr);
}

TEST_F(stop_scopes, an_operation_that_leaves_while_it_is_held_is_posted_by_the_onlooker) {
  stop_scope scope(nullptr, root);
  for (const bool stops : {false, true}) {
    manual_operation op;
    op.place_in(scope);
    ASSERT_TRUE(op.begin());
    ASSERT_EQ(scope.hold(), &op);
    EXPECT_FALSE(op.end());
    if (stops) scope.request_stop();
    EXPECT_EQ(op.cancels, 0);  // it has left: there is nothing to cancel
    scope.release(op);
    EXPECT_TRUE(op.end());                // the second run
    EXPECT_TRUE(on.block_on(nothing()));  // takes what was posted out of the queue
  }
}

TEST_F(stop_scopes, a_held_operation_may_be_cancelled_and_is_posted_once) {
  stop_scope scope(nullptr, root);
  manual_operation op;
  op.leaves_in_cancel = true;
  op.place_in(scope);
  ASSERT_TRUE(op.begin());
  ASSERT_EQ(scope.hold(), &op);
  scope.request_stop();
  EXPECT_EQ(op.cancels, 1);
  EXPECT_FALSE(op.left);
  // Should the canceller have posted it too, it would be in the queue twice.
  scope.release(op);
  EXPECT_TRUE(op.end());
  EXPECT_TRUE(on.block_on(nothing()));
}

TEST_F(stop_scopes, holding_what_does_not_leave_changes_nothing) {
  stop_scope scope(nullptr, root);
  manual_operation op;
  op.place_in(scope);
  ASSERT_TRUE(op.begin());
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(scope.hold(), &op);
    scope.release(op);
  }
  EXPECT_TRUE(op.end());
}

TEST_F(stop_scopes, a_shield_is_in_the_tree_and_no_stop_from_above_reaches_it) {
  stop_scope top(nullptr, root);
  stop_scope middle(&top, root);
  stop_scope shield(&middle, root, stop_scope::kind::shield);
  stop_scope below(&shield, root);
  manual_operation op;
  op.place_in(below);
  ASSERT_TRUE(op.begin());
  detail::scope_walk walk(top);
  for (stop_scope* expected : {&middle, &shield, &below}) EXPECT_EQ(walk.next(), expected);
  EXPECT_EQ(walk.depth(), 3U);
  EXPECT_EQ(walk.next(), nullptr);
  top.request_stop();
  EXPECT_TRUE(middle.stop_requested());
  EXPECT_FALSE(shield.stop_requested() || below.stop_requested());
  EXPECT_EQ(op.cancels, 0);
  shield.request_stop();
  EXPECT_EQ(op.cancels, 1);
  EXPECT_TRUE(op.end());
}

TEST_F(stop_scopes, a_shield_that_links_itself_below_a_stopped_scope_is_not_stopped) {
  stop_scope top(nullptr, root);
  top.request_stop();
  stop_scope shield(&top, root, stop_scope::kind::shield);
  manual_operation op;
  op.place_in(shield);
  EXPECT_TRUE(op.begin());
  EXPECT_TRUE(op.end());
}

TEST_F(stop_scopes, a_walk_meets_each_scope_once_and_new_ones_are_behind_it) {
  stop_scope top(nullptr, root);
  std::deque<stop_scope> left;
  for (int i = 0; i < 4; ++i) left.emplace_back(&top, root).link();
  std::deque<stop_scope> low;
  for (int i = 0; i < 3; ++i) low.emplace_back(&left[1], root).link();
  detail::scope_walk walk(top);
  std::vector<stop_scope*> met{walk.next()};
  stop_scope late(&top, root);
  late.link();
  while (stop_scope* const scope = walk.next()) met.push_back(scope);
  const std::vector<stop_scope*> expected{&left[3], &left[2], &left[1], &low[2],
                                          &low[1],  &low[0],  &left[0]};
  EXPECT_EQ(met, expected);
  low.clear();
  left.clear();
}

TEST_F(stop_scopes, children_link_lazily_and_see_a_stop_that_came_before) {
  stop_scope top(nullptr, root);
  stop_scope middle(&top, root);
  stop_scope low(&middle, root);
  top.request_stop();
  EXPECT_TRUE(low.stop_requested());
  EXPECT_TRUE(middle.stop_requested());
}

TEST_F(stop_scopes, a_stop_reaches_what_is_linked_and_not_what_is_beside_or_above) {
  stop_scope top(nullptr, root);
  stop_scope left(&top, root);
  stop_scope right(&top, root);
  stop_scope below(&left, root);
  manual_operation in_below;
  manual_operation in_right;
  in_below.place_in(below);
  in_right.place_in(right);
  ASSERT_TRUE(in_below.begin());
  ASSERT_TRUE(in_right.begin());
  left.request_stop();
  EXPECT_EQ(in_below.cancels, 1);
  EXPECT_EQ(in_right.cancels, 0);
  EXPECT_FALSE(top.stop_requested());
  top.request_stop();
  EXPECT_EQ(in_below.cancels, 1);
  EXPECT_EQ(in_right.cancels, 1);
  EXPECT_TRUE(in_below.end());
  EXPECT_TRUE(in_right.end());
}

TEST_F(stop_scopes, closed_scopes_are_out_of_the_tree) {
  stop_scope top(nullptr, root);
  auto child = std::make_unique<stop_scope>(&top, root);
  EXPECT_FALSE(child->stop_requested());
  child->close();
  top.request_stop();
  EXPECT_FALSE(child->stop_requested());
  child->request_stop();  // a late abort: nothing to find
  EXPECT_TRUE(child->stop_requested());
  child.reset();
}

TEST_F(stop_scopes, a_walk_over_a_wide_tree) {
  stop_scope top(nullptr, root);
  std::deque<stop_scope> scopes;
  std::deque<manual_operation> operations(100'000);
  for (manual_operation& op : operations) {
    scopes.emplace_back(&top, root);
    op.place_in(scopes.back());
    ASSERT_TRUE(op.begin());
  }
  top.request_stop();
  for (manual_operation& op : operations) {
    ASSERT_EQ(op.cancels, 1);
    ASSERT_TRUE(op.end());
  }
  while (!scopes.empty()) scopes.pop_front();
}

TEST_F(stop_scopes, a_walk_over_a_deep_tree) {
  stop_scope top(nullptr, root);
  std::deque<stop_scope> scopes;
  for (int i = 0; i < 100'000; ++i) scopes.emplace_back(i == 0 ? &top : &scopes.back(), root);
  manual_operation op;
  op.place_in(scopes.back());
  ASSERT_TRUE(op.begin());
  top.request_stop();
  EXPECT_EQ(op.cancels, 1);
  EXPECT_TRUE(op.end());
  EXPECT_TRUE(scopes[50'000].stop_requested());
  while (!scopes.empty()) scopes.pop_back();
}

// ---- on workers ---------------------------------------------------------------------------------

task<> wide(int count, atomic<int>& alive);

task<> waits(counted) { co_await sleep_for(1h); }

task<> wide(int count, atomic<int>& alive) {
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < count; ++i) group.spawn(waits(counted(alive)));
    co_return;
  });
}

task<> stops_a_wide_group(int count, atomic<int>& alive) {
  const auto late = co_await as_result(timeout(20ms, wide(count, alive)));
  EXPECT_EQ(error_of(late), errc::deadline);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(stop_scope, concurrent_stop_of_a_wide_group) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(stops_a_wide_group(in_simulation() ? 100'000 : 5'000, alive)));
}

task<> opens_and_closes(int depth) {
  if (depth == 0) {
    co_await yield();
    co_await sleep_for(1us);
    co_return;
  }
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(opens_and_closes(depth - 1));
    auto inner = opens_and_closes(depth - 1);
    co_await timeout(1h, std::move(inner));
  });
}

task<> stops_while_scopes_open_and_close(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto handle = spawn(opens_and_closes(4));
    for (int k = 0; k < i % 20; ++k) co_await yield();
    if (i % 3 == 0) co_await sleep_for(std::chrono::microseconds(i % 60));
    handle.abort();
    const auto ended = co_await handle.join();
    EXPECT_TRUE(ended || ended.error() == errc::aborted);
  }
}

TEST(stop_scope, concurrent_stops_while_scopes_open_and_close) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(stops_while_scopes_open_and_close(1'000)));
}

task<> grows_forever(atomic<int>& rounds) {
  for (;;) {
    co_await opens_and_closes(3);
    rounds.fetch_add(1, order::relaxed);
  }
}

TEST(stop_scope, concurrent_request_stop_of_the_runtime_from_a_foreign_thread) {
  MAGPIE_NEED_KERNEL();
  for (int i = 0; i < 20; ++i) {
    atomic<int> rounds{0};
    runtime on(cell_options());
    for (int k = 0; k < 4; ++k) on.spawn(grows_forever(rounds)).detach();
    while (rounds.load(order::relaxed) < 3) std::this_thread::yield();
    std::thread other([&] { on.request_stop(); });
    on.request_stop();
    other.join();
    EXPECT_TRUE(on.shutdown(30s));
  }
}

task<> keeps_going(int& refused) {
  for (int i = 0; i < 5; ++i) {
    const auto slept = co_await as_result(sleep_for(1h));
    if (error_of(slept) == errc::stopped) ++refused;
    const auto in_the_past = co_await as_result(sleep_for(0s));
    if (error_of(in_the_past) == errc::stopped) ++refused;
    const auto yielded = co_await as_result(yield());
    if (error_of(yielded) == errc::stopped) ++refused;
    const auto bounded = co_await as_result(timeout(1s, sleep_for(1s)));
    if (error_of(bounded) == errc::stopped) ++refused;
  }
}

task<> aborts_the_stubborn(int& refused) {
  auto handle = spawn(keeps_going(refused));
  co_await sleep_for(1ms);
  handle.abort();
  const auto ended = co_await handle.join();
  EXPECT_TRUE(ended);  // it swallowed every stop: what happened is the truth
}

TEST(stop_scope, a_stop_is_level_triggered) {
  int refused = 0;
  EXPECT_TRUE(run_in_simulation(aborts_the_stubborn(refused)));
  EXPECT_EQ(refused, 20);
}

}  // namespace
}  // namespace magpie::tests::stop_scope_test
