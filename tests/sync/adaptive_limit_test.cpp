/// `adaptive_limit`: it finds what there is, follows it, and keeps to its bounds.
#include <magpie/sync/adaptive_limit.hpp>

#include <magpie/runtime/test_clock.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace magpie::tests::adaptive_limit_test {
namespace {

using sync::adaptive_limit;
using sync::adaptive_policy;
using sync::admission;
using sync::admission_limits;
using sync::timed_work;

admission_limits patient(std::size_t running) {
  admission_limits limits(running, 10'000);
  limits.patience = 1h;
  limits.impatience = 1h;
  return limits;
}

/// So many for which it makes no difference how many there are; from then on all get slower.
struct server {
  int capacity;
  int now = 0;
  bool over = false;

  task<> work() {
    const int beside = std::max(++now, capacity);
    co_await sleep_for(10ms * beside / capacity);
    --now;
  }
};

task<> asks_again_and_again(admission& door, adaptive_limit& limit, server& of) {
  while (!of.over) {
    auto admitted = co_await door.enter();
    auto work = limit.begin();
    work.tell(co_await as_result(of.work()));
  }
}

TEST(adaptive_limit, finds_what_the_server_can_do_and_follows_it) {
  MAGPIE_NEED_SIMULATION();
  const auto scenario = []() -> task<> {
    admission door(patient(5));
    adaptive_limit limit(door, adaptive_policy(20ms));
    server of(20);
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 150; ++i) group.spawn(asks_again_and_again(door, limit, of));
      const auto keeps_between = [&](std::size_t least, std::size_t most) -> task<> {
        for (int i = 0; i < 20; ++i) {
          co_await sleep_for(97ms);
          EXPECT_GE(limit.limit(), least);
          EXPECT_LE(limit.limit(), most);
          EXPECT_EQ(door.running_max(), limit.limit());
        }
      };
      co_await sleep_for(8s);
      co_await keeps_between(33, 44);  // 40 are twice as slow as one
      of.capacity = 5;
      co_await sleep_for(5s);
      co_await keeps_between(7, 13);
      of.capacity = 40;
      co_await sleep_for(12s);
      co_await keeps_between(68, 88);
      of.over = true;
    });
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// So many at once, which take so long; they begin and end at an instant.
task<> one_round(adaptive_limit& limit, std::size_t count, clock::duration took) {
  std::vector<timed_work> all;
  for (std::size_t i = 0; i < count; ++i) all.push_back(limit.begin());
  co_await test_clock::advance(took);
  for (auto& one : all) one.done();
}

adaptive_policy small_rounds(std::size_t least = 1, std::size_t most = 1000) {
  adaptive_policy policy(10ms, least, most);
  policy.round = 5ms;
  policy.samples = 2;
  return policy;
}

TEST(adaptive_limit, does_not_grow_while_nobody_needs_it) {
  at_instants([]() -> task<> {
    admission door(patient(3));
    adaptive_limit limit(door, small_rounds());
    for (int i = 0; i < 5; ++i) co_await one_round(limit, 2, 5ms);
    EXPECT_EQ(limit.limit(), 3U);
    auto one = co_await door.enter();
    auto two = co_await door.enter();
    co_await one_round(limit, 2, 5ms);
    EXPECT_EQ(limit.limit(), 3U);
    auto three = co_await door.enter();
    co_await one_round(limit, 2, 5ms);
    EXPECT_EQ(limit.limit(), 4U);
    EXPECT_TRUE(door.try_enter());
  });
}

TEST(adaptive_limit, stays_between_its_bounds) {
  at_instants([]() -> task<> {
    admission door(patient(50));
    adaptive_limit limit(door, small_rounds(3, 6));
    EXPECT_EQ(limit.limit(), 6U);
    EXPECT_EQ(door.running_max(), 6U);
    std::vector<sync::admitted> all;
    while (auto one = door.try_enter()) all.push_back(*std::move(one));
    EXPECT_EQ(all.size(), 6U);
    co_await one_round(limit, 2, 5ms);
    EXPECT_EQ(limit.limit(), 6U);
    const std::vector<std::size_t> expected{5, 4, 3, 3, 3};
    for (const std::size_t next : expected) {
      co_await one_round(limit, 2, 11ms);
      EXPECT_EQ(limit.limit(), next);
    }
    EXPECT_FALSE(door.try_enter());
  });
}

TEST(adaptive_limit, a_tenth_may_be_slow) {
  at_instants([]() -> task<> {
    admission door(patient(20));
    auto policy = small_rounds();
    policy.samples = 10;
    adaptive_limit limit(door, policy);
    for (const int slow : {1, 2}) {
      std::vector<timed_work> all;
      for (int i = 0; i < 10; ++i) all.push_back(limit.begin());
      co_await test_clock::advance(10ms);  // as long as it may take
      for (int i = 0; i < 10 - slow; ++i) all[static_cast<std::size_t>(i)].done();
      co_await test_clock::advance(1ms);
      for (auto& one : all) one.done();
      EXPECT_EQ(limit.limit(), slow == 1 ? 20U : 18U);
    }
  });
}

TEST(adaptive_limit, errors_say_that_there_is_too_much_or_nothing) {
  at_instants([]() -> task<> {
    admission door(patient(20));
    adaptive_limit limit(door, small_rounds());
    const auto tells = [&](std::error_code error) -> task<> {
      auto one = limit.begin();
      auto two = limit.begin();
      co_await test_clock::advance(5ms);
      one.tell(result<int>(std::unexpected(error)));
      one.tell(result<int>(std::unexpected(error)));  // the first one counts
      timed_work moved = std::move(two);
      two.tell(result<int>(1));
      moved.tell(result<int>(std::unexpected(error)));
    };
    co_await tells(errc::stopped);
    co_await tells(std::make_error_code(std::errc::no_such_file_or_directory));
    EXPECT_EQ(limit.limit(), 20U);
    co_await tells(errc::deadline);
    EXPECT_EQ(limit.limit(), 18U);
    co_await tells(errc::refused);
    EXPECT_EQ(limit.limit(), 16U);
  });
}

TEST(adaptive_limit, what_began_under_another_limit_says_nothing_of_this_one) {
  at_instants([]() -> task<> {
    admission door(patient(20));
    adaptive_limit limit(door, small_rounds());
    std::vector<timed_work> old;
    for (int i = 0; i < 20; ++i) old.push_back(limit.begin());
    co_await test_clock::advance(50ms);
    old[0].done();
    old[1].done();
    EXPECT_EQ(limit.limit(), 18U);  // by the first two; the others began before that
    co_await test_clock::advance(50ms);
    for (auto& one : old) one.done();
    EXPECT_EQ(limit.limit(), 18U);
    co_await one_round(limit, 2, 50ms);
    EXPECT_EQ(limit.limit(), 16U);
  });
}

TEST(adaptive_limit, concurrent_ends_leave_the_door_with_the_limit) {
  MAGPIE_NEED_CELL();
  admission door(patient(4));
  auto policy = small_rounds(1, 8);
  policy.target = 20us;
  policy.round = 1us;
  adaptive_limit limit(door, policy);
  const auto works = [](admission& at, adaptive_limit& by) -> task<> {
    for (int i = 0; i < 200; ++i) {
      auto admitted = co_await at.enter();
      auto work = by.begin();
      if (i % 3 == 0) co_await yield();
      if (i % 2 == 0) {
        work.done();
      } else {
        work.overloaded();
      }
    }
  };
  const auto scenario = [](admission& at, adaptive_limit& by, const auto& work) -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 8; ++i) group.spawn(work(at, by));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario(door, limit, works)));
  EXPECT_EQ(door.running_max(), limit.limit());
  EXPECT_LE(limit.limit(), 8U);
}

