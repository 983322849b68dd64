#include <magpie/runtime/idle.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <semaphore>
#include <thread>
#include <vector>

namespace {

using idle_of_8 = magpie::basic_idle<8>;

TEST(idle, wakes_only_if_somebody_sleeps_and_nobody_searches) {
  idle_of_8 idle;
  EXPECT_FALSE(idle.should_wake());
  EXPECT_EQ(idle.pick_to_wake(), -1);
  EXPECT_TRUE(idle.park(3, false));
  EXPECT_TRUE(idle.should_wake());
  EXPECT_TRUE(idle.begin_search(8));
  EXPECT_FALSE(idle.should_wake());
  EXPECT_EQ(idle.pick_to_wake(), -1);
  EXPECT_TRUE(idle.end_search());
  EXPECT_TRUE(idle.should_wake());
  EXPECT_EQ(idle.pick_to_wake(), 3);
  EXPECT_EQ(idle.searching(), 1U);
  EXPECT_EQ(idle.parked(), 0U);
  idle.check_invariants();
}

TEST(idle, the_last_to_sleep_is_the_first_to_wake) {
  idle_of_8 idle;
  for (const unsigned i : {2U, 0U, 5U}) {
    EXPECT_TRUE(idle.park(i, false));
    idle.check_invariants();
  }
  for (const int expected : {5, 0, 2}) {
    EXPECT_EQ(idle.pick_to_wake(), expected);
    idle.check_invariants();
    EXPECT_TRUE(idle.end_search());
  }
  EXPECT_EQ(idle.pick_to_wake(), -1);
  EXPECT_EQ(idle.pick_any(), -1);
}

TEST(idle, half_may_search) {
  idle_of_8 idle;
  EXPECT_TRUE(idle.begin_search(1));
  EXPECT_FALSE(idle.begin_search(1));
  EXPECT_FALSE(idle.begin_search(2));
  EXPECT_TRUE(idle.begin_search(3));
  EXPECT_FALSE(idle.begin_search(4));
  EXPECT_TRUE(idle.begin_search(8));
  EXPECT_EQ(idle.searching(), 3U);
  EXPECT_FALSE(idle.end_search());
  EXPECT_FALSE(idle.end_search());
  EXPECT_TRUE(idle.end_search());
}

TEST(idle, whoever_leaves_nobody_searching_must_look_again) {
  idle_of_8 idle;
  EXPECT_TRUE(idle.begin_search(8));
  EXPECT_TRUE(idle.begin_search(8));
  EXPECT_FALSE(idle.park(0, false));  // two still search
  EXPECT_FALSE(idle.park(1, true));   // one still searches
  EXPECT_TRUE(idle.park(2, true));
  EXPECT_TRUE(idle.park(3, false));
  EXPECT_EQ(idle.parked(), 4U);
  EXPECT_EQ(idle.searching(), 0U);
}

TEST(idle, a_sleeper_can_wake_by_itself_from_anywhere_in_the_list) {
  for (const unsigned leaver : {0U, 1U, 2U}) {
    idle_of_8 idle;
    for (unsigned i = 0; i != 3; ++i) {
      idle.park(i, false);
    }
    EXPECT_TRUE(idle.unpark_self(leaver));
    idle.check_invariants();
    EXPECT_EQ(idle.parked(), 2U);
    EXPECT_EQ(idle.searching(), 0U);
    EXPECT_FALSE(idle.unpark_self(leaver));
    for (int i = 2; i >= 0; --i) {
      if (i != static_cast<int>(leaver)) {
        EXPECT_EQ(idle.pick_any(), i);
      }
    }
  }
}

TEST(idle, a_picked_sleeper_learns_that_it_searches) {
  idle_of_8 idle;
  idle.park(4, false);
  EXPECT_EQ(idle.pick_to_wake(), 4);
  EXPECT_FALSE(idle.unpark_self(4));
  EXPECT_EQ(idle.searching(), 1U);
  EXPECT_TRUE(idle.park(4, true));
  EXPECT_TRUE(idle.unpark_self(4));
}

TEST(idle, any_can_be_picked_while_one_searches) {
  idle_of_8 idle;
  idle.park(1, false);
  idle.park(2, false);
  EXPECT_EQ(idle.pick_to_wake(), 2);
  EXPECT_EQ(idle.pick_to_wake(), -1);
  EXPECT_EQ(idle.pick_any(), 1);
  EXPECT_EQ(idle.searching(), 2U);
}

TEST(idle, holds_its_maximum) {
  auto idle = std::make_unique<magpie::idle>();
  for (unsigned i = 0; i != magpie::idle::workers_max; ++i) {
    idle->park(i, false);
  }
  EXPECT_EQ(idle->parked(), 1024U);
  idle->check_invariants();
  for (int i = 1023; i >= 0; --i) {
    EXPECT_EQ(idle->pick_any(), i);
  }
  EXPECT_EQ(idle->searching(), 1024U);
  idle->check_invariants();
}

/// Producers count permits up and wake; workers take permits and sleep when there are none.  A lost
/// wake-up leaves permits behind while all sleep, and the test hangs.
TEST(idle, no_permit_is_left_behind) {
  constexpr unsigned workers = 4;
  constexpr long permits_of_each = 20'000;
  magpie::basic_idle<workers> idle;
  std::atomic<long> permits = 0;
  std::atomic<long> left = 2 * permits_of_each;
  std::vector<std::unique_ptr<std::counting_semaphore<>>> beds;
  for (unsigned i = 0; i != workers; ++i) {
    beds.push_back(std::make_unique<std::counting_semaphore<>>(0));
  }
  const auto wake_one = [&] {
    const int sleeper = idle.pick_to_wake();
    if (sleeper >= 0) {
      beds[static_cast<std::size_t>(sleeper)]->release();
    }
  };
  const auto take = [&] {
    long seen = permits.load();
    while (seen > 0 && !permits.compare_exchange_weak(seen, seen - 1)) {
    }
    return seen > 0;
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i != workers; ++i) {
    threads.emplace_back([&, i] {
      bool searching = false;
      while (left.load() > 0) {
        if (take()) {
          if (searching && idle.end_search()) {
            wake_one();
          }
          searching = false;
          if (left.fetch_sub(1) == 1) {
            for (auto& bed : beds) {
              bed->release();
            }
          }
        } else if (!searching && idle.begin_search(workers)) {
          searching = true;
        } else {
          if (idle.park(i, searching) && permits.load() > 0) {
            wake_one();
          }
          beds[i]->acquire();
          searching = !idle.unpark_self(i);
        }
      }
      if (searching) {
        idle.end_search();
      }
    });
  }
  for (int p = 0; p != 2; ++p) {
    threads.emplace_back([&] {
      for (long i = 0; i != permits_of_each; ++i) {
        permits.fetch_add(1);
        if (idle.should_wake()) {
          wake_one();
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(left.load(), 0);
  EXPECT_EQ(idle.searching(), 0U);
  idle.check_invariants();
}

}  // namespace
