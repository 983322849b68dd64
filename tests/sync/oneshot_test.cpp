/// `oneshot`: the value comes once, or goes back, or is destroyed; and no end waits for ever.
#include <magpie/sync/oneshot.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <string>
#include <thread>

namespace magpie::tests::oneshot_test {
namespace {

using sync::oneshot;
using sync::oneshot_receiver;
using sync::oneshot_sender;

TEST(oneshot, gives_the_value_once) {
  auto [sender, receiver] = oneshot<std::string>();
  EXPECT_EQ(error_of(receiver.try_receive()), std::errc::resource_unavailable_try_again);
  EXPECT_FALSE(sender.is_closed());
  EXPECT_TRUE(sender.send("a value that is too long for a small string"));
  EXPECT_TRUE(sender.is_closed());  // it is used up
  EXPECT_EQ(receiver.try_receive().value(), "a value that is too long for a small string");
  EXPECT_EQ(error_of(receiver.try_receive()), errc::closed);
}

TEST(oneshot, ends_that_have_no_channel_are_closed) {
  oneshot_sender<int> sender;
  oneshot_receiver<int> receiver;
  EXPECT_TRUE(sender.is_closed());
  EXPECT_EQ(sender.send(1).error(), 1);
  EXPECT_EQ(error_of(receiver.try_receive()), errc::closed);
  receiver.close();
  frame_pool_fail_nth(1);
  auto [poor, poor_too] = oneshot<int>();
  frame_pool_fail_nth(0);
  EXPECT_EQ(poor.send(2).error(), 2);
  EXPECT_EQ(error_of(poor_too.try_receive()), errc::closed);
}

TEST(oneshot, a_value_that_nobody_takes_is_destroyed_with_the_channel) {
  const auto value = std::make_shared<int>(1);
  {
    auto [sender, receiver] = oneshot<std::shared_ptr<int>>();
    EXPECT_TRUE(sender.send(value));
    EXPECT_EQ(value.use_count(), 2);
  }
  EXPECT_EQ(value.use_count(), 1);
  {
    auto [sender, receiver] = oneshot<std::shared_ptr<int>>();
    EXPECT_TRUE(sender.send(value));
    const oneshot_receiver<std::shared_ptr<int>> gone = std::move(receiver);
  }
  EXPECT_EQ(value.use_count(), 1);
}

TEST(oneshot, moves_its_value_and_takes_what_cannot_be_copied) {
  auto [sender, receiver] = oneshot<std::unique_ptr<int>>();
  receiver.close();
  auto back = sender.send(std::make_unique<int>(7));
  ASSERT_FALSE(back);
  EXPECT_EQ(*back.error(), 7);
}

TEST(oneshot, c55_a_close_leaves_what_was_sent_and_gives_back_what_was_not) {
  {
    auto [sender, receiver] = oneshot<int>();
    EXPECT_TRUE(sender.send(1));
    receiver.close();
    EXPECT_EQ(receiver.try_receive().value(), 1);
  }
  {
    auto [sender, receiver] = oneshot<int>();
    receiver.close();
    receiver.close();
    EXPECT_TRUE(sender.is_closed());
    EXPECT_EQ(sender.send(2).error(), 2);
    EXPECT_EQ(error_of(receiver.try_receive()), errc::closed);
  }
}

task<> receives(oneshot_receiver<int>& from, int& got) { got = co_await from.receive(); }

TEST(oneshot, a_receive_waits_for_the_value) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = oneshot<int>();
    int got = 0;
    auto receiving = spawn(receives(receiver, got));
    co_await settled();
    EXPECT_TRUE(sender.send(42));
    EXPECT_EQ(got, 0);
    co_await receiving.join();
    EXPECT_EQ(got, 42);
    const auto again = co_await as_result(receiver.receive());
    EXPECT_EQ(error_of(again), errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(oneshot, a_sender_that_goes_ends_the_wait) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = oneshot<int>();
    const auto waits = [](oneshot_receiver<int> from, std::error_code& error) -> task<> {
      error = error_of(co_await as_result(from.receive()));
    };
    std::error_code error;
    auto waiting = spawn(waits(std::move(receiver), error));
    co_await settled();
    EXPECT_FALSE(error);
    sender = oneshot_sender<int>();
    co_await waiting.join();
    EXPECT_EQ(error, errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(oneshot, a_sender_hears_that_nobody_will_receive) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = oneshot<int>();
    const auto waits = [](oneshot_sender<int>& with, bool& heard) -> task<> {
      co_await with.closed();
      heard = true;
    };
    const auto early = co_await as_result(timeout(1ms, sender.closed()));
    EXPECT_EQ(error_of(early), errc::deadline);
    bool heard = false;
    auto waiting = spawn(waits(sender, heard));
    co_await settled();
    EXPECT_FALSE(heard);
    receiver = oneshot_receiver<int>();
    co_await waiting.join();
    EXPECT_TRUE(heard);
    co_await sender.closed();  // at once
    EXPECT_EQ(sender.send(3).error(), 3);
    co_await oneshot_sender<int>().closed();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// Both wait: the receiver for the value, in one branch, the sender for the end of the receiver.
TEST(oneshot, both_ends_may_wait) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = oneshot<int>();
    int got = 0;
    auto receiving = spawn(receives(receiver, got));
    co_await settled();
    const auto early = co_await as_result(timeout(1ms, sender.closed()));
    EXPECT_EQ(error_of(early), errc::deadline);
    EXPECT_TRUE(sender.send(1));
    co_await receiving.join();
    EXPECT_EQ(got, 1);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(oneshot, a_send_while_the_sender_waits_is_an_abort) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = oneshot<int>();
    const auto waits = [](oneshot_sender<int>& with) -> task<> { co_await with.closed(); };
    auto waiting = spawn(waits(sender));
    co_await settled();
    static_cast<void>(sender.send(1));
  };
  EXPECT_DEATH(static_cast<void>(run_on(one_at_a_time(), scenario())), "while it awaits");
}

/// The value came, and the task was stopped before it ran: it is there for the next.
TEST(oneshot, a_stopped_receive_leaves_the_value) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = oneshot<int>();
    int got = 0;
    auto receiving = spawn(receives(receiver, got));
    co_await settled();
    EXPECT_TRUE(sender.send(5));
    receiving.abort();
    const auto ended = co_await receiving.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    EXPECT_EQ(got, 0);
    EXPECT_EQ(receiver.try_receive().value(), 5);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(oneshot, c56_another_task_goes_on_waiting) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = oneshot<int>();
    int got[2] = {};
    auto first = spawn(receives(receiver, got[0]));
    co_await settled();
    first.abort();
    [[maybe_unused]] const auto ended = co_await first.join();
    auto second = spawn(receives(receiver, got[1]));
    co_await settled();
    EXPECT_TRUE(sender.send(9));
    co_await second.join();
    EXPECT_EQ(got[0], 0);
    EXPECT_EQ(got[1], 9);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

#if defined(__cpp_exceptions)
/// Throws when it is moved for the n-th time.
struct fragile {
  explicit fragile(int moves, atomic<int>& alive) : left(moves), life(alive) {}
  fragile(fragile&& other) : left(other.left - 1), life(other.life) {
    if (left == 0) throw 1;
  }
  int left;
  counted life;
};

TEST(oneshot, a_value_that_throws_when_it_is_moved_is_destroyed_once) {
  atomic<int> alive{0};
  for (int moves = 1; moves < 6; ++moves) {
    for (const bool closed : {false, true}) {
      auto [sender, receiver] = oneshot<fragile>();
      if (closed) receiver.close();
      try {
        const auto sent = sender.send(fragile(moves, alive));
        EXPECT_EQ(sent.has_value(), !closed);
        const auto got = receiver.try_receive();
        EXPECT_EQ(got.has_value(), !closed);
      } catch (int) {
      }
    }
    EXPECT_EQ(alive.load(order::relaxed), 0);
  }
}
#endif

/// Destroys the other end of another channel where it is destroyed itself.
struct chained {
  oneshot_sender<chained> other;
};

TEST(oneshot, c38_a_value_may_hold_the_end_of_another_channel) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = oneshot<chained>();
    auto [inner, answer] = oneshot<chained>();
    const auto waits = [](oneshot_receiver<chained>& from, std::error_code& error) -> task<> {
      error = error_of(co_await as_result(from.receive()));
    };
    std::error_code error;
    auto waiting = spawn(waits(answer, error));
    co_await settled();
    EXPECT_TRUE(sender.send(chained{std::move(inner)}));
    receiver = oneshot_receiver<chained>();  // destroys the value, and so ends the other wait
    co_await waiting.join();
    EXPECT_EQ(error, errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// A close races the send: the value is received or comes back, never both and never neither.
TEST(oneshot, concurrent_c55_a_close_beside_a_send) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 2000; ++i) {
      auto [sender, receiver] = oneshot<std::unique_ptr<int>>();
      const auto sends = [](oneshot_sender<std::unique_ptr<int>> to, int value) -> task<bool> {
        auto sent = to.send(std::make_unique<int>(value));
        if (!sent) {
          EXPECT_EQ(*sent.error(), value);
        }
        co_return sent.has_value();
      };
      auto sending = spawn(sends(std::move(sender), i));
      if (i % 3 == 0) co_await yield();
      receiver.close();
      auto got = receiver.try_receive();
      const auto sent = co_await sending.join();
      EXPECT_EQ(got.has_value(), *sent);
      if (got) {
        EXPECT_EQ(**got, i);
      }
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// Ends that go at once, with somebody waiting or not: the block is freed once.
TEST(oneshot, concurrent_ends_go_at_once) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 2000; ++i) {
      auto [sender, receiver] = oneshot<std::shared_ptr<int>>();
      const auto value = std::make_shared<int>(i);
      const auto receives_it = [](oneshot_receiver<std::shared_ptr<int>> from) -> task<> {
        const auto got = co_await as_result(from.receive());
        if (!got) {
          EXPECT_EQ(got.error(), errc::closed);
        }
      };
      auto receiving = spawn(receives_it(std::move(receiver)));
      if (i % 3 == 0) co_await yield();
      if (i % 2 == 0) {
        EXPECT_TRUE(sender.send(value));
      } else {
        sender = oneshot_sender<std::shared_ptr<int>>();
      }
      co_await receiving.join();
      EXPECT_EQ(value.use_count(), 1);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(oneshot, concurrent_a_thread_outside_sends) {
  MAGPIE_NEED_KERNEL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 50; ++i) {
      auto [sender, receiver] = oneshot<int>();
      std::thread outside([to = std::move(sender), i]() mutable { EXPECT_TRUE(to.send(i)); });
      const int got = co_await receiver.receive();
      EXPECT_EQ(got, i);
      outside.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::oneshot_test
