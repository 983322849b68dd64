/// `unbounded_mpsc`: sending never waits, blocks come and go, and the end is as that of `mpsc`.
#include <magpie/sync/unbounded_mpsc.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/tests/sync/world.hpp>

#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace magpie::tests::unbounded_mpsc_test {
namespace {

using sync::mpsc_receiver;
using sync::unbounded_mpsc;
using sync::unbounded_sender;

const auto again = std::errc::resource_unavailable_try_again;

TEST(unbounded_mpsc, gives_each_message_once_in_order_over_many_blocks) {
  auto [to, from] = unbounded_mpsc<int>();
  EXPECT_EQ(error_of(from.try_receive()), again);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(from.size(), static_cast<std::size_t>(i));
    EXPECT_TRUE(to.send(i));
  }
  for (int i = 0; i < 1000; ++i) {
    EXPECT_FALSE(from.empty());
    EXPECT_EQ(from.try_receive().value(), i);
    EXPECT_EQ(from.size(), static_cast<std::size_t>(999 - i));
  }
  EXPECT_TRUE(from.empty());
  EXPECT_EQ(error_of(from.try_receive()), again);
}

TEST(unbounded_mpsc, closes_from_both_ends) {
  auto [to, from] = unbounded_mpsc<int>();
  EXPECT_TRUE(to.send(1));
  from.close();
  EXPECT_TRUE(to.is_closed() && from.is_closed());
  int value = 2;
  EXPECT_EQ(error_of(to.send(std::move(value))), errc::closed);
  EXPECT_EQ(from.try_receive().value(), 1);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);

  auto [other_to, other] = unbounded_mpsc<int>();
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(other_to.send(i));
  const auto weak = other_to.downgrade();
  EXPECT_TRUE(weak.upgrade()->same_channel(other_to));
  other_to = unbounded_sender<int>();
  EXPECT_FALSE(weak.upgrade());
  for (int i = 0; i < 40; ++i) EXPECT_EQ(other.try_receive().value(), i);
  EXPECT_EQ(error_of(other.try_receive()), errc::closed);
  EXPECT_EQ(error_of(other_to.send(1)), errc::closed);
}

/// A close at the very edge of a block: what was sent is there, and no more.
TEST(unbounded_mpsc, closes_at_every_edge) {
  for (int count = 0; count < 70; ++count) {
    auto [to, from] = unbounded_mpsc<int>();
    for (int i = 0; i < count; ++i) EXPECT_TRUE(to.send(i));
    from.close();
    EXPECT_FALSE(to.send(count));
    for (int i = 0; i < count; ++i) EXPECT_EQ(from.try_receive().value(), i);
    EXPECT_EQ(error_of(from.try_receive()), errc::closed);
  }
}

TEST(unbounded_mpsc, without_memory_nothing_is_sent_and_nothing_is_lost) {
  auto [to, from] = unbounded_mpsc<std::unique_ptr<int>>();
  for (int i = 0; i < 31; ++i) EXPECT_TRUE(to.send(std::make_unique<int>(i)));
  auto last = std::make_unique<int>(31);
  frame_pool_fail_nth(1);
  EXPECT_EQ(error_of(to.send(std::move(last))), std::errc::not_enough_memory);
  frame_pool_fail_nth(0);
  ASSERT_NE(last, nullptr);
  EXPECT_TRUE(to.send(std::move(last)));
  for (int i = 0; i < 32; ++i) EXPECT_EQ(*from.try_receive().value(), i);
  for (std::uint64_t nth = 1; nth <= 2; ++nth) {
    frame_pool_fail_nth(nth);
    auto [poor, poor_too] = unbounded_mpsc<int>();
    frame_pool_fail_nth(0);
    EXPECT_EQ(error_of(poor.send(1)), errc::closed);
    EXPECT_EQ(error_of(poor_too.try_receive()), errc::closed);
  }
}

