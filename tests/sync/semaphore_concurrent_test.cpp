/// `semaphore` with many tasks on many workers, and with threads outside.
#include <magpie/sync/semaphore.hpp>

#include <magpie/runtime/spawn_local.hpp>
#include <magpie/tests/sync/world.hpp>

#include <thread>
#include <vector>

namespace magpie::tests::semaphore_concurrent_test {
namespace {

using sync::semaphore;

/// Closes while others acquire and give back: each of them ends, with a permit or refused.
TEST(semaphore, concurrent_c41_close_beside_those_who_come) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int round = 0; round < 200; ++round) {
      semaphore some(2);
      atomic<int> served{0};
      atomic<int> refused{0};
      const auto comes = [](semaphore& from, std::size_t count, atomic<int>& yes,
                            atomic<int>& no) -> task<> {
        const auto ended = co_await as_result(from.acquire(count));
        if (ended) co_await yield();
        (ended ? yes : no).fetch_add(1, order::relaxed);
        if (!ended) {
          EXPECT_EQ(ended.error(), errc::closed);
        }
      };
      co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i < 6; ++i)
          group.spawn(comes(some, static_cast<std::size_t>(1 + i % 2), served, refused));
        if (round % 2 == 0) co_await yield();
        some.close();
      });
      EXPECT_EQ(served.load(order::relaxed) + refused.load(order::relaxed), 6);
      EXPECT_EQ(some.available(), 2U);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

task<> batches(semaphore& of_ten, std::size_t count, atomic<int>& active, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const auto permits = co_await of_ten.acquire(count);
    const int most = active.fetch_add(static_cast<int>(count), order::relaxed);
    EXPECT_LE(most + static_cast<int>(count), 10);
    if (i % 3 == 0) co_await yield();
    active.fetch_sub(static_cast<int>(count), order::relaxed);
  }
}

TEST(semaphore, concurrent_c40_batches_never_exceed_the_permits) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    semaphore ten(10);
    atomic<int> active{0};
    co_await with_task_group([&](task_group& group) -> task<> {
      for (const std::size_t count : {4U, 10U, 8U}) group.spawn(batches(ten, count, active, 2000));
      co_return;
    });
    EXPECT_EQ(ten.available(), 10U);
    ten.check_invariants();
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// Two branches of one task fight for one permit; both get their turns.
TEST(semaphore, concurrent_c10_a_join_over_one_permit_starves_no_branch) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    semaphore one(1);
    const auto fights = [](semaphore& over) -> task<int> {
      for (int i = 0; i < 5; ++i) {
        const auto permit = co_await over.acquire();
        co_await yield();
      }
      co_return 5;
    };
    const auto both = co_await join(fights(one), fights(one));
    EXPECT_EQ(std::get<0>(both) + std::get<1>(both), 10);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// Permits are given back, added and tried for by threads that know no runtime.
TEST(semaphore, concurrent_threads_outside_give_back) {
  MAGPIE_NEED_KERNEL();
  semaphore some(0);
  constexpr int rounds = 2000;
  std::thread outside([&] {
    for (int i = 0; i < rounds; ++i) {
      if (i % 2 == 0) {
        some.add(1);
      } else if (auto permit = some.try_acquire()) {
        permit->release();
        some.add(1);
      } else {
        some.add(1);
      }
    }
  });
  const auto scenario = [&]() -> task<> {
    for (int i = 0; i < rounds; ++i) (co_await some.acquire()).forget();
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  outside.join();
  EXPECT_EQ(some.available(), 0U);
}

/// Tasks that are tied to their workers stand in the same line, and go on at home.
TEST(semaphore, concurrent_pinned_tasks_wait_as_others) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    semaphore one(1);
    int sum = 0;
    const auto adds = [](semaphore& by, int& up) -> task<> {
      const std::size_t home = detail::this_context().index;
      for (int i = 0; i < 200; ++i) {
        const auto permit = co_await by.acquire();
        EXPECT_EQ(detail::this_context().index, home);
        const int seen = up;
        co_await yield();
        up = seen + 1;
      }
    };
    std::vector<join_handle<void>> all;
    for (int i = 0; i < 4; ++i) all.push_back(spawn_local(adds(one, sum)));
    for (auto& each : all) co_await each.join();
    EXPECT_EQ(sum, 800);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

task<> counts_up(semaphore& one, int& sum) {
  for (int i = 0; i < 500; ++i) {
    const auto permit = co_await one.acquire();
    const int seen = sum;
    if (i % 3 == 0) co_await yield();
    sum = seen + 1;
  }
}

/// Tasks of two runtimes share a semaphore: each is posted at home.
TEST(semaphore, concurrent_tasks_of_two_runtimes_share_it) {
  MAGPIE_NEED_KERNEL();
  semaphore one(1);
  int sum = 0;
  std::thread other([&] { EXPECT_TRUE(run_in_cell(counts_up(one, sum))); });
  EXPECT_TRUE(run_in_cell(counts_up(one, sum)));
  other.join();
  EXPECT_EQ(sum, 1000);
}

/// Whoever gets the permit destroys the semaphore, while the one that gave it is on its way out.
TEST(semaphore, concurrent_may_be_destroyed_by_whoever_got_the_last_permit) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 2000; ++i) {
      auto* const done = new semaphore(0);
      const auto gives = [](semaphore& to) -> task<> {
        to.add(1);
        co_return;
      };
      auto other = spawn(gives(*done));
      if (i % 3 == 0) co_await yield();
      (co_await done->acquire()).forget();
      delete done;
      co_await other.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::semaphore_concurrent_test
