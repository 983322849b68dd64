/// `latch`: goes off with the last count, once, and for all.
#include <magpie/sync/latch.hpp>

#include <magpie/tests/sync/world.hpp>

#include <thread>
#include <vector>

namespace magpie::tests::latch_test {
namespace {

using sync::latch;

TEST(latch, counts_down_to_zero) {
  latch three(3);
  EXPECT_FALSE(three.try_wait());
  three.count_down();
  EXPECT_EQ(three.count(), 2U);
  three.count_down(0);
  EXPECT_EQ(three.count(), 2U);
  three.count_down(2);
  EXPECT_TRUE(three.try_wait());
  three.count_down(0);
  EXPECT_TRUE(latch(0).try_wait());
}

TEST(latch, misuse_is_an_abort) {
  latch two(2);
  EXPECT_DEATH(two.count_down(3), "more things");
}

task<> waits(latch& on, int& gone) {
  co_await on.wait();
  ++gone;
}

TEST(latch, lets_all_go_on_with_the_last) {
  const auto scenario = []() -> task<> {
    latch two(2);
    int gone = 0;
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 3; ++i) group.spawn(waits(two, gone));
      co_await settled();
      two.count_down();
      co_await settled();
      EXPECT_EQ(gone, 0);
      const auto late = co_await as_result(timeout(1ms, two.wait()));
      EXPECT_EQ(error_of(late), errc::deadline);
      two.count_down();
      co_await two.wait();  // at once, and again
      co_await two.wait();
    });
    EXPECT_EQ(gone, 3);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// Each writes before it counts; who has waited sees all of it, and destroys the latch.
TEST(latch, concurrent_may_be_destroyed_by_whoever_has_waited) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    constexpr std::size_t parties = 4;
    for (int i = 0; i < 1000; ++i) {
      std::vector<int> done(parties);
      std::vector<join_handle<void>> all;
      {
        latch each(parties);
        const auto counts = [](latch& on, int& mine) -> task<> {
          mine = 1;
          on.count_down();
          co_return;
        };
        for (int& one : done) all.push_back(spawn(counts(each, one)));
        if (i % 3 == 0) co_await yield();
        if (i % 2 == 0) {
          co_await each.wait();
        } else {
          while (!each.try_wait()) co_await yield();
        }
        for (const int one : done) EXPECT_EQ(one, 1);
      }
      for (auto& one : all) co_await one.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(latch, concurrent_threads_outside_count) {
  MAGPIE_NEED_KERNEL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 50; ++i) {
      latch two(2);
      std::thread a([&] { two.count_down(); });
      std::thread b([&] { two.count_down(); });
      co_await two.wait();
      a.join();
      b.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::latch_test
