#include <magpie/runtime/signal_slot.hpp>

#include <gtest/gtest.h>

namespace magpie::detail {
namespace {

TEST(signal_slot, tells_what_it_was_opened_with) {
  signal_slot slot;
  EXPECT_FALSE(slot.is_open());
  slot.open({15, 12345, signal_use::last_resort});
  EXPECT_TRUE(slot.open_for(15));
  EXPECT_FALSE(slot.open_for(2));
  signal_slot::entry found{};
  ASSERT_TRUE(slot.enter(15, found));
  EXPECT_EQ(found.number, 15);
  EXPECT_EQ(found.fd, 12345);
  EXPECT_EQ(found.use, signal_use::last_resort);
  slot.leave();
  EXPECT_FALSE(slot.enter(2, found));
  slot.close();
  EXPECT_FALSE(slot.is_open());
  EXPECT_FALSE(slot.enter(15, found));
}

TEST(signal_slot, opens_again_for_somebody_else) {
  signal_slot slot;
  slot.open({2, 0x7fffffff, signal_use::listens});
  slot.close();
  slot.open({64, 0, signal_use::ends});
  signal_slot::entry found{};
  EXPECT_FALSE(slot.enter(2, found));
  ASSERT_TRUE(slot.enter(64, found));
  EXPECT_EQ(found.fd, 0);
  EXPECT_EQ(found.use, signal_use::ends);
  slot.leave();
  slot.close();
}

}  // namespace
}  // namespace magpie::detail
