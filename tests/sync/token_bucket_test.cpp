/// `token_bucket`: how many tokens there are at which time, to the nanosecond.
#include <magpie/sync/token_bucket.hpp>

#include <magpie/tests/sync/world.hpp>

#include <algorithm>

namespace magpie::tests::token_bucket_test {
namespace {

using sync::rate_limit;
using sync::detail::token_bucket;

constexpr clock::time_point start(1h);
constexpr clock::duration now_already = clock::duration::zero();

TEST(token_bucket, gives_a_burst_and_then_one_each_interval) {
  token_bucket ten(rate_limit(10, 1s, 3));
  EXPECT_EQ(ten.available(start), 3U);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ten.take(1, start), now_already);
  EXPECT_EQ(ten.available(start), 0U);
  EXPECT_EQ(ten.take(1, start), 100ms);
  EXPECT_EQ(ten.take(3, start), 300ms);
  EXPECT_EQ(ten.take(1, start + 100ms - 1ns), 1ns);
  EXPECT_EQ(ten.take(1, start + 100ms), now_already);
  EXPECT_EQ(ten.take(1, start + 100ms), 100ms);
  EXPECT_EQ(ten.take(2, start + 300ms), now_already);
}

TEST(token_bucket, saves_no_more_than_a_burst) {
  token_bucket ten(rate_limit(10, 1s, 3));
  EXPECT_EQ(ten.take(3, start), now_already);
  EXPECT_EQ(ten.available(start + 250ms), 2U);
  EXPECT_EQ(ten.available(start + 24h), 3U);
  EXPECT_EQ(ten.take(3, start + 24h), now_already);
  EXPECT_EQ(ten.take(1, start + 24h), 100ms);
}

TEST(token_bucket, a_refusal_takes_nothing) {
  token_bucket one(rate_limit(1, 1s));
  EXPECT_EQ(one.take(1, start), now_already);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(one.take(1, start), 1s);
  EXPECT_EQ(one.until(5, start), 5s);
  EXPECT_EQ(one.until(0, start), now_already);
  EXPECT_EQ(one.take(1, start + 1s), now_already);
}

TEST(token_bucket, intervals_need_not_be_whole_nanoseconds) {
  token_bucket three(rate_limit(3, 1s, 2));  // 333333333 1/3 ns
  EXPECT_EQ(three.take(2, start), now_already);
  EXPECT_EQ(three.take(1, start), 333333334ns);  // not before it is there
  clock::time_point at = start;
  for (int i = 0; i < 300'000; ++i) {
    at += three.take(1, at);
    ASSERT_EQ(three.take(1, at), now_already);
  }
  EXPECT_EQ(at, start + 100'000s);  // each came up to a nanosecond late, and none of that adds up
}

TEST(token_bucket, the_ends_of_the_range) {
  token_bucket fastest(rate_limit(rate_limit::tokens_max, 1ns));
  EXPECT_EQ(fastest.take(rate_limit::tokens_max, start), now_already);
  EXPECT_EQ(fastest.take(1, start), 1ns);
  EXPECT_EQ(fastest.available(start + 1ns), rate_limit::tokens_max);

  token_bucket slowest(rate_limit(1, clock::duration::max(), rate_limit::tokens_max));
  EXPECT_EQ(slowest.take(rate_limit::tokens_max, start), now_already);
  EXPECT_EQ(slowest.take(1, start), clock::duration::max());
  EXPECT_EQ(slowest.until(~std::uint64_t{0}, start), clock::duration::max());
  EXPECT_EQ(slowest.available(clock::time_point::max()), 0U);

  token_bucket widest(rate_limit(rate_limit::tokens_max, std::chrono::hours(1'000'000'000)));
  EXPECT_EQ(widest.take(1, clock::time_point::max()), now_already);
  EXPECT_EQ(widest.available(clock::time_point::max()), rate_limit::tokens_max - 1);
}

TEST(token_bucket, a_clock_that_is_a_little_behind_takes_nothing_twice) {
  token_bucket one(rate_limit(1, 1s));
  EXPECT_EQ(one.take(1, start), now_already);
  EXPECT_EQ(one.available(start - 1ms), 0U);
  EXPECT_EQ(one.take(1, start - 1ms), 1s + 1ms);
}

TEST(token_bucket, what_is_no_rate_is_an_abort) {
  EXPECT_DEATH(token_bucket(rate_limit(0, 1s)), "a rate is of");
  EXPECT_DEATH(token_bucket(rate_limit(1, 0s)), "for some time");
  EXPECT_DEATH(token_bucket(rate_limit(1, 1s, 0)), "a burst is of");
  EXPECT_DEATH(token_bucket(rate_limit(rate_limit::tokens_max + 1, 1s)), "a rate is of");
}

/// The textbook's bucket: a level that rises up to the brim.
class textbook_bucket {
 public:
  textbook_bucket(std::uint64_t tokens, std::uint64_t per, std::uint64_t burst)
      : tokens_(tokens), per_(per), brim_(burst * per), level_(brim_) {}

  bool holds(std::uint64_t count, clock::time_point at) const {
    return count * per_ <= level_at(at);
  }
  void take(std::uint64_t count, clock::time_point at) {
    level_ = level_at(at) - count * per_;
    looked_ = at;
  }
  std::uint64_t whole(clock::time_point at) const { return level_at(at) / per_; }

 private:
  std::uint64_t level_at(clock::time_point at) const {
    return std::min(brim_, level_ + static_cast<std::uint64_t>((at - looked_).count()) * tokens_);
  }

  std::uint64_t tokens_;
  std::uint64_t per_;
  std::uint64_t brim_;
  std::uint64_t level_;
  clock::time_point looked_ = start;
};

TEST(token_bucket, random_takes_are_those_of_the_textbook) {
  const int operations = model_operations();
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    dice chance(seed);
    const std::uint64_t tokens = 1 + chance.below(50);
    const std::uint64_t burst = 1 + chance.below(20);
    const std::uint64_t per = 1 + chance.below(1000);
    token_bucket bucket(rate_limit(tokens, std::chrono::nanoseconds(per), burst));
    textbook_bucket expected(tokens, per, burst);
    clock::time_point at = start;
    int refusals = 0;
    for (int i = 0; i < operations / 20; ++i) {
      at += std::chrono::nanoseconds(chance.below(2 * per / tokens + 2));
      const std::uint64_t count = 1 + chance.below(burst);
      ASSERT_EQ(bucket.available(at), expected.whole(at)) << "seed " << seed << ", take " << i;
      const clock::duration left = bucket.take(count, at);
      ASSERT_EQ(left == now_already, expected.holds(count, at));
      if (left == now_already) {
        expected.take(count, at);
      } else {
        ASSERT_TRUE(expected.holds(count, at + left));
        ASSERT_FALSE(expected.holds(count, at + left - 1ns));
        ASSERT_EQ(bucket.until(count, at), left);
        ++refusals;
      }
    }
    EXPECT_TRUE(burst == 1 || refusals > 0);
  }
}

}  // namespace
}  // namespace magpie::tests::token_bucket_test
