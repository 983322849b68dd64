/// `keyed_pool`: limits of each key and of all, who waits for what, who makes room.
#include <magpie/sync/keyed_pool.hpp>

#include <magpie/runtime/test_clock.hpp>
#include <magpie/tests/sync/pool_world.hpp>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace magpie::tests::keyed_pool_test {
namespace {

using sync::keyed_pool_options;
using sync::pool_end;
using sync::pooled;

struct keyed_tools {
  explicit keyed_tools(workshop& of) noexcept : in(&of) {}

  task<tool> create(const std::string& key) {
    workshop& here = *in;
    keys.push_back(key);
    co_await sleep_for(here.create_takes);
    if (here.fail_creates > 0) {
      --here.fail_creates;
      co_await fail(some_error());
    }
    co_return tool(here, ++here.made);
  }
  bool recycle(tool& one) {
    in->recycled.push_back(one.number);
    return !in->unfit;
  }
  static bool is_broken(tool& one) noexcept { return one.broken; }
  void retired(tool& one, pool_end how) noexcept { in->retired.emplace_back(one.number, how); }

  workshop* in;
  std::vector<std::string> keys;
};

using tools_by_name = sync::keyed_pool<std::string, keyed_tools>;

task<> borrows_of(tools_by_name& from, std::string key, std::vector<std::string>& log,
                  clock::duration keeps = 0ms) {
  const auto one = co_await from.get(key);
  log.push_back(key + std::to_string(one->number));
  co_await sleep_for(keeps);
}

TEST(keyed_pool, keeps_the_objects_of_each_key_apart) {
  at_instants([]() -> task<> {
    workshop shop;
    tools_by_name all(keyed_pool_options(10, 2), keyed_tools(shop));
    {
      const auto a = co_await all.get("a");
      const auto b = co_await all.get("b");
      EXPECT_EQ(all.manager().keys, (std::vector<std::string>{"a", "b"}));
      EXPECT_EQ(all.counts().keys, 2U);
      EXPECT_EQ(all.counts().size, 2U);
    }
    const auto again = co_await all.get("b");
    EXPECT_EQ(again->number, 2);
    EXPECT_EQ(shop.recycled, std::vector{2});
    EXPECT_EQ(all.counts("b").idle, 0U);
    EXPECT_EQ(all.counts("a").idle, 1U);
    EXPECT_EQ(all.counts("c").size, 0U);
    const auto other = all.try_get("a");
    EXPECT_TRUE(other);
    EXPECT_FALSE(all.try_get("a"));
  });
}

TEST(keyed_pool, takes_the_one_that_was_used_last) {
  at_instants([]() -> task<> {
    workshop shop;
    tools_by_name all(keyed_pool_options(10, 3), keyed_tools(shop));
    {
      const auto one = co_await all.get("a");
      const auto two = co_await all.get("a");
    }  // back: 2, then 1
    const auto next = co_await all.get("a");
    EXPECT_EQ(next->number, 1);
  });
}

TEST(keyed_pool, a_key_that_is_in_use_has_a_line_of_its_own) {
  at_instants([]() -> task<> {
    workshop shop;
    std::vector<std::string> log;
    tools_by_name all(keyed_pool_options(10, 1), keyed_tools(shop));
    auto held = co_await all.get("a");
    auto first = spawn(borrows_of(all, "a", log));
    co_await test_clock::advance(0ms);
    auto second = spawn(borrows_of(all, "a", log));
    co_await test_clock::advance(0ms);
    auto other = spawn(borrows_of(all, "b", log));
    co_await other.join();
    EXPECT_EQ(log, std::vector<std::string>{"b2"});
    EXPECT_EQ(all.counts("a").waiting, 2U);
    held.give_back();
    co_await first.join();
    co_await second.join();
    EXPECT_EQ(log, (std::vector<std::string>{"b2", "a1", "a1"}));
  });
}

TEST(keyed_pool, when_all_are_in_use_there_is_one_line_for_all_keys) {
  at_instants([]() -> task<> {
    workshop shop;
    std::vector<std::string> log;
    tools_by_name all(keyed_pool_options(2, 2), keyed_tools(shop));
    auto a = co_await all.get("a");
    auto b = co_await all.get("b");
    auto c = spawn(borrows_of(all, "c", log, 1ms));
    co_await test_clock::advance(0ms);
    auto d = spawn(borrows_of(all, "d", log));
    co_await test_clock::advance(0ms);
    auto more = spawn(borrows_of(all, "a", log));
    co_await test_clock::advance(0ms);
    EXPECT_EQ(all.counts("c").waiting, 1U);
    EXPECT_FALSE(all.try_get("b"));
    a.give_back();  // it is idle, and makes room at once
    co_await test_clock::advance(0ms);
    EXPECT_EQ(log, std::vector<std::string>{"c3"});
    EXPECT_EQ(shop.retired, (std::vector{std::pair(1, pool_end::evicted)}));
    EXPECT_EQ(all.counts().size, 2U);
    EXPECT_EQ(shop.alive.load(order::relaxed), 2);
    b.give_back();
    co_await test_clock::advance(1ms);
    co_await c.join();
    co_await d.join();
    co_await more.join();
    EXPECT_EQ(log, (std::vector<std::string>{"c3", "d4", "a5"}));
    EXPECT_EQ(all.counts().size, 2U);
  });
}

TEST(keyed_pool, the_one_that_has_been_idle_for_longest_makes_room) {
  at_instants([]() -> task<> {
    workshop shop;
    tools_by_name all(keyed_pool_options(3, 2), keyed_tools(shop));
    for (const char* key : {"a", "b", "c", "a"}) {
      const auto one = co_await all.get(key);
      co_await test_clock::advance(1ms);
    }
    const auto d = co_await all.get("d");
    EXPECT_EQ(shop.retired, (std::vector{std::pair(2, pool_end::evicted)}));
    EXPECT_EQ(all.counts("b").ended_by(pool_end::evicted), 1U);
    EXPECT_EQ(all.counts().size, 3U);
  });
}

TEST(keyed_pool, a_create_that_fails_gives_both_turns_back) {
  at_instants([]() -> task<> {
    workshop shop;
    shop.fail_creates = 3;
    tools_by_name all(keyed_pool_options(1, 1), keyed_tools(shop));
    for (const char* key : {"a", "b", "a"}) {
      const auto none = co_await as_result(all.get(key));
      EXPECT_EQ(error_of(none), some_error());
      EXPECT_EQ(all.counts().size, 0U);
    }
    const auto one = co_await all.get("b");
    EXPECT_EQ(all.counts().size, 1U);
  });
}

TEST(keyed_pool, a_stop_in_either_line_leaves_nothing_behind) {
  at_instants([]() -> task<> {
    workshop shop;
    std::vector<std::string> log;
    tools_by_name all(keyed_pool_options(1, 1), keyed_tools(shop));
    auto held = co_await all.get("a");
    auto of_a = spawn(borrows_of(all, "a", log));
    auto of_b = spawn(borrows_of(all, "b", log));
    co_await test_clock::advance(0ms);
    of_a.abort();
    of_b.abort();
    const auto one = co_await of_a.join();
    const auto two = co_await of_b.join();
    EXPECT_EQ(error_of(one), errc::aborted);
    EXPECT_EQ(error_of(two), errc::aborted);
    EXPECT_EQ(all.counts("a").waiting + all.counts("b").waiting, 0U);
    // A turn of the group is on its way.
    auto has_a_turn = spawn(borrows_of(all, "b", log));
    co_await test_clock::advance(0ms);
    auto next = spawn(borrows_of(all, "c", log));
    co_await test_clock::advance(0ms);
    held.give_back();
    has_a_turn.abort();
    const auto stopped = co_await has_a_turn.join();
    EXPECT_EQ(error_of(stopped), errc::aborted);
    co_await next.join();
    EXPECT_EQ(log, std::vector<std::string>{"c2"});
    const auto again = co_await all.get("b");
    EXPECT_EQ(again->number, 3);
  });
}

TEST(keyed_pool, reap_destroys_what_is_old_and_forgets_keys) {
  at_instants([]() -> task<> {
    workshop shop;
    keyed_pool_options options(10, 1);
    options.each.idle_time_max = 10ms;
    tools_by_name all(options, keyed_tools(shop));
    {
      const auto a = co_await all.get("a");
      const auto b = co_await all.get("b");
    }
    co_await test_clock::advance(5ms);
    {
      const auto again = co_await all.get("b");
    }
    const auto held = co_await all.get("c");
    co_await test_clock::advance(6ms);
    EXPECT_EQ(all.reap(), 1U);
    EXPECT_EQ(all.counts().keys, 2U);
    EXPECT_EQ(all.counts().size, 2U);
    co_await test_clock::advance(6ms);
    EXPECT_EQ(all.reap(), 1U);
    EXPECT_EQ(all.counts().keys, 1U);  // that of which one is out
  });
}

/// Keys come and go, and the table does not grow with all that ever were.
TEST(keyed_pool, keys_that_are_not_used_take_no_memory_in_the_long_run) {
  at_instants([]() -> task<> {
    workshop shop;
    tools_by_name all(keyed_pool_options(4, 1), keyed_tools(shop));
    for (int i = 0; i < 500; ++i) {
      const auto one = co_await all.get("key " + std::to_string(i));
      EXPECT_LE(all.counts().size, 4U);
      EXPECT_LE(all.counts().keys, 17U);
    }
  });
}

TEST(keyed_pool, close_refuses_in_both_lines_and_objects_outlive_it) {
  at_instants([]() -> task<> {
    workshop shop;
    std::vector<std::string> log;
    auto all = std::make_unique<tools_by_name>(keyed_pool_options(1, 1), keyed_tools(shop));
    auto held = co_await all->get("a");
    auto of_a = spawn(borrows_of(*all, "a", log));
    auto of_b = spawn(borrows_of(*all, "b", log));
    co_await test_clock::advance(0ms);
    all->close();
    const auto one = co_await of_a.join();
    const auto two = co_await of_b.join();
    EXPECT_EQ(error_of(one), errc::closed);
    EXPECT_EQ(error_of(two), errc::closed);
    const auto late = co_await as_result(all->get("a"));
    EXPECT_EQ(error_of(late), errc::closed);
    EXPECT_EQ(error_of(all->try_get("c")), errc::closed);
    all.reset();
    EXPECT_EQ(shop.alive.load(order::relaxed), 1);
    held.give_back();
    EXPECT_EQ(shop.retired, (std::vector{std::pair(1, pool_end::closed)}));
    EXPECT_EQ(shop.alive.load(order::relaxed), 0);
  });
}

// ---- by chance, and stopped -----------------------------------------------------------------

struct number_tools {
  explicit number_tools(atomic<int>& of) noexcept : alive(&of) {}
  number_tools(number_tools&&) noexcept = default;

