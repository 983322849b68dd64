/// The wheel against a multimap, with random operations around every edge.
#include <magpie/runtime/timer_wheel.hpp>

#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/timers.hpp>
#include <magpie/util/random.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
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
      case 0:
        return near;
      case 1:
        return random_.below(200'000'000);
      case 2:
        return (std::uint64_t{1} << random_.below(64)) + near - 1500;
      case 3:
        return ((std::uint64_t{1} << 6 * random_.below(9)) + random_.below(3) - 1) * tick;
      case 4:
        return random_.next() >> random_.below(40);
      default:
        return random_.below(64) * 64 * tick + near;
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
    EXPECT_EQ(cancel(wheel_, t),
              std::erase_if(expected_, [&](const auto& entry) { return entry.second == &t; }) == 1);
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
  MAGPIE_NEED_ONE_CELL();
  for (std::uint64_t seed = 0; seed != 200 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    beside_a_multimap(seed).run(5000);
  }
}

}  // namespace
