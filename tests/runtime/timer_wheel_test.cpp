#include <magpie/runtime/timer_wheel.hpp>

#include <magpie/util/random.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <thread>
#include <vector>

namespace {

using magpie::lock_scope;
using magpie::timer_list;
using magpie::timer_node;
using magpie::timer_wheel;

constexpr std::uint64_t tick = timer_wheel::tick_ns;
constexpr std::uint64_t never = timer_wheel::no_deadline;
constexpr std::size_t unlimited = ~std::size_t{0};

struct timer : timer_node {
  int id = 0;
};

bool insert(timer_wheel& wheel, timer& t, std::uint64_t deadline_ns) {
  t.deadline_ns = deadline_ns;
  lock_scope guard(wheel);
  return wheel.insert(t);
}

bool cancel(timer_wheel& wheel, timer& t) {
  lock_scope guard(wheel);
  return wheel.cancel(t);
}

std::vector<timer*> expire(timer_wheel& wheel, std::uint64_t now_ns,
                           std::size_t handled_max = unlimited) {
  timer_list fired;
  std::size_t count = 0;
  {
    lock_scope guard(wheel);
    count = wheel.expire(now_ns, fired, handled_max);
  }
  std::vector<timer*> result;
  while (timer_node* t = fired.pop_front()) {
    EXPECT_FALSE(t->armed());
    result.push_back(static_cast<timer*>(t));
  }
  EXPECT_EQ(result.size(), count);
  return result;
}

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

/// The wheel beside a multimap from the tick at which a timer has to fire.
class beside_a_multimap {
 public:
  explicit beside_a_multimap(std::uint64_t seed)
      : random_(seed),
        now_(random_.next() >> (14 + random_.below(50))),
        wheel_(now_),
        timers_(200) {}
  ~beside_a_multimap() {
    for (timer& t : timers_) {
      cancel(wheel_, t);
    }
  }

  void run(int steps) {
    for (int step = 0; step != steps && !testing::Test::HasFailure(); ++step) {
      timer& t = timers_[random_.below(200)];
      switch (random_.below(8)) {
        case 0:
          advance(random_.one_in(4) ? unlimited : random_.below(20) + 1);
          break;
        case 1:
        case 2:
          check_cancel(t);
          break;
        default:
          if (!t.armed()) {
            check_insert(t);
          }
      }
      check_bounds();
    }
  }

 private:
  using expected_map = std::multimap<std::uint64_t, timer*>;

  /// Distances where digits change, and a little before and after.
  std::uint64_t distance_ns() {
    const std::uint64_t near = random_.below(3000);
    switch (random_.below(6)) {
      case 0: return near;
      case 1: return random_.below(200'000'000);
      case 2: return (std::uint64_t{1} << random_.below(64)) + near - 1500;
      case 3: return ((std::uint64_t{1} << 6 * random_.below(9)) + random_.below(3) - 1) * tick;
      case 4: return random_.next() >> random_.below(40);
      default: return random_.below(64) * 64 * tick + near;
    }
  }

  void check_insert(timer& t) {
    const std::uint64_t deadline = random_.one_in(50)   ? never
                                   : random_.one_in(50) ? random_.next()
                                   : random_.one_in(20) ? now_ - std::min(now_, distance_ns())
                                                        : now_ + distance_ns();
    const std::uint64_t before = wheel_.next_deadline_ns();
    const bool earlier = insert(wheel_, t, deadline);
    if (wheel_.next_deadline_ns() != never) {  // at the end of time both are out of range
      EXPECT_EQ(earlier, wheel_.next_deadline_ns() < before);
    }
    const std::uint64_t due = deadline / tick + (deadline % tick != 0 ? 1 : 0);
    // Not below now's tick: what has passed fires now, behind what is due now already.
    expected_.emplace(std::max(due, now_ / tick), &t);
  }

  void check_cancel(timer& t) {
    EXPECT_EQ(cancel(wheel_, t), std::erase_if(expected_, [&](const auto& entry) {
                                   return entry.second == &t;
                                 }) == 1);
  }

  void advance(std::size_t handled_max) {
    const std::uint64_t next = wheel_.next_deadline_ns();
    const std::uint64_t farthest = random_.one_in(500) ? never - 1 : std::uint64_t{1} << 52;
    std::uint64_t to = now_ + std::min({distance_ns(), farthest, never - 1 - now_});
    if (random_.one_in(3) && next != never && next > now_) {
      to = next - random_.below(2);
    }
    now_ = std::max(now_, to);
    std::vector<timer*> fired;
    for (int calls = 0; wheel_.next_deadline_ns() <= now_ || calls == 0; ++calls) {
      ASSERT_LT(calls, 10'000);
      for (timer* t : expire(wheel_, now_, handled_max)) {
        fired.push_back(t);
      }
      timer& other = timers_[random_.below(200)];
      if (random_.one_in(10) && other.armed()) {
        check_cancel(other);  // in the middle of a bounded expire
      }
    }
    check_fired(fired);
  }

  void check_fired(const std::vector<timer*>& fired) {
    for (timer* t : fired) {
      ASSERT_FALSE(expected_.empty());
      const auto [first, last] = expected_.equal_range(expected_.begin()->first);
      const auto found =
          std::find_if(first, last, [&](const auto& entry) { return entry.second == t; });
      ASSERT_NE(found, last) << "not the earliest tick";
      ASSERT_LE(found->first, now_ / tick) << "early";
      // Insertion order within a tick, but for those that were armed more than 50 days ahead.
      if (found->first < now_at_start_ + (std::uint64_t{1} << 41)) {
        ASSERT_EQ(found, first) << "not the first of its tick";
      }
      expected_.erase(found);
    }
    ASSERT_TRUE(expected_.empty() || expected_.begin()->first > now_ / tick) << "late";
  }

  void check_bounds() {
    ASSERT_EQ(wheel_.size(), expected_.size());
    const std::uint64_t next = wheel_.next_deadline_ns();
    if (expected_.empty()) {
      ASSERT_EQ(next, never);
    } else if (expected_.begin()->first <= never / tick) {
      ASSERT_LE(next, expected_.begin()->first * tick);
    }
    if (random_.one_in(16)) {
      lock_scope guard(wheel_);
      wheel_.check_invariants();
    }
  }

  magpie::random_source random_;
  std::uint64_t now_;
  const std::uint64_t now_at_start_ = now_ / tick;
  timer_wheel wheel_;
  std::deque<timer> timers_;
  expected_map expected_;
};

TEST(timer_wheel, behaves_as_a_multimap) {
  for (std::uint64_t seed = 0; seed != 200 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    beside_a_multimap(seed).run(5000);
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
