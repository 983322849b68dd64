/// Abort handles: from anywhere, after everything, as often as one likes.
#include <magpie/runtime/abort_handle.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace magpie::tests::abort_handle_test {
namespace {

task<> sleeps_long(counted) { co_await sleep_for(1h); }

task<> aborts_without_the_handle(counted here, atomic<int>& alive) {
  const int own = alive.load(order::relaxed);
  std::optional<abort_handle> abort;
  {
    auto handle = spawn(sleeps_long(here));
    const int with_task = alive.load(order::relaxed);
    abort.emplace(handle.abort_handle());
    EXPECT_EQ(abort->id(), handle.id());
    handle.detach();
    EXPECT_EQ(alive.load(order::relaxed), with_task);
  }
  co_await sleep_for(10us);
  EXPECT_FALSE(abort->done());
  const abort_handle copy = *abort;
  abort->abort();
  while (!copy.done()) co_await sleep_for(10us);
  EXPECT_EQ(alive.load(order::relaxed), own);  // the frame is gone
  copy.abort();
  abort.reset();
  copy.abort();
}

TEST(abort_handle, concurrent_outlives_the_join_handle_and_the_task) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(aborts_without_the_handle(counted(alive), alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<std::unique_ptr<counted>> makes_one(counted here) {
  co_await yield();
  co_return std::make_unique<counted>(here);
}

task<> keeps_no_result(counted here, atomic<int>& alive) {
  const int own = alive.load(order::relaxed);
  auto handle = spawn(makes_one(here));
  const abort_handle abort = handle.abort_handle();
  while (!handle.done()) co_await sleep_for(10us);
  abort.abort();  // after the end: nothing
  auto ended = co_await handle.join();
  EXPECT_TRUE(ended);
  ended.value().reset();
  auto unread = spawn(makes_one(here));
  const abort_handle left = unread.abort_handle();
  while (!left.done()) co_await sleep_for(10us);
  EXPECT_EQ(alive.load(order::relaxed), own + 1);
  unread.detach();
  EXPECT_EQ(alive.load(order::relaxed), own);  // the result does not wait for the abort handle
  auto dropped_first = spawn(makes_one(here));
  const abort_handle last = dropped_first.abort_handle();
  dropped_first.detach();
  while (!last.done()) co_await sleep_for(10us);
  while (alive.load(order::relaxed) != own) co_await sleep_for(10us);
}

TEST(abort_handle, concurrent_keeps_no_result) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(keeps_no_result(counted(alive), alive)));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

// C13 abort-remote: the destructor has run when the join says aborted.
void aborts_from_another_thread(const options& chosen) {
  for (int i = 0; i < 200; ++i) {
    atomic<int> alive{0};
    runtime on(chosen);
    auto handle = on.spawn(sleeps_long(counted(alive)));
    std::thread other([abort = handle.abort_handle()] { abort.abort(); });
    auto joins = [](join_handle<void>& joined, atomic<int>& frames) -> task<> {
      const auto ended = co_await joined.join();
      EXPECT_EQ(error_of(ended), errc::aborted);
      EXPECT_EQ(frames.load(order::relaxed), 0);
    };
    EXPECT_TRUE(on.block_on(joins(handle, alive)));
    other.join();
  }
}

TEST(abort_handle, concurrent_c13_abort_from_another_thread) {
  MAGPIE_NEED_KERNEL();
  aborts_from_another_thread(cell_options());
}

TEST(abort_handle, concurrent_c13_abort_from_another_thread_where_the_caller_drives) {
  MAGPIE_NEED_KERNEL();
  options alone = cell_options();
  alone.flavour = flavour::current_thread;
  aborts_from_another_thread(alone);
}

task<int> short_task(int i, counted) {
  if (i % 3 == 0) co_await yield();
  if (i % 3 == 1) co_await sleep_for(5us);
  co_return i;
}

// C17 handle-drop-vs-complete, with abort handles that go at the same time on another thread.
task<> drops_everything(int rounds, counted here) {
  for (int i = 0; i < rounds; ++i) {
    auto handle = spawn(short_task(i, here));
    std::optional<abort_handle> abort(handle.abort_handle());
    auto drops = [](abort_handle held, int k) -> task<> {
      if (k % 4 == 0) held.abort();
      const abort_handle more = held;  // NOLINT(performance-unnecessary-copy-initialization)
      if (k % 2 == 0) co_await yield();
      more.abort();
    };
    spawn(drops(*abort, i)).detach();
    if (i % 5 == 0) abort.reset();
    if (i % 2 == 0) co_await yield();
    handle.detach();
  }
}

TEST(abort_handle, concurrent_c17_handles_are_dropped_while_the_task_ends) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(drops_everything(10'000, counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(abort_handle, outlives_the_runtime) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  std::vector<abort_handle> handles;
  {
    runtime on(cell_options());
    auto fills = [](std::vector<abort_handle>& into, counted here) -> task<> {
      for (int i = 0; i < 10; ++i) {
        auto handle = spawn(sleeps_long(here));
        into.push_back(handle.abort_handle());
        handle.detach();
      }
      co_return;
    };
    EXPECT_TRUE(on.block_on(fills(handles, counted(alive))));
  }
  EXPECT_EQ(alive.load(order::relaxed), 0);
  for (const abort_handle& one : handles) {
    one.abort();
    EXPECT_TRUE(one.done());
  }
}

}  // namespace
}  // namespace magpie::tests::abort_handle_test
