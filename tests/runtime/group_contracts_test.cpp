/// What the contracts of groups say in passing: whose failure, in which order, from when to when a
/// slot is held. Each test is here because a mutant of the groups outlived all others.
#include <magpie/runtime/bounded_group.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/keyed_group.hpp>
#include <magpie/runtime/result_group.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_local.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/forks.hpp>
#include <magpie/tests/runtime/said.hpp>

#include <string>
#include <utility>
#include <vector>

namespace magpie::tests::group_contracts_test {
namespace {

std::error_code other_error() { return std::make_error_code(std::errc::broken_pipe); }

task<> nothing() { co_return; }
task<> sleeps(std::chrono::microseconds time) { co_await sleep_for(time); }
task<> begins(bool& begun) {
  begun = true;
  co_return;
}
task<int> gives(std::chrono::microseconds time, int value) {
  co_await sleep_for(time);
  co_return value;
}

constexpr unsigned line_of_fail = __LINE__ + 3;
task<> fails_after(std::chrono::microseconds time, std::error_code with) {
  co_await sleep_for(time);
  co_await fail(with);
}
/// Its answer to a stop is a failure of its own.
task<> fails_when_stopped(std::error_code with) {
  [[maybe_unused]] const auto stopped = co_await as_result(sleep_for(1h));
  co_await fail(with);
}
task<int> gives_up_with(std::error_code with) {
  co_await fails_when_stopped(with);
  co_return 0;
}

// ---- slots --------------------------------------------------------------------------------------

task<> fills_and_empties() {
  co_await with_task_group(at_most(2), [](bounded_group& group) -> task<> {
    for (int round = 0; round < 3; ++round) {
      auto first = sleeps(1us);
      EXPECT_TRUE(group.try_spawn(first));
      auto second = sleeps(1us);
      EXPECT_TRUE(group.try_spawn(second));
      auto third = nothing();
      EXPECT_FALSE(group.try_spawn(third));
      co_await sleep_for(1ms);
    }
  });
}

TEST(bounded_group, slots_come_back_when_nobody_waits) {
  EXPECT_TRUE(run_in_simulation(fills_and_empties()));
}

task<> spawns_after_the_stop(bool& begun) {
  co_await with_task_group(at_most(1), [&](bounded_group& group) -> task<> {
    group.stop();
    const auto refused = co_await as_result(group.spawn_when_free(begins(begun)));
    EXPECT_EQ(error_of(refused), errc::stopped);
  });
}

TEST(bounded_group, who_is_stopped_spawns_nothing_though_a_slot_is_free) {
  bool begun = false;
  EXPECT_TRUE(run_in_simulation(spawns_after_the_stop(begun)));
  EXPECT_FALSE(begun);
}

task<> spawns_without_memory() {
  const auto ended =
      co_await as_result(with_task_group(at_most(1), [](bounded_group& group) -> task<> {
        auto first = nothing();
        auto second = nothing();
        frame_pool_fail_nth(1);
        EXPECT_TRUE(group.try_spawn(first));  // the group fails
        frame_pool_fail_nth(0);
        EXPECT_TRUE(group.try_spawn(second));
        co_return;
      }));
  EXPECT_EQ(error_of(ended), std::make_error_code(std::errc::not_enough_memory));
}

TEST(bounded_group, a_slot_is_not_lost_when_memory_runs_out) {
  EXPECT_TRUE(run_in_simulation(spawns_without_memory()));
}

/// Lives in the frame of a child, and wants its slot when that goes.
class wants_the_slot {
 public:
  wants_the_slot(bounded_group& in, int& got) noexcept : group_(&in), got_(&got) {}
  wants_the_slot(wants_the_slot&& other) noexcept
      : group_(std::exchange(other.group_, nullptr)), got_(other.got_) {}
  wants_the_slot& operator=(wants_the_slot&&) = delete;
  ~wants_the_slot() {
    if (group_ == nullptr) return;
    auto next = nothing();
    *got_ = group_->try_spawn(next) ? 1 : 0;
  }

