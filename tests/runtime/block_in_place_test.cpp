/// `block_in_place`: the thread blocks, and the worker goes on without it.
#include <magpie/runtime/block_in_place.hpp>

#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn_local.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <pthread.h>

#include <memory>
#include <thread>

namespace magpie::tests::block_in_place_test {
namespace {

options one_worker() {
  options chosen = cell_options();
  chosen.workers = 1;
  return chosen;
}

task<> gives_values() {
  const pthread_t thread = ::pthread_self();
  const std::size_t worker = detail::this_context().index;
  bool same = false;
  bool free = false;
  const int value = block_in_place([&] {
    same = ::pthread_equal(thread, ::pthread_self()) != 0;
    free = !on_worker();
    return 5;
  });
  EXPECT_EQ(value, 5);
  EXPECT_TRUE(same);
  EXPECT_EQ(free, !in_simulation());
  EXPECT_TRUE(on_worker());
  EXPECT_EQ(detail::this_context().index, worker);
  auto box = block_in_place([] { return std::make_unique<int>(7); });
  EXPECT_EQ(*box, 7);
  block_in_place([] {});
  co_await sleep_for(1us);
}

TEST(block_in_place, concurrent_runs_here_and_gives_what_the_call_gives) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(gives_values()));
}

#if defined(__cpp_exceptions)
task<int> throws_inside() {
  int caught = 0;
  try {
    block_in_place([] { throw 7; });
  } catch (int thrown) {
    caught = thrown;
  }
  EXPECT_TRUE(on_worker());
  co_await yield();
  co_return caught;
}

TEST(block_in_place, concurrent_passes_exceptions_on) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(run_in_cell(throws_inside()).value(), 7);
}
#endif

void wait_for(const atomic<bool>& flag) {
  while (!flag.load(order::acquire)) std::this_thread::yield();
}

task<> sets(atomic<bool>& flag) {
  flag.store(true, order::release);
  co_return;
}
task<> sets_later(atomic<bool>& flag) {
  co_await sleep_for(1ms);
  const int one = co_await run_blocking([] { return 1; });
  EXPECT_EQ(one, 1);
  flag.store(true, order::release);
}

/// With one worker there is no watcher: what is in its queues, its timers and its reactor goes on
/// because they were handed on.
task<> blocks_for_others_of_its_worker() {
  atomic<bool> queued{false};
  atomic<bool> woken{false};
  auto first = spawn(sets(queued));
  auto second = spawn(sets_later(woken));
  block_in_place([&] { wait_for(queued); });
  block_in_place([&] { wait_for(woken); });
  const auto one = co_await first.join();
  const auto two = co_await second.join();
  EXPECT_TRUE(one && two);
}

TEST(block_in_place, concurrent_what_the_worker_has_goes_on) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_on(one_worker(), blocks_for_others_of_its_worker()));
}

task<> all_block(int count, atomic<int>& sum) {
  co_await with_task_group([&](task_group& group) -> task<> {
    auto one = [](atomic<int>& into) -> task<> {
      for (int i = 0; i < 20; ++i) {
        block_in_place([&into] {
          std::this_thread::yield();
          into.fetch_add(1, order::relaxed);
        });
        if (i % 3 != 0) co_await sleep_for(std::chrono::microseconds(i));
      }
    };
    for (int i = 0; i < count; ++i) group.spawn(one(sum));
    co_return;
  });
}

TEST(block_in_place, concurrent_many_at_once) {
  MAGPIE_NEED_KERNEL();
  atomic<int> sum{0};
  EXPECT_TRUE(run_in_cell(all_block(50, sum)));
  EXPECT_EQ(sum.load(order::relaxed), 1'000);
}

task<int> answers() {
  co_await sleep_for(10us);
  co_return 42;
}

/// The thread is no worker meanwhile, so it may wait for tasks.
task<> waits_for_tasks_inside() {
  auto handle = spawn(answers());
  const auto joined = block_in_place([&] { return handle.blocking_join(); });
  EXPECT_EQ(joined.value(), 42);
  const auto other = block_in_place([] {
    runtime inner(one_worker());
    return inner.block_on(answers());
  });
  EXPECT_EQ(other.value(), 42);
  co_await yield();
}

TEST(block_in_place, concurrent_may_wait_for_tasks) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_on(one_worker(), waits_for_tasks_inside()));
}

/// Without a thread to take over the call runs all the same.
task<> without_a_thread() {
  atomic<bool> leave{false};
  auto occupies = spawn(
      [](atomic<bool>& until) -> task<> { co_await run_blocking([&until] { wait_for(until); }); },
      std::ref(leave));
  co_await sleep_for(1ms);
  EXPECT_EQ(block_in_place([] { return 3; }), 3);
  co_await yield();
  leave.store(true, order::release);
  const auto ended = co_await occupies.join();
  EXPECT_TRUE(ended);
  EXPECT_EQ(current_metrics().blocking_queued, 0U);
}

TEST(block_in_place, concurrent_a_busy_pool_is_done_without) {
  MAGPIE_NEED_KERNEL();
  options narrow = cell_options();
  narrow.blocking_threads_max = 1;
  EXPECT_TRUE(run_on(narrow, without_a_thread()));
}

task<> a_branch(bool& inside, bool& crowded) {
  for (int i = 0; i < 20; ++i) {
    block_in_place([&] {
      crowded = crowded || inside;
      inside = true;
      std::this_thread::yield();
      inside = false;
    });
    co_await sleep_for(1us);
  }
}

task<> branches_wait() {
  bool inside = false;
  bool crowded = false;
  [[maybe_unused]] const auto first =
      co_await select(a_branch(inside, crowded), a_branch(inside, crowded));
  EXPECT_FALSE(crowded);
}

TEST(block_in_place, concurrent_branches_of_the_same_task_wait) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(branches_wait()));
}

task<> pinned(bool& stayed) {
  const pthread_t thread = ::pthread_self();
  stayed = block_in_place([] { return on_worker(); });  // nothing was handed on
  co_await yield();
  stayed = stayed && ::pthread_equal(thread, ::pthread_self()) != 0;
}

task<> in_a_pinned_task() {
  bool stayed = false;
  auto handle = spawn_local(pinned(stayed));
  const auto ended = co_await handle.join();
  EXPECT_TRUE(ended && stayed);
}

TEST(block_in_place, concurrent_a_pinned_task_keeps_its_worker) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(in_a_pinned_task()));
}

TEST(block_in_place, runs_elsewhere_too) {
  EXPECT_EQ(block_in_place([] { return 4; }), 4);
}

}  // namespace
}  // namespace magpie::tests::block_in_place_test
