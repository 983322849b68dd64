/// What a channel does with its values: moved, copied, thrown, large, and destroyed once each.
#include <magpie/sync/mpsc_state.hpp>

#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/unbounded_mpsc.hpp>
#include <magpie/tests/sync/world.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace magpie::tests::mpsc_state_test {
namespace {

using sync::mpsc;
using sync::unbounded_mpsc;
using sync::detail::mpsc_state;

TEST(mpsc_state, blocks_have_as_many_slots_as_the_pool_has_room_for) {
  static_assert(mpsc_state<int>::slots == 32);
  static_assert(mpsc_state<std::array<char, 100>>::slots < 32);
  static_assert(mpsc_state<std::array<char, 100>>::slots > 10);
  static_assert(mpsc_state<std::array<char, 5000>>::slots == 1);
  static_assert(!mpsc_state<std::unique_ptr<int>>::may_throw);
  static_assert(mpsc_state<std::string>::may_throw);  // when it is copied
}

template <class T>
void go_round(int count) {
  auto [to, from] = mpsc<T>(3);
  auto [other, others] = unbounded_mpsc<T>();
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE(to.try_send(T{}));
    EXPECT_TRUE(other.send(T{}));
    if (i < 2) continue;
    EXPECT_TRUE(from.try_receive());
    EXPECT_TRUE(others.try_receive());
  }
  EXPECT_EQ(from.size(), 2U);
  EXPECT_EQ(others.size(), 2U);
}

TEST(mpsc_state, takes_values_of_every_size_and_alignment) {
  struct alignas(64) wide {
    std::uint64_t value = 0;
  };
  auto [to, from] = mpsc<wide>(40);
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(to.try_send(wide()));
  const wide got = from.try_receive().value();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&got) % 64, 0U);
  go_round<char>(100);
  go_round<std::array<char, 100>>(100);
  go_round<std::array<char, 5000>>(20);
}

TEST(mpsc_state, moves_what_cannot_be_copied_and_copies_what_it_is_given_to_copy) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<std::shared_ptr<int>>(4);
    const auto value = std::make_shared<int>(1);
    co_await to.send(value);
    EXPECT_TRUE(to.try_send(value));
    auto permit = co_await to.reserve();
    permit.send(value);
    EXPECT_EQ(value.use_count(), 4);
    auto [single_to, single] = mpsc<std::unique_ptr<int>>(1);
    auto one = std::make_unique<int>(7);
    co_await single_to.send(std::move(one));
    const auto got = co_await single.receive();
    EXPECT_EQ(*got, 7);
    EXPECT_EQ(one, nullptr);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

#if defined(__cpp_exceptions)

/// Throws when it is moved for the n-th time, or copied.
struct fragile {
  fragile(int named, int moves, atomic<int>& alive) : name(named), left(moves), life(alive) {}
  fragile(const fragile& other) : name(other.name), left(other.left), life(other.life) {
    throw std::string("copied");
  }
  fragile(fragile&& other) : name(other.name), left(--other.left), life(other.life) {
    if (left == 0) throw name;
  }
  int name;
  int left;
  counted life;
};

/// Tries to send one that throws; the channel is as before, but for a slot that is passed.
template <class Sender>
task<> send_one_that_throws(const Sender& to, atomic<int>& alive) {
  fragile bad(1, 1, alive);
  bool threw = false;
  try {
    if constexpr (requires { to.try_send(std::move(bad)); }) {
      co_await to.send(std::move(bad));
    } else {
      static_cast<void>(to.send(std::move(bad)));
    }
  } catch (int name) {
    threw = name == 1;
  }
  EXPECT_TRUE(threw);
}

