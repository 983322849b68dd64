#include <magpie/util/spin_lock.hpp>

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace {

using magpie::lock_scope;
using magpie::spin_lock;

TEST(spin_lock, is_one_byte) { static_assert(sizeof(spin_lock) == 1); }

TEST(spin_lock, excludes) {
  spin_lock lock;
  EXPECT_TRUE(lock.try_lock());
  EXPECT_TRUE(lock.is_locked());
  EXPECT_FALSE(lock.try_lock());
  lock.unlock();
  EXPECT_FALSE(lock.is_locked());
  {
    lock_scope guard(lock);
    EXPECT_FALSE(lock.try_lock());
  }
  EXPECT_TRUE(lock.try_lock());
  lock.unlock();
}

TEST(spin_lock, counts_right_under_contention) {
  constexpr int threads = 4;
  constexpr int rounds = 20'000;
  spin_lock lock;
  long value = 0;
  long tried = 0;
  std::vector<std::thread> running;
  for (int i = 0; i != threads; ++i) {
    running.emplace_back([&, i] {
      for (int round = 0; round != rounds; ++round) {
        if (i == 0 && lock.try_lock()) {
          ++value;
          ++tried;
          lock.unlock();
        } else if (i != 0) {
          lock_scope guard(lock);
          ++value;
        }
      }
    });
  }
  for (std::thread& thread : running) {
    thread.join();
  }
  EXPECT_EQ(value, (threads - 1) * rounds + tried);
}

}  // namespace
