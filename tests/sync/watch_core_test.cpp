/// The current block of a watch channel and its versions, one by one.  The races are in
/// tests/model/watch_model.cpp.
#include <magpie/sync/watch_core.hpp>

#include <gtest/gtest.h>

namespace magpie::tests::watch_core_test {
namespace {

using sync::detail::value_block;
using sync::detail::watch_core;

/// One that can be a local.
struct bare_channel final : watch_core {
  using watch_core::watch_core;
};

TEST(watch_core, publishing_counts_versions_and_hands_references_over) {
  value_block first;
  value_block second;
  bare_channel channel(&first);
  std::uint64_t version = 7;
  EXPECT_EQ(channel.look(version), &first);
  EXPECT_EQ(version, 0U);
  EXPECT_FALSE(first.drop_reference());  // the look's; the channel has one
  EXPECT_EQ(channel.publish(&second), &first);
  EXPECT_TRUE(first.drop_reference());
  EXPECT_EQ(channel.version(), 1U);
  EXPECT_EQ(channel.look(version), &second);
  EXPECT_EQ(version, 1U);
  EXPECT_FALSE(second.drop_reference());
  EXPECT_TRUE(second.drop_reference());
}

TEST(watch_core, is_published_after_what_is_still_there) {
  value_block first;
  value_block second;
  value_block third;
  bare_channel channel(&first);
  EXPECT_TRUE(channel.publish_after(&first, &second));
  EXPECT_FALSE(channel.publish_after(&first, &third));
  EXPECT_EQ(channel.version(), 1U);
}

TEST(watch_core, receivers_are_counted) {
  value_block first;
  bare_channel channel(&first);
  channel.add_receiver();
  EXPECT_EQ(channel.receivers(), 2U);
  EXPECT_FALSE(channel.drop_receiver());
  EXPECT_FALSE(channel.abandonment().came());
  EXPECT_FALSE(channel.drop_receiver());
  EXPECT_TRUE(channel.abandonment().came());
  EXPECT_TRUE(channel.drop_sender());
  EXPECT_TRUE(watch_core::none().is_closed());
}

}  // namespace
}  // namespace magpie::tests::watch_core_test
