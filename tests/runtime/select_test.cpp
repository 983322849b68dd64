#include <magpie/runtime/join.hpp>
#include <magpie/runtime/join_all.hpp>
#include <magpie/runtime/race.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/tests/runtime/cell.hpp>
namespace magpie::tests {
namespace {
task<int> after(std::chrono::nanoseconds pause, int value) {
  co_await sleep_for(pause);
  co_return value;
}
task<> basic() {
  auto first = co_await select(after(1ms, 5), sleep_for(1h));
  EXPECT_EQ(first.index(), 0U);
  EXPECT_EQ(first.value<0>(), 5);
  EXPECT_EQ(error_of(*first.get<1>()), errc::stopped);
  auto [a, b] = co_await join(after(2ms, 1), sleep_for(1ms));
  EXPECT_EQ(a, 1);
  const int r = co_await race(after(2ms, 1), after(1ms, 2));
  EXPECT_EQ(r, 2);
  std::vector<task<int>> all;
  for (int i = 0; i < 10; ++i) all.push_back(after(1ms * (10 - i), i));
  auto values = co_await join_all(std::move(all));
  EXPECT_EQ(values.size(), 10U);
}
TEST(select, basic) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(basic()));
}
}  // namespace
}  // namespace magpie::tests
