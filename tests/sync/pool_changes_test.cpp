/// `pool` over time: what is too old or too many, `maintain`, `reap`, `resize`, `retain`, `close`,
/// and objects that outlive it.
#include <magpie/runtime/test_clock.hpp>
#include <magpie/sync/pool.hpp>
#include <magpie/tests/sync/pool_world.hpp>

#include <memory>
#include <utility>
#include <vector>

namespace magpie::tests::pool_changes_test {
namespace {

using sync::pool_end;
using sync::pool_options;
using sync::pooled;

// ---- age and idleness ---------------------------------------------------------------------------

TEST(pool, what_is_too_old_is_not_used_again) {
  at_instants([]() -> task<> {
    workshop shop;
    pool_options options(2);
    options.age_max = 100ms;
    options.idle_time_max = 10ms;
    slow_pool tools(options, slow_tools(shop));
    auto one = co_await tools.get();
    one.give_back();
    co_await test_clock::advance(10ms);  // not yet
    one = co_await tools.get();
    EXPECT_EQ(one->number, 1);
    one.give_back();
    co_await test_clock::advance(11ms);
    one = co_await tools.get();
    EXPECT_EQ(one->number, 2);
    EXPECT_EQ(tools.counts().ended_by(pool_end::idle_too_long), 1U);
    co_await test_clock::advance(101ms);
    one.give_back();  // not one to keep
    EXPECT_EQ(tools.counts().ended_by(pool_end::too_old), 1U);
    EXPECT_EQ(tools.counts().size, 0U);
  });
}

TEST(pool, reap_destroys_what_has_been_idle_for_too_long) {
  at_instants([]() -> task<> {
    workshop shop;
    pool_options options(3);
    options.idle_time_max = 10ms;
    quick_pool tools(options, quick_tools(shop));
    auto one = co_await tools.get();
    auto two = co_await tools.get();
    auto three = co_await tools.get();
    one.give_back();
    co_await test_clock::advance(6ms);
    two.give_back();
    EXPECT_EQ(tools.reap(), 0U);
    co_await test_clock::advance(6ms);
    EXPECT_EQ(tools.reap(), 1U);
    EXPECT_EQ(tools.counts().idle, 1U);
    EXPECT_EQ(tools.counts().size, 2U);
    tools.check_invariants();
  });
}

TEST(pool, keeps_no_more_idle_ones_than_it_may) {
  at_instants([]() -> task<> {
    workshop shop;
    pool_options options(3);
    options.idle_max = 1;
    quick_pool tools(options, quick_tools(shop));
    {
      const auto one = co_await tools.get();
      const auto two = co_await tools.get();
      const auto three = co_await tools.get();
    }
    EXPECT_EQ(tools.counts().idle, 1U);
    EXPECT_EQ(tools.counts().ended_by(pool_end::surplus), 2U);
  });
}

/// With no room for idle ones an object still goes from hand to hand.
TEST(pool, one_that_keeps_nothing_idle_hands_over_to_who_waits) {
  at_instants([]() -> task<> {
    workshop shop;
    pool_options options(1);
    options.idle_max = 0;
    quick_pool tools(options, quick_tools(shop));
    std::vector<int> log;
    auto held = co_await tools.get();
    auto waits = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    held.give_back();
    co_await waits.join();
    EXPECT_EQ(log, std::vector{1});
    EXPECT_EQ(tools.counts().size, 0U);
  });
}

TEST(pool, maintain_keeps_some_ready_replaces_what_is_old_and_ends_with_the_pool) {
  at_instants([]() -> task<> {
    workshop shop;
    shop.create_takes = 1ms;
    pool_options options(4);
    options.idle_min = 2;
    options.idle_time_max = 100ms;
    options.maintain_every = 40ms;
    slow_pool tools(options, slow_tools(shop));
    auto keeper = spawn(tools.maintain());
    for (int i = 0; i < 4; ++i) co_await test_clock::advance(1ms);
    EXPECT_EQ(tools.counts().idle, 2U);
    const auto one = co_await tools.get();
    EXPECT_EQ(one->number, 1);
    for (int i = 0; i < 45; ++i) co_await test_clock::advance(1ms);
    EXPECT_EQ(tools.counts().idle, 2U);  // filled up again
    EXPECT_EQ(tools.counts().size, 3U);
    for (int i = 0; i < 100; ++i) co_await test_clock::advance(1ms);
    EXPECT_EQ(tools.counts().idle, 2U);  // 2 and 3 were too old, and replaced
    EXPECT_GE(tools.counts().ended_by(pool_end::idle_too_long), 1U);
    shop.fail_creates = 1;
    const auto two = co_await tools.get();
    for (int i = 0; i < 90; ++i) co_await test_clock::advance(1ms);
    EXPECT_EQ(tools.counts().idle, 2U);  // it failed once, and tried again the next time
    EXPECT_EQ(tools.counts().create_failed, 1U);
    tools.close();
    co_await keeper.join();
    EXPECT_EQ(tools.counts().idle, 0U);
    tools.check_invariants();
  });
}

TEST(pool, maintain_is_stopped_like_every_task) {
  at_instants([]() -> task<> {
    workshop shop;
    shop.create_takes = 10ms;
    pool_options options(2);
    options.idle_min = 1;
    slow_pool tools(options, slow_tools(shop));
    auto while_it_makes = spawn(tools.maintain());
    co_await test_clock::advance(5ms);
    EXPECT_EQ(tools.counts().being_made, 1U);
    while_it_makes.abort();
    const auto ended = co_await while_it_makes.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    EXPECT_EQ(tools.counts().being_made, 0U);
    auto while_it_sleeps = spawn(tools.maintain());
    for (int i = 0; i < 20; ++i) co_await test_clock::advance(1ms);
    EXPECT_EQ(tools.counts().idle, 1U);
    while_it_sleeps.abort();
    const auto also = co_await while_it_sleeps.join();
    EXPECT_EQ(error_of(also), errc::aborted);
  });
}

// ---- resize, retain, close ----------------------------------------------------------------------

TEST(pool, c94_what_is_out_when_it_shrinks_is_destroyed_when_it_comes_back) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(3), quick_tools(shop));
    auto one = co_await tools.get();
    auto two = co_await tools.get();
    auto three = co_await tools.get();
    three.give_back();
    tools.resize(1);
    EXPECT_EQ(tools.counts().idle, 0U);  // the idle one goes at once
    EXPECT_EQ(tools.counts().size, 2U);
    tools.check_invariants();
    one.give_back();
    EXPECT_EQ(tools.counts().size, 1U);
    EXPECT_EQ(shop.alive.load(order::relaxed), 1);
    EXPECT_EQ(tools.counts().ended_by(pool_end::surplus), 2U);
    EXPECT_FALSE(tools.try_get());
    two.give_back();
    EXPECT_EQ(tools.counts().idle, 1U);
    const auto again = tools.try_get();
    EXPECT_TRUE(again);
    EXPECT_EQ((*again)->number, 2);
    tools.check_invariants();
  });
}

