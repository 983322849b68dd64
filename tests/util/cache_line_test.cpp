#include <magpie/util/cache_line.hpp>

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>

namespace {

TEST(cache_line, separates_neighbours) {
  static_assert(std::has_single_bit(magpie::cache_line_size));
  struct pair {
    alignas(magpie::cache_line_size) int first;
    alignas(magpie::cache_line_size) int second;
  } p = {1, 2};
  const auto first = reinterpret_cast<std::uintptr_t>(&p.first);
  const auto second = reinterpret_cast<std::uintptr_t>(&p.second);
  EXPECT_EQ(second - first, magpie::cache_line_size);
}

}  // namespace
