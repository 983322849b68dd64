/// `pool`: who gets which object, what is made, what a `get` fails with.
#include <magpie/sync/pool.hpp>

#include <magpie/runtime/test_clock.hpp>
#include <magpie/tests/sync/pool_world.hpp>

#include <utility>
#include <vector>

namespace magpie::tests::pool_test {
namespace {

using sync::pool_end;
using sync::pool_options;
using sync::pool_order;
using sync::pooled;

TEST(pool, makes_objects_when_they_are_needed_and_uses_them_again) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(3), quick_tools(shop));
    EXPECT_EQ(tools.counts().size, 0U);
    {
      const auto one = co_await tools.get();
      EXPECT_EQ(one->number, 1);
      EXPECT_EQ(one.metrics().recycled, 0U);
      EXPECT_TRUE(shop.recycled.empty());  // it is new
    }
    EXPECT_EQ(tools.counts().idle, 1U);
    co_await test_clock::advance(5ms);
    const auto again = co_await tools.get();
    EXPECT_EQ(again->number, 1);
    EXPECT_EQ(again.metrics().recycled, 1U);
    EXPECT_EQ(again.metrics().last_used - again.metrics().created, 0ms);
    EXPECT_EQ(shop.recycled, std::vector{1});
    const auto other = co_await tools.get();
    EXPECT_EQ(other->number, 2);
    const auto counts = tools.counts();
    EXPECT_EQ(counts.size, 2U);
    EXPECT_EQ(counts.idle, 0U);
    EXPECT_EQ(counts.created, 2U);
    EXPECT_EQ(counts.given, 3U);
    EXPECT_EQ(counts.waited, 0U);
    EXPECT_EQ(shop.alive.load(order::relaxed), 2);
    tools.check_invariants();
  });
}

/// T2: nobody asks again and again, and what is given back is had in the same instant.
TEST(pool, who_waits_is_served_in_order_and_at_once) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(1), quick_tools(shop));
    std::vector<int> log;
    auto held = co_await tools.get();
    std::vector<join_handle<void>> all;
    const auto waits = [](quick_pool& from, std::vector<int>& into, int name) -> task<> {
      const auto one = co_await from.get();
      into.push_back(name);
    };
    for (int i = 0; i < 4; ++i) {
      all.push_back(spawn(waits(tools, log, i)));
      co_await test_clock::advance(1ms);
    }
    EXPECT_EQ(tools.counts().waiting, 4U);
    EXPECT_EQ(error_of(tools.try_get()), std::errc::resource_unavailable_try_again);
    const clock::time_point before = clock::now();
    held.give_back();
    for (auto& each : all) co_await each.join();
    EXPECT_EQ(clock::now(), before);
    EXPECT_EQ(log, (std::vector{0, 1, 2, 3}));
    const auto counts = tools.counts();
    EXPECT_EQ(counts.created, 1U);
    EXPECT_EQ(counts.waited, 4U);
    EXPECT_EQ(counts.waiting, 0U);
  });
}

TEST(pool, takes_the_oldest_or_the_newest_of_those_that_are_idle) {
  for (const pool_order how : {pool_order::fifo, pool_order::lifo}) {
    at_instants([how]() -> task<> {
      workshop shop;
      pool_options options(3);
      options.order = how;
      quick_pool tools(options, quick_tools(shop));
      {
        const auto one = co_await tools.get();
        const auto two = co_await tools.get();
        const auto three = co_await tools.get();
      }  // back in the order 3, 2, 1
      const auto next = co_await tools.get();
      EXPECT_EQ(next->number, how == pool_order::fifo ? 3 : 1);
    });
  }
}

/// T3: an object is looked at when it is about to be used; what happened to it while it was idle
/// would not be seen otherwise.
TEST(pool, asks_when_an_object_is_about_to_be_used_and_not_when_it_comes_back) {
  at_instants([]() -> task<> {
    workshop shop;
    slow_pool tools(pool_options(2), slow_tools(shop));
    auto one = co_await tools.get();
    one.give_back();
    EXPECT_TRUE(shop.recycled.empty());
    shop.unfit = true;  // it dies while it is idle
    const auto next = co_await tools.get();
    EXPECT_EQ(next->number, 2);
    EXPECT_EQ(shop.recycled, std::vector{1});
    EXPECT_EQ(tools.counts().ended_by(pool_end::unfit), 1U);
    EXPECT_EQ(shop.retired, (std::vector{std::pair(1, pool_end::unfit)}));
  });
}

