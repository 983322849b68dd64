/// `watch`: what receivers see, what counts as seen, and who is there.  With many at once, and
/// against a simple reference: watch_random_test.cpp.
#include <magpie/sync/watch.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace magpie::tests::watch_test {
namespace {

using sync::shared_value;
using sync::watch;
using sync::watch_receiver;
using sync::watch_sender;

TEST(watch, a_receiver_sees_the_latest_value) {
  auto [sender, receiver] = watch(1);
  EXPECT_EQ(*receiver.borrow(), 1);
  EXPECT_FALSE(receiver.has_changed());  // the first value counts as seen
  EXPECT_TRUE(sender.send(2));
  EXPECT_TRUE(sender.send(3));
  EXPECT_TRUE(receiver.has_changed());
  EXPECT_EQ(*receiver.borrow(), 3);
  EXPECT_TRUE(receiver.has_changed());  // a look alone is not seeing
  EXPECT_EQ(*receiver.borrow_and_update(), 3);
  EXPECT_FALSE(receiver.has_changed());
  EXPECT_EQ(*sender.borrow(), 3);
}

TEST(watch, what_counts_as_seen_can_be_said) {
  auto [sender, receiver] = watch(1);
  receiver.mark_changed();
  EXPECT_TRUE(receiver.has_changed());
  receiver.mark_unchanged();
  EXPECT_FALSE(receiver.has_changed());
  static_cast<void>(sender.send(2));
  auto copy = receiver;
  receiver.mark_unchanged();
  EXPECT_TRUE(copy.has_changed());
  auto late = sender.subscribe();
  EXPECT_FALSE(late.has_changed());
  late.mark_changed();
  EXPECT_EQ(*late.borrow_and_update(), 2);
}

TEST(watch, a_value_that_is_looked_at_stays_as_it_is) {
  const auto value = std::make_shared<int>(1);
  shared_value<std::shared_ptr<int>> seen;
  EXPECT_FALSE(seen);
  {
    auto [sender, receiver] = watch(value);
    seen = receiver.borrow();
    const auto before = sender.send_replace(nullptr);
    EXPECT_EQ(**before, value);
    EXPECT_EQ(receiver.borrow()->get(), nullptr);
  }
  EXPECT_EQ(*seen, value);  // the channel has gone
  EXPECT_EQ(value.use_count(), 2);
  auto copy = seen;
  const auto moved = std::move(seen);
  EXPECT_EQ(value.use_count(), 2);
  copy = shared_value<std::shared_ptr<int>>();
  EXPECT_EQ(value.use_count(), 2);
  EXPECT_EQ(**moved, 1);
}

TEST(watch, values_need_not_be_copied) {
  auto [sender, receiver] = watch(std::make_unique<int>(1));
  EXPECT_TRUE(sender.send(std::make_unique<int>(2)));
  EXPECT_EQ(**receiver.borrow_and_update(), 2);
  auto gone = std::move(receiver);
  gone = watch_receiver<std::unique_ptr<int>>();
  auto back = sender.send(std::make_unique<int>(3));
  ASSERT_FALSE(back);
  EXPECT_EQ(*back.error(), 3);  // nobody would see it
  EXPECT_TRUE(sender.send_replace(std::make_unique<int>(4)));
  EXPECT_EQ(**sender.subscribe().borrow(), 4);
}

TEST(watch, a_modification_is_published_if_it_says_so) {
  auto [sender, receiver] = watch(std::string("a"));
  EXPECT_TRUE(sender.send_modify([](std::string& value) { value += "b"; }));
  EXPECT_EQ(*receiver.borrow_and_update(), "ab");
  const auto refuses = [](std::string& value) {
    value = "nothing";
    return false;
  };
  EXPECT_EQ(sender.send_if_modified(refuses).value(), false);
  EXPECT_FALSE(receiver.has_changed());
  EXPECT_EQ(*receiver.borrow(), "ab");
  const auto agrees = [](std::string& value) {
    value = "c";
    return true;
  };
  EXPECT_EQ(sender.send_if_modified(agrees).value(), true);
  EXPECT_TRUE(receiver.has_changed());
  EXPECT_EQ(*receiver.borrow(), "c");
}

/// Another sender sends in the middle of a modification: that is made again, of the newer value.
TEST(watch, no_modification_is_lost_to_another_sender) {
  auto [sender, receiver] = watch(1);
  auto other = sender;
  int calls = 0;
  EXPECT_TRUE(sender.send_modify([&](int& value) {
    if (++calls == 1) {
      EXPECT_TRUE(other.send(10));
    }
    value += 1;
  }));
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(*receiver.borrow(), 11);
}

TEST(watch, ends_are_counted) {
  auto [sender, receiver] = watch(1);
  EXPECT_EQ(sender.senders(), 1U);
  EXPECT_EQ(sender.receivers(), 1U);
  {
    const auto again = sender;
    const auto copy = receiver;
    const auto third = sender.subscribe();
    EXPECT_EQ(sender.senders(), 2U);
    EXPECT_EQ(again.receivers(), 3U);
  }
  EXPECT_EQ(sender.senders(), 1U);
  EXPECT_EQ(sender.receivers(), 1U);
  EXPECT_FALSE(sender.is_closed());
  EXPECT_FALSE(receiver.is_closed());
  sender = watch_sender<int>();
  EXPECT_TRUE(receiver.is_closed());
  EXPECT_EQ(*receiver.borrow(), 1);
}

TEST(watch, an_end_without_a_channel_is_closed) {
  watch_sender<int> sender;
  watch_receiver<int> receiver;
  EXPECT_TRUE(sender.is_closed() && receiver.is_closed());
  EXPECT_EQ(sender.senders() + sender.receivers(), 0U);
  EXPECT_EQ(sender.send(1).error(), 1);
  EXPECT_EQ(error_of(sender.send_replace(1)), errc::closed);
  EXPECT_EQ(error_of(sender.send_modify([](int&) {})), errc::closed);
  EXPECT_FALSE(sender.borrow() || receiver.borrow() || receiver.borrow_and_update());
  EXPECT_FALSE(sender.subscribe().borrow());
  EXPECT_EQ(error_of(receiver.blocking_changed()), errc::closed);
  EXPECT_DEATH(static_cast<void>(*receiver.borrow()), "there is no value");
  sender.blocking_closed();
  const auto scenario = []() -> task<> {
    watch_sender<int> no_sender;
    watch_receiver<int> no_receiver;
    co_await no_sender.closed();
    const auto none = co_await as_result(no_receiver.changed());
    EXPECT_EQ(error_of(none), errc::closed);
    const auto no_value = co_await as_result(no_receiver.wait_for([](int) { return true; }));
    EXPECT_EQ(error_of(no_value), errc::closed);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(watch, without_memory_nothing_is_sent) {
  for (std::uint64_t nth = 1; nth <= 2; ++nth) {
    frame_pool_fail_nth(nth);
    auto [sender, receiver] = watch(1);
    frame_pool_fail_nth(0);
    EXPECT_TRUE(sender.is_closed() && receiver.is_closed());
  }
  auto [sender, receiver] = watch(1);
  frame_pool_fail_nth(1);
  EXPECT_EQ(sender.send(2).error(), 2);
  frame_pool_fail_nth(1);
  EXPECT_EQ(error_of(sender.send_replace(3)), std::errc::not_enough_memory);
  frame_pool_fail_nth(1);
  EXPECT_EQ(error_of(sender.send_modify([](int& value) { ++value; })),
            std::errc::not_enough_memory);
  frame_pool_fail_nth(0);
  EXPECT_EQ(*receiver.borrow(), 1);
  EXPECT_FALSE(receiver.has_changed());
}

// ---- waiting ------------------------------------------------------------------------------------

task<> follows(watch_receiver<int> from, std::vector<int>& seen) {
  for (;;) {
    co_await from.changed();
    seen.push_back(*from.borrow_and_update());
  }
}

TEST(watch, everybody_who_waits_hears_of_a_change) {
  std::vector<int> seen;
  const auto scenario = [&]() -> task<> {
    auto [sender, receiver] = watch(0);
    auto first = spawn(follows(receiver, seen));
    auto second = spawn(follows(std::move(receiver), seen));
    co_await settled();
    EXPECT_TRUE(sender.send(1));
    EXPECT_TRUE(sender.send(2));  // before anybody has run: 1 is seen by nobody
    co_await settled();
    EXPECT_EQ(seen, (std::vector{2, 2}));
    EXPECT_TRUE(sender.send(3));
    sender = watch_sender<int>();
    const auto ended = co_await first.join();
    const auto ended_too = co_await second.join();
    EXPECT_EQ(error_of(ended), errc::closed);
    EXPECT_EQ(error_of(ended_too), errc::closed);
    EXPECT_EQ(seen, (std::vector{2, 2, 3, 3}));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(watch, c61_what_was_not_seen_comes_before_the_end) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = watch(0);
    EXPECT_TRUE(sender.send(1));
    sender = watch_sender<int>();
    co_await receiver.changed();
    EXPECT_EQ(*receiver.borrow(), 1);
    const auto ended = co_await as_result(receiver.changed());
    EXPECT_EQ(error_of(ended), errc::closed);
    const auto still = co_await as_result(receiver.changed());
    EXPECT_EQ(error_of(still), errc::closed);
    receiver.mark_changed();
    co_await receiver.changed();
    EXPECT_EQ(*receiver.borrow(), 1);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

#if defined(__cpp_exceptions)
TEST(watch, c61_a_modification_that_throws_changes_nothing_and_tells_nobody) {
  auto [sender, receiver] = watch(std::string("kept"));
  const auto throws = [](std::string& value) {
    value = "half";
    throw std::runtime_error("no");
  };
  EXPECT_THROW(static_cast<void>(sender.send_modify(throws)), std::runtime_error);
  EXPECT_FALSE(receiver.has_changed());
  EXPECT_EQ(*receiver.borrow(), "kept");
  EXPECT_TRUE(sender.send_modify([](std::string& value) { value += "!"; }));
  EXPECT_TRUE(receiver.has_changed());
  EXPECT_EQ(*receiver.borrow(), "kept!");
}

struct throws_when_moved {
  explicit throws_when_moved(int moves_left = 1000) : left(moves_left) {}
  throws_when_moved(throws_when_moved&& other) : left(other.left - 1) {
    if (left == 0) throw std::runtime_error("no");
  }
  int left;
};

TEST(watch, a_value_that_throws_on_its_way_is_not_sent) {
  auto [sender, receiver] = watch(throws_when_moved());
  EXPECT_THROW(static_cast<void>(sender.send(throws_when_moved(1))), std::runtime_error);
  EXPECT_THROW(static_cast<void>(sender.send_replace(throws_when_moved(1))), std::runtime_error);
  EXPECT_FALSE(receiver.has_changed());
  EXPECT_GT(receiver.borrow()->left, 900);
}

TEST(watch, a_predicate_that_throws_ends_the_wait) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = watch(0);
    const auto throws = [](int) -> bool { throw std::runtime_error("no"); };
    try {
      co_await receiver.wait_for(throws);
      ADD_FAILURE();
    } catch (const std::runtime_error&) {
    }
    EXPECT_TRUE(sender.send(1));
    co_await receiver.changed();
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}
#endif

TEST(watch, c61_a_channel_without_receivers_is_opened_again) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = watch(0);
    receiver = watch_receiver<int>();
    EXPECT_TRUE(sender.is_closed());
    co_await sender.closed();
    EXPECT_EQ(sender.send(1).error(), 1);
    auto late = sender.subscribe();
    EXPECT_FALSE(sender.is_closed());
    EXPECT_TRUE(sender.send(2));
    co_await late.changed();
    EXPECT_EQ(*late.borrow(), 2);
    const auto still = co_await as_result(timeout(1ms, sender.closed()));
    EXPECT_EQ(error_of(still), errc::deadline);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(watch, c61_a_wait_gives_exactly_the_value_that_was_accepted) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = watch(5);
    const auto at_once = co_await receiver.wait_for([](int value) { return value == 5; });
    EXPECT_EQ(*at_once, 5);
    const auto waits = [](watch_receiver<int> from, const watch_sender<int>& to) -> task<> {
      const auto even = [&](int value) {
        // It has been replaced by the time that it is accepted.
        if (value == 8) static_cast<void>(watch_sender<int>(to).send(9));
        return value % 2 == 0;
      };
      const auto got = co_await from.wait_for(even);
      EXPECT_EQ(*got, 8);
      EXPECT_TRUE(from.has_changed());
      const auto nine = co_await from.wait_for([](int value) { return value == 9; });
      EXPECT_EQ(*nine, 9);
    };
    auto waiting = spawn(waits(receiver, sender));
    co_await settled();
    EXPECT_TRUE(sender.send(7));
    co_await settled();
    EXPECT_TRUE(sender.send(8));
    co_await waiting.join();
    const auto none = [](watch_receiver<int> from) -> task<> {
      co_await from.wait_for([](int value) { return value == 100; });
    };
    auto never = spawn(none(std::move(receiver)));
    co_await settled();
    sender = watch_sender<int>();
    const auto ended = co_await never.join();
    EXPECT_EQ(error_of(ended), errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- stops --------------------------------------------------------------------------------------

TEST(watch, a_change_that_comes_with_a_stop_is_not_seen) {
  const auto scenario = []() -> task<> {
    auto [sender, receiver] = watch(0);
    const auto waits = [](watch_receiver<int>& from) -> task<> { co_await from.changed(); };
    auto waiting = spawn(waits(receiver));
    co_await settled();
    EXPECT_TRUE(sender.send(1));
    waiting.abort();  // it has been told, and has not run
    [[maybe_unused]] const auto ended = co_await waiting.join();
    EXPECT_TRUE(receiver.has_changed());
    const auto late = co_await as_result(timeout(1ms, receiver.changed()));
    EXPECT_TRUE(late);
    const auto later = co_await as_result(timeout(1ms, receiver.changed()));
    EXPECT_EQ(error_of(later), errc::deadline);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(watch, a_loser_of_a_select_has_seen_nothing) {
  const auto scenario = []() -> task<> {
    auto one = watch(0);
    auto other = watch(0);
    const auto chooses = [](watch_receiver<int>& a, watch_receiver<int>& b,
                            bool& chosen) -> task<> {
      const auto first = co_await select(a.changed(), b.changed());
      chosen = true;
      EXPECT_EQ(a.has_changed(), first.index() == 1);
      EXPECT_EQ(b.has_changed(), first.index() == 0);
    };
    bool chosen = false;
    auto choosing = spawn(chooses(one.receiver, other.receiver, chosen));
    co_await settled();
    EXPECT_TRUE(one.sender.send(1));
    EXPECT_TRUE(other.sender.send(1));
    co_await choosing.join();
    EXPECT_TRUE(chosen);
  };
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(scenario(), seed));
}

/// A value may hold an end of another channel: its destructor wakes others, and no lock is held.
TEST(watch, c38_a_value_may_hold_the_end_of_another_channel) {
  const auto scenario = []() -> task<> {
    auto inner = watch(0);
    auto outer = watch(std::make_shared<watch_sender<int>>(std::move(inner.sender)));
    EXPECT_TRUE(outer.sender.send(nullptr));
    const auto ended = co_await as_result(inner.receiver.changed());
    EXPECT_EQ(error_of(ended), errc::closed);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

}  // namespace
}  // namespace magpie::tests::watch_test
