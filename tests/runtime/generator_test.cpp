#include <magpie/runtime/generator.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace magpie::tests::generator_test {
namespace {

generator<int> numbers(int count) {
  for (int i = 0; i < count; ++i) co_yield i;
}

/// Holds something, waits before each value, and ends as it is told to.
generator<int> waiting_numbers(int count, atomic<int>& alive, std::error_code error = {}) {
  const counted here(alive);
  for (int i = 0; i < count; ++i) {
    co_await sleep_for(1ms);
    co_yield i;
  }
  if (error) co_await fail(error);
}

task<std::vector<int>> all_of(generator<int>& from) {
  std::vector<int> all;
  for (;;) {
    const auto one = co_await from.next();
    if (!one) co_return all;
    all.push_back(*one);
  }
}

TEST(generator, gives_its_values_and_then_its_end_for_ever) {
  const auto scenario = []() -> task<> {
    auto three = numbers(3);
    const auto all = co_await all_of(three);
    EXPECT_EQ(all, (std::vector{0, 1, 2}));
    for (int i = 0; i < 3; ++i) {
      const auto more = co_await three.next();
      EXPECT_FALSE(more);
    }
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, runs_nothing_before_its_first_next) {
  const auto scenario = []() -> task<> {
    bool ran = false;
    const auto notes = [](bool& that) -> generator<int> {
      that = true;
      co_yield 1;
    };
    auto one = notes(ran);
    EXPECT_FALSE(ran);
    const auto value = co_await one.next();
    EXPECT_TRUE(ran);
    EXPECT_EQ(value, 1);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, moves_what_it_yields_and_copies_what_has_a_name) {
  const auto yields = [](std::string& kept) -> generator<std::string> {
    co_yield kept;
    co_yield std::move(kept);
    co_yield std::string("a temporary");
  };
  const auto pointers = []() -> generator<std::unique_ptr<int>> {
    for (int i = 0; i < 2; ++i) co_yield std::make_unique<int>(i);
  };
  const auto scenario = [&]() -> task<> {
    std::string text(100, 'x');
    auto strings = yields(text);
    const auto copy = co_await strings.next();
    EXPECT_EQ(*copy, text);
    const auto moved = co_await strings.next();
    EXPECT_EQ(moved->size(), 100U);
    const auto third = co_await strings.next();
    EXPECT_EQ(*third, "a temporary");
    EXPECT_TRUE(text.empty());
    auto owned = pointers();
    for (int i = 0; i < 2; ++i) {
      const auto one = co_await owned.next();
      EXPECT_EQ(**one, i);
    }
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, an_error_comes_out_once_and_then_the_end) {
  const auto scenario = []() -> task<> {
    atomic<int> alive{0};
    auto fails = waiting_numbers(1, alive, some_error());
    const auto first = co_await fails.next();
    EXPECT_EQ(first, 0);
    const auto failed = co_await as_result(fails.next());
    EXPECT_EQ(error_of(failed), some_error());
    EXPECT_EQ(alive.load(), 0);
    const auto after = co_await as_result(fails.next());
    EXPECT_TRUE(after && !*after);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, an_error_climbs_through_who_awaits_it) {
  atomic<int> alive{0};
  const auto middle = [](generator<int>& from, atomic<int>& counts) -> task<> {
    const counted here(counts);
    static_cast<void>(co_await all_of(from));
    ADD_FAILURE();
  };
  const auto scenario = [&]() -> task<> {
    auto fails = waiting_numbers(2, alive, some_error());
    const auto outcome = co_await as_result(middle(fails, alive));
    EXPECT_EQ(error_of(outcome), some_error());
    EXPECT_EQ(alive.load(), 0);
    const auto after = co_await fails.next();
    EXPECT_FALSE(after);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
  // With the generator in a frame that is abandoned, too.
  const auto inside = [&]() -> task<> {
    auto fails = waiting_numbers(2, alive, some_error());
    static_cast<void>(co_await all_of(fails));
  };
  EXPECT_EQ(error_of(run_in_simulation(inside())), some_error());
  EXPECT_EQ(alive.load(), 0);
}

#if defined(__cpp_exceptions)
TEST(generator, an_exception_comes_out_once_and_a_failure_is_an_error) {
  const auto throws = [](bool as_error) -> generator<int> {
    co_yield 1;
    if (as_error) throw failure(some_error());
    throw std::runtime_error("of the body");
  };
  const auto scenario = [&]() -> task<> {
    auto fails = throws(true);
    co_await fails.next();
    const auto failed = co_await as_result(fails.next());
    EXPECT_EQ(error_of(failed), some_error());
    const auto after_error = co_await fails.next();
    EXPECT_FALSE(after_error);
    auto thrower = throws(false);
    co_await thrower.next();
    bool caught = false;
    try {
      co_await thrower.next();
    } catch (const std::runtime_error&) {
      caught = true;
    }
    EXPECT_TRUE(caught);
    const auto after = co_await thrower.next();
    EXPECT_FALSE(after);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}
#endif

TEST(generator, a_stop_of_next_unwinds_it) {
  const auto scenario = []() -> task<> {
    atomic<int> alive{0};
    auto slow = waiting_numbers(5, alive);
    const auto first = co_await timeout(1h, slow.next());
    EXPECT_EQ(first, 0);
    EXPECT_EQ(alive.load(), 1);
    const auto late = co_await as_result(timeout(10us, slow.next()));
    EXPECT_EQ(error_of(late), errc::deadline);
    EXPECT_EQ(alive.load(), 0);
    const auto after = co_await slow.next();
    EXPECT_FALSE(after);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, a_next_that_does_not_begin_leaves_it_as_it_is) {
  atomic<int> alive{0};
  const auto stopped = [](generator<int>& from) -> task<> {
    co_await as_result(sleep_for(1h));  // ends by the stop
    const auto refused = co_await as_result(from.next());
    EXPECT_EQ(error_of(refused), errc::stopped);
  };
  const auto scenario = [&]() -> task<> {
    auto three = waiting_numbers(3, alive);
    co_await three.next();
    static_cast<void>(co_await as_result(timeout(1ms, stopped(three))));
    EXPECT_EQ(alive.load(), 1);
    const auto rest = co_await all_of(three);
    EXPECT_EQ(rest, (std::vector{1, 2}));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, destroyed_between_values_it_destroys_its_frame) {
  atomic<int> alive{0};
  const auto scenario = [&]() -> task<> {
    {
      auto never_begun = waiting_numbers(3, alive);
      auto begun = waiting_numbers(3, alive);
      co_await begun.next();
      auto moved = std::move(begun);
      const auto second = co_await moved.next();
      EXPECT_EQ(second, 1);
      EXPECT_EQ(alive.load(), 1);
    }
    EXPECT_EQ(alive.load(), 0);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, the_value_of_a_branch_that_was_dropped_is_given_again) {
  const auto scenario = []() -> task<> {
    auto three = numbers(3);
    {
      detail::generator_next<int> lost = three.next();
      stop_scope& here = *detail::this_context().running_here();
      EXPECT_FALSE(lost.try_complete(here));  // it has to run
    }
    auto first = co_await select(biased, three.next(), sleep_for(1h));
    EXPECT_EQ(first.value<0>(), 0);
    const auto second = co_await three.next();
    EXPECT_EQ(second, 1);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, allocates_nothing_for_a_value) {
  const auto scenario = []() -> task<> {
    auto many = numbers(10'000);
    co_await many.next();
    const auto before = frame_pool_stats().mallocs;
    const auto free_before = frame_pool_stats().depot_gets;
    for (;;) {
      const auto one = co_await many.next();
      if (!one) break;
    }
    EXPECT_EQ(frame_pool_stats().mallocs, before);
    EXPECT_EQ(frame_pool_stats().depot_gets, free_before);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, a_million_values_need_no_stack_and_give_way) {
  MAGPIE_NEED_SIMULATION();
  const auto scenario = []() -> task<> {
    bool others_ran = false;
    auto other = spawn([](bool& ran) -> task<> {
      ran = true;
      co_return;
    }(others_ran));
    auto many = numbers(1'000'000);
    int count = 0;
    for (;;) {
      const auto one = co_await many.next();
      if (!one) break;
      if (++count == 1'000) {
        EXPECT_TRUE(others_ran);
      }
    }
    EXPECT_EQ(count, 1'000'000);
    static_cast<void>(co_await other.join());
  };
  options one = simulation();
  one.workers = 1;
  EXPECT_TRUE(run_on(one, scenario()));
}

TEST(generator, tells_once_that_there_was_no_memory) {
  const auto scenario = []() -> task<> {
    frame_pool_fail_nth(1);
    auto none = numbers(3);
    frame_pool_fail_nth(0);
    const auto failed = co_await as_result(none.next());
    EXPECT_EQ(error_of(failed), std::errc::not_enough_memory);
    const auto after = co_await none.next();
    EXPECT_FALSE(after);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(generator, concurrent_tasks_take_turns) {
  MAGPIE_NEED_CELL();
  const auto takes = [](generator<int>& from, std::vector<int>& into) -> task<> {
    const auto one = co_await from.next();
    into.push_back(*one);
  };
  const auto scenario = [&]() -> task<> {
    atomic<int> alive{0};
    auto many = waiting_numbers(50, alive);
    std::vector<int> all;
    for (int i = 0; i < 50; ++i) {
      auto one = spawn(takes(many, all));
      const auto ended = co_await one.join();
      EXPECT_TRUE(ended);
    }
    EXPECT_EQ(all.size(), 50U);
    EXPECT_EQ(all.back(), 49);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

generator<int> torn(int count, int i, tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < count; ++k) {
    if ((i + k) % 3 != 0) co_await sleep_for(std::chrono::microseconds((i + k) % 11));
    co_yield k;
  }
}

/// Its patience is short, too: after a stop it has ended.
task<> generating(int i, tally& counts) {
  const counted here(counts.alive);
  auto some = torn(i % 9, i, counts);
  int expected = 0;
  for (;;) {
    const auto one = co_await as_result(timeout(std::chrono::microseconds(i % 13), some.next()));
    if (!one) {
      if (one.error() != errc::deadline) co_await fail(one.error());
      continue;
    }
    if (!*one) break;
    counts.check(**one == expected++);
  }
}

TEST(generator, concurrent_stop_torture) { torture(&generating); }

}  // namespace
}  // namespace magpie::tests::generator_test
