/// The clock: monotonic, and durations of any kind held at the ends of its range.
#include <magpie/runtime/clock.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>

namespace magpie::tests::clock_test {
namespace {

using namespace std::chrono_literals;

TEST(clock_test, never_goes_back) {
  clock::time_point last = clock::now();
  for (int i = 0; i < 10'000; ++i) {
    const clock::time_point now = clock::now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(clock_test, durations_are_rounded_up_and_held) {
  EXPECT_EQ(clock_duration(1ns), 1ns);
  EXPECT_EQ(clock_duration(std::chrono::duration<double, std::nano>(1.2)), 2ns);
  EXPECT_EQ(clock_duration(-1h), 0ns);
  EXPECT_EQ(clock_duration(std::chrono::hours::max()), clock::duration::max());
  const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(clock_duration(nan), 0ns);
}

TEST(clock_test, a_rounded_number_does_not_step_over_the_end) {
  const std::chrono::duration<float> seconds(std::nextafter(9223372032.0F, 0.0F));
  EXPECT_TRUE(clock_duration(seconds) == clock::duration::max());
  const std::chrono::duration<double, std::nano> ns(std::nextafter(0x1p63, 0.0));
  EXPECT_TRUE(clock_duration(ns) == clock::duration::max());
  EXPECT_TRUE(clock_duration(clock::duration::max() - 1us) == clock::duration::max() - 1us);
}

TEST(clock_test, time_after_is_held_at_the_end) {
  EXPECT_EQ(time_after(std::chrono::hours::max()), clock::time_point::max());
  EXPECT_GE(time_after(1h), clock::now() + 59min);
}

TEST(clock_test, a_time_before_the_start_counts_as_the_start) {
  EXPECT_EQ(detail::to_wheel_ns(clock::time_point::min()), 0u);
  EXPECT_EQ(detail::to_wheel_ns(clock::time_point(5ns)), 5u);
}

}  // namespace
}  // namespace magpie::tests::clock_test
