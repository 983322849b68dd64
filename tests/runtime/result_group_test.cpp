/// `result_group`: outcomes in either order, none lost, none twice, and failures that stop nobody.
#include <magpie/runtime/result_group.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/forks.hpp>
#include <magpie/tests/runtime/said.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <memory>
#include <string>
#include <vector>

namespace magpie::tests::result_group_test {
namespace {

task<int> after(std::chrono::microseconds time, int value, counted) {
  co_await sleep_for(time);
  if (value % 10 == 9) co_await fail(some_error());
  co_return value;
}

task<> in_order_of_ends(counted here) {
  co_await with_task_group([&](result_group<int>& group) -> task<> {
    for (int i = 1; i <= 8; ++i)
      group.spawn(after(std::chrono::microseconds(900 - i * 100), i, here));
    group.spawn(after(10us, 9, here));
    std::vector<int> values;
    for (;;) {
      const auto one = co_await group.next();
      if (!one) break;
      values.push_back(*one ? **one : -1);
    }
    const std::vector<int> expected = {-1, 8, 7, 6, 5, 4, 3, 2, 1};
    EXPECT_EQ(values, expected);
    const auto nothing = co_await group.next();
    EXPECT_FALSE(nothing);
    group.spawn(after(10us, 5, here));  // and on it goes
    const auto five = co_await group.next();
    EXPECT_EQ(five.value().value(), 5);
  });
}

TEST(result_group, next_gives_outcomes_as_children_end) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(in_order_of_ends(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> in_order_of_spawns(counted here) {
  co_await with_task_group([&](result_group<int>& group) -> task<> {
    for (int i = 0; i < 200; ++i)
      group.spawn(after(std::chrono::microseconds((i * 37) % 50), i, here));
    for (int i = 0; i < 50; ++i) {
      const auto one = co_await group.next_in_order();
      const int expected = i % 10 == 9 ? -1 : i;
      EXPECT_EQ(*one ? **one : -1, expected);
    }
    const auto rest = co_await group.collect();
    EXPECT_EQ(rest.size(), 150U);
    for (int i = 50; i < 200; ++i) {
      const auto& one = rest[static_cast<std::size_t>(i - 50)];
      EXPECT_EQ(one ? *one : -1, i % 10 == 9 ? -1 : i);
    }
  });
}

TEST(result_group, concurrent_next_in_order_and_collect) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(run_in_cell(in_order_of_spawns(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> both_orders(counted here) {
  co_await with_task_group([&](result_group<int>& group) -> task<> {
    long sum = 0;
    int taken = 0;
    for (int i = 0; i < 1000; ++i) {
      group.spawn(after(std::chrono::microseconds(i % 5), 1, here));
      if (i % 3 == 0) {
        const auto one = i % 2 == 0 ? co_await group.next() : co_await group.next_in_order();
        sum += one.value().value();
        ++taken;
      }
    }
    const auto rest = co_await group.collect();
    for (const auto& one : rest) sum += one.value();
    EXPECT_EQ(taken + static_cast<int>(rest.size()), 1000);
    EXPECT_EQ(sum, 1000);
  });
}

TEST(result_group, concurrent_both_orders_mixed) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(both_orders(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<std::unique_ptr<counted>> boxes(counted here) {
  co_await yield();
  co_return std::make_unique<counted>(here);
}

task<int> leaves_outcomes(counted here) {
  const int value =
      co_await with_task_group([&](result_group<std::unique_ptr<counted>>& group) -> task<int> {
        for (int i = 0; i < 10; ++i) group.spawn(boxes(here));
        const auto one = co_await group.next();
        EXPECT_TRUE(one.value().value());
        co_return 4;
      });
  co_return value;
}

TEST(result_group, concurrent_what_nobody_takes_is_dropped_at_the_end) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_EQ(run_in_cell(leaves_outcomes(counted(alive))).value(), 4);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> leaves_failures() {
  co_await with_task_group([&](result_group<int>& group) -> task<> {
    group.spawn(named("seen"), fails_after(1us));
    const auto seen = co_await group.next();
    EXPECT_EQ(error_of(*seen), some_error());
    group.spawn(named("unseen"), fails_after(1us));
    co_return;
  });
}

TEST(result_group, failures_that_nobody_takes_are_logged) {
  const std::string said = said_by(leaves_failures());
  EXPECT_NE(said.find("(unseen)"), std::string::npos) << said;
  EXPECT_EQ(said.find("(seen)"), std::string::npos) << said;
}

/// A combinator may drop an operation that has completed: the outcome is for the next one.
task<> drops_a_completed_wait(counted here) {
  co_await with_task_group([&](result_group<int>& group) -> task<> {
    group.spawn(after(0us, 1, here));
    group.spawn(after(1h, 2, here));
    co_await sleep_for(100us);
    {
      auto dropped = group.next();
      EXPECT_TRUE(dropped.try_complete(*detail::this_context().running_here()));
    }
    const auto one = co_await group.next();
    EXPECT_EQ(one.value().value(), 1);
    group.abort_all();
  });
}

TEST(result_group, an_outcome_that_was_handed_out_and_not_taken_comes_again) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(drops_a_completed_wait(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> aborts_all(counted here) {
  co_await with_task_group([&](result_group<int>& group) -> task<> {
    for (int i = 0; i < 20; ++i) group.spawn(after(i % 2 == 0 ? 0us : 1h, 1, here));
    for (int i = 0; i < 10; ++i) {
      const auto one = co_await group.next();
      EXPECT_EQ(one.value().value(), 1);
    }
    group.abort_all();
    const auto rest = co_await group.collect();
    EXPECT_EQ(rest.size(), 10U);
    for (const auto& one : rest) EXPECT_EQ(error_of(one), errc::aborted);
    group.spawn(after(1us, 2, here));  // the group itself was not stopped
    const auto two = co_await group.next();
    EXPECT_EQ(two.value().value(), 2);
  });
}

TEST(result_group, concurrent_abort_all) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(run_in_cell(aborts_all(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> with_a_limit(counted here) {
  co_await with_task_group(at_most(3), [&](result_group<int>& group) -> task<> {
    int sum = 0;
    for (int i = 0; i < 100; ++i) {
      co_await group.spawn_when_free(after(std::chrono::microseconds(i % 4), 1, here));
      EXPECT_LE(group.size(), 3U);
    }
    for (;;) {
      const auto one = co_await group.next();
      if (!one) break;
      sum += one->value();
    }
    EXPECT_EQ(sum, 100);
  });
}

TEST(result_group, concurrent_with_a_limit) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(with_a_limit(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> with_a_deadline(counted here) {
  const auto late =
      co_await as_result(timeout(1ms, with_task_group([&](result_group<int>& group) -> task<> {
                                   for (int i = 0; i < 5; ++i) group.spawn(after(1h, 1, here));
                                   const auto one = co_await group.next();
                                   EXPECT_FALSE(one);
                                 })));
  EXPECT_EQ(error_of(late), errc::deadline);
}

TEST(result_group, a_group_with_a_deadline) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(with_a_deadline(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

/// A group of groups: each child sums up its own children.
task<int> sums_up(int depth, counted here) {
  if (depth == 0) co_return 1;
  const int sum = co_await with_task_group([&](result_group<int>& group) -> task<int> {
    for (int i = 0; i < 3; ++i) group.spawn(sums_up(depth - 1, here));
    int total = 0;
    for (;;) {
      const auto one = co_await group.next();
      if (!one) break;
      total += one->value();
    }
    co_return total;
  });
  co_return sum;
}

TEST(result_group, concurrent_nested_groups) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_EQ(run_in_cell(sums_up(6, counted(alive))).value(), 729);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> failing_body(counted here) {
  const auto ended = co_await as_result(with_task_group([&](result_group<int>& group) -> task<> {
    for (int i = 0; i < 5; ++i) group.spawn(after(1h, 1, here));
    co_await sleep_for(10us);
    co_await fail(some_error());
  }));
  EXPECT_EQ(error_of(ended), some_error());
}

TEST(result_group, concurrent_a_failing_body_stops_the_children) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(failing_body(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> sleeps_a_bit() { co_await sleep_for(10us); }

task<> without_values() {
  co_await with_task_group([&](result_group<void>& group) -> task<> {
    group.spawn(sleeps_a_bit());
    const auto one = co_await group.next();
    EXPECT_TRUE(one && *one);
  });
}

TEST(result_group, of_nothing) { EXPECT_TRUE(run_in_simulation(without_values())); }

#if defined(__cpp_exceptions)

task<int> throws() {
  co_await yield();
  throw 5;
}

task<int> catches() {
  const int value = co_await with_task_group([&](result_group<int>& group) -> task<int> {
    group.spawn(throws());
    group.spawn(throws());
    int caught = 0;
    try {
      [[maybe_unused]] const auto one = co_await group.next();
    } catch (const int thrown) {
      caught = thrown;
    }
    co_return caught;  // the second exception is dropped
  });
  co_return value;
}

TEST(result_group, concurrent_exceptions_are_rethrown_by_next) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(run_in_cell(catches()).value(), 5);
}

#endif

// ---- stops --------------------------------------------------------------------------------------

/// Waits are given up by timeouts; every outcome arrives all the same, once.
task<> impatient(int i, tally& counts) {
  const counted here(counts.alive);
  co_await with_task_group([&](result_group<int>& group) -> task<> {
    const int count = i % 5 + 1;
    for (int k = 0; k < count; ++k)
      group.spawn(after(std::chrono::microseconds((i + k) % 17), 1, here));
    int taken = 0;
    for (;;) {
      const auto one =
          co_await as_result(timeout(std::chrono::microseconds(i % 7),
                                     detail::next_operation<int>(group, (i + taken) % 2 == 0)));
      if (!one) {
        if (one.error() == errc::deadline) continue;
        co_await fail(one.error());
      }
      if (!*one) break;
      ++taken;
      if ((i + taken) % 4 == 0) group.abort_all();
    }
    counts.check(taken == count);
  });
}

TEST(result_group, concurrent_stop_torture) {
  MAGPIE_NEED_CELL();
  torture(&impatient, 10'000);
}

}  // namespace
}  // namespace magpie::tests::result_group_test