TEST(unbounded_mpsc, what_is_left_is_destroyed) {
  const auto value = std::make_shared<int>(1);
  {
    auto [to, from] = unbounded_mpsc<std::shared_ptr<int>>();
    for (int i = 0; i < 70; ++i) EXPECT_TRUE(to.send(value));
    from = mpsc_receiver<std::shared_ptr<int>>();
    EXPECT_EQ(value.use_count(), 1);
    EXPECT_EQ(error_of(to.send(value)), errc::closed);
  }
  {
    auto [to, from] = unbounded_mpsc<std::shared_ptr<int>>();
    for (int i = 0; i < 70; ++i) EXPECT_TRUE(to.send(value));
    to = unbounded_sender<std::shared_ptr<int>>();
  }
  EXPECT_EQ(value.use_count(), 1);
}

/// Blocks go back to the pool and come from there: in steady state nothing is allocated.
TEST(unbounded_mpsc, recycles_its_blocks) {
#if MAGPIE_FRAME_POOL_BYPASS
  GTEST_SKIP() << "no pool under this sanitizer";
#endif
  auto [to, from] = unbounded_mpsc<int>();
  std::uint64_t before = 0;
  for (int round = 0; round < 100; ++round) {
    if (round == 10) before = frame_pool_stats().mallocs;
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(to.send(i));
    for (int i = 0; i < 100; ++i) EXPECT_EQ(from.try_receive().value(), i);
  }
  EXPECT_EQ(frame_pool_stats().mallocs, before);
}

// ---- against the reference ----------------------------------------------------------------------

struct reader {
  std::optional<int> got;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};

task<> reads(mpsc_receiver<int>& from, reader& who) {
  const auto ended = co_await as_result(from.receive());
  who.error = error_of(ended);
  if (ended) who.got = *ended;
}

