/// `mpsc`: who waits for room, for a message and for the end; and what a stop leaves behind.
#include <magpie/sync/mpsc.hpp>

#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <string>
#include <vector>

namespace magpie::tests::mpsc_wait_test {
namespace {

using sync::mpsc;
using sync::mpsc_receiver;
using sync::mpsc_sender;

const auto again = std::errc::resource_unavailable_try_again;

task<> receives(mpsc_receiver<int>& from, std::vector<int>& into, std::error_code& ended) {
  for (;;) {
    const auto got = co_await as_result(from.receive());
    if (!got) {
      ended = got.error();
      co_return;
    }
    into.push_back(*got);
  }
}

task<> sends(const mpsc_sender<int>& to, int value, std::error_code& ended) {
  ended = std::make_error_code(again);
  const auto sent = co_await as_result(to.send(std::move(value)));
  ended = error_of(sent);
}

TEST(mpsc, a_receive_waits_for_a_message_and_for_the_end) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(2);
    std::vector<int> got;
    std::error_code ended;
    auto receiving = spawn(receives(from, got, ended));
    co_await settled();
    EXPECT_TRUE(to.try_send(1));
    EXPECT_TRUE(got.empty());  // nobody is resumed inside
    co_await settled();
    EXPECT_TRUE(to.try_send(2));
    co_await settled();
    EXPECT_EQ(got, (std::vector{1, 2}));
    EXPECT_FALSE(ended);
    to = mpsc_sender<int>();
    co_await receiving.join();
    EXPECT_EQ(ended, errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc, senders_wait_for_room_in_the_order_of_coming) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    std::error_code ended[4];
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 4; ++i) {
        group.spawn(sends(to, i, ended[i]));
        co_await settled();
      }
      for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(ended[i]);
        for (int k = i + 1; k < 4; ++k) EXPECT_EQ(ended[k], again);
        EXPECT_EQ(error_of(to.try_send(9)), again);  // passes nobody
        EXPECT_EQ(from.try_receive().value(), i);
        co_await settled();
      }
    });
    EXPECT_EQ(to.available(), 1U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// A big request in front is not passed by a small one.
TEST(mpsc, a_big_reserve_is_not_passed) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(3);
    auto held = to.try_reserve(2).value();
    bool had = false;
    const auto reserves = [](const mpsc_sender<int>& of, bool& got) -> task<> {
      auto permit = co_await of.reserve(3);
      got = permit.count() == 3;
    };
    std::error_code ended;
    auto big = spawn(reserves(to, had));
    co_await settled();
    auto small = spawn(sends(to, 1, ended));
    co_await settled();
    EXPECT_EQ(ended, again);
    held.release();
    co_await settled();
    EXPECT_TRUE(had);
    EXPECT_FALSE(ended);
    EXPECT_EQ(from.try_receive().value(), 1);
    co_await big.join();
    co_await small.join();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc, a_close_refuses_those_who_wait_and_leaves_them_their_value) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<std::string>(1);
    EXPECT_TRUE(to.try_send("first"));
    const auto waits = [](const mpsc_sender<std::string>& with, std::string& value) -> task<> {
      const auto sent = co_await as_result(with.send(std::move(value)));
      EXPECT_EQ(error_of(sent), errc::closed);
    };
    std::string value = "a value that is too long for a small string";
    auto waiting = spawn(waits(to, value));
    co_await settled();
    from.close();
    co_await waiting.join();
    EXPECT_EQ(value, "a value that is too long for a small string");
    EXPECT_EQ(from.try_receive().value(), "first");
    const auto end = co_await as_result(from.receive());
    EXPECT_EQ(error_of(end), errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc, c46_a_permit_may_send_after_the_close) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    auto permit = to.try_reserve().value();
    std::error_code refused;
    auto second = spawn(sends(to, 2, refused));
    co_await settled();
    from.close();
    co_await second.join();
    EXPECT_EQ(refused, errc::closed);
    std::vector<int> got;
    std::error_code ended;
    auto receiving = spawn(receives(from, got, ended));
    co_await settled();
    EXPECT_FALSE(ended);
    permit.send(1);
    co_await receiving.join();
    EXPECT_EQ(got, (std::vector{1}));
    EXPECT_EQ(ended, errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// The last permit comes back unused: the receiver hears of it.
TEST(mpsc, a_receiver_that_has_closed_hears_of_the_last_permit) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(2);
    auto first = to.try_reserve().value();
    auto second = to.try_reserve().value();
    from.close();
    std::vector<int> got;
    std::error_code ended;
    auto receiving = spawn(receives(from, got, ended));
    co_await settled();
    first.release();
    co_await settled();
    EXPECT_FALSE(ended);
    second.release();
    co_await receiving.join();
    EXPECT_EQ(ended, errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

task<> reserves(const mpsc_sender<int>& of, bool& had) {
  const auto permit = co_await of.reserve();
  had = true;
  co_await sleep_for(1h);
}

TEST(mpsc, c47_a_reserve_that_is_stopped_with_its_slot_ends_a_closed_channel) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    EXPECT_TRUE(to.try_send(1));
    bool had = false;
    auto reserving = spawn(reserves(to, had));
    co_await settled();
    EXPECT_EQ(from.try_receive().value(), 1);  // its slot is on the way
    from.close();
    reserving.abort();
    std::vector<int> got;
    std::error_code ended;
    auto receiving = spawn(receives(from, got, ended));
    co_await receiving.join();
    EXPECT_EQ(ended, errc::closed);
    EXPECT_FALSE(had);
    [[maybe_unused]] const auto stopped = co_await reserving.join();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc, c49_a_slot_goes_to_the_next_who_has_not_been_stopped) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    EXPECT_TRUE(to.try_send(1));
    bool had[2] = {};
    auto first = spawn(reserves(to, had[0]));
    co_await settled();
    auto second = spawn(reserves(to, had[1]));
    co_await settled();
    first.abort();
    EXPECT_EQ(from.try_receive().value(), 1);
    co_await settled();
    EXPECT_FALSE(had[0]);
    EXPECT_TRUE(had[1]);
    second.abort();
    [[maybe_unused]] const auto one = co_await first.join();
    [[maybe_unused]] const auto two = co_await second.join();
    EXPECT_EQ(to.available(), 1U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// The room was given, and the task is stopped before it runs: its value is untouched, and the next
/// in line sends.
TEST(mpsc, a_stopped_send_has_sent_nothing_and_passes_its_room_on) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    EXPECT_TRUE(to.try_send(1));
    std::error_code ended[2];
    auto first = spawn(sends(to, 2, ended[0]));
    co_await settled();
    auto second = spawn(sends(to, 3, ended[1]));
    co_await settled();
    EXPECT_EQ(from.try_receive().value(), 1);
    first.abort();
    co_await second.join();
    EXPECT_EQ(ended[0], errc::stopped);
    EXPECT_EQ(from.try_receive().value(), 3);
    [[maybe_unused]] const auto stopped = co_await first.join();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc, a_stopped_send_leaves_the_value_to_its_caller) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<std::unique_ptr<int>>(1);
    EXPECT_TRUE(to.try_send(std::make_unique<int>(1)));
    auto value = std::make_unique<int>(2);
    const auto late = co_await as_result(timeout(1ms, to.send(std::move(value))));
    EXPECT_EQ(error_of(late), errc::deadline);
    EXPECT_TRUE(value);
    EXPECT_EQ(*from.try_receive().value(), 1);
    co_await to.send(std::move(value));
    EXPECT_FALSE(value);
    EXPECT_EQ(*from.try_receive().value(), 2);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// The message came, and the task was stopped before it ran: it is there for the next.
TEST(mpsc, a_stopped_receive_leaves_the_message) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(2);
    std::vector<int> got;
    std::error_code ended;
    auto receiving = spawn(receives(from, got, ended));
    co_await settled();
    EXPECT_TRUE(to.try_send(5));
    receiving.abort();
    [[maybe_unused]] const auto aborted = co_await receiving.join();
    EXPECT_EQ(ended, errc::stopped);
    EXPECT_TRUE(got.empty());
    EXPECT_EQ(from.try_receive().value(), 5);
    EXPECT_EQ(to.available(), 2U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc, conformance_c56_another_task_goes_on_receiving) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(2);
    std::vector<int> got[2];
    std::error_code ended[2];
    auto first = spawn(receives(from, got[0], ended[0]));
    co_await settled();
    first.abort();
    [[maybe_unused]] const auto aborted = co_await first.join();
    auto second = spawn(receives(from, got[1], ended[1]));
    co_await settled();
    EXPECT_TRUE(to.try_send(9));
    to = mpsc_sender<int>();
    co_await second.join();
    EXPECT_TRUE(got[0].empty());
    EXPECT_EQ(got[1], (std::vector{9}));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// What has completed has its effect, also while other branches go on.
TEST(mpsc, branches_of_one_task_may_wait_for_each_other) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    const auto pair = co_await join(to.send(1), from.receive());
    EXPECT_EQ(std::get<1>(pair), 1);
    EXPECT_TRUE(to.try_send(2));
    const auto other = co_await join(from.receive(), to.send(3));
    EXPECT_EQ(std::get<0>(other), 2);
    EXPECT_EQ(from.try_receive().value(), 3);
    EXPECT_EQ(to.available(), 1U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc, the_loser_of_a_select_leaves_its_message) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    auto [other_to, other] = mpsc<int>(1);
    const auto both = [](mpsc_sender<int> a, mpsc_sender<int> b) -> task<> {
      EXPECT_TRUE(a.try_send(1));
      EXPECT_TRUE(b.try_send(2));
      co_return;
    };
    auto sending = spawn(both(to, other_to));
    const auto first = co_await select(from.receive(), other.receive());
    co_await sending.join();
    auto& left = first.index() == 0 ? other : from;
    EXPECT_EQ(left.try_receive().value(), first.index() == 0 ? 2 : 1);
    EXPECT_EQ(to.available() + other_to.available(), 2U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// An error in another branch drops what was received and not looked at: it is still there.
TEST(mpsc, what_nobody_took_is_received_again) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    EXPECT_TRUE(to.try_send(1));
    const auto fails = []() -> task<> { co_await fail(some_error()); };
    const auto both = co_await as_result(join(from.receive(), fails()));
    EXPECT_EQ(error_of(both), some_error());
    EXPECT_EQ(from.try_receive().value(), 1);
    EXPECT_EQ(to.available(), 1U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc, two_who_receive_at_once_are_an_abort) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    co_await select(from.receive(), from.receive());
  };
  EXPECT_DEATH(static_cast<void>(run_on(one_at_a_time(), scenario())), "at the same time");
}

TEST(mpsc, conformance_c08_a_loop_over_messages_gives_way) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1000);
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(to.try_send(i));
    bool others = false;
    const auto runs = [](bool& ran) -> task<> {
      ran = true;
      co_return;
    };
    auto other = spawn(runs(others));
    int before = 0;
    for (int i = 0; i < 1000; ++i) {
      const int got = co_await from.receive();
      EXPECT_EQ(got, i);
      if (!others) ++before;
    }
    EXPECT_LE(before, 128);
    co_await other.join();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

}  // namespace
}  // namespace magpie::tests::mpsc_wait_test
