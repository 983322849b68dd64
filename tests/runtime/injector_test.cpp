#include <magpie/runtime/injector.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace {

using magpie::injector;
using magpie::runnable;

struct task : runnable {
  task() : runnable(nullptr) {}
  std::atomic<int> runs = 0;
};

TEST(injector, is_a_fifo_of_tasks_and_chains) {
  injector global;
  task t[5];
  EXPECT_TRUE(global.empty());
  EXPECT_EQ(global.pop(), nullptr);
  t[1].next = &t[2];
  t[2].next = &t[3];
  EXPECT_TRUE(global.push(t[0]));
  EXPECT_TRUE(global.push(&t[1], &t[3], 3));
  EXPECT_TRUE(global.push(t[4]));
  EXPECT_EQ(global.size(), 5U);
  EXPECT_FALSE(global.empty());
  global.check_invariants();
  for (task& expected : t) {
    EXPECT_EQ(global.pop(), &expected);
    global.check_invariants();
  }
  EXPECT_TRUE(global.empty());
}

TEST(injector, pops_batches) {
  injector global;
  task t[7];
  for (task& one : t) {
    EXPECT_TRUE(global.push(one));
  }
  runnable* out[10] = {};
  EXPECT_EQ(global.pop_batch(out, 0), 0U);
  EXPECT_EQ(global.pop_batch(out, 3), 3U);
  EXPECT_EQ(out[2], &t[2]);
  EXPECT_EQ(global.size(), 4U);
  EXPECT_EQ(global.pop_batch(out, 10), 4U);
  EXPECT_EQ(out[0], &t[3]);
  EXPECT_EQ(out[3], &t[6]);
  EXPECT_TRUE(global.push(t[0]));  // still sound after it was emptied
  EXPECT_EQ(global.pop(), &t[0]);
}

TEST(injector, pops_into_a_local_queue_as_far_as_there_is_room) {
  injector global;
  magpie::basic_local_queue<4> mine(true);
  task t[9];
  for (task& one : t) {
    EXPECT_TRUE(global.push(one));
  }
  EXPECT_EQ(global.pop_into(mine, 3), &t[0]);
  EXPECT_EQ(mine.size(), 2U);
  EXPECT_EQ(global.pop_into(mine, 100), &t[3]);
  EXPECT_EQ(mine.size(), 4U);
  EXPECT_EQ(global.pop_into(mine, 100), &t[6]);
  EXPECT_EQ(global.size(), 2U);
  for (const int i : {1, 2, 4, 5}) {
    EXPECT_EQ(mine.pop(), &t[i]);
  }
  EXPECT_EQ(global.pop_into(mine, 1), &t[7]);
  EXPECT_EQ(global.pop_into(mine, 0), nullptr);
  EXPECT_EQ(global.pop_into(mine, 5), &t[8]);
  EXPECT_EQ(global.pop_into(mine, 5), nullptr);
  EXPECT_TRUE(mine.empty());
}

TEST(injector, refuses_after_close_but_gives_out_what_it_has) {
  injector global;
  task t[2];
  EXPECT_TRUE(global.push(t[0]));
  EXPECT_FALSE(global.is_closed());
  global.close();
  EXPECT_TRUE(global.is_closed());
  EXPECT_FALSE(global.push(t[1]));
  EXPECT_FALSE(global.push(&t[1], &t[1], 1));
  EXPECT_EQ(global.size(), 1U);
  EXPECT_EQ(global.pop(), &t[0]);
  EXPECT_EQ(global.pop(), nullptr);
}

TEST(injector, loses_and_doubles_nothing) {
  constexpr std::size_t count = 40'000;  // for each producer
  constexpr std::size_t producers = 2;
  injector global;
  auto tasks = std::make_unique<task[]>(count * producers);
  std::atomic<std::size_t> ran = 0;
  std::vector<std::thread> threads;
  for (std::size_t p = 0; p != producers; ++p) {
    threads.emplace_back([&, p] {
      task* mine = &tasks[p * count];
      for (std::size_t i = 0; i != count;) {
        const std::size_t chain = i % 7 == 0 && i + 3 <= count ? 3 : 1;
        for (std::size_t k = 1; k != chain; ++k) {
          mine[i + k - 1].next = &mine[i + k];
        }
        EXPECT_TRUE(global.push(&mine[i], &mine[i + chain - 1], chain));
        i += chain;
      }
    });
    threads.emplace_back([&] {
      magpie::basic_local_queue<16> queue(true);
      while (ran.load() != count * producers) {
        runnable* r = global.pop_into(queue, 5);
        for (; r != nullptr; r = queue.pop()) {
          static_cast<task*>(r)->runs.fetch_add(1);
          ran.fetch_add(1);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (std::size_t i = 0; i != count * producers; ++i) {
    ASSERT_EQ(tasks[i].runs.load(), 1) << i;
  }
  global.check_invariants();
}

}  // namespace
