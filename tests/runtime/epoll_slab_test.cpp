#include <magpie/runtime/epoll_slab.hpp>

#include <gtest/gtest.h>
#include <set>
#include <thread>
#include <vector>

namespace magpie::tests::epoll_slab_test {
namespace {

using registration = epoll_slab::registration;

/// A slab never gives its memory back, so a test's own one stays as well.
epoll_slab& new_slab() {
  static auto& slabs = *new std::vector<epoll_slab*>;
  return *slabs.emplace_back(new epoll_slab);
}

TEST(epoll_slab, finds_by_index) {
  epoll_slab& slab = new_slab();
  EXPECT_EQ(slab.at(0), nullptr);
  EXPECT_EQ(slab.at(~std::uint32_t{0}), nullptr);
  std::set<registration*> all;
  for (std::uint32_t i = 0; i < 3 * epoll_slab::chunk_size; ++i) {
    registration* taken = slab.take();
    ASSERT_NE(taken, nullptr);
    EXPECT_EQ(taken->index, i);
    EXPECT_EQ(slab.at(i), taken);
    EXPECT_TRUE(all.insert(taken).second);
  }
  EXPECT_EQ(slab.used(), all.size());
  EXPECT_EQ(slab.capacity(), all.size());
}

TEST(epoll_slab, uses_again_what_is_given_back) {
  epoll_slab& slab = new_slab();
  registration* first = slab.take();
  registration* second = slab.take();
  ASSERT_NE(first, second);
  slab.give(*first);
  slab.give(*second);
  EXPECT_EQ(slab.used(), 0U);
  EXPECT_EQ(slab.take(), second);
  EXPECT_EQ(slab.take(), first);
  EXPECT_EQ(slab.take()->index, 2U);
  EXPECT_EQ(slab.capacity(), epoll_slab::chunk_size);
}

TEST(epoll_slab, abandon_reaches_every_registration) {
  epoll_slab& slab = new_slab();
  registration* first = slab.take();
  registration* second = slab.take();
  first->open(3);
  second->open(4);
  slab.abandon(3);
  EXPECT_EQ(first->close(), registration::no_epoll);
  EXPECT_EQ(second->close(), 4);
}

TEST(epoll_slab, concurrent_takers_share_nothing) {
  epoll_slab& slab = new_slab();
  std::vector<std::thread> threads;
  for (int thread = 1; thread <= 4; ++thread) {
    threads.emplace_back([&slab, thread] {
      std::vector<registration*> mine;
      for (int round = 0; round < 20'000; ++round) {
        if (round % 3 != 2) {
          mine.push_back(slab.take());
          mine.back()->open(thread);
        } else {
          EXPECT_EQ(mine.back()->close(), thread);
          mine.back()->closed();
          slab.give(*mine.back());
          mine.pop_back();
        }
      }
      for (registration* each : mine) {
        EXPECT_EQ(slab.at(each->index), each);
        EXPECT_EQ(each->close(), thread);
        each->closed();
        slab.give(*each);
      }
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(slab.used(), 0U);
  EXPECT_LE(slab.capacity(), 4U * 20'000U);
}

}  // namespace
}  // namespace magpie::tests::epoll_slab_test
