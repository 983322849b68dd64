#include <magpie/runtime/local_queue.hpp>

#include <magpie/runtime/injector.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace {

using magpie::runnable;

struct task : runnable {
  task() : runnable(nullptr) {}
  int id = 0;
  std::atomic<int> runs = 0;
};

struct collecting_sink {
  std::vector<task*>& into;
  void operator()(runnable* first, runnable* last, std::size_t count) const {
    for (std::size_t i = 1; i != count; ++i) {
      runnable* next = first->next;
      into.push_back(static_cast<task*>(first));
      first = next;
    }
    EXPECT_EQ(first, last);
    into.push_back(static_cast<task*>(first));
  }
};

std::unique_ptr<task[]> make_tasks(int count) {
  auto tasks = std::make_unique<task[]>(static_cast<std::size_t>(count));
  for (int i = 0; i != count; ++i) {
    tasks[static_cast<std::size_t>(i)].id = i;
  }
  return tasks;
}

/// How many tasks have run, of all that a test makes.
std::atomic<int> total_ran = 0;

void run_counted(runnable* r) {
  static_cast<task*>(r)->runs.fetch_add(1, std::memory_order_relaxed);
  total_ran.fetch_add(1, std::memory_order_relaxed);
}

void expect_each_ran_once(const std::unique_ptr<task[]>& tasks, int count) {
  for (int i = 0; i != count; ++i) {
    ASSERT_EQ(tasks[static_cast<std::size_t>(i)].runs.load(), 1) << i;
  }
}

std::vector<int> ids(const std::vector<task*>& tasks) {
  std::vector<int> result;
  for (const task* t : tasks) {
    result.push_back(t->id);
  }
  return result;
}

