/// `run_blocking`: values, stops, full queues, and threads that cannot be had.
#include <magpie/runtime/run_blocking.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests::run_blocking_test {
namespace {

int adds(int a, int b) { return a + b; }
void nothing() {}
std::unique_ptr<int> moves(std::unique_ptr<int> box) { return box; }

task<> takes_values() {
  const int sum = co_await run_blocking(adds, 2, 3);
  EXPECT_EQ(sum, 5);
  co_await run_blocking(nothing);
  auto argument = std::make_unique<int>(7);
  const auto box = co_await run_blocking(moves, std::move(argument));
  EXPECT_EQ(*box, 7);
  std::string words = "captured words that need memory of their own";
  auto closure = [words] { return words.size(); };
  const std::size_t size = co_await run_blocking(std::move(closure));
  EXPECT_EQ(size, 44U);
  bool off_worker = false;
  auto looks = [&off_worker] { off_worker = !on_worker(); };
  co_await run_blocking(looks);
  EXPECT_EQ(off_worker, !in_simulation());
}

TEST(run_blocking, concurrent_gives_what_the_call_returns) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(takes_values()));
}

task<> calls_often(int count, atomic<int>& sum) {
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < count; ++i) {
      auto one = [](int number, atomic<int>& into) -> task<> {
        const int value = co_await run_blocking(adds, number, 0);
        into.fetch_add(value, order::relaxed);
      };
      group.spawn(one(i, sum));
    }
    co_return;
  });
}

TEST(run_blocking, concurrent_many) {
  MAGPIE_NEED_CELL();
  atomic<int> sum{0};
  EXPECT_TRUE(run_in_cell(calls_often(4'000, sum)));
  EXPECT_EQ(sum.load(order::relaxed), 4'000 * 3'999 / 2);
}

#if defined(__cpp_exceptions)
int throws() { throw std::string("thrown by a blocking call"); }

task<int> catches() {
  try {
    co_await run_blocking(throws);
  } catch (const std::string& thrown) {
    co_return static_cast<int>(thrown.size());
  }
  co_return 0;
}

TEST(run_blocking, concurrent_rethrows) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(run_in_cell(catches()).value(), 25);
}
#endif

/// A call that blocks until it is let go.
struct gate {
  atomic<int> inside{0};
  atomic<bool> open{false};
  int pass(int value) {
    inside.fetch_add(1, order::release);
    while (!open.load(order::acquire)) std::this_thread::yield();
    return value;
  }
};

task<int> passes(gate& through, int value) {
  auto call = [&through, value] { return through.pass(value); };
  const int passed = co_await run_blocking(call);
  co_return passed;
}

task<> full_queue() {
  gate through;
  auto first = spawn(passes(through, 1));
  while (through.inside.load(order::acquire) == 0) co_await sleep_for(10us);
  auto second = spawn(passes(through, 2));  // waits in the queue, which has room for one
  co_await sleep_for(1ms);
  const auto refused = co_await as_result(passes(through, 3));
  EXPECT_EQ(error_of(refused), std::errc::resource_unavailable_try_again);
  through.open.store(true, order::release);
  const auto one = co_await first.join();
  const auto two = co_await second.join();
  EXPECT_EQ(one.value() + two.value(), 3);
  const int again = co_await passes(through, 4);
  EXPECT_EQ(again, 4);
}

TEST(run_blocking, concurrent_a_full_queue_refuses) {
  MAGPIE_NEED_KERNEL();
  options narrow = cell_options();
  narrow.blocking_threads_max = 1;
  narrow.blocking_queue_max = 1;
  EXPECT_TRUE(run_on(narrow, full_queue()));
}

task<> stops_before_the_start() {
  gate through;
  auto running = spawn(passes(through, 1));
  while (through.inside.load(order::acquire) == 0) co_await sleep_for(10us);
  auto queued = spawn(passes(through, 2));
  co_await sleep_for(1ms);
  queued.abort();
  const auto withdrawn = co_await queued.join();
  EXPECT_EQ(error_of(withdrawn), errc::aborted);
  running.abort();
  co_await sleep_for(1ms);
  EXPECT_FALSE(running.done());  // a call that runs is waited for
  through.open.store(true, order::release);
  const auto ended = co_await running.join();
  EXPECT_EQ(ended.value(), 1);
  EXPECT_EQ(through.inside.load(order::relaxed), 1);
}

TEST(run_blocking, concurrent_a_stop_withdraws_what_has_not_begun) {
  MAGPIE_NEED_KERNEL();
  options one = cell_options();
  one.blocking_threads_max = 1;
  EXPECT_TRUE(run_on(one, stops_before_the_start()));
}

task<> uses_at_most(int limit) {
  gate through;
  std::vector<join_handle<int>> handles;
  for (int i = 0; i < limit * 3; ++i) handles.push_back(spawn(passes(through, i)));
  while (through.inside.load(order::acquire) < limit) co_await sleep_for(10us);
  co_await sleep_for(2ms);
  EXPECT_EQ(through.inside.load(order::relaxed), limit);
  through.open.store(true, order::release);
  int index = 0;
  for (auto& handle : handles) {
    const auto ended = co_await handle.join();
    EXPECT_EQ(ended.value(), index++);
  }
}

TEST(run_blocking, concurrent_threads_are_bounded) {
  MAGPIE_NEED_KERNEL();
  options few = cell_options();
  few.blocking_threads_max = 3;
  EXPECT_TRUE(run_on(few, uses_at_most(3)));
}

task<> calls_with_pauses() {
  for (int i = 0; i < 30; ++i) {
    const int value = co_await run_blocking(adds, i, 1);
    EXPECT_EQ(value, i + 1);
    if (i % 3 != 0) co_await sleep_for(std::chrono::microseconds(100 * (i % 5)));
  }
}

TEST(run_blocking, concurrent_threads_that_end_idle_are_made_anew) {
  MAGPIE_NEED_KERNEL();
  options hasty = cell_options();
  hasty.blocking_keep_alive = 100us;
  EXPECT_TRUE(run_on(hasty, calls_with_pauses()));
}

}  // namespace
}  // namespace magpie::tests::run_blocking_test
