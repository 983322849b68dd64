/// What pools do beside their users: `maintain` when making fails or is of no use, objects that
/// nobody would look at, and the line of all keys.
#include <magpie/runtime/test_clock.hpp>
#include <magpie/sync/keyed_pool.hpp>
#include <magpie/tests/sync/pool_world.hpp>

#include <stdexcept>
#include <utility>
#include <vector>

namespace magpie::tests::pool_upkeep_test {
namespace {

using sync::pool_end;
using sync::pool_options;
using sync::pool_order;

/// Makes at once; everything is broken, if the workshop says so.
struct hasty_tools {
  explicit hasty_tools(workshop& of) noexcept : in(&of) {}
  task<tool> create() { co_return tool(*in, ++in->made); }
  bool is_broken(tool&) noexcept { return in->unfit; }
  workshop* in;
};

template <class Pool>
task<> maintains(Pool& of, workshop& in, int most) {
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(of.maintain());
    co_await sleep_for(10s);
    EXPECT_LE(in.made, most);
    group.stop();
  });
}

TEST(pool, maintain_makes_no_more_than_one_in_vain) {
  const auto scenario = []() -> task<> {
    pool_options options(5);
    options.idle_min = 2;
    options.maintain_every = 1s;
    workshop useless;
    useless.unfit = true;
    sync::pool<hasty_tools> broken(options, hasty_tools(useless));
    co_await maintains(broken, useless, 11);
    workshop shop;
    options.idle_max = 1;
    sync::pool<hasty_tools> few(options, hasty_tools(shop));
    co_await maintains(few, shop, 1);
    EXPECT_EQ(few.counts().idle, 1U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(pool, maintain_ends_when_the_pool_is_closed_while_it_makes_one) {
  const auto scenario = []() -> task<> {
    workshop shop;
    shop.create_takes = 1h;
    pool_options options(2);
    options.idle_min = 1;
    slow_pool tools(options, slow_tools(shop));
    const auto begin = clock::now();
    auto maintaining = spawn(tools.maintain());
    co_await sleep_for(1ms);
    EXPECT_EQ(tools.counts().being_made, 1U);
    tools.close();
    EXPECT_TRUE(co_await maintaining.join());
    EXPECT_LT(clock::now() - begin, 10ms);
    EXPECT_EQ(tools.counts().size, 0U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

#if defined(__cpp_exceptions)
struct throwing_tools {
  explicit throwing_tools(workshop& of) noexcept : in(&of) {}
  task<tool> create() {
    if (in->fail_creates > 0) {
      --in->fail_creates;
      throw std::runtime_error("a resolver's, for example");
    }
    co_return tool(*in, ++in->made);
  }
  workshop* in;
};

TEST(pool, maintain_tries_again_after_an_exception) {
  const auto scenario = []() -> task<> {
    workshop shop;
    shop.fail_creates = 3;
    pool_options options(2);
    options.idle_min = 1;
    options.maintain_every = 1s;
    sync::pool<throwing_tools> tools(options, throwing_tools(shop));
    auto maintaining = spawn(tools.maintain());
    co_await sleep_for(5s);
    EXPECT_EQ(tools.counts().create_failed, 3U);
    EXPECT_EQ(tools.counts().idle, 1U);
    tools.close();
    EXPECT_TRUE(co_await maintaining.join());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}
#endif

// Of `lifo` the others are never about to be used.
TEST(pool, what_has_been_idle_for_too_long_goes_when_another_comes_back) {
  at_instants([]() -> task<> {
    workshop shop;
    pool_options options(3);
    options.order = pool_order::lifo;
    options.idle_time_max = 10ms;
    quick_pool tools(options, quick_tools(shop));
    {
      const auto one = co_await tools.get();
      const auto two = co_await tools.get();
      const auto three = co_await tools.get();
    }
    EXPECT_EQ(tools.counts().idle, 3U);
    for (int i = 0; i < 4; ++i) {
      co_await test_clock::advance(6ms);
      const auto one = co_await tools.get();
    }
    EXPECT_EQ(tools.counts().idle, 1U);
    EXPECT_EQ(tools.counts().ended_by(pool_end::idle_too_long), 2U);
    EXPECT_EQ(shop.made, 3);
  });
}

// An object that goes to somebody in line is none of those that are too many.
TEST(pool, a_smaller_one_leaves_what_is_promised) {
  at_instants([]() -> task<> {
    workshop shop;
    quick_pool tools(pool_options(2), quick_tools(shop));
    auto one = co_await tools.get();
    auto two = co_await tools.get();
    std::vector<int> got;
    auto waiting = spawn(borrows(tools, got));
    co_await test_clock::advance(1ms);
    one.give_back();  // it is the waiting one's, who has not run
    tools.resize(1);
    co_await waiting.join();
    EXPECT_EQ(got, std::vector{1});
    EXPECT_EQ(shop.made, 2);
    two.give_back();
    EXPECT_EQ(tools.counts().size, 1U);
    tools.check_invariants();
  });
}

struct tools_by_number {
  explicit tools_by_number(workshop& of) noexcept : in(&of) {}
  task<tool> create(const int&) { co_return tool(*in, ++in->made); }
  workshop* in;
};

TEST(keyed_pool, the_line_of_all_keys_is_bounded) {
  at_instants([]() -> task<> {
    workshop shop;
    sync::keyed_pool_options options(1, 1);
    options.waiting_max = 10;
    sync::keyed_pool<int, tools_by_number> tools(options, tools_by_number(shop));
    const auto the_one = co_await tools.get(0);
    std::vector<join_handle<void>> all;
    int refused = 0;
    const auto asks = [&](int key) -> task<> {
      const auto got = co_await as_result(tools.get(key));
      if (!got && got.error() == errc::refused) ++refused;
    };
    for (int key = 1; key <= 30; ++key) all.push_back(spawn(asks(key)));
    co_await test_clock::advance(1ms);
    EXPECT_EQ(refused, 20);
    EXPECT_EQ(tools.counts().waiting, 10U);
    EXPECT_EQ(tools.counts().refused, 20U);
    tools.close();
    for (auto& each : all) co_await each.join();
    EXPECT_EQ(tools.counts().waiting, 0U);
  });
}

// Two lines, one after the other, and one time for both.
TEST(keyed_pool, who_waits_in_two_lines_waits_no_longer_than_in_one) {
  at_instants([]() -> task<> {
    workshop shop;
    sync::keyed_pool_options options(1, 1);
    options.each.wait_time_max = 100ms;
    sync::keyed_pool<int, tools_by_number> tools(options, tools_by_number(shop));
    auto other = co_await tools.get(2);
    const auto begin = clock::now();
    const auto asks = [&](clock::duration& ended_after) -> task<> {
      const auto got = co_await as_result(tools.get(1));
      EXPECT_EQ(error_of(got), errc::deadline);
      ended_after = clock::now() - begin;
    };
    clock::duration first{};
    clock::duration second{};
    auto one = spawn(asks(first));  // has the key's turn, and waits for that of all
    co_await test_clock::advance(50ms);
    auto two = spawn(asks(second));  // waits for the key's turn, and then for that of all
    co_await test_clock::advance(50ms);
    co_await one.join();
    co_await test_clock::advance(50ms);
    co_await two.join();
    EXPECT_EQ(first, 100ms);
    EXPECT_EQ(second, 150ms);
    EXPECT_EQ(tools.counts(1).waited, 2U);
    EXPECT_EQ(tools.counts(1).timed_out, 2U);
    other.give_back();
  });
}

}  // namespace
}  // namespace magpie::tests::pool_upkeep_test