TEST(mpsc_state, a_message_that_throws_when_it_is_sent_is_not_sent) {
  atomic<int> alive{0};
  const auto scenario = [](atomic<int>& lives) -> task<> {
    auto [to, from] = mpsc<fragile>(2);
    for (int i = 0; i < 100; ++i) {
      co_await send_one_that_throws(to, lives);
      EXPECT_TRUE(to.try_send(fragile(2, 9, lives)));
      EXPECT_EQ(from.try_receive().value().name, 2);
      EXPECT_EQ(to.available(), 2U);
    }
    const fragile constant(3, 9, lives);
    bool copied = false;
    try {
      static_cast<void>(to.try_send(constant));
    } catch (const std::string&) {
      copied = true;
    }
    EXPECT_TRUE(copied);
    EXPECT_EQ(to.available(), 1U);  // the slot takes room until the receiver has passed it
    EXPECT_TRUE(from.empty());
    EXPECT_EQ(error_of(from.try_receive()), std::errc::resource_unavailable_try_again);
    auto permit = co_await to.reserve(2);
    bool threw = false;
    try {
      permit.send(fragile(4, 1, lives));
    } catch (int) {
      threw = true;
    }
    EXPECT_TRUE(threw);
    EXPECT_EQ(permit.count(), 1U);
    permit.send(fragile(5, 9, lives));
    EXPECT_EQ(from.try_receive().value().name, 5);
    EXPECT_EQ(error_of(from.try_receive()), std::errc::resource_unavailable_try_again);
    EXPECT_EQ(to.available(), 2U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(mpsc_state, an_unbounded_channel_passes_what_has_thrown) {
  atomic<int> alive{0};
  const auto scenario = [](atomic<int>& lives) -> task<> {
    auto [to, from] = unbounded_mpsc<fragile>();
    for (int i = 0; i < 100; ++i) co_await send_one_that_throws(to, lives);
    EXPECT_TRUE(to.send(fragile(2, 9, lives)));
    EXPECT_EQ(from.try_receive().value().name, 2);
    for (int i = 0; i < 40; ++i) co_await send_one_that_throws(to, lives);
    from.close();
    EXPECT_EQ(error_of(from.try_receive()), errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> receives_one(sync::mpsc_receiver<fragile>& from, int& name, std::error_code& ended) {
  auto got = co_await as_result(from.receive());
  ended = error_of(got);
  if (got) name = got->name;
}

/// The receiver waits for the very slot in which a value throws, again and again, over the edges of
/// blocks; and senders wait for the room that it takes.
TEST(mpsc_state, a_receiver_that_waits_passes_what_has_thrown) {
  atomic<int> alive{0};
  const auto scenario = [](atomic<int>& lives) -> task<> {
    auto [to, from] = mpsc<fragile>(1);
    auto [loose_to, loose] = unbounded_mpsc<fragile>();
    int names[2] = {};
    std::error_code ended[2];
    auto one = spawn(receives_one(from, names[0], ended[0]));
    auto two = spawn(receives_one(loose, names[1], ended[1]));
    co_await settled();
    for (int i = 0; i < 70; ++i) {
      co_await send_one_that_throws(to, lives);
      co_await send_one_that_throws(loose_to, lives);
    }
    co_await settled();
    EXPECT_EQ(names[0] + names[1], 0);
    co_await to.send(fragile(7, 9, lives));
    EXPECT_TRUE(loose_to.send(fragile(8, 9, lives)));
    co_await one.join();
    co_await two.join();
    EXPECT_EQ(names[0], 7);
    EXPECT_EQ(names[1], 8);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

/// The last thing that comes throws, and ends the channel.
TEST(mpsc_state, a_channel_that_is_closed_ends_with_what_has_thrown) {
  atomic<int> alive{0};
  const auto scenario = [](atomic<int>& lives) -> task<> {
    for (const bool by_the_receiver : {false, true}) {
      auto [to, from] = mpsc<fragile>(1);
      auto permit = co_await to.reserve();
      to = sync::mpsc_sender<fragile>();
      if (by_the_receiver) from.close();
      int name = 0;
      std::error_code ended;
      auto one = spawn(receives_one(from, name, ended));
      co_await settled();
      try {
        permit.send(fragile(1, 1, lives));
      } catch (int) {
      }
      permit.release();
      co_await one.join();
      EXPECT_EQ(ended, errc::closed);
    }
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(mpsc_state, a_message_that_throws_when_it_is_received_stays) {
  atomic<int> alive{0};
  const auto scenario = [](atomic<int>& lives) -> task<> {
    auto [to, from] = mpsc<fragile>(2);
    EXPECT_TRUE(to.try_send(fragile(6, 2, lives)));
    EXPECT_TRUE(to.try_send(fragile(7, 9, lives)));
    bool threw = false;
    try {
      const auto got = co_await from.receive();
      EXPECT_EQ(got.name, 0);
    } catch (int name) {
      threw = name == 6;
    }
    EXPECT_TRUE(threw);
    EXPECT_EQ(to.available(), 1U);  // it counts as received
    EXPECT_EQ(from.try_receive().value().name, 6);
    EXPECT_EQ(to.available(), 1U);
    EXPECT_EQ(from.try_receive().value().name, 7);
    EXPECT_EQ(to.available(), 2U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(mpsc_state, many_stop_at_what_throws) {
  atomic<int> alive{0};
  auto [to, from] = mpsc<fragile>(4);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(to.try_send(fragile(i, i == 2 ? 2 : 9, alive)));
  const auto scenario = [](sync::mpsc_receiver<fragile>& of) -> task<> {
    std::vector<fragile> into;
    into.reserve(8);
    bool threw = false;
    try {
      [[maybe_unused]] const std::size_t got = co_await of.receive_many(into, 8);
    } catch (int name) {
      threw = name == 2;
    }
    EXPECT_TRUE(threw);
    EXPECT_EQ(into.size(), 2U);
    const std::size_t rest = co_await of.receive_many(into, 8);
    EXPECT_EQ(rest, 2U);
    EXPECT_EQ(into[2].name, 2);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(from)));
  EXPECT_EQ(to.available(), 4U);
}

/// In a fork, whose branches must not throw before they are looked at.
TEST(mpsc_state, a_branch_that_throws_is_one_that_failed) {
  atomic<int> alive{0};
  const auto scenario = [](atomic<int>& lives) -> task<> {
    auto [to, from] = mpsc<fragile>(2);
    fragile bad(3, 1, lives);
    int thrown = 0;
    try {
      co_await join(to.send(std::move(bad)), sleep_for(1h));
    } catch (int name) {
      thrown = name;
    }
    EXPECT_EQ(thrown, 3);
    EXPECT_EQ(error_of(from.try_receive()), std::errc::resource_unavailable_try_again);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

#endif

}  // namespace
}  // namespace magpie::tests::mpsc_state_test