/// Both kinds of queue, from 0 and from next to the wrap of the indices.
class local_queue : public testing::TestWithParam<std::tuple<bool, std::uint32_t>> {
 protected:
  using queue_of_8 = magpie::basic_local_queue<8>;
  queue_of_8 queue{std::get<0>(GetParam()), std::get<1>(GetParam())};
  std::vector<task*> spilled;
  collecting_sink sink{spilled};
};
INSTANTIATE_TEST_SUITE_P(kinds, local_queue,
                         testing::Combine(testing::Bool(), testing::Values(0U, 0xffff'fffcU)));

TEST_P(local_queue, is_a_fifo) {
  auto tasks = make_tasks(40);
  int pushed = 0;
  int popped = 0;
  while (popped != 40) {
    for (int i = 0; i != 5 && pushed != 40; ++i, ++pushed) {
      EXPECT_TRUE(queue.push(tasks[static_cast<std::size_t>(pushed)], sink));
      queue.check_invariants();
    }
    EXPECT_EQ(queue.size(), static_cast<std::size_t>(pushed - popped));
    EXPECT_EQ(queue.free_slots(), 8U - queue.size());
    while (runnable* r = queue.pop()) {
      EXPECT_EQ(static_cast<task*>(r)->id, popped++);
    }
    EXPECT_TRUE(queue.empty());
  }
  EXPECT_TRUE(spilled.empty());
}

TEST_P(local_queue, spills_the_older_half_and_the_new_one) {
  auto tasks = make_tasks(9);
  for (int i = 0; i != 8; ++i) {
    EXPECT_TRUE(queue.push(tasks[static_cast<std::size_t>(i)], sink));
  }
  EXPECT_EQ(queue.free_slots(), 0U);
  EXPECT_FALSE(queue.push(tasks[8], sink));
  EXPECT_EQ(ids(spilled), (std::vector{0, 1, 2, 3, 8}));
  EXPECT_EQ(spilled.back()->next, nullptr);
  for (int i = 4; i != 8; ++i) {
    EXPECT_EQ(queue.pop(), &tasks[static_cast<std::size_t>(i)]);
  }
  EXPECT_EQ(queue.pop(), nullptr);
}

TEST_P(local_queue, takes_batches_as_far_as_they_fit) {
  auto tasks = make_tasks(12);
  for (std::size_t i = 0; i != 11; ++i) {
    tasks[i].next = &tasks[i + 1];
  }
  queue.push_batch(&tasks[0], &tasks[2], 3, sink);
  EXPECT_EQ(queue.size(), 3U);
  EXPECT_TRUE(spilled.empty());
  queue.push_batch(&tasks[3], &tasks[11], 9, sink);
  EXPECT_EQ(ids(spilled), (std::vector{8, 9, 10, 11}));
  for (int i = 0; i != 8; ++i) {
    EXPECT_EQ(queue.pop(), &tasks[static_cast<std::size_t>(i)]);
  }
  EXPECT_TRUE(queue.empty());
}

TEST(local_queue_stealing, takes_half_rounded_up) {
  for (std::size_t count = 0; count <= 8; ++count) {
    magpie::basic_local_queue<8> victim(true, 0xffff'fffdU), mine(true);
    auto tasks = make_tasks(8);
    std::vector<task*> spilled;
    for (std::size_t i = 0; i != count; ++i) {
      victim.push(tasks[i], collecting_sink{spilled});
    }
    const std::size_t half = count - count / 2;
    runnable* direct = victim.steal_into(mine);
    EXPECT_EQ(direct, count == 0 ? nullptr : &tasks[half - 1]);
    EXPECT_EQ(mine.size(), half == 0 ? 0 : half - 1);
    EXPECT_EQ(victim.size(), count - half);
    EXPECT_EQ(victim.free_slots(), 8 - victim.size());  // the claim has been released
    victim.check_invariants();
    mine.check_invariants();
    for (std::size_t i = 0; i + 1 < half; ++i) {
      EXPECT_EQ(mine.pop(), &tasks[i]);
    }
    for (std::size_t i = half; i != count; ++i) {
      EXPECT_EQ(victim.pop(), &tasks[i]);
    }
  }
}

TEST(local_queue_stealing, refuses_when_mine_is_over_half_full) {
  magpie::basic_local_queue<8> victim(true), mine(true);
  auto tasks = make_tasks(6);
  std::vector<task*> spilled;
  victim.push(tasks[5], collecting_sink{spilled});
  for (std::size_t i = 0; i != 5; ++i) {
    mine.push(tasks[i], collecting_sink{spilled});
  }
  EXPECT_EQ(victim.steal_into(mine), nullptr);
  EXPECT_NE(mine.pop(), nullptr);
  EXPECT_EQ(victim.steal_into(mine), &tasks[5]);
  while (mine.pop() != nullptr) {
  }
}

/// One thread alone, random operations on two queues, against two deques.
TEST(local_queue_stealing, behaves_as_a_deque) {
  magpie::basic_local_queue<16> queues[2] = {magpie::basic_local_queue<16>(true, 0xffff'ff00U),
                                             magpie::basic_local_queue<16>(true)};
  std::deque<task*> models[2];
  auto tasks = make_tasks(200);
  std::vector<task*> free;
  for (std::size_t i = 0; i != 200; ++i) {
    free.push_back(&tasks[i]);
  }
  std::mt19937 random(2);
  for (int step = 0; step != 100'000; ++step) {
    const std::size_t q = random() % 2;
    auto& queue = queues[q];
    auto& model = models[q];
    switch (random() % 5) {
      case 0:
      case 1: {
        task* t = free.back();
        free.pop_back();
        std::vector<task*> spilled;
        queue.push(*t, collecting_sink{spilled});
        model.push_back(t);
        if (!spilled.empty()) {
          ASSERT_EQ(model.size(), 17U);
          model.pop_back();
          ASSERT_EQ(spilled, (std::vector<task*>{model[0], model[1], model[2], model[3], model[4],
                                                 model[5], model[6], model[7], t}));
          model.erase(model.begin(), model.begin() + 8);
          free.insert(free.end(), spilled.begin(), spilled.end());
        }
        break;
      }
      case 2:
      case 3: {
        runnable* r = queue.pop();
        ASSERT_EQ(r, model.empty() ? nullptr : model.front());
        if (r != nullptr) {
          free.push_back(model.front());
          model.pop_front();
        }
        break;
      }
      default: {
        auto& victim = models[1 - q];
        const std::size_t half = model.size() > 8 ? 0 : victim.size() - victim.size() / 2;
        runnable* r = queues[1 - q].steal_into(queue);
        ASSERT_EQ(r, half == 0 ? nullptr : victim[half - 1]);
        if (half != 0) {
          free.push_back(victim[half - 1]);
          model.insert(model.end(), victim.begin(),
                       victim.begin() + static_cast<std::ptrdiff_t>(half - 1));
          victim.erase(victim.begin(), victim.begin() + static_cast<std::ptrdiff_t>(half));
        }
      }
    }
    ASSERT_EQ(queue.size(), model.size());
    ASSERT_EQ(queue.empty(), model.empty());
    queue.check_invariants();
  }
  for (auto& queue : queues) {
    while (queue.pop() != nullptr) {
    }
  }
}

/// An owner and three thieves; every task must run exactly once.
TEST(local_queue_stealing, c04_loses_and_doubles_nothing) {
  constexpr int count = 200'000;
  magpie::basic_local_queue<16> victim(true, 0xffff'ff00U);
  auto tasks = make_tasks(count);
  std::atomic<int> ran = 0;
  const auto run = [&](runnable* r) {
    static_cast<task*>(r)->runs.fetch_add(1, std::memory_order_relaxed);
    ran.fetch_add(1, std::memory_order_relaxed);
  };
  std::vector<std::thread> thieves;
  for (int i = 0; i != 3; ++i) {
    thieves.emplace_back([&] {
      magpie::basic_local_queue<16> mine(true);
      while (ran.load(std::memory_order_relaxed) != count) {
        if (runnable* r = victim.steal_into(mine)) {
          run(r);
        }
        while (runnable* r = mine.pop()) {
          run(r);
        }
        EXPECT_LE(victim.size(), 16U);
      }
    });
  }
  std::mt19937 random(3);
  std::vector<task*> spilled;
  for (int i = 0; i != count; ++i) {
    victim.push(tasks[static_cast<std::size_t>(i)], collecting_sink{spilled});
    for (task* t : spilled) {
      run(t);
    }
    spilled.clear();
    if (random() % 3 == 0) {
      if (runnable* r = victim.pop()) {
        run(r);
      }
    }
  }
  while (runnable* r = victim.pop()) {
    run(r);
  }
  for (std::thread& thief : thieves) {
    thief.join();
  }
  for (int i = 0; i != count; ++i) {
    ASSERT_EQ(tasks[static_cast<std::size_t>(i)].runs.load(), 1) << i;
  }
}

/// Runs what is in `mine`, and whatever `take` brings into it, until `count` tasks have run.
template <class Queue, class Take>
void run_until(Queue& mine, const std::atomic<int>& ran, int count, Take take) {
  while (ran.load(std::memory_order_relaxed) != count) {
    if (runnable* r = take()) {
      run_counted(r);
    }
    while (runnable* r = mine.pop()) {
      run_counted(r);
    }
  }
}

/// Two thieves, and an owner whose queue runs over into the injector that all three take from.
TEST(local_queue_stealing, c04_what_runs_over_into_the_injector_is_run_once) {
  constexpr int count = 100'000;
  using queue = magpie::basic_local_queue<16>;
  queue victim(true, 0xffff'ff00U);
  magpie::injector global;
  const auto tasks = make_tasks(count);
  total_ran.store(0);
  std::vector<std::thread> thieves;
  for (int i = 0; i != 2; ++i) {
    thieves.emplace_back([&] {
      queue mine(true);
      run_until(mine, total_ran, count, [&] {
        runnable* r = victim.steal_into(mine);
        return r != nullptr ? r : global.pop_into(mine, 5);
      });
    });
  }
  std::atomic<int> overflows = 0;
  for (int i = 0; i != count; ++i) {
    victim.push(tasks[static_cast<std::size_t>(i)],
                [&](runnable* first, runnable* last, std::size_t spilled) {
                  overflows.fetch_add(1, std::memory_order_relaxed);
                  EXPECT_TRUE(global.push(first, last, spilled));
                });
    if (i % 3 == 0) {
      if (runnable* r = victim.pop()) {
        run_counted(r);
      }
    }
  }
  run_until(victim, total_ran, count, [&] { return global.pop(); });
  for (std::thread& thief : thieves) {
    thief.join();
  }
  EXPECT_GT(overflows.load(), 0);
  expect_each_ran_once(tasks, count);
  global.check_invariants();
}

/// A thief steals from a queue whose owner steals from the next one at the same time.
TEST(local_queue_stealing, c05_who_steals_may_be_stolen_from) {
  constexpr int count = 200'000;
  using queue = magpie::basic_local_queue<16>;
  queue first(true, 0xffff'ff00U);
  queue second(true, 0xffff'fff0U);
  const auto tasks = make_tasks(count);
  total_ran.store(0);
  std::thread thief([&] {
    queue mine(true);
    run_until(mine, total_ran, count, [&] { return first.steal_into(mine); });
  });
  std::thread owner_of_first(
      [&] { run_until(first, total_ran, count, [&] { return second.steal_into(first); }); });
  std::vector<task*> spilled;
  for (int i = 0; i != count; ++i) {
    second.push(tasks[static_cast<std::size_t>(i)], collecting_sink{spilled});
    for (task* t : spilled) {
      run_counted(t);
    }
    spilled.clear();
  }
  run_until(second, total_ran, count, []() -> runnable* { return nullptr; });
  owner_of_first.join();
  thief.join();
  expect_each_ran_once(tasks, count);
}

}  // namespace
