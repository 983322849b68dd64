/// `barrier`: rounds, leaders, and arrivals that are taken back.
#include <magpie/sync/barrier.hpp>

#include <magpie/tests/sync/world.hpp>

#include <deque>
#include <memory>
#include <optional>
#include <vector>

namespace magpie::tests::barrier_test {
namespace {

using sync::barrier;

TEST(barrier, of_one_never_waits) {
  const auto scenario = []() -> task<> {
    barrier one(1);
    barrier none(0);
    EXPECT_EQ(none.size(), 1U);
    for (int i = 0; i < 3; ++i) {
      const bool leads = co_await one.arrive_and_wait();
      const bool leads_too = co_await none.arrive_and_wait();
      EXPECT_TRUE(leads && leads_too);
    }
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

/// What became of one that arrived.
struct member {
  std::optional<bool> leads;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};

task<> arrives(barrier& at, member& who) {
  const auto ended = co_await as_result(at.arrive_and_wait());
  if (ended) {
    who.leads = *ended;
  } else {
    who.error = ended.error();
  }
}

TEST(barrier, the_last_to_arrive_leads) {
  const auto scenario = []() -> task<> {
    barrier three(3);
    std::vector<member> all(3);
    for (member& each : all) {
      EXPECT_FALSE(all[0].leads);
      each.handle.emplace(spawn(arrives(three, each)));
      co_await settled();
    }
    EXPECT_EQ(all[0].leads, false);
    EXPECT_EQ(all[1].leads, false);
    EXPECT_EQ(all[2].leads, true);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(barrier, a_stop_takes_the_arrival_back) {
  const auto scenario = []() -> task<> {
    barrier two(2);
    const auto late = co_await as_result(timeout(1ms, two.arrive_and_wait()));
    EXPECT_EQ(error_of(late), errc::deadline);
    std::vector<member> all(2);
    all[0].handle.emplace(spawn(arrives(two, all[0])));
    co_await settled();
    EXPECT_FALSE(all[0].leads);  // the one before does not count
    all[1].handle.emplace(spawn(arrives(two, all[1])));
    co_await settled();
    EXPECT_EQ(all[0].leads, false);
    EXPECT_EQ(all[1].leads, true);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(barrier, once_all_have_arrived_the_round_is_over_for_each) {
  const auto scenario = []() -> task<> {
    barrier two(2);
    std::vector<member> all(1);
    all[0].handle.emplace(spawn(arrives(two, all[0])));
    co_await settled();
    const bool leads = co_await two.arrive_and_wait();
    all[0].handle->abort();  // it has not run
    EXPECT_TRUE(leads);
    co_await settled();
    EXPECT_EQ(all[0].leads, false);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// Nobody is a round ahead, and each round has one leader.
TEST(barrier, concurrent_rounds) {
  MAGPIE_NEED_CELL();
  static constexpr int parties = 5;
  static constexpr int rounds = 500;
  const auto scenario = []() -> task<> {
    barrier all(parties);
    atomic<int> arrived{0};
    atomic<int> leaders{0};
    const auto goes = [](barrier& with, atomic<int>& here, atomic<int>& leads) -> task<> {
      for (int i = 0; i < rounds; ++i) {
        here.fetch_add(1, order::relaxed);
        const bool last = co_await with.arrive_and_wait();
        if (last) leads.fetch_add(1, order::relaxed);
        EXPECT_GE(here.load(order::relaxed), (i + 1) * parties);
        EXPECT_LE(here.load(order::relaxed), (i + 2) * parties - 1);
      }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < parties; ++i) group.spawn(goes(all, arrived, leaders));
      co_return;
    });
    EXPECT_EQ(leaders.load(order::relaxed), rounds);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

// ---- against a reference -----------------------------------------------------------------------

class barrier_comparison {
 public:
  barrier_comparison(std::uint64_t seed, std::size_t size)
      : by_chance_(seed), size_(size), real_(size) {}

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    while (!line_.empty()) stop(0);
    co_await settled();
    compare();
  }

 private:
  void step() {
    if (line_.empty() || by_chance_.below(4) != 0) {
      auto& who = line_.emplace_back(std::make_unique<member>());
      who->handle.emplace(spawn(arrives(real_, *who)));
      if (line_.size() < size_) return;
      leader_ = line_.back().get();
      for (auto& each : line_) through_.push_back(std::move(each));
      line_.clear();
    } else {
      stop(by_chance_.below(line_.size()));
    }
  }

  void stop(std::size_t at) {
    line_[at]->handle->abort();
    stopped_.push_back(std::move(line_[at]));
    line_.erase(line_.begin() + static_cast<std::ptrdiff_t>(at));
  }

  void compare() {
    for (const auto& each : line_) EXPECT_TRUE(!each->leads && !each->error);
    for (const auto& each : through_) EXPECT_EQ(each->leads, each.get() == leader_);
    for (const auto& each : stopped_) EXPECT_EQ(each->error, errc::stopped);
    through_.clear();
    stopped_.clear();
  }

  dice by_chance_;
  std::size_t size_;
  barrier real_;
  const member* leader_ = nullptr;
  std::deque<std::unique_ptr<member>> line_;
  std::vector<std::unique_ptr<member>> through_;
  std::vector<std::unique_ptr<member>> stopped_;
};

TEST(barrier, does_what_a_simple_reference_does) {
  constexpr std::size_t sizes = 8;
  for (std::size_t size = 1; size <= sizes; ++size) {
    barrier_comparison both(size, size);
    EXPECT_TRUE(
        run_on(one_at_a_time(size), both.run(model_operations() / static_cast<int>(sizes))));
    ASSERT_FALSE(HasFailure()) << size << " parties";
  }
}

}  // namespace
}  // namespace magpie::tests::barrier_test
