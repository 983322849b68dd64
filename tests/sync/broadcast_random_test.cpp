/// `broadcast` with many at once, stopped at every moment, and against a reference that is a list
/// of all messages.
#include <magpie/sync/broadcast.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace magpie::tests::broadcast_random_test {
namespace {

using sync::broadcast;
using sync::broadcast_receiver;
using sync::broadcast_sender;

/// What is received and what is missed make up all that was sent, in order.
task<> accounts(broadcast_receiver<int> from, int all) {
  int next = 0;
  while (next < all) {
    const auto got = co_await from.receive();
    next += static_cast<int>(got.missed());
    EXPECT_EQ(*got, next);
    ++next;
    if (next % 5 == 0) co_await yield();
  }
  const auto ended = co_await as_result(from.receive());
  EXPECT_EQ(error_of(ended), errc::closed);
}

TEST(broadcast, concurrent_what_is_not_received_is_counted) {
  MAGPIE_NEED_CELL();
  constexpr int messages = 3000;
  const auto scenario = []() -> task<> {
    auto ends = broadcast<int>(16);
    const auto sends = [](broadcast_sender<int> to) -> task<> {
      for (int i = 0; i < messages; ++i) {
        EXPECT_TRUE(to.send(i));
        if (i % 7 == 0) co_await yield();
      }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 3; ++i) group.spawn(accounts(ends.sender.subscribe(), messages));
      group.spawn(accounts(std::move(ends.receiver), messages));
      group.spawn(sends(std::move(ends.sender)));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(broadcast, concurrent_threads_send_and_receive) {
  MAGPIE_NEED_KERNEL();
  static constexpr int messages = 1000;
  auto ends = broadcast<int>(messages);
  std::thread receives([from = ends.sender.subscribe()]() mutable {
    for (int i = 0; i < messages; ++i) EXPECT_EQ(**from.blocking_receive(), i);
    EXPECT_EQ(error_of(from.blocking_receive()), errc::closed);
  });
  const auto scenario = [&]() -> task<> {
    auto accounting = spawn(accounts(std::move(ends.receiver), messages));
    std::thread sends([to = std::move(ends.sender)]() mutable {
      for (int i = 0; i < messages; ++i) EXPECT_TRUE(to.send(i));
    });
    co_await accounting.join();
    sends.join();
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  receives.join();
}

/// Receivers come and go while messages are sent; no message is left over.
TEST(broadcast, concurrent_receivers_come_and_go) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    const auto watched = std::make_shared<int>(1);
    {
      auto ends = broadcast<std::shared_ptr<int>>(8);
      const auto visits = [](broadcast_sender<std::shared_ptr<int>> of) -> task<> {
        for (int i = 0; i < 100; ++i) {
          auto mine = of.subscribe();
          if (i % 3 == 0) co_await yield();
          if (i % 2 == 0) static_cast<void>(mine.try_receive());
          auto more = mine.resubscribe();
        }
      };
      const auto sends = [](broadcast_sender<std::shared_ptr<int>> to,
                            std::shared_ptr<int> what) -> task<> {
        for (int i = 0; i < 300; ++i) {
          static_cast<void>(to.send(what));
          if (i % 9 == 0) co_await yield();
        }
      };
      ends.receiver = broadcast_receiver<std::shared_ptr<int>>();
      co_await with_task_group([&](task_group& group) -> task<> {
        for (int i = 0; i < 3; ++i) group.spawn(visits(ends.sender));
        group.spawn(sends(ends.sender, watched));
        co_return;
      });
      EXPECT_EQ(ends.sender.receivers(), 0U);
      EXPECT_EQ(watched.use_count(), 1);  // nobody is there to have them
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

// ---- against a reference ------------------------------------------------------------------------

/// A receiver, how far it is, and its task if it waits.
struct listener {
  listener(broadcast_receiver<int> of, std::size_t position) : real(std::move(of)), at(position) {}

  broadcast_receiver<int> real;
  std::size_t at;
  bool waits = false;
  std::optional<sync::broadcast_message<int>> got;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};

task<> waits_for_one(listener& who) {
  auto ended = co_await as_result(who.real.receive());
  who.error = error_of(ended);
  if (ended) who.got.emplace(*std::move(ended));
}

class broadcast_comparison {
 public:
  explicit broadcast_comparison(std::uint64_t seed) : by_chance_(seed) {
    auto ends = broadcast<int>(ring);
    sender_ = std::move(ends.sender);
    all_.push_back(std::make_unique<listener>(std::move(ends.receiver), 0));
  }

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    sender_ = broadcast_sender<int>();
    co_await settled();
    for (auto& each : all_) EXPECT_TRUE(!each->waits || each->error == errc::closed);
  }

 private:
  static constexpr std::size_t ring = 4;

  void step() {
    listener& one = *all_[by_chance_.below(all_.size())];
    switch (by_chance_.below(10)) {
      case 0:
      case 1:
      case 2:
        send();
        break;
      case 3:
        begin(one);
        break;
      case 4:
      case 5:
        try_one(one);
        break;
      case 6:
        if (one.waits) stop(one);
        break;
      case 7:
        if (one.waits) {  // told, and stopped before it runs
          send();
          expected_.clear();
          for (auto& each : all_)
            if (each->waits && each.get() != &one) take(*each);
          stop(one);
        }
        break;
      case 8:
        if (all_.size() < 6)
          all_.push_back(std::make_unique<listener>(
              by_chance_.below(2) == 0 ? sender_.subscribe() : one.real.resubscribe(), sent_));
        break;
      default:
        if (all_.size() > 1 && !one.waits)
          std::erase_if(all_, [&](const auto& each) { return each.get() == &one; });
        break;
    }
  }

  void send() {
    EXPECT_EQ(sender_.send(static_cast<int>(sent_)).value(), all_.size());
    ++sent_;
    for (auto& each : all_)
      if (each->waits) expected_.push_back(each.get());
  }

  /// The message that `one` gets, and how many it has missed.
  std::pair<int, std::size_t> next_of(listener& one) const {
    const std::size_t oldest = sent_ > ring ? sent_ - ring : 0;
    const std::size_t missed = one.at < oldest ? oldest - one.at : 0;
    const auto number = static_cast<int>(one.at + missed);
    one.at += missed + 1;
    return {number, missed};
  }
  void take(listener& one) {
    one.waits = false;
    taken_.emplace_back(&one, next_of(one));
  }

  void begin(listener& one) {
    if (one.waits) return;
    one.got.reset();
    one.error = {};
    one.handle.emplace(spawn(waits_for_one(one)));
    one.waits = true;
    if (one.at != sent_) take(one);
  }
  void try_one(listener& one) {
    if (one.waits) return;
    const auto got = one.real.try_receive();
    EXPECT_EQ(got.has_value(), one.at != sent_);
    if (!got) return;
    const auto [number, missed] = next_of(one);
    EXPECT_EQ(**got, number);
    EXPECT_EQ(got->missed(), missed);
  }
  void stop(listener& one) {
    one.waits = false;
    one.handle->abort();
    stopped_ = &one;
  }

  void compare() {
    for (listener* each : expected_) take(*each);
    expected_.clear();
    for (const auto& [who, message] : taken_) {
      EXPECT_TRUE(who->got);
      if (!who->got) continue;
      EXPECT_EQ(**who->got, message.first);
      EXPECT_EQ(who->got->missed(), message.second);
    }
    taken_.clear();
    if (stopped_ != nullptr) {
      EXPECT_EQ(stopped_->error, errc::stopped);
    }
    stopped_ = nullptr;
    for (const auto& each : all_) {
      EXPECT_EQ(each->real.size(), sent_ - each->at);
      if (each->waits) {
        EXPECT_TRUE(!each->got && !each->error);
      }
    }
    EXPECT_EQ(sender_.receivers(), all_.size());
  }

  dice by_chance_;
  std::size_t sent_ = 0;
  broadcast_sender<int> sender_;
  std::vector<std::unique_ptr<listener>> all_;
  std::vector<listener*> expected_;  ///< Who waited when something was sent.
  std::vector<std::pair<listener*, std::pair<int, std::size_t>>> taken_;
  listener* stopped_ = nullptr;
};

TEST(broadcast, does_what_a_simple_reference_does) {
  constexpr int seeds = 10;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    broadcast_comparison both(seed);
    EXPECT_TRUE(run_on(one_at_a_time(seed), both.run(model_operations() / seeds)));
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

// ---- stops at every moment ----------------------------------------------------------------------

/// Whoever is stopped leaves the message that comes at about that time.
task<> listening(int i, tally& counts) {
  const counted here(counts.alive);
  auto ends = broadcast<std::shared_ptr<int>>(2);
  const auto value = std::make_shared<int>(i);
  const auto sends = [](broadcast_sender<std::shared_ptr<int>> to, std::shared_ptr<int> what,
                        int n) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 31));
    static_cast<void>(to.send(std::move(what)));
  };
  auto sending = spawn(sends(ends.sender, value, i));
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 17 * 1us) : 1h;
  const auto first = co_await as_result(timeout(longest, ends.receiver.receive()));
  if (first) {
    counts.check(**first == value);
    co_return;
  }
  const auto sent = co_await shielded(sending.join());
  const auto again = ends.receiver.try_receive();
  counts.check(sent.has_value() && again.has_value() && **again == value);
  if (first.error() == errc::stopped) co_await fail(first.error());
}

TEST(sync_torture, concurrent_broadcasts) { torture(&listening); }

}  // namespace
}  // namespace magpie::tests::broadcast_random_test
