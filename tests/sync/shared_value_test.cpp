/// `shared_value`: a block that lives as long as somebody refers to it.
#include <magpie/sync/shared_value.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <utility>

namespace magpie::tests::shared_value_test {
namespace {

using sync::shared_value;
using sync::detail::make_pooled;
using sync::detail::pooled_value;

TEST(shared_value, lives_as_long_as_somebody_refers_to_it) {
  const auto watched = std::make_shared<int>(1);
  using value = shared_value<std::shared_ptr<int>>;
  value one(make_pooled<pooled_value<std::shared_ptr<int>>>(watched));
  EXPECT_EQ(watched.use_count(), 2);
  {
    value other = one;
    const value moved = std::move(one);
    EXPECT_FALSE(one);
    EXPECT_EQ(*moved, watched);
    EXPECT_EQ(moved->get(), watched.get());
    one = moved;
    other = value();
    EXPECT_EQ(watched.use_count(), 2);
  }
  EXPECT_TRUE(one);
  one = value();
  EXPECT_EQ(watched.use_count(), 1);
  EXPECT_DEATH(static_cast<void>(*one), "there is no value");
}

TEST(shared_value, without_memory_there_is_none) {
  frame_pool_fail_nth(1);
  EXPECT_EQ(make_pooled<pooled_value<int>>(1), nullptr);
  frame_pool_fail_nth(0);
}

#if defined(__cpp_exceptions)
TEST(shared_value, one_that_throws_leaves_no_block) {
  struct throws {
    explicit throws(int) { throw std::runtime_error("no"); }
  };
  EXPECT_THROW(make_pooled<pooled_value<throws>>(1), std::runtime_error);
}
#endif

}  // namespace
}  // namespace magpie::tests::shared_value_test