TEST(unbounded_mpsc, a_receive_waits_for_a_message_and_for_the_end) {
  const auto scenario = []() -> task<> {
    auto [to, from] = unbounded_mpsc<int>();
    reader first;
    reader second;
    auto one = spawn(reads(from, first));
    co_await settled();
    EXPECT_FALSE(first.got);
    EXPECT_TRUE(to.send(7));
    co_await one.join();
    EXPECT_EQ(first.got, 7);
    auto two = spawn(reads(from, second));
    co_await settled();
    EXPECT_FALSE(second.error);
    to = unbounded_sender<int>();
    co_await two.join();
    EXPECT_EQ(second.error, errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// Some steps of one channel; random sends, receives, stops and closings.
task<> compare_one(dice& by_chance) {
  auto [to, from] = unbounded_mpsc<int>();
  std::deque<int> messages;
  std::unique_ptr<reader> who;
  bool closed = false;
  bool open = true;
  for (int i = 0; i < 200; ++i) {
    bool stopped = false;
    const std::size_t what = by_chance.below(40);
    if (what < 13) {
      const auto sent = to.send(i);
      EXPECT_EQ(sent.has_value(), open && !closed);
      if (sent) messages.push_back(i);
      stopped = who && by_chance.below(3) == 0;
    } else if (what < 28 && !who) {
      who = std::make_unique<reader>();
      who->handle.emplace(spawn(reads(from, *who)));
    } else if (what < 37 && !who) {
      const auto got = from.try_receive();
      EXPECT_EQ(got.has_value(), !messages.empty());
      if (got) {
        EXPECT_EQ(*got, messages.front());
        messages.pop_front();
      } else {
        EXPECT_EQ(got.error(),
                  open && !closed ? std::make_error_code(again) : make_error_code(errc::closed));
      }
    } else if (what == 38 && by_chance.below(6) == 0) {
      from.close();
      closed = true;
    } else if (what == 39 && by_chance.below(6) == 0) {
      to = unbounded_sender<int>();
      open = false;
    } else {
      stopped = who != nullptr;
    }
    if (stopped) who->handle->abort();
    co_await settled();
    if (who && stopped) {
      EXPECT_EQ(who->error, errc::stopped);
      EXPECT_FALSE(who->got);
      who.reset();
    } else if (who && !messages.empty()) {
      EXPECT_EQ(who->got, messages.front());
      messages.pop_front();
      who.reset();
    } else if (who && (closed || !open)) {
      EXPECT_EQ(who->error, errc::closed);
      who.reset();
    } else if (who) {
      EXPECT_TRUE(!who->got && !who->error);
    }
    EXPECT_EQ(from.size(), messages.size());
  }
  from.close();
  co_await settled();
}

TEST(unbounded_mpsc, does_what_a_simple_reference_does) {
  const auto scenario = [](dice& by_chance, int steps) -> task<> {
    for (int i = 0; i < steps / 200 && !HasFailure(); ++i) co_await compare_one(by_chance);
  };
  dice by_chance(1);
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(by_chance, model_operations())));
}

// ---- at once ------------------------------------------------------------------------------------

/// From many tasks: each message once, and those of one sender in order.
TEST(unbounded_mpsc, concurrent_senders_lose_nothing) {
  MAGPIE_NEED_CELL();
  constexpr int count = 5000;
  const auto scenario = []() -> task<> {
    auto [to, from] = unbounded_mpsc<int>();
    const auto sends = [](unbounded_sender<int> with, int who) -> task<> {
      for (int i = 0; i < count; ++i) {
        EXPECT_TRUE(with.send(who * count + i));
        if (i % 64 == who) co_await yield();
      }
    };
    std::vector<join_handle<void>> all;
    for (int k = 0; k < 4; ++k) all.push_back(spawn(sends(to, k)));
    to = unbounded_sender<int>();
    int next[4] = {};
    for (;;) {
      const auto got = co_await as_result(from.receive());
      if (!got) break;
      EXPECT_EQ(*got % count, next[*got / count]++);
    }
    EXPECT_EQ(next[0] + next[1] + next[2] + next[3], 4 * count);
    for (auto& each : all) co_await each.join();
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// A close beside the sends: what was sent is received, and what was refused is not.
TEST(unbounded_mpsc, concurrent_a_close_beside_sends) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int round = 0; round < 500; ++round) {
      auto [to, from] = unbounded_mpsc<std::unique_ptr<int>>();
      const auto sends = [](unbounded_sender<std::unique_ptr<int>> with) -> task<int> {
        for (int i = 0;; ++i) {
          auto value = std::make_unique<int>(i);
          if (!with.send(std::move(value))) {
            EXPECT_TRUE(value && *value == i);
            co_return i;
          }
          if (i % 16 == 0) co_await yield();
        }
      };
      auto one = spawn(sends(to));
      auto two = spawn(sends(to));
      for (int i = 0; i < round % 5; ++i) co_await yield();
      from.close();
      int received = 0;
      for (;;) {
        const auto got = co_await as_result(from.receive());
        if (!got) break;
        ++received;
      }
      const int first = *co_await one.join();
      const int second = *co_await two.join();
      EXPECT_EQ(received, first + second);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(unbounded_mpsc, concurrent_threads_outside_send) {
  MAGPIE_NEED_KERNEL();
  constexpr int count = 3000;
  auto ends = unbounded_mpsc<int>();
  std::vector<std::thread> all;
  for (int k = 0; k < 2; ++k)
    all.emplace_back([to = ends.sender] {
      for (int i = 0; i < count; ++i) EXPECT_TRUE(to.send(1));
    });
  ends.sender = unbounded_sender<int>();
  const auto scenario = [](mpsc_receiver<int>& from) -> task<> {
    int sum = 0;
    std::vector<int> some;
    for (;;) {
      const std::size_t got = co_await from.receive_many(some, 100);
      if (got == 0) break;
      for (const int each : some) sum += each;
      some.clear();
    }
    EXPECT_EQ(sum, 2 * count);
  };
  EXPECT_TRUE(run_in_cell(scenario(ends.receiver)));
  for (auto& each : all) each.join();
}

}  // namespace
}  // namespace magpie::tests::unbounded_mpsc_test