 private:
  bounded_group* group_;
  int* got_;
};

task<> keeps(wants_the_slot) { co_return; }

task<> holds_until_the_frame_is_gone(int& got) {
  co_await with_task_group(at_most(1), [&](bounded_group& group) -> task<> {
    wants_the_slot guard(group, got);
    auto child = keeps(std::move(guard));
    EXPECT_TRUE(group.try_spawn(child));
    co_return;
  });
}

TEST(bounded_group, a_slot_is_held_until_the_frame_is_gone) {
  int got = -1;
  EXPECT_TRUE(run_in_simulation(holds_until_the_frame_is_gone(got)));
  EXPECT_EQ(got, 0);
}

task<> failures_in_slots() {
  co_await with_task_group(at_most(1), [](result_group<int>& group) -> task<> {
    for (int i = 0; i < 3; ++i) {
      co_await timeout(1s, group.spawn_when_free(gives_up_with(some_error())));
      group.abort_all();
      const auto one = co_await group.next();
      EXPECT_EQ(error_of(*one), some_error());
    }
  });
}

TEST(result_group, failures_give_their_slots_back) {
  EXPECT_TRUE(run_in_simulation(failures_in_slots()));
}

task<> mixes_kinds_of_spawns() {
  co_await with_task_group(at_most(1), [](result_group<int>& group) -> task<> {
    group.spawn(gives(1us, 1));
    [[maybe_unused]] const auto one = co_await group.next();
    co_await group.spawn_when_free(gives(1h, 2));
    const auto late = co_await as_result(timeout(1ms, group.spawn_when_free(gives(1us, 3))));
    EXPECT_EQ(error_of(late), errc::deadline);
    group.abort_all();
  });
}

TEST(result_group, a_child_without_a_slot_gives_none_back) {
  EXPECT_TRUE(run_in_simulation(mixes_kinds_of_spawns()));
}

// ---- failures -----------------------------------------------------------------------------------

unsigned line_of_spawn = 0;

task<> fails_twice() {
  const auto ended = co_await as_result(with_task_group([](task_group& group) -> task<> {
    line_of_spawn = __LINE__ + 1;
    group.spawn(fails_when_stopped(other_error()));
    group.spawn(fails_after(10us, some_error()));
    co_return;
  }));
  EXPECT_EQ(error_of(ended), some_error());
}

TEST(task_group, the_first_failure_is_the_groups_and_later_ones_are_logged) {
  const std::string said = said_by(fails_twice());
  const std::string place = "group_contracts_test.cpp:" + std::to_string(line_of_spawn);
  EXPECT_NE(said.find(place + ", failed too: " + other_error().message()), std::string::npos)
      << said;
  EXPECT_EQ(said.find(some_error().message()), std::string::npos) << said;
}

task<> fails_through_a_group() {
  co_await with_task_group([](task_group& group) -> task<> {
    group.spawn(fails_after(10us, some_error()));
    co_return;
  });
}

task<> leaves_a_failure() {
  spawn(fails_through_a_group()).detach();
  co_await sleep_for(1ms);
}

TEST(task_group, the_trace_of_the_first_failure_goes_on_with_the_groups) {
  const std::string said = said_by(leaves_a_failure());
  const std::string place = "group_contracts_test.cpp:" + std::to_string(line_of_fail);
  EXPECT_NE(said.find(place), std::string::npos) << said;
}

task<> aborts_and_takes() {
  co_await with_task_group([](result_group<int>& group) -> task<> {
    group.spawn(gives_up_with(other_error()));
    group.spawn(named("untaken"), gives(1h, 1));
    co_await yield();
    group.abort_all();
    const auto one = co_await group.next_in_order();
    EXPECT_EQ(error_of(*one), other_error());
  });
}

TEST(result_group, an_abort_hides_no_error_and_is_none_itself) {
  const std::string said = said_by(aborts_and_takes());
  EXPECT_EQ(said, "");
}

// ---- outcomes -----------------------------------------------------------------------------------

task<int> next_value(result_group<int>& group) {
  const auto one = co_await group.next();
  co_return one ? one->value() : -1;
}

task<> takes_late() {
  co_await with_task_group([](result_group<int>& group) -> task<> {
    group.spawn(gives(30us, 1));
    group.spawn(gives(10us, 2));
    group.spawn(gives(20us, 3));
    co_await sleep_for(1ms);
    for (int i = 0; i < 2; ++i) {  // an outcome that nobody took comes first again
      auto dropped = group.next();
      EXPECT_TRUE(dropped.try_complete(*detail::this_context().running_here()));
    }
    for (const int expected : {2, 3, 1, -1}) EXPECT_EQ(co_await next_value(group), expected);
  });
}

TEST(result_group, outcomes_that_wait_come_in_the_order_of_the_ends) {
  EXPECT_TRUE(run_in_simulation(takes_late()));
}

task<> takes_late_in_order() {
  co_await with_task_group([](result_group<int>& group) -> task<> {
    for (const int i : {1, 2, 3}) group.spawn(gives(10us, i));
    co_await sleep_for(1ms);
    {
      auto dropped = group.next_in_order();
      EXPECT_TRUE(dropped.try_complete(*detail::this_context().running_here()));
    }
    const auto all = co_await group.collect();
    EXPECT_EQ(all.size(), 3U);
    for (std::size_t i = 0; i != all.size(); ++i) EXPECT_EQ(*all[i], static_cast<int>(i) + 1);
  });
}

TEST(result_group, an_outcome_that_was_put_back_keeps_its_place_among_the_spawns) {
  EXPECT_TRUE(run_in_simulation(takes_late_in_order()));
}

task<> takes_after_the_stop() {
  co_await with_task_group([](result_group<int>& group) -> task<> {
    group.spawn(gives(1us, 1));
    co_await sleep_for(1ms);
    group.stop();
    const auto refused = co_await as_result(group.next());
    EXPECT_EQ(error_of(refused), errc::stopped);
  });
}

TEST(result_group, who_is_stopped_takes_nothing_though_an_outcome_waits) {
  EXPECT_TRUE(run_in_simulation(takes_after_the_stop()));
}

// ---- keys ---------------------------------------------------------------------------------------

task<int> counts(counted, std::chrono::microseconds time) {
  co_await sleep_for(time);
  co_return 1;
}

task<> replaces_and_aborts(atomic<int>& alive) {
  co_await with_task_group([&](keyed_group<int, int>& group) -> task<> {
    EXPECT_FALSE(group.spawn(1, counts(counted(alive), 1h)));
    co_await sleep_for(1ms);
    EXPECT_TRUE(group.spawn(1, counts(counted(alive), 10us)));
    co_await sleep_for(1ms);
    EXPECT_EQ(alive.load(order::relaxed), 0);  // the first was stopped, the second has ended
    EXPECT_FALSE(group.abort(1));
    EXPECT_TRUE(group.contains(1));
  });
}

TEST(keyed_group, a_replaced_child_is_stopped_and_one_that_ended_is_not_aborted) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(replaces_and_aborts(alive)));
}

