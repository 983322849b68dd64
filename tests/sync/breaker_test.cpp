/// `breaker`: when it opens, whom it lets through then, and what it takes to close it.
#include <magpie/sync/breaker.hpp>

#include <magpie/runtime/test_clock.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace magpie::tests::breaker_test {
namespace {

using sync::breaker;
using sync::breaker_call;
using sync::breaker_policy;
using sync::breaker_state;

void fails(breaker& one, int times = 1) {
  for (int i = 0; i < times; ++i) {
    auto call = one.try_call();
    ASSERT_TRUE(call);
    call->failed();
  }
}

void succeeds(breaker& one, int times = 1) {
  for (int i = 0; i < times; ++i) {
    auto call = one.try_call();
    ASSERT_TRUE(call);
    call->succeeded();
  }
}

TEST(breaker, opens_after_so_many_failures_of_the_last_calls) {
  breaker three_of_five(breaker_policy(3, 5));
  fails(three_of_five, 2);
  succeeds(three_of_five, 3);
  fails(three_of_five, 2);  // the first two are too long ago
  EXPECT_EQ(three_of_five.state(), breaker_state::closed);
  fails(three_of_five);
  EXPECT_EQ(three_of_five.state(), breaker_state::open);
  EXPECT_FALSE(three_of_five.try_call());
}

TEST(breaker, so_many_in_a_row) {
  breaker three(breaker_policy(3, 3));
  for (int i = 0; i < 10; ++i) {
    fails(three, 2);
    succeeds(three);
  }
  EXPECT_EQ(three.state(), breaker_state::closed);
  fails(three, 3);
  EXPECT_EQ(three.state(), breaker_state::open);

  breaker wide(breaker_policy(64, 64));
  fails(wide, 63);
  EXPECT_EQ(wide.state(), breaker_state::closed);
  fails(wide);
  EXPECT_EQ(wide.state(), breaker_state::open);
}

TEST(breaker, refuses_for_a_pause_and_then_probes) {
  at_instants([]() -> task<> {
    breaker one(breaker_policy(1, 1));
    fails(one);
    EXPECT_EQ(one.try_call().error(), 1s);
    co_await test_clock::advance(999ms);
    EXPECT_EQ(one.try_call().error(), 1ms);
    co_await test_clock::advance(1ms);
    auto probe = one.try_call();
    EXPECT_TRUE(probe);
    EXPECT_EQ(one.state(), breaker_state::probing);
    EXPECT_FALSE(one.try_call());  // one probe at a time
    probe->succeeded();
    EXPECT_EQ(one.state(), breaker_state::closed);
    succeeds(one, 3);
  });
}

TEST(breaker, a_probe_that_hangs_is_replaced_by_another) {
  at_instants([]() -> task<> {
    breaker one(breaker_policy(1, 1));
    fails(one);
    co_await test_clock::advance(1s);
    auto hangs = one.try_call();
    EXPECT_TRUE(hangs);
    co_await test_clock::advance(1999ms);  // a probe has the next pause
    EXPECT_EQ(one.try_call().error(), 1ms);
    co_await test_clock::advance(1ms);
    auto second = one.try_call();
    EXPECT_TRUE(second);
    EXPECT_EQ(one.try_call().error(), 2s);
    hangs->failed();  // too late to say anything
    EXPECT_EQ(one.state(), breaker_state::probing);
    second->succeeded();
    EXPECT_EQ(one.state(), breaker_state::closed);
  });
}

TEST(breaker, each_failed_probe_doubles_the_pause_up_to_its_limit) {
  at_instants([]() -> task<> {
    breaker_policy policy(1, 1);
    policy.pause_max = 5s;
    breaker one(policy);
    fails(one);
    for (const clock::duration expected : {1s, 2s, 4s, 5s, 5s}) {
      EXPECT_EQ(one.try_call().error(), expected);
      co_await test_clock::advance(expected);
      fails(one);
    }
    co_await test_clock::advance(5s);
    succeeds(one);
    fails(one);
    EXPECT_EQ(one.try_call().error(), 1s);  // it was closed in between
  });
}

TEST(breaker, closes_after_all_its_probes) {
  at_instants([]() -> task<> {
    breaker_policy policy(1, 1);
    policy.probes = 3;
    breaker one(policy);
    fails(one);
    co_await test_clock::advance(1s);
    auto first = one.try_call();
    auto second = one.try_call();
    auto third = one.try_call();
    EXPECT_TRUE(first && second && third);
    EXPECT_FALSE(one.try_call());
    first->succeeded();
    EXPECT_FALSE(one.try_call());
    {
      const breaker_call untold = *std::move(second);
    }
    auto again = one.try_call();  // in its place
    EXPECT_TRUE(again);
    again->succeeded();
    EXPECT_EQ(one.state(), breaker_state::probing);
    third->succeeded();
    EXPECT_EQ(one.state(), breaker_state::closed);
  });
}

TEST(breaker, old_calls_and_second_words_count_for_nothing) {
  at_instants([]() -> task<> {
    breaker two(breaker_policy(2, 2));
    auto slow = two.try_call();
    auto slower = two.try_call();
    fails(two, 2);
    slow->failed();
    co_await test_clock::advance(1s);
    auto probe = two.try_call();
    EXPECT_TRUE(probe);
    slower->failed();  // it began before the breaker opened
    EXPECT_EQ(two.state(), breaker_state::probing);
    probe->succeeded();
    probe->failed();
    EXPECT_EQ(two.state(), breaker_state::closed);
    fails(two);
    auto both = two.try_call();
    both->succeeded();
    both->failed();
    EXPECT_EQ(two.state(), breaker_state::closed);
  });
}

TEST(breaker, an_outcome_tells_and_a_stop_is_neither) {
  breaker two(breaker_policy(2, 2));
  const auto tells = [&](const result<int>& outcome) {
    auto call = two.try_call();
    ASSERT_TRUE(call);
    call->tell(outcome);
  };
  tells(std::unexpected(some_error()));
  for (int i = 0; i < 5; ++i) tells(std::unexpected(make_error_code(errc::stopped)));
  EXPECT_EQ(two.state(), breaker_state::closed);
  tells(std::unexpected(make_error_code(errc::deadline)));
  EXPECT_EQ(two.state(), breaker_state::open);
  breaker other(breaker_policy(2, 2));
  auto call = other.try_call();
  call->tell(result<int>(1));
  fails(other);
  EXPECT_EQ(other.state(), breaker_state::closed);
}

TEST(breaker, what_is_no_policy_is_an_abort) {
  EXPECT_DEATH(breaker(breaker_policy(0, 1)), "opens after");
  EXPECT_DEATH(breaker(breaker_policy(2, 1)), "opens after");
  EXPECT_DEATH(breaker(breaker_policy(1, 65)), "opens after");
  breaker_policy none(1, 1);
  none.probes = 0;
  EXPECT_DEATH((void(breaker(none))), "never close");
}

/// The table of the header, word by word.
class reference {
 public:
  explicit reference(const breaker_policy& policy) : policy_(policy), pause_(policy.pause) {}