TEST(pool, c95_creates_that_fail_are_errors_and_cost_no_turn) {
  at_instants([]() -> task<> {
    workshop shop;
    shop.fail_creates = 3;
    quick_pool tools(pool_options(1), quick_tools(shop));
    for (int i = 0; i < 3; ++i) {
      const auto none = co_await as_result(tools.get());
      EXPECT_EQ(error_of(none), some_error());
      tools.check_invariants();
    }
    const auto one = co_await tools.get();
    EXPECT_EQ(one->number, 1);
    const auto counts = tools.counts();
    EXPECT_EQ(counts.create_failed, 3U);
    EXPECT_EQ(counts.size, 1U);
    EXPECT_EQ(counts.being_made, 0U);
  });
}

/// The failure of one who has a turn is no failure of the line: the next makes its own.
TEST(pool, c95_a_create_that_fails_lets_the_next_in_line_try) {
  at_instants([]() -> task<> {
    workshop shop;
    shop.create_takes = 10ms;
    shop.fail_creates = 1;
    slow_pool tools(pool_options(1), slow_tools(shop));
    std::vector<int> log;
    auto first = spawn(borrows(tools, log));
    co_await test_clock::advance(1ms);
    auto second = spawn(borrows(tools, log));
    co_await test_clock::advance(1ms);
    EXPECT_EQ(tools.counts().waiting, 1U);
    co_await test_clock::advance(20ms);
    const auto failed = co_await first.join();
    EXPECT_EQ(error_of(failed), some_error());
    co_await second.join();
    EXPECT_EQ(log, std::vector{1});
  });
}

TEST(pool, c95_a_recycle_that_fails_gives_a_fresh_object) {
  at_instants([]() -> task<> {
    workshop shop;
    slow_pool tools(pool_options(3), slow_tools(shop));
    {
      const auto one = co_await tools.get();
      const auto two = co_await tools.get();
      two->broken = true;
    }
    // Idle: 2, which is broken, then 1.
    const auto next = co_await tools.get();
    EXPECT_EQ(next->number, 1);
    EXPECT_EQ(shop.recycled, (std::vector{2, 1}));
    EXPECT_EQ(tools.counts().size, 1U);
    EXPECT_EQ(shop.alive.load(order::relaxed), 1);
  });
}

TEST(pool, a_recycle_that_takes_too_long_is_one_that_failed) {
  at_instants([]() -> task<> {
    workshop shop;
    pool_options options(1);
    options.recycle_time_max = 5ms;
    slow_pool tools(options, slow_tools(shop));
    std::vector<int> log;
    auto first = spawn(borrows(tools, log));
    co_await first.join();
    shop.recycle_takes = 1h;
    auto second = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    co_await test_clock::advance(4ms);
    EXPECT_EQ(log, std::vector{1});
    co_await test_clock::advance(1ms);
    co_await second.join();
    EXPECT_EQ(log, (std::vector{1, 2}));
  });
}

TEST(pool, a_create_that_takes_too_long_is_a_deadline) {
  at_instants([]() -> task<> {
    workshop shop;
    shop.create_takes = 1h;
    pool_options options(1);
    options.create_time_max = 20ms;
    slow_pool tools(options, slow_tools(shop));
    std::vector<int> log;
    auto first = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    EXPECT_EQ(tools.counts().being_made, 1U);
    co_await test_clock::advance(20ms);
    const auto ended = co_await first.join();
    EXPECT_EQ(error_of(ended), errc::deadline);
    EXPECT_EQ(tools.counts().size, 0U);
    EXPECT_EQ(tools.counts().create_failed, 1U);
    EXPECT_EQ(tools.counts().timed_out, 0U);
  });
}

