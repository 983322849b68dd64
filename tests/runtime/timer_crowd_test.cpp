/// Timers that share wake-ups: many that are close do, a few and those far apart do not.
#include <magpie/runtime/timer_crowd.hpp>

#include <gtest/gtest.h>

#include <cstdint>

namespace magpie::tests::timer_crowd_test {
namespace {

/// A worker whose timers come `every_ns`, and who never oversleeps.
class sleeper {
 public:
  explicit sleeper(std::uint64_t every_ns) noexcept : every_ns_(every_ns) {}

  /// Sleeps until `count` more have fired; how often it woke.
  int wakes_for(int count) noexcept {
    int wakes = 0;
    for (; count > 0; ++wakes) {
      const std::uint64_t until = crowd.wake_at(next_ns, now_ns);
      EXPECT_GE(until, next_ns);  // never early
      now_ns = until;
      latest_ns = now_ns - next_ns > latest_ns ? now_ns - next_ns : latest_ns;
      const std::uint64_t due = 1 + (now_ns - next_ns) / every_ns_;
      next_ns += due * every_ns_;
      count -= static_cast<int>(due);
      crowd.fired(now_ns, due);
    }
    return wakes;
  }

  timer_crowd crowd;
  std::uint64_t now_ns = 1'000'000'000;
  std::uint64_t next_ns = 1'000'010'000;
  std::uint64_t latest_ns = 0;

 private:
  std::uint64_t every_ns_;
};

TEST(timer_crowd, many_that_are_close_share) {
  sleeper one(10'000);
  // The first is after a pause, and 128 more make a crowd; then 21 come within the slack.
  EXPECT_EQ(one.wakes_for(129), 129);
  EXPECT_EQ(one.latest_ns, 0U);
  EXPECT_EQ(one.wakes_for(2100), 100);
  EXPECT_EQ(one.latest_ns, timer_crowd::slack_ns);
}

TEST(timer_crowd, those_far_apart_are_on_time) {
  sleeper one(60'000);
  EXPECT_EQ(one.wakes_for(1000), 1000);
  EXPECT_EQ(one.latest_ns, 0U);
}

TEST(timer_crowd, the_next_far_away_is_on_time) {
  sleeper one(10'000);
  one.wakes_for(400);
  EXPECT_GT(one.latest_ns, 0U);
  const std::uint64_t later = one.now_ns + timer_crowd::slack_ns;
  EXPECT_EQ(one.crowd.wake_at(later, one.now_ns), later);
}

TEST(timer_crowd, a_pause_does_not_end_it_and_two_do) {
  sleeper one(10'000);
  one.wakes_for(1000);
  const auto pause = [&] {
    one.now_ns += 5'000'000;
    one.crowd.fired(one.now_ns, 1);
    return one.crowd.wake_at(one.now_ns + 1, one.now_ns) != one.now_ns + 1;
  };
  EXPECT_TRUE(pause());
  EXPECT_FALSE(pause());
}

}  // namespace
}  // namespace magpie::tests::timer_crowd_test