TEST(pool, a_larger_one_lets_the_line_in_and_pays_its_debts_first) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(2), quick_tools(shop));
    std::vector<int> log;
    auto one = co_await tools.get();
    auto two = co_await tools.get();
    auto waits = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    tools.resize(0);
    tools.resize(2);  // as before: nobody comes in
    co_await test_clock::advance(0ms);
    EXPECT_TRUE(log.empty());
    tools.resize(3);
    co_await waits.join();
    EXPECT_EQ(log, std::vector{3});
    EXPECT_EQ(tools.counts().idle, 1U);
    tools.check_invariants();
  });
}

/// A turn that was on its way to one who is stopped pays the debt, like all others.
TEST(pool, a_turn_that_nobody_takes_pays_the_debt_too) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(2), quick_tools(shop));
    std::vector<int> log;
    auto one = co_await tools.get();
    auto two = co_await tools.get();
    auto waits = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    two.give_back();  // the turn is on its way
    tools.resize(1);  // and is one too many
    waits.abort();
    const auto stopped = co_await waits.join();
    EXPECT_EQ(error_of(stopped), errc::aborted);
    EXPECT_FALSE(tools.try_get());
    one.give_back();
    EXPECT_TRUE(tools.try_get());
    tools.check_invariants();
  });
}