TEST(pool, the_line_is_bounded_in_length_and_in_time) {
  at_instants([]() -> task<> {
    workshop shop;
    pool_options options(1);
    options.waiting_max = 1;
    options.wait_time_max = 50ms;
    quick_pool tools(options, quick_tools(shop));
    std::vector<int> log;
    const auto held = co_await tools.get();
    auto waits = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    const auto refused = co_await as_result(tools.get());
    EXPECT_EQ(error_of(refused), errc::refused);
    co_await test_clock::advance(49ms);
    EXPECT_EQ(tools.counts().waiting, 1U);
    co_await test_clock::advance(1ms);
    const auto late = co_await waits.join();
    EXPECT_EQ(error_of(late), errc::deadline);
    const auto counts = tools.counts();
    EXPECT_EQ(counts.refused, 1U);
    EXPECT_EQ(counts.timed_out, 1U);
    EXPECT_EQ(counts.waiting, 0U);
  });
}

/// A `get` is stopped in line, with a turn on its way, while it makes one, while it checks one.
TEST(pool, a_stop_at_any_await_leaves_objects_and_turns_exact) {
  at_instants([]() -> task<> {
    workshop shop;
    slow_pool tools(pool_options(1), slow_tools(shop));
    std::vector<int> log;
    const auto is_stopped = [](join_handle<void>& one) -> task<> {
      one.abort();
      const auto ended = co_await one.join();
      EXPECT_EQ(error_of(ended), errc::aborted);
    };
    shop.create_takes = 10ms;
    auto makes = spawn(borrows(tools, log));
    co_await test_clock::advance(5ms);
    EXPECT_EQ(tools.counts().being_made, 1U);
    co_await is_stopped(makes);
    EXPECT_EQ(tools.counts().size, 0U);

    shop.create_takes = 0ms;
    auto held = co_await tools.get();
    auto waits = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    co_await is_stopped(waits);
    EXPECT_EQ(tools.counts().waiting, 0U);
    auto has_a_turn = spawn(borrows(tools, log));
    auto next = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    held.give_back();
    co_await is_stopped(has_a_turn);
    co_await next.join();
    EXPECT_EQ(log, std::vector{1});

    shop.recycle_takes = 10ms;
    auto checks = spawn(borrows(tools, log));
    co_await test_clock::advance(5ms);
    EXPECT_EQ(shop.recycled, (std::vector{1, 1}));
    co_await is_stopped(checks);
    EXPECT_EQ(tools.counts().ended_by(pool_end::abandoned), 1U);
    EXPECT_EQ(shop.alive.load(order::relaxed), 0);
    tools.check_invariants();
    const auto again = co_await tools.get();
    EXPECT_EQ(again->number, 2);
  });
}

/// A stop is no reason to try the other idle objects, and to throw them all away.
TEST(pool, a_get_that_is_stopped_spoils_one_object_at_most) {
  at_instants([]() -> task<> {
    workshop shop;
    slow_pool tools(pool_options(3), slow_tools(shop));
    {
      const auto one = co_await tools.get();
      const auto two = co_await tools.get();
      const auto three = co_await tools.get();
    }
    shop.recycle_takes = 10ms;
    const auto late = co_await as_result(timeout(0ms, tools.get()));
    EXPECT_EQ(error_of(late), errc::deadline);
    EXPECT_EQ(tools.counts().idle, 2U);
  });
}

TEST(pool, what_comes_back_broken_or_is_discarded_ends) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(2), quick_tools(shop));
    auto one = co_await tools.get();
    auto two = co_await tools.get();
    one->broken = true;
    one.give_back();
    two.discard();
    EXPECT_EQ(shop.alive.load(order::relaxed), 0);
    EXPECT_EQ(tools.counts().ended_by(pool_end::broken), 2U);
    EXPECT_FALSE(one);
    one.give_back();  // nothing
    const auto next = co_await tools.get();
    EXPECT_EQ(next->number, 3);
  });
}

TEST(pool, what_is_detached_lives_on_and_leaves_room_for_another) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(1), quick_tools(shop));
    auto held = co_await tools.get();
    std::vector<int> log;
    auto waits = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    const tool mine = std::move(held).detach();
    co_await waits.join();
    EXPECT_EQ(log, std::vector{2});
    EXPECT_EQ(mine.number, 1);
    EXPECT_EQ(shop.alive.load(order::relaxed), 2);
    EXPECT_EQ(tools.counts().size, 1U);
    EXPECT_EQ(tools.counts().ended_by(pool_end::detached), 1U);
  });
}

}  // namespace
}  // namespace magpie::tests::pool_test
