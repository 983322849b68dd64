/// Positions, ends and counts under the channels that send to many, one by one.  The races are in
/// tests/model/watch_model.cpp and broadcast_model.cpp.
#include <magpie/sync/fanout_core.hpp>

#include <gtest/gtest.h>

namespace magpie::tests::fanout_core_test {
namespace {

using detail::grant;
using sync::detail::fanout_core;
using sync::detail::fanout_entry;

/// Nothing but positions.
struct bare_channel final : fanout_core {
  bare_channel() noexcept : fanout_core(false) {}
  void publish() {
    detail::wake_chain woken;
    {
      const lock_scope guard(*this);
      advance(woken);
    }
    woken.post();
  }
  bool drop_receiver() {
    if (abandonment().drop_receiver()) abandonment().wake();
    return let_go();
  }
};

TEST(fanout_core, what_was_not_had_comes_before_the_end) {
  bare_channel channel;
  const std::uint64_t none = 0;
  const std::uint64_t one = 1;
  fanout_entry wanted(none);
  EXPECT_FALSE(channel.try_take(wanted));
  EXPECT_EQ(wanted.is, grant::waiting);
  channel.publish();
  EXPECT_EQ(channel.position(), 1U);
  EXPECT_FALSE(channel.drop_sender());
  EXPECT_TRUE(channel.is_closed());
  EXPECT_EQ(channel.position(), 1U);
  EXPECT_TRUE(channel.try_take(wanted));
  EXPECT_EQ(wanted.is, grant::granted);
  fanout_entry more(one);
  EXPECT_TRUE(channel.try_take(more));
  EXPECT_EQ(more.is, grant::closed);
  EXPECT_TRUE(channel.drop_receiver());
}

TEST(fanout_core, the_last_of_all_ends_frees_it) {
  bare_channel channel;
  channel.add_sender();
  EXPECT_EQ(channel.senders(), 2U);
  EXPECT_FALSE(channel.drop_sender());
  EXPECT_FALSE(channel.is_closed() || channel.abandonment().came());
  EXPECT_FALSE(channel.drop_receiver());
  EXPECT_TRUE(channel.abandonment().came());
  EXPECT_EQ(channel.receivers(), 0U);
  EXPECT_TRUE(channel.drop_sender());
  EXPECT_TRUE(channel.is_closed());
}

}  // namespace
}  // namespace magpie::tests::fanout_core_test
