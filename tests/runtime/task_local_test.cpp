/// Task locals: who sees a value, for how long, and what that costs.
#include <magpie/runtime/task_local.hpp>

#include <magpie/runtime/current_task.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/result_group.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <string>
#include <vector>

namespace magpie::tests::task_local_test {
namespace {

constinit task_local<int> request_id;
constinit task_local<std::string> user;
constinit task_local<counted> lives;

int seen_id() {
  const int* const id = request_id.get();
  return id == nullptr ? 0 : *id;
}

std::string seen_user() {
  const std::string* const name = user.get();
  return name == nullptr ? "" : *name;
}

task<int> sees_later() {
  co_await yield();
  co_await sleep_for(5us);
  co_return seen_id();
}

task<> awaits_others(int expected) {
  EXPECT_EQ(seen_id(), expected);
  const int here = co_await sees_later();
  EXPECT_EQ(here, expected);
  const int under_a_timeout = co_await timeout(1h, sees_later());
  EXPECT_EQ(under_a_timeout, expected);
  const int under_a_shield = co_await shielded(sees_later());
  EXPECT_EQ(under_a_shield, expected);
  const auto late = co_await as_result(timeout(1us, sleep_for(1h)));
  EXPECT_EQ(error_of(late), errc::deadline);
  EXPECT_EQ(seen_id(), expected);
  const auto failed = co_await as_result(timeout(1h, fail(some_error())));
  EXPECT_EQ(error_of(failed), some_error());
  EXPECT_EQ(seen_id(), expected);
}

task<> nests() {
  EXPECT_EQ(request_id.get(), nullptr);
  co_await request_id.scope(7, awaits_others(7));
  EXPECT_EQ(request_id.get(), nullptr);
  auto inner = [](int outer) -> task<> {
    EXPECT_EQ(seen_id(), outer);
    co_await user.scope("me", awaits_others(outer));
    co_await request_id.scope(outer + 1, awaits_others(outer + 1));
    EXPECT_EQ(seen_id(), outer);
    EXPECT_EQ(seen_user(), "");
    const int by_value = co_await request_id.scope(outer + 2, sees_later());
    EXPECT_EQ(by_value, outer + 2);
    const auto failed = co_await as_result(request_id.scope(3, fail(some_error())));
    EXPECT_EQ(error_of(failed), some_error());
    co_await request_id.scope(4, sleep_for(0us));
    EXPECT_EQ(seen_id(), outer);
  };
  co_await request_id.scope(20, inner(20));
  co_await timeout(1h, request_id.scope(30, inner(30)));
  EXPECT_EQ(request_id.get(), nullptr);
}

TEST(task_local, concurrent_tasks_that_are_awaited_inside_see_the_value) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(request_id.get(), nullptr);  // no task
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(run_in_cell(nests()));
  EXPECT_EQ(request_id.get(), nullptr);
}

task<int> spawned_grandchild() {
  auto child = spawn(sees_later());
  const auto seen = co_await child.join();
  co_return seen.value();
}

task<std::string> sees_both() {
  co_await sleep_for(20us);
  co_return std::to_string(seen_id()) + seen_user();
}

task<> spawns(std::vector<join_handle<std::string>>& handles) {
  handles.push_back(spawn(sees_both()));
  auto adds = [](std::vector<join_handle<std::string>>& into) -> task<> {
    into.push_back(spawn(named("with a name"), sees_both()));
    into.push_back(spawn(named(std::string("copied")), sees_both()));
    co_return;
  };
  co_await user.scope("you", adds(handles));
  auto child = spawn(spawned_grandchild());
  const auto seen = co_await child.join();  // runs in the joiner's place, maybe
  EXPECT_EQ(seen.value(), 5);
  EXPECT_EQ(seen_id(), 5);
}

task<> outlives() {
  std::vector<join_handle<std::string>> handles;
  co_await request_id.scope(5, spawns(handles));
  EXPECT_EQ(request_id.get(), nullptr);
  const auto first = co_await handles[0].join();
  EXPECT_EQ(first.value(), "5");
  const auto second = co_await handles[1].join();
  EXPECT_EQ(second.value(), "5you");
  const auto third = co_await handles[2].join();
  EXPECT_EQ(third.value(), "5you");
  auto outside = spawn(sees_both());
  const auto fourth = co_await outside.join();
  EXPECT_EQ(fourth.value(), "0");
}

TEST(task_local, concurrent_spawned_tasks_inherit_and_outlive_the_scope) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(run_in_cell(outlives()));
}

task<> spawns_into(result_group<int>& group) {
  group.spawn(sees_later());
  co_return;
}

