/// `broadcast`: who receives what, what is missed, and what becomes of messages.  With many at
/// once, and against a simple reference: broadcast_random_test.cpp.
#include <magpie/sync/broadcast.hpp>

#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace magpie::tests::broadcast_test {
namespace {

using sync::broadcast;
using sync::broadcast_receiver;
using sync::broadcast_sender;

TEST(broadcast, every_receiver_gets_every_message) {
  auto [sender, first] = broadcast<std::string>(4);
  auto second = sender.subscribe();
  EXPECT_EQ(sender.send("a").value(), 2U);
  EXPECT_EQ(sender.send("b").value(), 2U);
  EXPECT_EQ(first.size(), 2U);
  for (auto* each : {&first, &second}) {
    EXPECT_EQ(**each->try_receive(), "a");
    EXPECT_EQ((*each->try_receive())->size(), 1U);
    EXPECT_EQ(error_of(each->try_receive()), std::errc::resource_unavailable_try_again);
  }
  auto late = first.resubscribe();
  EXPECT_EQ(sender.send("c").value(), 3U);
  EXPECT_EQ(**late.try_receive(), "c");
  sender = broadcast_sender<std::string>();
  EXPECT_TRUE(first.is_closed());
  EXPECT_EQ(**first.try_receive(), "c");
  EXPECT_EQ(error_of(first.try_receive()), errc::closed);
}

TEST(broadcast, conformance_c58_who_is_too_slow_hears_how_many_it_missed) {
  auto [sender, receiver] = broadcast<int>(3);
  EXPECT_EQ(sender.capacity(), 4U);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(sender.send(i));
  EXPECT_EQ(receiver.size(), 5U);  // before it has heard of it
  const auto oldest = receiver.try_receive();
  EXPECT_EQ(oldest->missed(), 1U);
  EXPECT_EQ(**oldest, 1);
  EXPECT_EQ(receiver.size(), 3U);
  const auto next = receiver.try_receive();
  EXPECT_EQ(next->missed(), 0U);
  EXPECT_EQ(**next, 2);
  for (int i = 5; i < 25; ++i) EXPECT_TRUE(sender.send(i));
  sender = broadcast_sender<int>();
  const auto last = receiver.try_receive();
  EXPECT_EQ(last->missed(), 18U);
  EXPECT_EQ(**last, 21);
}

/// Nobody copies, so nothing can throw on the way to a receiver.
struct no_copies {
  explicit no_copies(std::shared_ptr<int> held) : what(std::move(held)) {}
  no_copies(no_copies&&) = default;
  std::shared_ptr<int> what;
};

TEST(broadcast, conformance_c59_messages_go_when_all_have_had_them_or_nobody_will) {
  auto [sender, first] = broadcast<no_copies>(4);
  auto second = sender.subscribe();
  const auto watched = std::make_shared<int>(1);
  EXPECT_TRUE(sender.send(no_copies(watched)));
  EXPECT_TRUE(first.try_receive());
  EXPECT_EQ(watched.use_count(), 2);
  {
    const auto had = second.try_receive();
    EXPECT_EQ(watched.use_count(), 2);  // it is all that is left of it
    EXPECT_EQ((*had)->what, watched);
  }
  EXPECT_EQ(watched.use_count(), 1);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(sender.send(no_copies(watched)));
  EXPECT_EQ(watched.use_count(), 4);
  first = broadcast_receiver<no_copies>();
  EXPECT_EQ(watched.use_count(), 4);
  second = broadcast_receiver<no_copies>();
  EXPECT_EQ(watched.use_count(), 1);
  const auto refused = sender.send(no_copies(watched));
  EXPECT_EQ(refused.error().what, watched);
}

TEST(broadcast, a_channel_that_goes_takes_its_messages_along) {
  const auto watched = std::make_shared<int>(1);
  broadcast_receiver<std::shared_ptr<int>> last;
  {
    auto [sender, receiver] = broadcast<std::shared_ptr<int>>(4);
    last = receiver.resubscribe();
    for (int i = 0; i < 9; ++i) EXPECT_TRUE(sender.send(watched));
  }
  EXPECT_EQ(watched.use_count(), 5);
  last = broadcast_receiver<std::shared_ptr<int>>();
  EXPECT_EQ(watched.use_count(), 1);
}

TEST(broadcast, an_end_without_a_channel_is_closed) {
  broadcast_sender<int> sender;
  broadcast_receiver<int> receiver;
  EXPECT_TRUE(sender.is_closed() && receiver.is_closed());
  EXPECT_EQ(sender.capacity() + sender.senders() + sender.receivers() + receiver.size(), 0U);
  EXPECT_EQ(sender.send(1).error(), 1);
  EXPECT_EQ(error_of(receiver.try_receive()), errc::closed);
  EXPECT_EQ(error_of(receiver.blocking_receive()), errc::closed);
  EXPECT_EQ(error_of(sender.subscribe().try_receive()), errc::closed);
  EXPECT_EQ(error_of(receiver.resubscribe().try_receive()), errc::closed);
  EXPECT_DEATH(static_cast<void>(broadcast<int>(0)), "capacity");
}

TEST(broadcast, without_memory_nothing_is_sent) {
  for (std::uint64_t nth = 1; nth <= 2; ++nth) {
    frame_pool_fail_nth(nth);
    auto [sender, receiver] = broadcast<int>(2);
    frame_pool_fail_nth(0);
    EXPECT_TRUE(sender.is_closed() && receiver.is_closed());
  }
  auto [sender, receiver] = broadcast<int>(2);
  frame_pool_fail_nth(1);
  EXPECT_EQ(sender.send(2).error(), 2);
  frame_pool_fail_nth(0);
  EXPECT_EQ(receiver.size(), 0U);
}

#if defined(__cpp_exceptions)
TEST(broadcast, a_value_that_throws_on_its_way_is_not_sent) {
  struct throws_when_moved {
    throws_when_moved() = default;
    throws_when_moved(throws_when_moved&&) { throw std::runtime_error("no"); }
  };
  auto [sender, receiver] = broadcast<throws_when_moved>(2);
  EXPECT_THROW(static_cast<void>(sender.send(throws_when_moved())), std::runtime_error);
  EXPECT_EQ(receiver.size(), 0U);
}
#endif

// ---- waiting ------------------------------------------------------------------------------------

task<> collects(broadcast_receiver<int> from, std::vector<int>& into) {
  for (;;) {
    const auto next = co_await from.receive();
    EXPECT_EQ(next.missed(), 0U);
    into.push_back(*next);
  }
}

TEST(broadcast, who_waits_is_told_and_the_rest_comes_before_the_end) {
  std::vector<int> first;
  std::vector<int> second;
  const auto scenario = [&]() -> task<> {
    auto [sender, receiver] = broadcast<int>(4);
    auto one = spawn(collects(sender.subscribe(), first));
    auto other = spawn(collects(std::move(receiver), second));
    co_await settled();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(sender.send(i).value(), 2U);
    co_await settled();
    EXPECT_EQ(first, (std::vector{0, 1, 2}));
    EXPECT_TRUE(sender.send(3));
    sender = broadcast_sender<int>();
    const auto ended = co_await one.join();
    const auto ended_too = co_await other.join();
    EXPECT_EQ(error_of(ended), errc::closed);
    EXPECT_EQ(error_of(ended_too), errc::closed);
    EXPECT_EQ(first, (std::vector{0, 1, 2, 3}));
    EXPECT_EQ(second, first);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(broadcast, is_opened_again_by_who_subscribes) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = broadcast<int>(2);
    receiver = broadcast_receiver<int>();
    co_await sender.closed();
    EXPECT_EQ(sender.send(1).error(), 1);
    auto late = sender.subscribe();
    EXPECT_EQ(sender.send(2).value(), 1U);
    const auto got = co_await late.receive();
    EXPECT_EQ(*got, 2);
    const auto still = co_await as_result(timeout(1ms, sender.closed()));
    EXPECT_EQ(error_of(still), errc::deadline);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(broadcast, a_stopped_receive_leaves_the_message) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = broadcast<int>(2);
    const auto receives = [](broadcast_receiver<int>& from) -> task<> {
      co_await from.receive();
      ADD_FAILURE();
    };
    auto waiting = spawn(receives(receiver));
    co_await settled();
    EXPECT_TRUE(sender.send(1));
    waiting.abort();  // it has been told, and has not run
    [[maybe_unused]] const auto ended = co_await waiting.join();
    const auto got = co_await timeout(1ms, receiver.receive());
    EXPECT_EQ(*got, 1);
    const auto late = co_await as_result(timeout(1ms, receiver.receive()));
    EXPECT_EQ(error_of(late), errc::deadline);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(broadcast, conformance_c56_another_task_goes_on_with_the_wait) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = broadcast<int>(2);
    int had_by = 0;
    const auto receives = [](broadcast_receiver<int>& from, int name, int& by) -> task<> {
      co_await from.receive();
      by = name;
    };
    auto first = spawn(receives(receiver, 1, had_by));
    co_await settled();
    first.abort();
    [[maybe_unused]] const auto ended = co_await first.join();
    auto second = spawn(receives(receiver, 2, had_by));
    co_await settled();
    EXPECT_TRUE(sender.send(1));
    co_await second.join();
    EXPECT_EQ(had_by, 2);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// The destructor of a message sends and subscribes: no lock is held.
TEST(broadcast, conformance_c38_destructors_of_messages_may_use_the_channel) {
  struct sends_at_its_end {
    explicit sends_at_its_end(broadcast_sender<int> sender) : to(std::move(sender)) {}
    sends_at_its_end(sends_at_its_end&&) = default;
    ~sends_at_its_end() {
      if (!to.is_closed()) static_cast<void>(to.send(1));
    }
    broadcast_sender<int> to;
  };
  auto inner = broadcast<int>(8);
  auto outer = broadcast<sends_at_its_end>(1);
  EXPECT_TRUE(outer.sender.send(sends_at_its_end(inner.sender)));
  EXPECT_TRUE(outer.sender.send(sends_at_its_end(inner.sender)));  // overwrites the first
  EXPECT_EQ(inner.receiver.size(), 1U);
  outer.receiver = broadcast_receiver<sends_at_its_end>();
  EXPECT_EQ(inner.receiver.size(), 2U);
}

}  // namespace
}  // namespace magpie::tests::broadcast_test
