/// `watch` with many at once, stopped at every moment, and against a reference that is a value and
/// a version.
#include <magpie/sync/watch.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace magpie::tests::watch_random_test {
namespace {

using sync::watch;
using sync::watch_receiver;
using sync::watch_sender;

/// A value that is seen whole or not at all.
struct pair {
  explicit pair(int number) : first(number), second(-number) {}
  bool whole() const { return first == -second; }
  int first;
  int second;
};

task<> sees_growing(watch_receiver<pair> from, int until) {
  int before = -1;
  while (before < until) {
    co_await from.changed();
    const auto now = from.borrow_and_update();
    EXPECT_TRUE(now->whole());
    EXPECT_GE(now->first, before);
    before = now->first;
    if (before % 3 == 0) co_await yield();
    EXPECT_TRUE(now->whole());  // still, whatever was sent meanwhile
  }
}

TEST(watch, concurrent_receivers_see_whole_values_and_the_last_one) {
  MAGPIE_NEED_CELL();
  constexpr int values = 2000;
  const auto scenario = []() -> task<> {
    auto ends = watch(pair(0));
    const auto sends = [](watch_sender<pair> to) -> task<> {
      for (int i = 1; i <= values; ++i) {
        EXPECT_TRUE(to.send(pair(i)));
        if (i % 7 == 0) co_await yield();
      }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 4; ++i) group.spawn(sees_growing(ends.receiver, values));
      group.spawn(sends(std::move(ends.sender)));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(watch, concurrent_modifications_are_all_made) {
  MAGPIE_NEED_CELL();
  constexpr int tasks = 4;
  constexpr int rounds = 500;
  const auto scenario = []() -> task<> {
    auto ends = watch(0);
    const auto adds = [](watch_sender<int> to) -> task<> {
      for (int i = 0; i < rounds; ++i) {
        EXPECT_TRUE(to.send_modify([](int& value) { ++value; }));
        if (i % 5 == 0) co_await yield();
      }
    };
    const auto waits = [](watch_receiver<int> from) -> task<> {
      const auto all = co_await from.wait_for([](int value) { return value == tasks * rounds; });
      EXPECT_EQ(*all, tasks * rounds);
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(waits(ends.receiver));
      for (int i = 0; i < tasks; ++i) group.spawn(adds(ends.sender));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(watch, concurrent_threads_send_and_see) {
  MAGPIE_NEED_KERNEL();
  static constexpr int values = 500;
  auto ends = watch(0);
  std::thread sees([from = ends.receiver]() mutable {
    EXPECT_GE(**from.blocking_wait_for([](int value) { return value >= values / 2; }), values / 2);
    while (*from.borrow() != values) EXPECT_TRUE(from.blocking_changed());
  });
  std::thread hears([to = ends.sender]() mutable { to.blocking_closed(); });
  const auto scenario = [&]() -> task<> {
    const auto sees_all = [](watch_receiver<int> from) -> task<> {
      const auto last = co_await from.wait_for([](int value) { return value == values; });
      EXPECT_EQ(*last, values);
    };
    auto seeing = spawn(sees_all(std::move(ends.receiver)));
    std::thread sends([to = std::move(ends.sender)] {
      for (int i = 1; i <= values; ++i) static_cast<void>(watch_sender<int>(to).send_replace(i));
    });
    co_await seeing.join();
    sends.join();
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  hears.join();
  sees.join();
}

/// Ends come and go on all workers; nothing is left.
TEST(watch, concurrent_ends_come_and_go) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 300; ++i) {
      auto ends = watch(std::make_shared<int>(i));
      const auto value = *ends.receiver.borrow();
      const auto subscribes = [](watch_sender<std::shared_ptr<int>> of) -> task<> {
        auto mine = of.subscribe();
        of = watch_sender<std::shared_ptr<int>>();
        co_await yield();
        EXPECT_TRUE(mine.borrow());
      };
      const auto hears = [](watch_sender<std::shared_ptr<int>> of) -> task<> {
        co_await of.closed();
      };
      co_await with_task_group([&](task_group& group) -> task<> {
        group.spawn(hears(ends.sender));
        group.spawn(subscribes(ends.sender));
        group.spawn(subscribes(std::move(ends.sender)));
        if (i % 2 == 0) co_await yield();
        ends.receiver = watch_receiver<std::shared_ptr<int>>();
      });
      EXPECT_EQ(value.use_count(), 1);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

// ---- against a reference ------------------------------------------------------------------------

/// A receiver, what it has seen, and its task if it waits.
struct follower {
  explicit follower(watch_receiver<int> of, int version) : real(std::move(of)), seen(version) {}

  watch_receiver<int> real;
  int seen;
  bool waits = false;
  bool told = false;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};

task<> waits_for_a_change(follower& who) {
  const auto ended = co_await as_result(who.real.changed());
  who.told = ended.has_value();
  who.error = error_of(ended);
}

class watch_comparison {
 public:
  explicit watch_comparison(std::uint64_t seed) : by_chance_(seed) {
    auto ends = watch(0);
    senders_.push_back(std::move(ends.sender));
    all_.push_back(std::make_unique<follower>(std::move(ends.receiver), 0));
  }

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    senders_.clear();
    co_await settled();
    for (auto& each : all_) EXPECT_TRUE(!each->waits || each->error == errc::closed);
  }

 private:
  void step() {
    follower& one = *all_[by_chance_.below(all_.size())];
    watch_sender<int>& by = senders_[by_chance_.below(senders_.size())];
    switch (by_chance_.below(12)) {
      case 0:
        publish(by, ++value_);
        break;
      case 1:
        ++value_;
        EXPECT_TRUE(by.send_modify([](int& value) { ++value; }));
        published();
        break;
      case 2: {
        const bool does = by_chance_.below(2) == 0;
        EXPECT_EQ(*by.send_if_modified([&](int& value) {
          ++value;
          return does;
        }),
                  does);
        if (does) ++value_;
        if (does) published();
        break;
      }
      case 3:
      case 4:
        if (!one.waits) begin(one);
        break;
      case 5:
        if (one.waits) stop(one);
        break;
      case 6:
        if (one.waits) {  // told, and stopped before it runs
          publish(by, ++value_);
          one.handle->abort();
          one.seen = version_ - 1;
          expected_stops_ = &one;
        }
        break;
      case 7:
        if (!one.waits) {
          EXPECT_EQ(*one.real.borrow_and_update(), value_);
          one.seen = version_;
        }
        break;
      case 8:
        if (one.waits) break;
        by_chance_.below(2) == 0 ? one.real.mark_changed() : one.real.mark_unchanged();
        one.seen = one.real.has_changed() ? version_ - 1 : version_;
        break;
      case 9:
        if (all_.size() < 8) subscribe(by, one);
        break;
      case 10:
        if (all_.size() > 1 && !one.waits)
          std::erase_if(all_, [&](const auto& each) { return each.get() == &one; });
        break;
      default:
        if (senders_.size() < 3) {
          senders_.push_back(senders_.front());
        } else {
          senders_.pop_back();
        }
        break;
    }
  }

  void publish(watch_sender<int>& by, int value) {
    if (by_chance_.below(2) == 0) {
      EXPECT_TRUE(by.send(value));
    } else {
      EXPECT_EQ(**by.send_replace(value), value - 1);
    }
    published();
  }
  /// Whoever waits sees it.
  void published() {
    ++version_;
    for (auto& each : all_) {
      if (!each->waits) continue;
      each->waits = false;
      each->seen = version_;
      told_.push_back(each.get());
    }
  }
  void begin(follower& one) {
    one.told = false;
    one.error = {};
    one.handle.emplace(spawn(waits_for_a_change(one)));
    if (one.seen == version_) {
      one.waits = true;
    } else {
      one.seen = version_;
      told_.push_back(&one);
    }
  }
  void stop(follower& one) {
    one.waits = false;
    one.handle->abort();
    expected_stops_ = &one;
  }
  void subscribe(const watch_sender<int>& by, follower& one) {
    const int seen = by_chance_.below(2) == 0 ? version_ : one.seen;
    all_.push_back(std::make_unique<follower>(
        seen == version_ ? by.subscribe() : watch_receiver<int>(one.real), seen));
  }

  void compare() {
    if (expected_stops_ != nullptr) {
      EXPECT_EQ(expected_stops_->error, errc::stopped);
      std::erase(told_, expected_stops_);
      expected_stops_ = nullptr;
    }
    for (const follower* each : told_) EXPECT_TRUE(each->told);
    told_.clear();
    for (const auto& each : all_) {
      EXPECT_EQ(each->real.has_changed(), each->seen != version_);
      EXPECT_EQ(*each->real.borrow(), value_);
      if (each->waits) {
        EXPECT_TRUE(!each->told && !each->error);
      }
    }
    EXPECT_EQ(senders_.front().senders(), senders_.size());
    EXPECT_EQ(senders_.front().receivers(), all_.size());
  }

  dice by_chance_;
  int value_ = 0;
  int version_ = 0;
  std::vector<watch_sender<int>> senders_;
  std::vector<std::unique_ptr<follower>> all_;
  std::vector<follower*> told_;
  follower* expected_stops_ = nullptr;
};

TEST(watch, does_what_a_simple_reference_does) {
  constexpr int seeds = 10;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    watch_comparison both(seed);
    EXPECT_TRUE(run_on(one_at_a_time(seed), both.run(model_operations() / seeds)));
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

// ---- stops at every moment ----------------------------------------------------------------------

/// Whoever is stopped has not seen what comes at about that time.
task<> following(int i, tally& counts) {
  const counted here(counts.alive);
  auto [sender, receiver] = watch(0);
  const auto sends = [](watch_sender<int> to, int n) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 31));
    static_cast<void>(to.send_replace(1));
  };
  auto sending = spawn(sends(sender, i));
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 17 * 1us) : 1h;
  const auto first = co_await as_result(timeout(longest, receiver.changed()));
  if (!first) {
    const auto joined = co_await shielded(sending.join());
    counts.check(joined.has_value() && receiver.has_changed());
  }
  counts.check(*receiver.borrow_and_update() == 1);
  if (!first && first.error() == errc::stopped) co_await fail(first.error());
}

/// Some wait for a value, some for the end of the receivers.
task<> waiting_for_a_value(int i, tally& counts) {
  const counted here(counts.alive);
  auto ends = watch(0);
  const auto sends = [](watch_sender<int> to, int n) -> task<> {
    for (int k = 1; k < 4; ++k) {
      if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 13));
      static_cast<void>(to.send_replace(k));
    }
  };
  const auto waits = [](watch_receiver<int> from, int value, tally& all) -> task<> {
    const counted inner(all.alive);
    const auto is_it = [&](int now) { return now >= value; };
    const auto got = co_await from.wait_for(is_it);
    all.check(*got >= value);
  };
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(sends(ends.sender, i));
    for (int k = 0; k < 3; ++k) group.spawn(waits(ends.receiver, k + 1, counts));
    ends.receiver = watch_receiver<int>();
    co_await ends.sender.closed();
  });
}

TEST(sync_torture, concurrent_changes) { torture(&following); }
TEST(sync_torture, concurrent_values) { torture(&waiting_for_a_value); }

}  // namespace
}  // namespace magpie::tests::watch_random_test
