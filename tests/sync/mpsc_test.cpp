/// `mpsc`: messages come once each, in order; who sends waits for room; and no end waits for ever.
#include <magpie/sync/mpsc.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <string>
#include <vector>

namespace magpie::tests::mpsc_test {
namespace {

using sync::mpsc;
using sync::mpsc_permit;
using sync::mpsc_receiver;
using sync::mpsc_sender;

const auto again = std::errc::resource_unavailable_try_again;

TEST(mpsc, gives_each_message_once_in_order) {
  auto [to, from] = mpsc<int>(3);
  EXPECT_EQ(to.capacity(), 3U);
  EXPECT_TRUE(from.empty());
  EXPECT_EQ(error_of(from.try_receive()), again);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(to.try_send(i));
  EXPECT_EQ(error_of(to.try_send(3)), again);
  EXPECT_EQ(from.size(), 3U);
  EXPECT_EQ(to.available(), 0U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(from.try_receive().value(), i);
    EXPECT_EQ(to.available(), static_cast<std::size_t>(i + 1));
  }
  EXPECT_EQ(from.size(), 0U);
}

TEST(mpsc, comes_round_with_every_capacity) {
  for (const std::size_t capacity : {1U, 2U, 31U, 32U, 33U, 64U, 100U}) {
    auto [to, from] = mpsc<int>(capacity);
    int sent = 0;
    int received = 0;
    for (std::size_t i = 0; i < 300; ++i) {
      while (to.try_send(sent)) ++sent;
      EXPECT_EQ(from.size(), capacity);
      for (std::size_t k = 0; k <= i % capacity; ++k)
        EXPECT_EQ(from.try_receive().value(), received++);
    }
    EXPECT_EQ(static_cast<std::size_t>(sent - received), from.size());
  }
}

TEST(mpsc, ends_that_have_no_channel_are_closed) {
  const mpsc_sender<int> to;
  mpsc_receiver<int> from;
  EXPECT_TRUE(to.is_closed());
  EXPECT_EQ(error_of(to.try_send(1)), errc::closed);
  EXPECT_EQ(error_of(to.try_reserve()), errc::closed);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
  EXPECT_TRUE(from.is_closed());
  from.close();
  const auto scenario = [](const mpsc_sender<int>& with, mpsc_receiver<int>& of) -> task<> {
    const auto sent = co_await as_result(with.send(1));
    EXPECT_EQ(error_of(sent), errc::closed);
    const auto got = co_await as_result(of.receive());
    EXPECT_EQ(error_of(got), errc::closed);
    std::vector<int> into;
    const std::size_t none = co_await of.receive_many(into, 4);
    EXPECT_EQ(none, 0U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(to, from)));
}

/// Whichever of its allocations fails: both ends are closed, and nothing is left.
TEST(mpsc, a_channel_without_memory_is_closed) {
  for (std::uint64_t nth = 1; nth <= 5; ++nth) {
    frame_pool_fail_nth(nth);
    auto [to, from] = mpsc<int>(100);
    frame_pool_fail_nth(0);
    EXPECT_EQ(to.is_closed(), nth <= 5);
    EXPECT_EQ(error_of(from.try_receive()), errc::closed);
  }
}

TEST(mpsc, a_channel_without_room_is_an_abort) {
  EXPECT_DEATH(static_cast<void>(mpsc<int>(0)), "room for some");
}

// ---- the end ------------------------------------------------------------------------------------

TEST(mpsc, the_last_sender_closes_and_what_was_sent_is_received) {
  auto [to, from] = mpsc<int>(4);
  {
    const mpsc_sender<int> other = to;
    EXPECT_TRUE(other.same_channel(to));
    EXPECT_EQ(from.sender_count(), 2U);
    EXPECT_TRUE(other.try_send(1));
  }
  EXPECT_FALSE(from.is_closed());
  EXPECT_TRUE(to.try_send(2));
  to = mpsc_sender<int>();
  EXPECT_TRUE(from.is_closed());
  EXPECT_EQ(from.try_receive().value(), 1);
  EXPECT_EQ(from.try_receive().value(), 2);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
}

TEST(mpsc, a_closed_one_refuses_and_gives_what_it_has) {
  auto [to, from] = mpsc<std::unique_ptr<int>>(4);
  EXPECT_TRUE(to.try_send(std::make_unique<int>(1)));
  from.close();
  from.close();
  EXPECT_TRUE(to.is_closed());
  auto value = std::make_unique<int>(2);
  EXPECT_EQ(error_of(to.try_send(std::move(value))), errc::closed);
  ASSERT_NE(value, nullptr);  // it is where it was
  EXPECT_EQ(*from.try_receive().value(), 1);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
}

TEST(mpsc, a_receiver_that_goes_destroys_what_is_there_at_once) {
  const auto value = std::make_shared<int>(1);
  auto [to, from] = mpsc<std::shared_ptr<int>>(100);
  for (int i = 0; i < 70; ++i) EXPECT_TRUE(to.try_send(value));
  auto permit = to.try_reserve(3).value();
  EXPECT_EQ(value.use_count(), 71);
  from = mpsc_receiver<std::shared_ptr<int>>();
  EXPECT_EQ(value.use_count(), 1);
  EXPECT_EQ(error_of(to.try_send(value)), errc::closed);
  permit.send(value);  // nobody will have it
  EXPECT_EQ(value.use_count(), 1);
  to = mpsc_sender<std::shared_ptr<int>>();
  permit.send(value);
  EXPECT_EQ(value.use_count(), 1);
}

/// A message that holds a sender of its own channel does not keep that alive for ever.
struct loop_back {
  mpsc_sender<loop_back> own;
  std::shared_ptr<int> life;
};

TEST(mpsc, conformance_c38_a_message_may_hold_an_end_of_its_own_channel) {
  const auto life = std::make_shared<int>(1);
  auto [to, from] = mpsc<loop_back>(4);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(to.try_send(loop_back{to, life}));
  auto permit = to.try_reserve().value();
  from = mpsc_receiver<loop_back>();
  EXPECT_EQ(life.use_count(), 1);
  permit.send(loop_back{to, life});
  EXPECT_EQ(life.use_count(), 1);
}

/// Sends on another channel where it is destroyed.
struct last_word {
  last_word(mpsc_sender<int> where, int what) : to(std::move(where)), number(what) {}
  last_word(last_word&&) noexcept = default;
  ~last_word() {
    if (to.capacity() != 0) {
      EXPECT_TRUE(to.try_send(number));
    }
  }
  mpsc_sender<int> to;
  int number;
};

/// C52 asks for it where a destructor throws, which is no message here: what a destructor may do is
/// anything else.
TEST(mpsc, c52_all_that_is_queued_is_destroyed_whatever_a_destructor_does) {
  static_assert(std::is_nothrow_destructible_v<last_word>);
  auto [notes, heard] = mpsc<int>(8);
  {
    auto [to, from] = mpsc<last_word>(4);
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(to.try_send(last_word(notes, i)));
    notes = mpsc_sender<int>();
    const auto gone = std::move(from);
  }
  for (int i = 0; i < 4; ++i) EXPECT_EQ(heard.try_receive().value(), i);
  EXPECT_EQ(error_of(heard.try_receive()), errc::closed);
}

TEST(mpsc, a_weak_sender_does_not_keep_it_open) {
  auto [to, from] = mpsc<int>(4);
  const sync::mpsc_weak_sender<int> weak = to.downgrade();
  const sync::mpsc_weak_sender<int> other = weak;
  EXPECT_EQ(from.weak_sender_count(), 2U);
  {
    const auto strong = weak.upgrade();
    ASSERT_TRUE(strong);
    EXPECT_TRUE(strong->try_send(1));
    to = mpsc_sender<int>();
    EXPECT_FALSE(from.is_closed());
    EXPECT_EQ(from.sender_count(), 1U);
  }
  EXPECT_FALSE(weak.upgrade());
  EXPECT_EQ(from.try_receive().value(), 1);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
  from = mpsc_receiver<int>();
  EXPECT_FALSE(other.upgrade());  // the last who holds it
  EXPECT_FALSE(sync::mpsc_weak_sender<int>().upgrade());
}

// ---- permits ------------------------------------------------------------------------------------

TEST(mpsc, a_permit_has_its_room_and_gives_back_what_it_did_not_use) {
  auto [to, from] = mpsc<int>(4);
  auto permit = to.try_reserve(3).value();
  EXPECT_EQ(permit.count(), 3U);
  EXPECT_EQ(error_of(to.try_reserve(2)), again);
  EXPECT_TRUE(to.try_send(1));
  EXPECT_EQ(error_of(to.try_send(9)), again);
  permit.send(2);
  const int third = 3;
  permit.send(third);
  EXPECT_EQ(from.size(), 3U);
  permit.release();
  EXPECT_EQ(permit.count(), 0U);
  EXPECT_EQ(to.available(), 1U);
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(from.try_receive().value(), i);
  EXPECT_EQ(to.available(), 4U);
}

TEST(mpsc, a_permit_outlives_its_sender_and_keeps_the_channel_open) {
  auto [to, from] = mpsc<int>(2);
  auto permit = to.try_reserve().value();
  to = mpsc_sender<int>();
  EXPECT_EQ(error_of(from.try_receive()), again);
  mpsc_permit<int> moved;
  moved = std::move(permit);
  moved.send(1);
  EXPECT_EQ(moved.count(), 0U);
  EXPECT_EQ(from.try_receive().value(), 1);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
}

TEST(mpsc, a_permit_without_room_is_an_abort) {
  auto [to, from] = mpsc<int>(2);
  auto permit = to.try_reserve(0).value();
  EXPECT_DEATH(permit.send(1), "no room is left");
  EXPECT_DEATH(static_cast<void>(to.reserve(3)), "more than there ever is");
}

TEST(mpsc, c50_closed_with_permits_out_is_not_the_end) {
  auto [to, from] = mpsc<int>(4);
  auto first = to.try_reserve(2).value();
  auto second = to.try_reserve(1).value();
  from.close();
  EXPECT_EQ(error_of(from.try_receive()), again);
  first.send(1);
  EXPECT_EQ(from.try_receive().value(), 1);
  EXPECT_EQ(error_of(from.try_receive()), again);
  second.release();
  EXPECT_EQ(error_of(from.try_receive()), again);
  first.release();
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
}

}  // namespace
}  // namespace magpie::tests::mpsc_test