// Slow work that lasts for several rounds, beside fast work that ends them.
TEST(adaptive_limit, sees_what_takes_longer_than_a_round) {
  MAGPIE_NEED_ONE_CELL();
  const auto scenario = []() -> task<> {
    admission door(patient(20));
    adaptive_limit limit(door, adaptive_policy(100ms));
    atomic<bool> over{false};
    const auto asks = [&](int who) -> task<> {
      for (int i = who; !over.load(order::relaxed); ++i) {
        auto admitted = co_await door.enter();
        auto work = limit.begin();
        co_await sleep_for(i % 3 == 0 ? 300ms : 20ms);
        work.done();
      }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 200; ++i) group.spawn(asks(i));
      co_await sleep_for(30s);
      EXPECT_LE(limit.limit(), 20U);  // a third is too slow: it does not grow
      over.store(true, order::relaxed);
    });
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// A caller's deadline is a stop to the work inside.
TEST(adaptive_limit, sees_work_that_was_stopped_when_it_was_too_slow) {
  MAGPIE_NEED_ONE_CELL();
  const auto scenario = []() -> task<> {
    admission door(patient(50));
    adaptive_limit limit(door, adaptive_policy(20ms));
    const auto answers = [&](clock::duration takes) -> task<> {
      auto admitted = co_await door.enter();
      auto work = limit.begin();
      work.tell(co_await as_result(sleep_for(takes)));
    };
    const auto asks = [&](int times, clock::duration patience) -> task<> {
      for (int i = 0; i < times; ++i)
        static_cast<void>(co_await as_result(timeout(patience, answers(1h))));
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 50; ++i) group.spawn(asks(20, 1s));
      co_return;
    });
    const std::size_t cut = limit.limit();
    EXPECT_LT(cut, 25U);
    // What was stopped before it was too slow says nothing.
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 5; ++i) group.spawn(asks(100, 10ms));
      co_return;
    });
    EXPECT_EQ(limit.limit(), cut);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

}  // namespace
}  // namespace magpie::tests::adaptive_limit_test
