/// A broken invariant aborts, with the expression and the place.
#include <magpie/util/assert.hpp>

#include <gtest/gtest.h>

namespace magpie::tests::assert_test {
namespace {

TEST(assert_test, a_true_expression_is_evaluated_once) {
  int evaluated = 0;
  MAGPIE_ASSERT(++evaluated == 1);
  EXPECT_EQ(evaluated, 1);
}

TEST(assert_death_test, a_false_expression_aborts_and_says_where) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const int one = 1;
  EXPECT_DEATH(MAGPIE_ASSERT(one == 2), "assertion failed: one == 2 .*assert_test.cpp");
}

TEST(assert_death_test, the_expensive_kind_is_a_matter_of_the_build) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  int evaluated = 0;
  MAGPIE_DEBUG_ASSERT(++evaluated > 0);
  EXPECT_EQ(evaluated, MAGPIE_DEBUG_ASSERTS ? 1 : 0);
}

}  // namespace
}  // namespace magpie::tests::assert_test
