#include <magpie/util/random.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

namespace {

using magpie::random_source;
using magpie::split_mix64;

TEST(random, split_mix64_is_the_published_one) {
  split_mix64 source(1234567);
  EXPECT_EQ(source.next(), 6457827717110365317U);
  EXPECT_EQ(source.next(), 3203168211198807973U);
  EXPECT_EQ(source.next(), 9817491932198370423U);
}

TEST(random, same_seed_same_numbers) {
  random_source a(7), b(7), c(8);
  int different = 0;
  for (int i = 0; i != 100; ++i) {
    const std::uint64_t x = a.next();
    EXPECT_EQ(x, b.next());
    different += x != c.next() ? 1 : 0;
  }
  EXPECT_EQ(different, 100);
}

TEST(random, is_xoshiro256starstar) {
  // The reference implementation, seeded the same way.
  split_mix64 spread(42);
  std::array<std::uint64_t, 4> s{};
  for (auto& word : s) {
    word = spread.next();
  }
  random_source source(42);
  for (int i = 0; i != 1000; ++i) {
    const std::uint64_t x = s[1] * 5;
    const std::uint64_t expected = ((x << 7) | (x >> 57)) * 9;
    const std::uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    ASSERT_EQ(source.next(), expected);
  }
}

TEST(random, any_seed_is_good) {
  for (const std::uint64_t seed : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    random_source source(seed);
    source.check_invariants();
    EXPECT_NE(source.next() | source.next(), 0U);
  }
}

TEST(random, below_is_in_range_and_even) {
  random_source source(3);
  std::array<int, 6> seen{};
  for (int i = 0; i != 60'000; ++i) {
    const std::uint32_t n = source.below(6);
    ASSERT_LT(n, 6U);
    ++seen[n];
  }
  for (const int count : seen) {
    EXPECT_NEAR(count, 10'000, 500);
  }
  for (int i = 0; i != 1000; ++i) {
    ASSERT_EQ(source.below(1), 0U);
    ASSERT_LT(source.below(0xffff'ffffU), 0xffff'ffffU);
  }
}

TEST(random, below_rejects_what_would_be_uneven) {
  // With 3 * 2^30 values a plain multiplication would give a third of them twice as often.
  random_source source(5);
  constexpr std::uint32_t bound = 3U << 30;
  int third[3] = {};
  for (int i = 0; i != 30'000; ++i) {
    ++third[source.below(bound) % 3];
  }
  for (const int count : third) {
    EXPECT_NEAR(count, 10'000, 400);
  }
}

TEST(random, serves_the_standard_library) {
  static_assert(std::uniform_random_bit_generator<random_source>);
  random_source source(9);
  std::vector<int> v = {1, 2, 3, 4, 5, 6, 7, 8};
  std::ranges::shuffle(v, source);
  std::ranges::sort(v);
  EXPECT_EQ(v.front(), 1);
  EXPECT_EQ(v.back(), 8);
  int once = 0;
  for (int i = 0; i != 1000; ++i) {
    once += source.one_in(10) ? 1 : 0;
  }
  EXPECT_NEAR(once, 100, 50);
}

}  // namespace
