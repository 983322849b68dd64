/// `abort_on_drop`: the task goes with its guard, unless the handle was taken back.
#include <magpie/runtime/abort_on_drop.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/tests/runtime/cell.hpp>

namespace magpie::tests::abort_on_drop_test {
namespace {

task<int> sleeps_then(std::chrono::microseconds time, int value, counted) {
  co_await sleep_for(time);
  co_return value;
}

task<> drops(counted here, atomic<int>& alive) {
  const int own = alive.load(order::relaxed);
  {
    const abort_on_drop guard(spawn(sleeps_then(1h, 1, here)));
  }
  while (alive.load(order::relaxed) != own) co_await sleep_for(10us);
  abort_on_drop first(spawn(sleeps_then(1h, 1, here)));
  abort_on_drop second(spawn(sleeps_then(10us, 2, here)));
  first = std::move(second);  // aborts the first task
  const auto value = co_await first.join();
  EXPECT_EQ(value.value(), 2);
  EXPECT_TRUE(first.done());
  while (alive.load(order::relaxed) != own) co_await sleep_for(10us);
  std::optional<join_handle<int>> kept;
  {
    abort_on_drop guard(spawn(sleeps_then(100us, 3, here)));
    kept.emplace(guard.release());
  }
  const auto three = co_await kept->join();
  EXPECT_EQ(three.value(), 3);
}

TEST(abort_on_drop, concurrent_dropping_replacing_and_releasing) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(drops(counted(alive), alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

}  // namespace
}  // namespace magpie::tests::abort_on_drop_test
