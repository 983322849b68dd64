/// `closed`: senders that wait until nobody will receive, of every channel to one or to many.
#include <magpie/sync/mpmc.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/unbounded_mpsc.hpp>
#include <magpie/tests/sync/world.hpp>
#include <magpie/util/atomic.hpp>

#include <optional>
#include <thread>
#include <utility>

namespace magpie::tests::channel_closed_test {
namespace {

struct bounded_to_one {
  static auto make() { return sync::mpsc<int>(2); }
};
struct unbounded_to_one {
  static auto make() { return sync::unbounded_mpsc<int>(); }
};
struct to_many {
  static auto make() { return sync::mpmc<int>(2); }
};

template <class Kind>
class channel_closed : public testing::Test {};
using kinds = testing::Types<bounded_to_one, unbounded_to_one, to_many>;
TYPED_TEST_SUITE(channel_closed, kinds, );

template <class Sender>
task<> hears(const Sender& with, int& heard) {
  co_await with.closed();
  EXPECT_TRUE(with.is_closed());
  ++heard;
}

TYPED_TEST(channel_closed, is_heard_by_all_when_the_receiver_closes) {
  at_instants([]() -> task<> {
    auto [to, from] = TypeParam::make();
    const auto other = to;
    int heard = 0;
    auto first = spawn(hears(to, heard));
    auto second = spawn(hears(to, heard));
    auto third = spawn(hears(other, heard));
    co_await test_clock::advance(1h);
    EXPECT_EQ(heard, 0);
    from.close();
    EXPECT_EQ(heard, 0);  // it runs nobody by itself
    co_await first.join();
    co_await second.join();
    co_await third.join();
    EXPECT_EQ(heard, 3);
    from.close();
    co_await to.closed();  // at once
  });
}

TYPED_TEST(channel_closed, is_heard_when_the_last_receiver_has_gone) {
  at_instants([]() -> task<> {
    auto ends = TypeParam::make();
    int heard = 0;
    auto waiting = spawn(hears(ends.sender, heard));
    {
      const auto gone = std::move(ends.receiver);
      co_await test_clock::advance(1h);
      EXPECT_EQ(heard, 0);
    }
    co_await waiting.join();
    EXPECT_EQ(heard, 1);
  });
}

TYPED_TEST(channel_closed, is_not_heard_for_a_message_and_not_for_a_sender_that_goes) {
  at_instants([]() -> task<> {
    auto [to, from] = TypeParam::make();
    int heard = 0;
    auto waiting = spawn(hears(to, heard));
    EXPECT_FALSE(to.is_closed());
    {
      const auto other = to;
    }
    co_await test_clock::advance(1h);
    EXPECT_EQ(error_of(from.try_receive()), std::errc::resource_unavailable_try_again);
    EXPECT_EQ(heard, 0);
    from.close();
    co_await waiting.join();
  });
}

TYPED_TEST(channel_closed, a_stop_ends_the_wait_alone) {
  const auto scenario = []() -> task<> {
    auto [to, from] = TypeParam::make();
    const auto late = co_await as_result(timeout(1ms, to.closed()));
    EXPECT_EQ(error_of(late), errc::deadline);
    EXPECT_FALSE(to.is_closed());
    from.close();
    co_await to.closed();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

template <class Sender>
task<bool> works_for_a_day(const Sender& sender) {
  const auto first = co_await select(sleep_for(24h), sender.closed());
  co_return first.index() == 0;
}

// What it is for: the work is given up when nobody wants its result.
TYPED_TEST(channel_closed, ends_work_that_nobody_wants) {
  at_instants([]() -> task<> {
    auto [to, from] = TypeParam::make();
    auto working = spawn(works_for_a_day(to));
    co_await test_clock::advance(1h);
    from.close();
    const auto ended = co_await working.join();
    EXPECT_FALSE(ended.value());
  });
}

TYPED_TEST(channel_closed, without_a_channel_is_heard_at_once) {
  at_instants([]() -> task<> {
    auto [to, from] = TypeParam::make();
    const auto moved = std::move(to);
    co_await to.closed();
    EXPECT_FALSE(moved.is_closed());
  });
}

TYPED_TEST(channel_closed, is_heard_by_a_thread) {
  auto ends = TypeParam::make();
  std::thread waits([&] { ends.sender.blocking_closed(); });
  ends.receiver.close();
  waits.join();
  EXPECT_TRUE(ends.sender.is_closed());
}

template <class Sender>
task<> waits_after(int turns, Sender sender, atomic<int>& heard) {
  for (int k = 0; k < turns; ++k) co_await yield();
  if (turns % 4 == 3) static_cast<void>(co_await as_result(timeout(10us, sender.closed())));
  co_await sender.closed();
  EXPECT_TRUE(sender.is_closed());
  heard.fetch_add(1, order::relaxed);
}

// Receivers that go while senders begin to wait, stop waiting, and go.
TYPED_TEST(channel_closed, concurrent_waits_hear_it_each) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int round = 0; round < 50; ++round) {
      auto ends = TypeParam::make();
      atomic<int> heard{0};
      std::optional receiver(std::move(ends.receiver));
      co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i < 8; ++i) group.spawn(waits_after(i, ends.sender, heard));
        for (int k = 0; k < round % 5; ++k) co_await yield();
        receiver.reset();
      });
      EXPECT_EQ(heard.load(), 8);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::channel_closed_test
