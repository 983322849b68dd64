/// The fork deque: a stack for its owner, a queue for thieves, bounded.  Races are model-checked
/// (tests/model/fork_deque_model.cpp).
#include <magpie/runtime/fork_deque.hpp>
#include <magpie/runtime/runnable.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <random>
#include <thread>
#include <vector>

namespace magpie::tests::fork_deque_test {
namespace {

struct item : runnable {
  item() : runnable([](runnable&) noexcept {}) {}
  std::atomic<int> taken{0};
};

TEST(fork_deque_test, owner_takes_the_newest_and_thieves_the_oldest) {
  basic_fork_deque<8> forks(true);
  item a, b, c;
  for (item* one : {&a, &b, &c}) EXPECT_TRUE(forks.push(*one));
  EXPECT_EQ(forks.size(), 3u);
  EXPECT_EQ(forks.steal(), &a);
  EXPECT_EQ(forks.take(), &c);
  EXPECT_EQ(forks.take(), &b);
  EXPECT_EQ(forks.take(), nullptr);
  EXPECT_EQ(forks.steal(), nullptr);
  EXPECT_TRUE(forks.empty());
}

TEST(fork_deque_test, take_if_takes_the_newest_alone) {
  basic_fork_deque<8> forks(false);
  item a, b;
  ASSERT_TRUE(forks.push(a));
  ASSERT_TRUE(forks.push(b));
  EXPECT_FALSE(forks.take_if(a));
  EXPECT_TRUE(forks.take_if(b));
  EXPECT_TRUE(forks.take_if(a));
  EXPECT_FALSE(forks.take_if(a));
}

TEST(fork_deque_test, refuses_when_full_and_goes_on_afterwards) {
  basic_fork_deque<4> forks(true);
  std::vector<item> items(6);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(forks.push(items[i]));
  EXPECT_FALSE(forks.push(items[4]));
  EXPECT_EQ(forks.steal(), &items[0]);
  EXPECT_TRUE(forks.push(items[4]));
  EXPECT_FALSE(forks.push(items[5]));
  while (forks.take() != nullptr) {
  }
}

TEST(fork_deque_test, random_operations_agree_with_a_deque) {
  std::mt19937 random(7);
  basic_fork_deque<16> forks(true);
  std::deque<runnable*> reference;
  std::vector<item> items(16);
  std::size_t next = 0;
  for (int i = 0; i < 200'000; ++i) {
    const auto what = random() % 5;
    if (what < 2) {
      item& one = items[next++ % items.size()];
      const bool room = reference.size() < 16;
      ASSERT_EQ(forks.push(one), room);
      if (room) reference.push_back(&one);
    } else if (what < 4) {
      runnable* const wanted = reference.empty() ? nullptr : reference.back();
      ASSERT_EQ(forks.take(), wanted);
      if (wanted != nullptr) reference.pop_back();
    } else {
      runnable* const wanted = reference.empty() ? nullptr : reference.front();
      ASSERT_EQ(forks.steal(), wanted);
      if (wanted != nullptr) reference.pop_front();
    }
    ASSERT_EQ(forks.size(), reference.size());
  }
  while (forks.take() != nullptr) {
  }
}

TEST(fork_deque_test, concurrent_thieves_and_owner_take_each_fork_once) {
  constexpr std::size_t count = 50'000;
  basic_fork_deque<64> forks(true);
  std::vector<item> items(count);
  std::atomic<bool> over{false};
  std::vector<std::thread> thieves;
  for (int i = 0; i < 2; ++i) {
    thieves.emplace_back([&] {
      while (!over.load()) {
        if (runnable* one = forks.steal()) ++static_cast<item*>(one)->taken;
      }
    });
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (!forks.push(items[i])) ++items[i].taken;
    if (i % 3 == 0) {
      if (runnable* one = forks.take()) ++static_cast<item*>(one)->taken;
    }
  }
  while (runnable* one = forks.take()) ++static_cast<item*>(one)->taken;
  over.store(true);
  for (std::thread& thief : thieves) thief.join();
  for (const item& one : items) ASSERT_EQ(one.taken.load(), 1);
}

}  // namespace
}  // namespace magpie::tests::fork_deque_test
