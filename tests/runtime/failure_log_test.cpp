/// The log of failures has a bound in time, and never makes a worker wait for its reader.
#include <magpie/runtime/failure_log.hpp>

#include <gtest/gtest.h>

namespace magpie::tests::failure_log_test {
namespace {

constexpr std::uint64_t start_ns = 1'000'000'000'000;

TEST(failure_log_test, lets_a_burst_through_and_then_leaves_out) {
  failure_log log;
  for (std::uint64_t i = 0; i < failure_log::burst_max; ++i) {
    const auto verdict = log.ask(start_ns, true);
    EXPECT_TRUE(verdict.print);
    EXPECT_EQ(verdict.left_out, 0u);
  }
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(log.ask(start_ns, true).print);
  const auto next = log.ask(start_ns + failure_log::gain_every_ns, true);
  EXPECT_TRUE(next.print);
  EXPECT_EQ(next.left_out, 7u);
  EXPECT_FALSE(log.ask(start_ns + failure_log::gain_every_ns, true).print);
}

TEST(failure_log_test, a_pause_gives_no_more_than_a_burst) {
  failure_log log;
  const std::uint64_t later = start_ns + 1'000'000'000 * failure_log::gain_every_ns;
  static_cast<void>(log.ask(start_ns, true));
  std::uint64_t printed = 0;
  for (std::uint64_t i = 0; i < 3 * failure_log::burst_max; ++i)
    printed += log.ask(later, true).print ? 1U : 0U;
  EXPECT_EQ(printed, failure_log::burst_max);
}

TEST(failure_log_test, does_not_mind_a_clock_that_lags) {
  failure_log log;
  for (std::uint64_t i = 0; i < failure_log::burst_max; ++i)
    EXPECT_TRUE(log.ask(start_ns, true).print);
  EXPECT_FALSE(log.ask(start_ns - 1'000'000'000, true).print);
  EXPECT_FALSE(log.ask(start_ns, true).print);
}

TEST(failure_log_test, prints_nothing_while_nobody_reads) {
  failure_log log;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(log.ask(start_ns, false).print);
  const auto verdict = log.ask(start_ns, true);  // what was left out has not spent anything
  EXPECT_TRUE(verdict.print);
  EXPECT_EQ(verdict.left_out, 1000u);
}

}  // namespace
}  // namespace magpie::tests::failure_log_test