task<> fills_a_group() {
  co_await with_task_group([&](result_group<int>& group) -> task<> {
    group.spawn(sees_later());
    co_await request_id.scope(9, spawns_into(group));  // other values than the group's own
    group.spawn(named("third"), sees_later());
    const auto all = co_await group.collect();
    EXPECT_EQ(all[0].value(), 8);
    EXPECT_EQ(all[1].value(), 9);
    EXPECT_EQ(all[2].value(), 8);
    EXPECT_EQ(seen_id(), 8);
  });
  EXPECT_EQ(seen_id(), 8);
}

TEST(task_local, concurrent_children_of_groups_inherit) {
  MAGPIE_NEED_CELL();
  auto all = []() -> task<> { co_await request_id.scope(8, fills_a_group()); };
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(run_in_cell(all()));
}

/// What its destructor sees.
class sees_at_its_end {
 public:
  explicit sees_at_its_end(int& id) noexcept : id_(&id) {}
  sees_at_its_end(const sees_at_its_end&) = delete;
  sees_at_its_end& operator=(const sees_at_its_end&) = delete;
  ~sees_at_its_end() { *id_ = seen_id(); }

 private:
  int* id_;
};

task<> waits_with(int& at_the_end) {
  const sees_at_its_end local(at_the_end);
  co_await sleep_for(1h);
}

task<> in_two_scopes(int& inner, int& outer) {
  const sees_at_its_end local(outer);
  co_await request_id.scope(12, waits_with(inner));
}

task<> aborted_inside() {
  int inner = 0;
  int outer = 0;
  auto starts = [](int& in, int& out) -> task<> {
    co_await request_id.scope(11, in_two_scopes(in, out));
  };
  auto waiting = spawn(starts(inner, outer));
  co_await sleep_for(20us);
  waiting.abort();
  const auto ended = co_await waiting.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
  EXPECT_EQ(inner, 12);
  EXPECT_EQ(outer, 11);
  int refused = 0;
  auto unstarted = spawn(starts(refused, outer));
  unstarted.abort();  // its first operation is refused
  const auto never = co_await unstarted.join();
  EXPECT_EQ(error_of(never), errc::aborted);
  EXPECT_EQ(refused, 12);
}

TEST(task_local, concurrent_destructors_see_the_value_on_abort) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(run_in_cell(aborted_inside()));
}

task<> ends_after(std::chrono::microseconds time) { co_await sleep_for(time); }

task<> spawns_and_leaves() {
  spawn(ends_after(1ms)).detach();
  spawn(named("named"), ends_after(2ms)).detach();
  co_return;
}

task<> counts_lives(atomic<int>& alive) {
  co_await lives.scope(counted(alive), spawns_and_leaves());
  EXPECT_EQ(alive.load(order::relaxed), 1);  // the spawned tasks share it
  co_await sleep_for(1500us);
  EXPECT_EQ(alive.load(order::relaxed), 1);
  co_await sleep_for(1ms);
  EXPECT_EQ(alive.load(order::relaxed), 0);
  co_await lives.scope(counted(alive), ends_after(1us));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(task_local, values_live_as_long_as_somebody_sees_them) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(counts_lives(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> without_memory(atomic<int>& alive) {
  auto inside = ends_after(1us);
  auto operation = lives.scope(counted(alive), std::move(inside));
  frame_pool_fail_nth(1);
  const auto ended = co_await as_result(std::move(operation));
  frame_pool_fail_nth(0);
  EXPECT_EQ(error_of(ended), std::make_error_code(std::errc::not_enough_memory));
}

TEST(task_local, running_out_of_memory_is_an_error_of_the_scope) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(without_memory(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

// ---- stops --------------------------------------------------------------------------------------

task<> looks_around(int i, tally& counts) {
  const counted here(counts.alive);
  counts.check(seen_id() == i);
  auto pause = ends_after(std::chrono::microseconds(i % 9));
  const auto late = co_await as_result(timeout(std::chrono::microseconds(i % 7), std::move(pause)));
  counts.check(seen_id() == i);
  if (!late && late.error() == errc::stopped) co_await fail(errc::stopped);
  auto child = spawn(sees_later());
  const auto seen = co_await child.join();
  counts.check(seen && *seen == i);
}

task<> scoped(int i, tally& counts) {
  const counted here(counts.alive);
  co_await lives.scope(here, request_id.scope(i, looks_around(i, counts)));
  counts.check(seen_id() == 0);
}

TEST(task_local, concurrent_stop_torture) {
  MAGPIE_NEED_CELL();
  torture(&scoped, 10'000);
}

}  // namespace
}  // namespace magpie::tests::task_local_test
