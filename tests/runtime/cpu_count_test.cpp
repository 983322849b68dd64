/// How many CPUs may be used: the cgroup's quota as text, and the machine's own answer.
#include <magpie/runtime/cpu_count.hpp>

#include <sched.h>

#include <gtest/gtest.h>

#include <cstddef>

namespace magpie::tests::cpu_count_test {
namespace {

TEST(cpu_count, reads_quotas) {
  using detail::parse_cpu_max;
  EXPECT_EQ(parse_cpu_max("max 100000\n"), 0U);
  EXPECT_EQ(parse_cpu_max("100000 100000\n"), 1U);
  EXPECT_EQ(parse_cpu_max("150000 100000\n"), 2U);
  EXPECT_EQ(parse_cpu_max("1000 100000"), 1U);
  EXPECT_EQ(parse_cpu_max("6400000 100000"), 64U);
}

TEST(cpu_count, nonsense_is_no_quota) {
  using detail::parse_cpu_max;
  for (const char* text : {"", "max", "100000", "-1 100000", "0 100000", "100000 0", "words"})
    EXPECT_EQ(parse_cpu_max(text), 0U) << text;
  EXPECT_GE(parse_cpu_max("9223372036854775807 100000"), 1U);
}

TEST(cpu_count, is_at_least_one_and_at_most_the_affinity) {
  const std::size_t count = usable_cpus();
  EXPECT_GE(count, 1U);
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    CPU_SET(cpu, &one);
    break;
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_cpus(), 1U);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(usable_cpus(), count);
}

}  // namespace
}  // namespace magpie::tests::cpu_count_test