// ---- exceptions ---------------------------------------------------------------------------------

#if defined(__cpp_exceptions)
task<> has_no_body() {
  const auto throws = [](task_group& group) -> task<> {
    group.spawn(sleeps(1h));
    if (group.size() == 1) throw 23;
    return nothing();
  };
  int caught = 0;
  try {
    co_await with_task_group(throws);
  } catch (int what) {
    caught = what;
  }
  EXPECT_EQ(caught, 23);
}

TEST(task_group, a_body_that_throws_instead_of_giving_a_task_ends_the_children) {
  EXPECT_TRUE(run_in_simulation(has_no_body()));
}

task<> takes_what_throws() {
  int caught = 0;
  for (int moves = 1; moves < 9; ++moves) {
    try {
      co_await with_task_group([&](keyed_group<int, throws_when_moved>& group) -> task<> {
        group.spawn(1, gives_what_throws(moves));
        static_cast<void>(co_await group.next());
      });
    } catch (int what) {
      caught += what;
    }
  }
  EXPECT_GE(caught, 2 * 19);
}

TEST(keyed_group, a_value_that_throws_when_it_is_moved) {
  EXPECT_TRUE(run_in_simulation(takes_what_throws()));
}
#endif

// ---- scopes -------------------------------------------------------------------------------------

constinit task_local<int> depth;

task<> sleeps_deeper() { co_await depth.scope(2, sleeps(10us)); }

task<> looks_after_the_group() {
  co_await with_task_group([](task_group& group) -> task<> {
    group.spawn(sleeps_deeper());
    co_return;
  });
  const int* const seen = depth.get();
  EXPECT_TRUE(seen != nullptr && *seen == 1);
}

task<> opens_a_scope() { co_await depth.scope(1, looks_after_the_group()); }

TEST(task_group, what_follows_runs_in_the_scope_around_the_group) {
  EXPECT_TRUE(run_in_simulation(opens_a_scope()));
}

}  // namespace
}  // namespace magpie::tests::group_contracts_test
