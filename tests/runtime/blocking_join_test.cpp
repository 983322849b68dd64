/// `join_handle::blocking_join`: joins on threads that are no workers.
#include <magpie/runtime/runtime.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <string>
#include <thread>
#include <vector>

namespace magpie::tests::blocking_join_test {
namespace {

task<> waits_to_be_stopped() { co_await sleep_for(1h); }

task<std::string> says(int i) {
  if (i % 2 == 0) co_await sleep_for(100us);
  co_return std::string("what the task gave, ") + std::to_string(i);
}

TEST(blocking_join, concurrent_gives_the_outcome) {
  MAGPIE_NEED_CELL();
  runtime on(cell_options());
  for (int i = 0; i < 20; ++i) {
    auto handle = on.spawn(says(i));
    EXPECT_EQ(handle.blocking_join().value(), "what the task gave, " + std::to_string(i));
  }
  auto failing = on.spawn(waits_to_be_stopped());
  failing.abort();
  EXPECT_EQ(error_of(failing.blocking_join()), errc::aborted);
}

TEST(blocking_join, concurrent_after_the_end_of_the_runtime) {
  MAGPIE_NEED_CELL();
  runtime on(cell_options());
  auto stopped = on.spawn(waits_to_be_stopped());
  EXPECT_TRUE(on.shutdown(30s));
  EXPECT_EQ(error_of(stopped.blocking_join()), errc::stopped);
  auto late = on.spawn(waits_to_be_stopped());
  EXPECT_EQ(error_of(late.blocking_join()), errc::aborted);
}

TEST(blocking_join, concurrent_on_several_threads) {
  MAGPIE_NEED_KERNEL();
  runtime on(cell_options());
  std::vector<std::thread> threads;
  atomic<int> right{0};
  for (int k = 0; k < 4; ++k) {
    threads.emplace_back([&on, &right] {
      for (int i = 0; i < 200; ++i) {
        auto handle = on.spawn(says(i));
        const auto said = handle.blocking_join();
        if (said && said->size() > 20) right.fetch_add(1, order::relaxed);
      }
    });
  }
  for (auto& one : threads) one.join();
  EXPECT_EQ(right.load(order::relaxed), 800);
}

task<> joins_on_a_worker() {
  auto handle = spawn(says(1));
  [[maybe_unused]] const auto never = handle.blocking_join();
  co_return;
}

TEST(blocking_join_death, refuses_on_a_worker) {
  MAGPIE_NEED_CELL();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(static_cast<void>(run_in_cell(joins_on_a_worker())), "await join.. instead");
}

}  // namespace
}  // namespace magpie::tests::blocking_join_test
