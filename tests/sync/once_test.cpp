/// `once` and `once_cell`: one of those who come does it, and the next if that one fails.  With
/// many at once: once_concurrent_test.cpp; the races: tests/model/once_model.cpp.
#include <magpie/sync/once.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace magpie::tests::once_test {
namespace {

using sync::once;
using sync::once_cell;

TEST(once_cell, is_set_once) {
  once_cell<std::unique_ptr<int>> one;
  EXPECT_EQ(one.get(), nullptr);
  EXPECT_FALSE(one.is_done());
  EXPECT_TRUE(one.set(std::make_unique<int>(1)));
  EXPECT_TRUE(one.is_done());
  const auto again = one.set(std::make_unique<int>(2));
  ASSERT_FALSE(again);
  EXPECT_EQ(*again.error(), 2);  // it is the caller's still
  EXPECT_EQ(**one.get(), 1);
  EXPECT_EQ(**std::as_const(one).get(), 1);
}

task<int> makes(int value, int& made) {
  ++made;
  co_await sleep_for(1ms);
  co_return value;
}

TEST(once_cell, is_made_by_the_first_who_comes) {
  const auto scenario = []() -> task<> {
    once_cell<int> one;
    int made = 0;
    std::vector<int> seen;
    const auto needs = [](once_cell<int>& of, int mine, int& count,
                          std::vector<int>& into) -> task<> {
      const int* const got = co_await of.get_or_init([&] { return makes(mine, count); });
      into.push_back(*got);
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 1; i < 5; ++i) {
        group.spawn(needs(one, i, made, seen));
        co_await settled();
      }
      EXPECT_TRUE(seen.empty());
      EXPECT_EQ(one.get(), nullptr);
      EXPECT_FALSE(one.set(9));  // somebody is making it
    });
    EXPECT_EQ(seen, (std::vector{1, 1, 1, 1}));
    EXPECT_EQ(made, 1);
    const int* const again = co_await one.get_or_init([&] { return makes(7, made); });
    EXPECT_EQ(again, one.get());
    EXPECT_EQ(made, 1);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// What an initialiser may be besides a task: an operation, a result; and it may need no copies.
TEST(once_cell, takes_every_awaitable) {
  const auto scenario = []() -> task<> {
    once_cell<std::unique_ptr<int>> moved;
    const auto make = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
    std::unique_ptr<int>* const got = co_await moved.get_or_init(make);
    EXPECT_EQ(**got, 3);
    once_cell<int> plain;
    const auto refused = co_await as_result(
        plain.get_or_init([] { return result<int>(std::unexpected(some_error())); }));
    EXPECT_EQ(error_of(refused), some_error());
    const int* const there = co_await plain.get_or_init([] { return result<int>(4); });
    EXPECT_EQ(*there, 4);
    once waited;
    co_await waited.call([] { return sleep_for(1ms); });
    EXPECT_TRUE(waited.is_done());
    co_await waited.call([] { return fail(some_error()); });  // it is not asked
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

task<> fails_after(std::chrono::milliseconds time) {
  co_await sleep_for(time);
  co_await fail(some_error());
}

/// One who needs it done, and what came of that.
struct needing {
  bool ran = false;
  bool passed = false;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};

template <class F>
task<> needs(once& what, needing& who, F how) {
  const auto runs = [&] {
    who.ran = true;
    return how();
  };
  const auto ended = co_await as_result(what.call(runs));
  who.passed = ended.has_value();
  who.error = error_of(ended);
}

TEST(once, a_failed_initialiser_hands_over_to_the_next_in_line) {
  const auto scenario = []() -> task<> {
    once one;
    std::vector<needing> all(4);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i < 2) {
        all[i].handle.emplace(spawn(needs(one, all[i], [] { return fails_after(1ms); })));
      } else {
        all[i].handle.emplace(spawn(needs(one, all[i], [] { return sleep_for(1ms); })));
      }
      co_await settled();
    }
    for (auto& each : all) co_await each.handle->join();
    EXPECT_EQ(all[0].error, some_error());
    EXPECT_EQ(all[1].error, some_error());
    EXPECT_TRUE(all[2].passed && all[2].ran);
    EXPECT_TRUE(all[3].passed && !all[3].ran);
    EXPECT_TRUE(one.is_done());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(once, a_failure_that_nobody_waits_behind_leaves_it_as_it_was) {
  const auto scenario = []() -> task<> {
    once one;
    const auto failed = co_await as_result(one.call([] { return fails_after(1ms); }));
    EXPECT_EQ(error_of(failed), some_error());
    EXPECT_FALSE(one.is_done());
    co_await one.call([] { return sleep_for(1ms); });
    EXPECT_TRUE(one.is_done());
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(once, a_stopped_initialiser_hands_over) {
  const auto scenario = []() -> task<> {
    once one;
    std::vector<needing> all(3);
    for (auto& each : all) {
      each.handle.emplace(spawn(needs(one, each, [] { return sleep_for(1ms); })));
      co_await settled();
    }
    all[0].handle->abort();
    for (auto& each : all) [[maybe_unused]]
      const auto ended = co_await each.handle->join();
    EXPECT_EQ(all[0].error, errc::stopped);
    EXPECT_TRUE(all[1].ran && all[1].passed);
    EXPECT_TRUE(!all[2].ran && all[2].passed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(once, a_stopped_wait_takes_no_turn_along) {
  const auto scenario = []() -> task<> {
    once one;
    std::vector<needing> all(3);
    for (auto& each : all) {
      each.handle.emplace(spawn(needs(one, each, [] { return sleep_for(1ms); })));
      co_await settled();
    }
    all[1].handle->abort();  // in line
    all[0].handle->abort();
    co_await settled();
    EXPECT_TRUE(all[2].ran);
    for (auto& each : all) [[maybe_unused]]
      const auto ended = co_await each.handle->join();
    EXPECT_TRUE(!all[1].ran && all[1].error == errc::stopped);
    EXPECT_TRUE(all[2].passed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// The turn is on its way to one that is stopped before it runs: the next one has it.
TEST(once, a_turn_that_was_not_taken_is_handed_on) {
  const auto scenario = []() -> task<> {
    once one;
    std::vector<needing> all(3);
    const auto first = [](once& what, needing& who, needing& next) -> task<> {
      const auto failed = co_await as_result(what.call([] { return fails_after(1ms); }));
      next.handle->abort();  // it has been given the turn, and has not run
      who.error = error_of(failed);
    };
    all[0].handle.emplace(spawn(first(one, all[0], all[1])));
    co_await settled();
    for (std::size_t i = 1; i < 3; ++i) {
      all[i].handle.emplace(spawn(needs(one, all[i], [] { return sleep_for(1ms); })));
      co_await settled();
    }
    for (auto& each : all) [[maybe_unused]]
      const auto ended = co_await each.handle->join();
    EXPECT_EQ(all[0].error, some_error());
    EXPECT_TRUE(!all[1].ran && all[1].error == errc::stopped);
    EXPECT_TRUE(all[2].ran && all[2].passed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

#if defined(__cpp_exceptions)
TEST(once, an_initialiser_that_throws_hands_over_and_its_caller_has_the_exception) {
  const auto scenario = []() -> task<> {
    once_cell<int> one;
    bool caught = false;
    int seen = 0;
    const auto throws = [](once_cell<int>& of, bool& had) -> task<> {
      const auto make = []() -> task<int> {
        co_await sleep_for(1ms);
        throw std::runtime_error("no");
      };
      try {
        co_await of.get_or_init(make);
      } catch (const std::runtime_error&) {
        had = true;
      }
    };
    const auto goes_on = [](once_cell<int>& of, int& into) -> task<> {
      const int* const got = co_await of.get_or_init([] { return result<int>(5); });
      into = *got;
    };
    auto first = spawn(throws(one, caught));
    co_await settled();
    auto second = spawn(goes_on(one, seen));
    co_await first.join();
    co_await second.join();
    EXPECT_TRUE(caught);
    EXPECT_EQ(seen, 5);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// The function that is to give the task, or the value's move, throws.
TEST(once, what_throws_on_the_way_hands_over_as_well) {
  struct unmovable_once {
    explicit unmovable_once(int& moves_left) : left(&moves_left) {}
    unmovable_once(unmovable_once&& other) : left(other.left) {
      if (--*left == 0) throw std::runtime_error("no");
    }
    int* left;
  };
  int left = 1;
  once_cell<unmovable_once> one;
  EXPECT_THROW(static_cast<void>(one.set(unmovable_once(left))), std::runtime_error);
  EXPECT_FALSE(one.is_done());
  const auto throws = []() -> unmovable_once { throw std::runtime_error("no"); };
  EXPECT_THROW(one.blocking_get_or_init(throws), std::runtime_error);
  left = 100;
  EXPECT_TRUE(one.set(unmovable_once(left)));
  const auto scenario = []() -> task<> {
    once_cell<int> of;
    const auto refuses = []() -> task<int> { throw std::runtime_error("no"); };
    try {
      co_await of.get_or_init(refuses);
      ADD_FAILURE();
    } catch (const std::runtime_error&) {
    }
    EXPECT_TRUE(of.set(1));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}
#endif

TEST(once, without_memory_for_the_frame_it_is_an_error_and_the_turn_is_nobodys) {
  const auto scenario = []() -> task<> {
    once one;
    auto calling = one.call([] { return sleep_for(1ms); });
    frame_pool_fail_nth(1);
    const auto refused = co_await as_result(std::move(calling));
    frame_pool_fail_nth(0);
    EXPECT_EQ(error_of(refused), std::errc::not_enough_memory);
    co_await one.call([] { return sleep_for(1ms); });
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(once, is_not_begun_in_a_stopped_scope_even_if_it_is_done) {
  const auto scenario = []() -> task<> {
    once one;
    co_await one.call([] { return sleep_for(0ms); });
    std::error_code said;
    const auto stubborn = [](once& of, std::error_code& error) -> task<> {
      [[maybe_unused]] const auto ignored = co_await as_result(sleep_for(1h));
      error = error_of(co_await as_result(of.call([] { return sleep_for(0ms); })));
    };
    auto other = spawn(stubborn(one, said));
    co_await settled();
    other.abort();
    [[maybe_unused]] const auto ended = co_await other.join();
    EXPECT_EQ(said, errc::stopped);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(once, a_thread_does_it_or_waits_in_line) {
  once one;
  int done = 0;
  one.blocking_call([&] { ++done; });
  one.blocking_call([&] { ++done; });
  EXPECT_EQ(done, 1);
  once_cell<std::string> cell;
  EXPECT_EQ(cell.blocking_get_or_init([] { return std::string("a"); }), "a");
  EXPECT_EQ(cell.blocking_get_or_init([] { return std::string("b"); }), "a");
}

}  // namespace
}  // namespace magpie::tests::once_test