  task<counted> create(int key) {
    if (key % 2 == 0) co_await yield();
    co_return counted(*alive);
  }
  task<bool> recycle(counted&) {
    co_await yield();
    co_return true;
  }

  atomic<int>* alive;
};

using numbers = sync::keyed_pool<int, number_tools>;

task<> uses_keys(numbers& from, std::uint64_t seed, int rounds, atomic<int>& out) {
  dice chance(seed);
  for (int i = 0; i < rounds; ++i) {
    const auto longest =
        chance.below(4) == 0 ? std::chrono::nanoseconds(chance.below(3000)) : std::chrono::hours(1);
    auto one = co_await as_result(timeout(longest, from.get(static_cast<int>(chance.below(6)))));
    if (!one) {
      EXPECT_EQ(one.error(), errc::deadline);
      continue;
    }
    EXPECT_LT(out.fetch_add(1, order::relaxed), 4);
    EXPECT_LE(from.counts().size, 4U);
    if (chance.below(3) == 0) co_await yield();
    out.fetch_sub(1, order::relaxed);
    if (chance.below(9) == 0) one->discard();
    if (chance.below(20) == 0) from.reap();
  }
}

TEST(keyed_pool, concurrent_users_of_many_keys_keep_to_the_limit_of_all) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  {
    atomic<int> out{0};
    numbers all(keyed_pool_options(4, 2), number_tools(alive));
    const auto scenario = [](numbers& from, atomic<int>& now) -> task<> {
      co_await with_task_group([&](task_group& group) -> task<> {
        for (std::uint64_t i = 0; i < 10; ++i) group.spawn(uses_keys(from, i, 200, now));
        co_return;
      });
      EXPECT_EQ(static_cast<std::size_t>(now.load(order::relaxed)), 0U);
      std::vector<pooled<counted>> turns;  // all of them are there
      for (int i = 0; i < 4; ++i) turns.push_back(co_await from.get(i));
      EXPECT_EQ(from.counts().size, 4U);
      const auto none = co_await as_result(timeout(0ms, from.get(9)));
      EXPECT_EQ(error_of(none), errc::deadline);
    };
    EXPECT_TRUE(run_in_cell(scenario(all, out)));
    EXPECT_LE(all.counts().size, 4U);
    EXPECT_EQ(static_cast<std::size_t>(alive.load(order::relaxed)), all.counts().size);
  }
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

}  // namespace
}  // namespace magpie::tests::keyed_pool_test
