#include <magpie/runtime/timer_wheel.hpp>

#include <magpie/tests/runtime/timers.hpp>
#include <magpie/util/random.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <thread>
#include <vector>

namespace {

using magpie::lock_scope;
using magpie::timer_wheel;
using magpie::tests::cancel;
using magpie::tests::expire;
using magpie::tests::insert;
using magpie::tests::never;
using magpie::tests::tick;
using magpie::tests::timer;
using magpie::tests::unlimited;

TEST(timer_wheel, never_fires_early) {
  timer_wheel wheel;
  timer t;
  for (const std::uint64_t deadline : {1U, 999U, 1000U, 1001U, 64'000U, 64'001U, 4'096'000U}) {
    timer_wheel fresh;
    insert(fresh, t, deadline);
    EXPECT_GE(fresh.next_deadline_ns(), deadline / 64'000 * 64'000);
    const std::uint64_t rounded_up = (deadline + tick - 1) / tick * tick;
    EXPECT_TRUE(expire(fresh, deadline - 1).empty()) << deadline;
    EXPECT_TRUE(expire(fresh, rounded_up - 1).empty()) << deadline;
    EXPECT_EQ(expire(fresh, rounded_up).size(), 1U) << deadline;
    EXPECT_EQ(fresh.next_deadline_ns(), never);
  }
}

TEST(timer_wheel, a_passed_deadline_fires_at_the_next_expire) {
  timer_wheel wheel(5'000'000);
  timer past, zero, now;
  EXPECT_TRUE(insert(wheel, past, 17));
  EXPECT_FALSE(insert(wheel, zero, 0));
  EXPECT_FALSE(insert(wheel, now, 5'000'000));
  EXPECT_LE(wheel.next_deadline_ns(), 5'000'000U);
  // Time that stands still, or even goes back, fires them all the same.
  EXPECT_EQ(expire(wheel, 4'000'000), (std::vector<timer*>{&past, &zero, &now}));
}

TEST(timer_wheel, the_largest_deadline_never_fires) {
  timer_wheel wheel;
  timer t;
  insert(wheel, t, never);
  EXPECT_TRUE(expire(wheel, never).empty());
  EXPECT_TRUE(cancel(wheel, t));
  EXPECT_EQ(wheel.size(), 0U);
}

TEST(timer_wheel, insert_tells_when_the_next_deadline_got_earlier) {
  timer_wheel wheel;
  timer a, b, c, d;
  EXPECT_TRUE(insert(wheel, a, 50 * tick));
  EXPECT_EQ(wheel.next_deadline_ns(), 50 * tick);
  EXPECT_FALSE(insert(wheel, b, 60 * tick));
  EXPECT_TRUE(insert(wheel, c, 10 * tick));
  EXPECT_FALSE(insert(wheel, d, 10 * tick));
  EXPECT_TRUE(cancel(wheel, c));
  EXPECT_EQ(wheel.next_deadline_ns(), 10 * tick);
  EXPECT_TRUE(cancel(wheel, d));
  EXPECT_EQ(wheel.next_deadline_ns(), 50 * tick);
  EXPECT_TRUE(cancel(wheel, a));
  EXPECT_TRUE(cancel(wheel, b));
  EXPECT_EQ(wheel.next_deadline_ns(), never);
  EXPECT_EQ(wheel.size(), 0U);
}

TEST(timer_wheel, cancel_is_true_once) {
  timer_wheel wheel;
  timer t;
  EXPECT_FALSE(cancel(wheel, t));
  insert(wheel, t, 5 * tick);
  EXPECT_TRUE(t.armed());
  EXPECT_TRUE(cancel(wheel, t));
  EXPECT_FALSE(cancel(wheel, t));
  EXPECT_FALSE(t.armed());
  insert(wheel, t, 5 * tick);
  EXPECT_EQ(expire(wheel, 6 * tick).size(), 1U);
  EXPECT_FALSE(cancel(wheel, t));
}

TEST(timer_wheel, the_same_tick_keeps_the_order_of_insertion) {
  timer_wheel wheel;
  constexpr std::uint64_t when = 70'000 * tick;  // three levels up
  timer t[4];
  insert(wheel, t[0], when - 1);
  expire(wheel, 69'000 * tick);
  insert(wheel, t[1], when);
  expire(wheel, 69'990 * tick);
  insert(wheel, t[2], when - 999);
  expire(wheel, 69'999 * tick);
  insert(wheel, t[3], when);
  EXPECT_EQ(expire(wheel, when), (std::vector<timer*>{&t[0], &t[1], &t[2], &t[3]}));
}

TEST(timer_wheel, expire_stops_at_its_bound_and_goes_on) {
  timer_wheel wheel;
  std::deque<timer> timers(1000);
  for (timer& t : timers) {
    insert(wheel, t, 100'000 * tick);
  }
  std::size_t fired = 0;
  std::size_t calls = 0;
  while (wheel.next_deadline_ns() <= 100'000 * tick) {
    const std::size_t now_fired = expire(wheel, 100'000 * tick, 10).size();
    EXPECT_LE(now_fired, 10U);
    fired += now_fired;
    ++calls;
    lock_scope guard(wheel);
    wheel.check_invariants();
  }
  EXPECT_EQ(fired, 1000U);
  EXPECT_GE(calls, 100U);
  EXPECT_LE(calls, 400U);
}

/// While a big slot is half moved down, a new timer of the same tick comes behind the old ones, and
/// old ones can be cancelled.
TEST(timer_wheel, the_order_survives_a_bound) {
  timer_wheel wheel;
  std::deque<timer> timers(101);
  for (int i = 0; i != 100; ++i) {
    insert(wheel, timers[static_cast<std::size_t>(i)], 5000 * tick);
  }
  EXPECT_TRUE(expire(wheel, 4999 * tick, 30).empty());
  insert(wheel, timers[100], 5000 * tick);
  EXPECT_TRUE(cancel(wheel, timers[0]));
  EXPECT_TRUE(cancel(wheel, timers[99]));
  std::vector<timer*> fired;
  while (wheel.size() != 0) {
    for (timer* t : expire(wheel, 5000 * tick, 7)) {
      fired.push_back(t);
    }
    lock_scope guard(wheel);
    wheel.check_invariants();
  }
  ASSERT_EQ(fired.size(), 99U);
  for (std::size_t i = 0; i != 98; ++i) {
    EXPECT_EQ(fired[i], &timers[i + 1]);
  }
  EXPECT_EQ(fired[98], &timers[100]);
}

/// What a bounded expire left pending is cancelled: the deadline moves on at once.
TEST(timer_wheel, the_deadline_forgets_what_was_pending) {
  for (const std::uint64_t when : {5 * tick, 5000 * tick}) {
    timer_wheel wheel;
    std::deque<timer> timers(10);
    timer later;
    for (timer& t : timers) {
      insert(wheel, t, when);
    }
    insert(wheel, later, 9000 * tick);
    expire(wheel, when, 3);
    EXPECT_LE(wheel.next_deadline_ns(), when);
    for (timer& t : timers) {
      cancel(wheel, t);
    }
    EXPECT_GT(wheel.next_deadline_ns(), when);
    EXPECT_LE(wheel.next_deadline_ns(), 9000 * tick);
    {
      lock_scope guard(wheel);
      wheel.check_invariants();
    }
    EXPECT_TRUE(cancel(wheel, later));
    EXPECT_EQ(wheel.next_deadline_ns(), never);
  }
}

/// Parking until the published deadline, over and over, reaches every timer, with few wake-ups.
TEST(timer_wheel, following_the_published_deadline_fires_everything_in_time) {
  timer_wheel wheel(123'456'789);
  magpie::random_source random(4);
  std::deque<timer> timers(500);
  for (timer& t : timers) {
    insert(wheel, t, 123'456'789 + (random.next() >> (24 + random.below(30))));
  }
  int wakes = 0;
  while (wheel.size() != 0) {
    const std::uint64_t now = wheel.next_deadline_ns();
    for (timer* t : expire(wheel, now)) {
      EXPECT_GE(now, t->deadline_ns);
      EXPECT_LT(now - t->deadline_ns, tick);
    }
    ++wakes;
  }
  EXPECT_LE(wakes, 500 * 7);
}

TEST(timer_wheel, resolves_each_timer_once_across_threads) {
  constexpr std::size_t count = 2000;
  constexpr int rounds = 20;
  timer_wheel wheel;
  std::deque<timer> timers(count);
  std::vector<int> resolved(count, 0);  // written by whoever resolves, ordered by the lock alone
  std::atomic<std::uint64_t> now = 0;
  for (std::size_t i = 0; i != count; ++i) {
    timers[i].id = static_cast<int>(i);
  }
  for (int round = 0; round != rounds; ++round) {
    const std::uint64_t base = now.load();
    for (timer& t : timers) {
      insert(wheel, t, base + static_cast<std::uint64_t>(t.id % 700) * tick);
    }
    const auto fire = [&](std::size_t handled_max) {
      while (wheel.size() != 0) {
        const std::uint64_t at = now.fetch_add(20 * tick);
        for (timer* t : expire(wheel, at, handled_max)) {
          ++resolved[static_cast<std::size_t>(t->id)];
        }
      }
    };
    std::thread owner([&] { fire(unlimited); });
    std::thread rescuer([&] { fire(3); });
    for (std::size_t i = 0; i < count; i += 3) {
      if (cancel(wheel, timers[i])) {
        ++resolved[i];
      }
    }
    owner.join();
    rescuer.join();
    for (std::size_t i = 0; i != count; ++i) {
      ASSERT_EQ(resolved[i], round + 1) << i;
    }
  }
}

}  // namespace
