/// `semaphore`: who gets permits, in which order, and what a stop leaves behind.
#include <magpie/sync/semaphore.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/tests/sync/world.hpp>

#include <vector>

namespace magpie::tests::semaphore_test {
namespace {

using sync::semaphore;
using sync::semaphore_permit;

TEST(semaphore, gives_what_it_has_and_takes_it_back) {
  semaphore three(3);
  {
    auto one = three.try_acquire();
    ASSERT_TRUE(one);
    EXPECT_EQ(one->count(), 1U);
    auto two = three.try_acquire(2);
    ASSERT_TRUE(two);
    EXPECT_EQ(three.available(), 0U);
    EXPECT_EQ(error_of(three.try_acquire()), std::errc::resource_unavailable_try_again);
    EXPECT_TRUE(three.try_acquire(0));
    one->release();
    EXPECT_EQ(three.available(), 1U);
    EXPECT_EQ(one->count(), 0U);
  }
  EXPECT_EQ(three.available(), 3U);
  three.check_invariants();
}

TEST(semaphore, permits_are_moved_split_merged_and_forgotten) {
  semaphore some(5);
  semaphore_permit all = *some.try_acquire(5);
  semaphore_permit two = all.split(2);
  EXPECT_EQ(all.count(), 3U);
  EXPECT_EQ(two.count(), 2U);
  all = std::move(two);  // what it had goes back
  EXPECT_EQ(some.available(), 3U);
  EXPECT_EQ(all.count(), 2U);
  EXPECT_EQ(two.count(), 0U);  // NOLINT(bugprone-use-after-move): what it says
  all.merge(*some.try_acquire(3));
  EXPECT_EQ(all.count(), 5U);
  EXPECT_EQ(all.split(0).count(), 0U);
  all.split(1).forget();
  all.release();
  EXPECT_EQ(some.available(), 4U);
  some.add(1);
  EXPECT_EQ(some.available(), 5U);
  EXPECT_EQ(some.forget(2), 2U);
  EXPECT_EQ(some.forget(9), 3U);
  EXPECT_EQ(some.available(), 0U);
}

TEST(semaphore, misuse_is_an_abort) {
  semaphore some(2);
  semaphore other(2);
  semaphore_permit one = *some.try_acquire();
  EXPECT_DEATH(static_cast<void>(one.split(2)), "fewer permits");
  EXPECT_DEATH(one.merge(*other.try_acquire()), "two semaphores");
  EXPECT_DEATH(some.add(semaphore::permits_max), "more permits than there can be");
}

// ---- order --------------------------------------------------------------------------------------

/// Takes, notes its turn, and gives back after a while.
task<> takes(semaphore& from, std::size_t count, int name, std::vector<int>& order) {
  const auto permit = co_await from.acquire(count);
  EXPECT_EQ(permit.count(), count);
  order.push_back(name);
  co_await sleep_for(1ms);
}

TEST(semaphore, serves_in_the_order_of_coming_and_nobody_passes_the_first_in_line) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    semaphore some(3);
    co_await with_task_group([&](task_group& group) -> task<> {
      auto held = co_await some.acquire(2);
      group.spawn(takes(some, 3, 1, order));  // for whom there is not enough
      co_await settled();
      group.spawn(takes(some, 1, 2, order));  // for whom there would be
      co_await settled();
      group.spawn(takes(some, 2, 3, order));
      co_await settled();
      EXPECT_TRUE(order.empty());
      EXPECT_EQ(some.available(), 1U);
      EXPECT_FALSE(some.try_acquire());  // it passes nobody either
      EXPECT_TRUE(some.try_acquire(0));
      some.check_invariants();
      held.release();
      co_await settled();
      EXPECT_EQ(order, std::vector{1});
    });
    EXPECT_EQ(some.available(), 3U);
    EXPECT_TRUE(some.try_acquire(3));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
  EXPECT_EQ(order.size(), 3U);
  EXPECT_EQ(order.front(), 1);
}

TEST(semaphore, added_permits_serve_who_waits) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    semaphore none(0);
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 4; ++i) {
        group.spawn(takes(none, 2, i, order));
        co_await settled();
      }
      none.add(3);
      co_await settled();
      EXPECT_EQ(order, std::vector{0});
      none.add(5);
      co_await settled();
      EXPECT_EQ(order.size(), 4U);  // woken in one go
    });
    EXPECT_EQ(none.available(), 8U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- stops --------------------------------------------------------------------------------------

TEST(semaphore, a_stop_gives_the_place_in_line_up_and_lets_the_next_one_in) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    semaphore some(3);
    auto held = co_await some.acquire(2);
    auto big = spawn(takes(some, 3, 1, order));
    co_await settled();
    auto small = spawn(takes(some, 1, 2, order));
    co_await settled();
    big.abort();
    co_await settled();
    EXPECT_EQ(order, std::vector{2});  // there had been enough for it all the time
    const auto ended = co_await big.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    co_await small.join();
    held.release();
    EXPECT_EQ(some.available(), 3U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(semaphore, what_was_given_to_a_task_that_is_stopped_before_it_runs_goes_to_the_next) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    semaphore one(1);
    auto held = co_await one.acquire();
    auto first = spawn(takes(one, 1, 1, order));
    co_await settled();
    auto second = spawn(takes(one, 1, 2, order));
    co_await settled();
    held.release();  // the first has it, and has not run
    first.abort();
    const auto ended = co_await first.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    co_await second.join();
    EXPECT_EQ(order, std::vector{2});
    EXPECT_EQ(one.available(), 1U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(semaphore, is_not_begun_in_a_stopped_scope) {
  const auto scenario = []() -> task<> {
    semaphore one(1);
    const auto wants = [](semaphore& from, std::error_code& error) -> task<> {
      co_await sleep_for(1ms);
      error = error_of(co_await as_result(from.acquire()));
    };
    std::error_code error;
    auto late = spawn(wants(one, error));
    const auto stubborn = [](semaphore& from, std::error_code& said) -> task<> {
      [[maybe_unused]] const auto ignored = co_await as_result(sleep_for(1h));
      said = error_of(co_await as_result(from.acquire()));  // though it is there
    };
    std::error_code said;
    auto other = spawn(stubborn(one, said));
    co_await settled();
    other.abort();
    [[maybe_unused]] const auto ended = co_await other.join();
    EXPECT_EQ(said, errc::stopped);
    co_await late.join();
    EXPECT_EQ(error, std::error_code());
    EXPECT_EQ(one.available(), 1U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(semaphore, a_deadline_takes_no_permit_along) {
  const auto scenario = []() -> task<> {
    semaphore one(1);
    auto held = co_await one.acquire();
    const auto late = co_await as_result(timeout(1ms, one.acquire()));
    EXPECT_EQ(error_of(late), errc::deadline);
    held.release();
    const auto again = co_await timeout(1ms, one.acquire());
    EXPECT_EQ(again.count(), 1U);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

/// Both branches are given a permit before the task runs: it takes one, and the other stays.
TEST(semaphore, a_loser_of_a_select_takes_nothing_along) {
  const auto scenario = []() -> task<> {
    semaphore one(1);
    semaphore other(1);
    auto held = co_await one.acquire();
    auto held_too = co_await other.acquire();
    const auto chooses = [](semaphore& a, semaphore& b, bool& chosen) -> task<> {
      auto first = co_await select(a.acquire(), b.acquire());
      chosen = true;
      const bool is_a = first.index() == 0;
      EXPECT_EQ(a.available(), is_a ? 0U : 1U);
      EXPECT_EQ(b.available(), is_a ? 1U : 0U);
      if (is_a) {
        EXPECT_TRUE(first.get<1>() && !first.get<1>()->has_value());
      } else {
        EXPECT_TRUE(first.get<0>() && !first.get<0>()->has_value());
      }
    };
    bool chosen = false;
    auto task = spawn(chooses(one, other, chosen));
    co_await settled();
    held.release();
    held_too.release();
    co_await task.join();
    EXPECT_TRUE(chosen);
    EXPECT_EQ(one.available(), 1U);
    EXPECT_EQ(other.available(), 1U);
  };
  for (std::uint64_t seed = 1; seed < 30; ++seed) EXPECT_TRUE(run_in_simulation(scenario(), seed));
}

#if defined(__cpp_exceptions)
/// A branch that throws wins, and the others' values are dropped: nobody ever takes this permit.
TEST(semaphore, a_permit_that_is_dropped_untaken_goes_back) {
  const auto scenario = []() -> task<> {
    semaphore one(1);
    const auto throws = []() -> task<> {
      throw 1;
      co_return;
    };
    const auto both = [&]() -> task<> { co_await join(one.acquire(), throws()); };
    try {
      co_await both();
      ADD_FAILURE();
    } catch (int) {
    }
    EXPECT_EQ(one.available(), 1U);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}
#endif

TEST(semaphore, goes_back_with_an_abandoned_frame_before_anybody_hears_of_the_failure) {
  const auto scenario = []() -> task<> {
    semaphore one(1);
    const auto fails = [](semaphore& from) -> task<> {
      const auto permit = co_await from.acquire();
      co_await fail(some_error());
    };
    const auto failed = co_await as_result(fails(one));
    EXPECT_EQ(error_of(failed), some_error());
    EXPECT_EQ(one.available(), 1U);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

// ---- closing ------------------------------------------------------------------------------------

task<> is_refused(semaphore& from, std::size_t count, int& refused) {
  const auto ended = co_await as_result(from.acquire(count));
  EXPECT_EQ(error_of(ended), errc::closed);
  ++refused;
}

TEST(semaphore, conformance_c41_close_refuses_all_and_stays_closed) {
  const auto scenario = []() -> task<> {
    semaphore some(3);
    int refused = 0;
    auto held = co_await some.acquire(2);
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(is_refused(some, 2, refused));
      group.spawn(is_refused(some, 3, refused));
      co_await settled();
      some.close();
      some.close();
    });
    EXPECT_EQ(refused, 2);
    EXPECT_TRUE(some.is_closed());
    EXPECT_EQ(error_of(some.try_acquire()), errc::closed);
    EXPECT_EQ(error_of(some.try_acquire(0)), errc::closed);
    co_await is_refused(some, 1, refused);
    held.release();  // those that are out go back as ever
    EXPECT_EQ(some.available(), 3U);
    some.add(2);
    EXPECT_EQ(some.forget(1), 1U);
    EXPECT_EQ(some.available(), 4U);
    EXPECT_TRUE(some.is_closed());
    co_await is_refused(some, 1, refused);
    some.check_invariants();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// A loop over permits that are there gives way to others.
TEST(semaphore, c08_a_loop_over_permits_gives_way) {
  const auto scenario = []() -> task<> {
    semaphore one(1);
    bool had_its_turn = false;
    const auto other = [](bool& turn) -> task<> {
      turn = true;
      co_return;
    };
    auto waiting = spawn(other(had_its_turn));
    int rounds = 0;
    while (!had_its_turn && rounds < 1000) {
      const auto permit = co_await one.acquire();
      ++rounds;
    }
    EXPECT_LE(rounds, 129);
    co_await waiting.join();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(semaphore, closed_waits_for_the_close) {
  at_instants([]() -> task<> {
    sync::semaphore one(1);
    bool heard = false;
    auto waiting = spawn([](sync::semaphore& of, bool& said) -> task<> {
      co_await of.closed();
      EXPECT_TRUE(of.is_closed());
      said = true;
    }(one, heard));
    co_await test_clock::advance(1h);
    EXPECT_FALSE(heard);
    one.close();
    co_await waiting.join();
    EXPECT_TRUE(heard);
    co_await one.closed();  // at once
  });
}

}  // namespace
}  // namespace magpie::tests::semaphore_test