TEST(pool, retain_keeps_what_it_is_told_and_the_order) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(5), quick_tools(shop));
    {
      std::vector<pooled<tool>> all;
      for (int i = 0; i < 5; ++i) all.push_back(co_await tools.get());
      for (auto& each : all) each.give_back();
    }
    const std::size_t ended = tools.retain(
        [](tool& one, const sync::pool_object_metrics&) { return one.number % 2 == 1; });
    EXPECT_EQ(ended, 2U);
    EXPECT_EQ(tools.counts().ended_by(pool_end::not_retained), 2U);
    EXPECT_EQ(tools.counts().idle, 3U);
    std::vector<int> order_now;
    std::vector<pooled<tool>> all;
    for (int i = 0; i < 3; ++i) {
      all.push_back(co_await tools.get());
      order_now.push_back(all.back()->number);
    }
    EXPECT_EQ(order_now, (std::vector{1, 3, 5}));
    tools.check_invariants();
  });
}

/// The predicate may use the pool: nothing is locked.
TEST(pool, retain_may_come_back_to_the_pool) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(2), quick_tools(shop));
    {
      const auto one = co_await tools.get();
      const auto two = co_await tools.get();
    }
    const std::size_t ended = tools.retain([&](tool& one, const sync::pool_object_metrics&) {
      EXPECT_FALSE(tools.try_get());  // they are with us
      if (one.number == 1) tools.resize(1);
      return true;
    });
    EXPECT_EQ(ended, 0U);
    EXPECT_EQ(tools.counts().size, 1U);
    tools.check_invariants();
  });
}

TEST(pool, c94_close_refuses_who_waits_and_who_comes_and_destroys_what_is_idle) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(2), quick_tools(shop));
    std::vector<int> log;
    auto one = co_await tools.get();
    auto two = co_await tools.get();
    auto waits = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    EXPECT_FALSE(tools.is_closed());
    tools.close();
    const auto refused = co_await waits.join();
    EXPECT_EQ(error_of(refused), errc::closed);
    const auto late = co_await as_result(tools.get());
    EXPECT_EQ(error_of(late), errc::closed);
    EXPECT_EQ(error_of(tools.try_get()), errc::closed);
    EXPECT_TRUE(tools.is_closed());
    EXPECT_EQ(shop.alive.load(order::relaxed), 2);
    one.give_back();
    EXPECT_EQ(shop.alive.load(order::relaxed), 1);
    tools.close();  // idempotent
    two.give_back();
    EXPECT_EQ(tools.counts().size, 0U);
    EXPECT_EQ(tools.counts().ended_by(pool_end::closed), 2U);
    tools.check_invariants();
  });
}

/// Who has been given a turn and has not run yet makes nothing in a pool that is closed.
TEST(pool, c94_a_turn_that_is_on_its_way_when_it_is_closed_is_refused) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(1), quick_tools(shop));
    std::vector<int> log;
    auto held = co_await tools.get();
    auto waits = spawn(borrows(tools, log));
    co_await test_clock::advance(0ms);
    held.give_back();
    tools.close();
    const auto refused = co_await waits.join();
    EXPECT_EQ(error_of(refused), errc::closed);
    EXPECT_EQ(shop.made, 1);
    EXPECT_EQ(tools.counts().size, 0U);
  });
}

/// An object outlives its pool, its manager with it; so does one that is being made.
TEST(pool, c94_objects_may_outlive_their_pool) {
  at_instants([]() -> task<> {
    workshop shop;
    shop.create_takes = 10ms;
    std::vector<int> log;
    auto tools = std::make_unique<slow_pool>(pool_options(2), slow_tools(shop));
    auto borrowing = spawn(borrows(*tools, log, 50ms));
    co_await test_clock::advance(0ms);
    tools.reset();
    co_await test_clock::advance(10ms);
    EXPECT_EQ(log, std::vector{1});  // it was being made, and is had
    EXPECT_EQ(shop.alive.load(order::relaxed), 1);
    co_await test_clock::advance(50ms);
    co_await borrowing.join();
    EXPECT_EQ(shop.alive.load(order::relaxed), 0);
    EXPECT_EQ(shop.retired, (std::vector{std::pair(1, pool_end::closed)}));
  });
}

TEST(pool, who_asks_a_pool_that_has_gone_hears_that_it_is_closed) {
  at_instants([]() -> task<> {
    workshop shop;
    auto tools = std::make_unique<slow_pool>(pool_options(1), slow_tools(shop));
    auto asks = tools->get();
    tools.reset();
    const auto none = co_await as_result(std::move(asks));
    EXPECT_EQ(error_of(none), errc::closed);
  });
}

}  // namespace
}  // namespace magpie::tests::pool_changes_test