  /// The era of the call, if there is one.
  std::optional<int> call(clock::time_point now) {
    if (state_ == breaker_state::open) {
      if (now < until_) return std::nullopt;
      probes(now);
    }
    if (state_ == breaker_state::probing) {
      if (under_way_ + good_ >= policy_.probes) {
        if (now < until_) return std::nullopt;
        probes(now);
      }
      ++under_way_;
    }
    return era_;
  }
  void end(int era, int how, clock::time_point now) {  // 0: untold, 1: well, 2: badly
    if (era != era_) return;
    if (state_ == breaker_state::probing) {
      --under_way_;
      if (how == 2) opens(now);
      if (how == 1 && ++good_ == policy_.probes) {
        change(breaker_state::closed);
        pause_ = policy_.pause;
      }
    } else if (how != 0) {
      last_.push_back(how == 2 ? 1U : 0U);
      if (last_.size() > policy_.window) last_.pop_front();
      if (std::accumulate(last_.begin(), last_.end(), 0U) >= policy_.failures) opens(now);
    }
  }
  breaker_state state() const { return state_; }

 private:
  void change(breaker_state next) {
    state_ = next;
    ++era_;
    last_.clear();
    under_way_ = good_ = 0;
  }
  void probes(clock::time_point now) {
    change(breaker_state::probing);
    until_ = now + pause_;
  }
  void opens(clock::time_point now) {
    change(breaker_state::open);
    until_ = now + pause_;
    pause_ = std::min(2 * pause_, policy_.pause_max);
  }

