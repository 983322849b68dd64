/// `mpsc` with many tasks on many workers.
#include <magpie/sync/mpsc.hpp>

#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <vector>

namespace magpie::tests::mpsc_concurrent_test {
namespace {

using sync::mpsc;
using sync::mpsc_receiver;
using sync::mpsc_sender;

/// By all means there are to send: each message once, and those of one sender in order.
task<> sends_all(mpsc_sender<int> to, int who, int count) {
  for (int i = 0; i < count; ++i) {
    int value = who * count + i;
    switch (i % 4) {
      case 0:
        co_await to.send(std::move(value));
        break;
      case 1: {
        auto permit = co_await to.reserve();
        if (i % 3 == 0) co_await yield();
        permit.send(std::move(value));
        break;
      }
      case 2:
        if (!to.try_send(std::move(value))) co_await to.send(std::move(value));
        break;
      default: {
        auto permits = co_await to.reserve(to.capacity());
        permits.send(std::move(value));
        break;
      }
    }
    if (i % 16 == who) co_await yield();
  }
}

task<> receives_all(mpsc_receiver<int>& from, int senders, int count) {
  std::vector<int> next(static_cast<std::size_t>(senders));
  std::vector<int> some;
  for (int i = 0;; ++i) {
    some.clear();
    if (i % 3 == 0) {
      const std::size_t got = co_await from.receive_many(some, 4);
      if (got == 0) break;
    } else {
      const auto got = co_await as_result(from.receive());
      if (!got) break;
      some.push_back(*got);
    }
    for (const int each : some)
      EXPECT_EQ(each % count, next[static_cast<std::size_t>(each / count)]++);
  }
  for (const int each : next) EXPECT_EQ(each, count);
}

TEST(mpsc_concurrent, concurrent_senders_lose_nothing) {
  MAGPIE_NEED_CELL();
  const auto scenario = [](std::size_t capacity, int count) -> task<> {
    auto [to, from] = mpsc<int>(capacity);
    std::vector<join_handle<void>> all;
    for (int k = 0; k < 4; ++k) all.push_back(spawn(sends_all(to, k, count)));
    to = mpsc_sender<int>();
    co_await receives_all(from, 4, count);
    for (auto& each : all) co_await each.join();
  };
  for (const std::size_t capacity : {1U, 2U, 40U})
    EXPECT_TRUE(run_in_cell(scenario(capacity, 1000)));
}

/// A close beside the sends: what was sent is received, and what was refused is where it was.
TEST(mpsc_concurrent, concurrent_a_close_beside_sends) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int round = 0; round < 500; ++round) {
      auto [to, from] = mpsc<std::unique_ptr<int>>(static_cast<std::size_t>(1 + round % 3));
      const auto sends = [](mpsc_sender<std::unique_ptr<int>> with) -> task<int> {
        for (int i = 0;; ++i) {
          auto value = std::make_unique<int>(i);
          const auto sent = co_await as_result(with.send(std::move(value)));
          if (!sent) {
            EXPECT_TRUE(value && *value == i);
            EXPECT_EQ(sent.error(), errc::closed);
            co_return i;
          }
        }
      };
      auto one = spawn(sends(to));
      auto two = spawn(sends(to));
      int received = 0;
      for (; received < round % 5; ++received) {
        const auto got = co_await from.receive();
        EXPECT_TRUE(got);
      }
      from.close();
      for (;; ++received) {
        const auto got = co_await as_result(from.receive());
        if (!got) break;
      }
      const int first = *co_await one.join();
      const int second = *co_await two.join();
      EXPECT_EQ(received, first + second);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// Permits that come back unused beside a close: the receiver hears of the end.
TEST(mpsc_concurrent, concurrent_permits_beside_a_close) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int round = 0; round < 1000; ++round) {
      auto [to, from] = mpsc<int>(2);
      const auto holds = [](mpsc_sender<int> with, bool uses) -> task<bool> {
        auto permit = co_await as_result(with.reserve());
        if (!permit) co_return false;
        co_await yield();
        if (uses) permit->send(1);
        co_return uses;
      };
      auto one = spawn(holds(to, round % 2 == 0));
      auto two = spawn(holds(to, round % 3 == 0));
      if (round % 5 != 0) co_await yield();
      from.close();
      int received = 0;
      for (;; ++received) {
        const auto got = co_await as_result(from.receive());
        if (!got) break;
      }
      const auto first = co_await one.join();
      const auto second = co_await two.join();
      EXPECT_EQ(received, (*first ? 1 : 0) + (*second ? 1 : 0));
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// All ends go at once, with messages on their way: everything is destroyed once.
TEST(mpsc_concurrent, concurrent_ends_go_at_once) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 1000; ++i) {
      const auto value = std::make_shared<int>(i);
      {
        auto [to, from] = mpsc<std::shared_ptr<int>>(2);
        const auto sends = [](mpsc_sender<std::shared_ptr<int>> with,
                              std::shared_ptr<int> what) -> task<> {
          for (int k = 0; k < 3; ++k) {
            const auto sent = co_await as_result(with.send(what));
            if (!sent) co_return;
          }
          auto permit = co_await as_result(with.reserve());
          if (permit) permit->send(std::move(what));
        };
        const auto receives = [](mpsc_receiver<std::shared_ptr<int>> of, int count) -> task<> {
          for (int k = 0; k < count; ++k) {
            const auto got = co_await as_result(of.receive());
            if (!got) co_return;
          }
        };
        auto one = spawn(sends(to, value));
        auto two = spawn(sends(std::move(to), value));
        auto three = spawn(receives(std::move(from), i % 9));
        co_await one.join();
        co_await two.join();
        co_await three.join();
      }
      EXPECT_EQ(value.use_count(), 1);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// A weak sender is upgraded while the last one goes.
TEST(mpsc_concurrent, concurrent_upgrades_beside_the_end) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 1000; ++i) {
      auto [to, from] = mpsc<int>(2);
      const auto upgrades = [](sync::mpsc_weak_sender<int> weak) -> task<int> {
        int sent = 0;
        for (int k = 0; k < 2; ++k) {
          if (const auto strong = weak.upgrade()) sent += strong->try_send(1) ? 1 : 0;
          co_await yield();
        }
        co_return sent;
      };
      auto one = spawn(upgrades(to.downgrade()));
      if (i % 3 == 0) co_await yield();
      to = mpsc_sender<int>();
      int received = 0;
      for (;; ++received) {
        const auto got = co_await as_result(from.receive());
        if (!got) break;
      }
      const auto sent = co_await one.join();
      EXPECT_EQ(received, *sent);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// Row 39 of the patterns: a producer and a consumer as branches of one task.
TEST(mpsc_concurrent, concurrent_a_join_of_both_ends) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(10);
    const auto produces = [](mpsc_sender<int> with) -> task<> {
      for (int i = 0; i < 1000; ++i) co_await with.send(i);
    };
    const auto consumes = [](mpsc_receiver<int> of) -> task<int> {
      int count = 0;
      for (;; ++count) {
        const auto got = co_await as_result(of.receive());
        if (!got) co_return count;
        EXPECT_EQ(*got, count);
      }
    };
    const auto both = co_await join(produces(std::move(to)), consumes(std::move(from)));
    EXPECT_EQ(std::get<1>(both), 1000);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::mpsc_concurrent_test
