#include <magpie/runtime/shutdown_latch.hpp>

#include <gtest/gtest.h>

#include <thread>

namespace magpie::detail {
namespace {

TEST(shutdown_latch, refuses_once_it_is_closed) {
  shutdown_latch latch;
  EXPECT_TRUE(latch.enter());
  EXPECT_TRUE(latch.enter());
  latch.leave();
  latch.leave();
  EXPECT_FALSE(latch.is_closed());
  latch.close();
  EXPECT_TRUE(latch.is_closed());
  EXPECT_FALSE(latch.enter());
  latch.close();
}

TEST(shutdown_latch, concurrent_closing_waits_for_who_is_inside) {
  for (int i = 0; i < 200; ++i) {
    shutdown_latch latch;
    int used = 0;  // no atomic: the latch orders it
    ASSERT_TRUE(latch.enter());
    std::thread user([&] {
      if (i % 2 == 0) std::this_thread::yield();
      used = 1;
      latch.leave();
    });
    latch.close();
    EXPECT_EQ(used, 1);
    user.join();
  }
}

TEST(shutdown_latch, the_last_of_a_links_holders_frees_it) {
  runtime_link link(nullptr);
  link.hold();
  EXPECT_FALSE(link.let_go());
  EXPECT_TRUE(link.let_go());
}

}  // namespace
}  // namespace magpie::detail
