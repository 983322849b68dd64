#include <magpie/util/atomic.hpp>

#include <gtest/gtest.h>

#include <type_traits>

namespace {

TEST(atomic, is_the_standards_in_an_ordinary_build) {
  static_assert(std::is_same_v<magpie::atomic<int>, std::atomic<int>>);
  static_assert(std::is_same_v<magpie::plain<int>, int>);
  static_assert(magpie::order::seq_cst == std::memory_order_seq_cst);
  magpie::atomic<int> value{1};
  EXPECT_EQ(value.exchange(2, magpie::order::acq_rel), 1);
  EXPECT_EQ(value.load(magpie::order::relaxed), 2);
}

TEST(atomic, pauses_return) {
  magpie::cpu_relax();
  magpie::thread_yield();
}

}  // namespace