  breaker_policy policy_;
  breaker_state state_ = breaker_state::closed;
  int era_ = 0;
  std::deque<unsigned> last_;
  unsigned under_way_ = 0;
  unsigned good_ = 0;
  clock::duration pause_;
  clock::time_point until_;
};

TEST(breaker, random_calls_follow_the_table) {
  const auto scenario = [](std::uint64_t seed) -> task<> {
    test_clock::pause();
    dice chance(seed);
    breaker_policy policy;
    policy.window = static_cast<unsigned>(1 + chance.below(64));
    policy.failures = static_cast<unsigned>(1 + chance.below(std::min(policy.window, 6U)));
    policy.probes = static_cast<unsigned>(1 + chance.below(3));
    policy.pause_max = 8s;
    breaker one(policy);
    reference expected(policy);
    struct pair {
      std::expected<breaker_call, clock::duration> call;
      std::optional<int> era;
    };
    std::vector<pair> open;
    int opened = 0;
    const int operations = model_operations() / 10;
    for (int i = 0; i < operations; ++i) {
      if (open.size() < 4 && chance.below(2) == 0) {
        pair made{one.try_call(), expected.call(clock::now())};
        EXPECT_EQ(made.call.has_value(), made.era.has_value());
        if (made.call && made.era) open.push_back(std::move(made));
      } else if (!open.empty()) {
        const std::size_t at = chance.below(open.size());
        pair ends = std::move(open[at]);
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
        const std::size_t how = chance.below(3);
        if (how == 1) ends.call->succeeded();
        if (how == 2) ends.call->failed();
        expected.end(*ends.era, static_cast<int>(how), clock::now());
      }
      EXPECT_EQ(one.state(), expected.state());
      if (one.state() == breaker_state::open) ++opened;
      if (chance.below(3) == 0) co_await test_clock::advance(chance.below(1500) * 1ms);
    }
    EXPECT_GT(opened, 0);
    test_clock::resume();
  };
  for (std::uint64_t seed = 1; seed <= 10; ++seed)
    EXPECT_TRUE(run_on(one_at_a_time(seed), scenario(seed)));
}

TEST(breaker, concurrent_calls_lose_no_probe) {
  MAGPIE_NEED_KERNEL();
  breaker_policy policy(1, 1);
  policy.pause = 0s;
  policy.pause_max = 0s;
  policy.probes = 2;
  breaker one(policy);
  const auto calls = [](breaker& to, int name) -> task<> {
    for (int i = 0; i < 2000; ++i) {
      auto call = to.try_call();
      if (!call) continue;
      const int how = (i + name) % 3;
      if (how == 0) call->failed();
      if (how == 1) call->succeeded();
      if (i % 64 == 0) co_await yield();
    }
  };
  const auto scenario = [](breaker& to, const auto& call) -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 8; ++i) group.spawn(call(to, i));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario(one, calls)));
  // Nobody is inside: if a probe had been lost it would never close.
  if (one.state() == breaker_state::closed) fails(one);
  succeeds(one, 2);
  EXPECT_EQ(one.state(), breaker_state::closed);
}

}  // namespace
}  // namespace magpie::tests::breaker_test
