/// The ring under a broadcast channel: what is missed, and who takes a block along.  The races are
/// in tests/model/broadcast_model.cpp.
#include <magpie/sync/broadcast_core.hpp>

#include <gtest/gtest.h>

#include <array>

namespace magpie::tests::broadcast_core_test {
namespace {

using sync::detail::broadcast_core;
using sync::detail::broadcast_slot;
using sync::detail::value_block;

struct ring_of_two {
  std::array<broadcast_slot, 2> slots;
};
struct bare_channel final : ring_of_two, broadcast_core {
  bare_channel() noexcept : broadcast_core(slots.data(), slots.size()) {}
};

TEST(broadcast_core, the_last_to_take_a_block_takes_the_reference_along) {
  bare_channel channel;
  EXPECT_EQ(channel.add_receiver(), 0U);
  value_block block;
  value_block* before = nullptr;
  EXPECT_EQ(channel.publish(&block, before), 2U);
  EXPECT_EQ(before, nullptr);
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::uint64_t missed = 7;
  EXPECT_EQ(channel.take(first, missed), &block);
  EXPECT_EQ(missed, 0U);
  EXPECT_EQ(channel.take(first, missed), nullptr);
  EXPECT_EQ(channel.take(second, missed), &block);
  EXPECT_EQ(channel.slots[0].block, nullptr);
  EXPECT_FALSE(block.drop_reference());
  EXPECT_TRUE(block.drop_reference());
}

TEST(broadcast_core, who_is_too_slow_goes_on_with_the_oldest_that_is_there) {
  bare_channel channel;
  std::array<value_block, 5> blocks;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    value_block* before = nullptr;
    EXPECT_EQ(channel.publish(&blocks[i], before), 1U);
    EXPECT_EQ(before, i < 2 ? nullptr : &blocks[i - 2]);
  }
  std::uint64_t position = 1;
  std::uint64_t missed = 0;
  EXPECT_EQ(channel.take(position, missed), &blocks[3]);
  EXPECT_EQ(missed, 2U);
  EXPECT_FALSE(channel.end_receiver(position));
  EXPECT_EQ(channel.take(position, missed), &blocks[4]);
  EXPECT_EQ(missed, 0U);
  EXPECT_EQ(position, 5U);
  EXPECT_TRUE(channel.end_receiver(position));
  EXPECT_TRUE(channel.abandonment().came());
  value_block* before = nullptr;
  EXPECT_EQ(channel.publish(&blocks[0], before), 0U);
  EXPECT_EQ(channel.position(), 5U);
}

}  // namespace
}  // namespace magpie::tests::broadcast_core_test
