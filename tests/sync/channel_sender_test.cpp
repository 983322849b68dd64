/// The senders of channels that have a bound: the same of `mpsc` and of `mpmc`.
#include <magpie/sync/channel_sender.hpp>

#include <magpie/sync/mpmc.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <utility>

namespace magpie::tests::channel_sender_test {
namespace {

using value = std::unique_ptr<int>;

struct to_one {
  static auto make(std::size_t room) { return sync::mpsc<value>(room); }
};
struct to_many {
  static auto make(std::size_t room) { return sync::mpmc<value>(room); }
};

template <class Kind>
class channel_sender : public testing::Test {};
using kinds = testing::Types<to_one, to_many>;
TYPED_TEST_SUITE(channel_sender, kinds, );

value number(int n) { return std::make_unique<int>(n); }
std::error_code again() { return std::make_error_code(std::errc::resource_unavailable_try_again); }

TYPED_TEST(channel_sender, sends_while_there_is_room_and_else_leaves_the_value) {
  auto [to, from] = TypeParam::make(2);
  EXPECT_EQ(to.capacity(), 2U);
  EXPECT_TRUE(to.try_send(number(1)));
  EXPECT_TRUE(to.try_send(number(2)));
  EXPECT_EQ(to.available(), 0U);
  value third = number(3);
  EXPECT_EQ(error_of(to.try_send(std::move(third))), again());
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(*from.try_receive().value(), 1);
  EXPECT_TRUE(to.try_send(std::move(third)));
  EXPECT_EQ(third, nullptr);
  EXPECT_EQ(*from.try_receive().value(), 2);
  EXPECT_EQ(*from.try_receive().value(), 3);
}

TYPED_TEST(channel_sender, a_permit_is_room_and_comes_back) {
  auto [to, from] = TypeParam::make(3);
  auto two = to.try_reserve(2);
  ASSERT_TRUE(two);
  EXPECT_EQ(to.available(), 1U);
  EXPECT_EQ(error_of(to.try_reserve(2)), again());
  two->send(number(1));
  EXPECT_EQ(two->count(), 1U);
  two->release();
  EXPECT_EQ(to.available(), 2U);
  EXPECT_EQ(*from.try_receive().value(), 1);
  EXPECT_EQ(to.available(), 3U);
}

TYPED_TEST(channel_sender, is_closed_by_the_receiver_but_for_permits_that_are_out) {
  auto [to, from] = TypeParam::make(2);
  auto room = to.try_reserve();
  ASSERT_TRUE(room);
  from.close();
  EXPECT_TRUE(to.is_closed());
  value late = number(1);
  EXPECT_EQ(error_of(to.try_send(std::move(late))), errc::closed);
  EXPECT_NE(late, nullptr);
  EXPECT_EQ(error_of(to.try_reserve()), errc::closed);
  room->send(number(2));
  EXPECT_EQ(*from.try_receive().value(), 2);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
}

TYPED_TEST(channel_sender, without_a_channel_is_closed) {
  auto [to, from] = TypeParam::make(1);
  const auto moved = std::move(to);
  EXPECT_TRUE(to.is_closed());
  EXPECT_EQ(to.capacity(), 0U);
  EXPECT_EQ(to.available(), 0U);
  EXPECT_EQ(error_of(to.try_send(number(1))), errc::closed);
  EXPECT_FALSE(moved.is_closed());
}

}  // namespace
}  // namespace magpie::tests::channel_sender_test
