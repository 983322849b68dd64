/// Handles: a runtime for foreign threads, also while it ends and after it is gone.
#include <magpie/runtime/runtime_handle.hpp>

#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <optional>
#include <thread>
#include <vector>

namespace magpie::tests::runtime_handle_test {
namespace {

task<int> adds(int a, int b) {
  co_await yield();
  co_return a + b;
}

task<> waits(counted) { co_await sleep_for(1h); }

template <class T>
result<T> outcome_of(join_handle<T>& handle) {
  auto joins = [](join_handle<T>& of) -> task<result<T>> { co_return co_await of.join(); };
  return run_in_simulation(joins(handle)).value();
}

TEST(runtime_handle, spawns_and_blocks) {
  MAGPIE_NEED_KERNEL();
  runtime on(cell_options());
  const runtime_handle handle = on.handle();
  EXPECT_TRUE(handle.takes_work());
  EXPECT_EQ(handle.block_on(adds(1, 2)).value(), 3);
  auto spawned = handle.spawn(named("from outside"), adds(3, 4));
  auto joins = [](join_handle<int>& of) -> task<int> { co_return co_await co_await of.join(); };
  EXPECT_EQ(on.block_on(joins(spawned)).value(), 7);
}

TEST(runtime_handle, of_a_simulation_is_for_its_own_thread) {
  runtime on(simulation());
  const runtime_handle handle = on.handle();
  auto spawned = handle.spawn(adds(3, 4));
  EXPECT_EQ(on.block_on(adds(1, 2)).value(), 3);
  EXPECT_TRUE(on.shutdown(30s));
  EXPECT_TRUE(spawned.done());
  EXPECT_FALSE(handle.takes_work());
}

TEST(runtime_handle, is_the_workers_own) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(runtime_handle::current(), runtime_handle());
  runtime on(cell_options());
  runtime other(cell_options());
  auto asks = []() -> task<runtime_handle> { co_return runtime_handle::current(); };
  const runtime_handle seen = on.block_on(asks()).value();
  EXPECT_EQ(seen, on.handle());
  EXPECT_FALSE(seen == other.handle());
}

TEST(runtime_handle, outlives_its_runtime) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  runtime_handle handle;
  {
    const runtime on(cell_options());
    handle = on.handle();
    const runtime_handle copy = handle;
    EXPECT_TRUE(copy.takes_work());
  }
  for (const runtime_handle& gone : {handle, runtime_handle()}) {
    EXPECT_FALSE(gone.takes_work());
    EXPECT_FALSE(gone.request_stop());
    auto late = gone.spawn(waits(counted(alive)));
    EXPECT_EQ(alive.load(order::relaxed), 0);  // destroyed without running
    EXPECT_TRUE(late.done());
    EXPECT_EQ(error_of(outcome_of(late)), errc::aborted);
    EXPECT_EQ(error_of(gone.block_on(adds(1, 2))), errc::runtime_shutdown);
  }
}

TEST(runtime_handle, of_a_runtime_that_was_shut_down) {
  MAGPIE_NEED_CELL();
  runtime on(cell_options());
  const runtime_handle before = on.handle();
  EXPECT_TRUE(on.shutdown(30s));
  EXPECT_FALSE(before.takes_work());
  EXPECT_EQ(on.handle(), runtime_handle());
}

TEST(runtime_handle, stops_every_task) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  runtime on(cell_options());
  auto waiting = on.spawn(waits(counted(alive)));
  EXPECT_TRUE(on.handle().request_stop());
  auto joins = [](join_handle<void>& of) -> task<> {
    const auto ended = co_await as_result(of.join());
    static_cast<void>(ended);
  };
  static_cast<void>(on.block_on(joins(waiting)));
  EXPECT_TRUE(on.shutdown(30s));
  EXPECT_EQ(error_of(outcome_of(waiting)), errc::stopped);
}

/// Spawns and blocks until it is refused; every outcome is what it may be.
void uses_until_the_end(const runtime_handle& handle, atomic<int>& alive, atomic<int>& wrong) {
  std::vector<join_handle<int>> handles;
  auto body = [](int i, counted) -> task<int> { co_return co_await adds(i, 1); };
  for (int i = 0;; ++i) {
    handles.push_back(handle.spawn(body(i, counted(alive))));
    const auto sum = handle.block_on(body(i, counted(alive)));
    if (sum ? *sum != i + 1 : sum.error() != errc::stopped && sum.error() != errc::runtime_shutdown)
      wrong.fetch_add(1, order::relaxed);
    if (error_of(sum) == errc::runtime_shutdown) break;
    if (handles.size() > 100) handles.clear();
  }
  auto late = handle.spawn(body(0, counted(alive)));
  if (!late.done()) wrong.fetch_add(1, order::relaxed);
}

TEST(runtime_handle, concurrent_uses_and_the_end) {
  MAGPIE_NEED_KERNEL();
  // Static: a runtime that ends in the background is not ordered before what reuses our stack.
  static atomic<int> alive{0};
  static atomic<int> wrong{0};
  for (int i = 0; i < 30; ++i) {
    std::optional<runtime> on(std::in_place, cell_options());
    std::vector<std::thread> threads;
    for (int k = 0; k < 3; ++k)
      threads.emplace_back([handle = on->handle()] { uses_until_the_end(handle, alive, wrong); });
    for (int k = 0; k < i % 5; ++k) EXPECT_EQ(on->block_on(adds(k, 1)).value(), k + 1);
    if (i % 3 == 0) {
      on->shutdown_background();
    } else {
      on.reset();
    }
    for (std::thread& one : threads) one.join();
    while (alive.load(order::acquire) != 0) std::this_thread::yield();  // the one in the background
    EXPECT_EQ(wrong.load(order::relaxed), 0);
  }
}

TEST(runtime_handle, concurrent_block_on_where_the_owner_drives) {
  MAGPIE_NEED_KERNEL();
  options alone = cell_options();
  alone.flavour = flavour::current_thread;
  runtime on(alone);
  atomic<bool> leave{false};
  std::thread other([&leave, handle = on.handle()] {
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(handle.block_on(adds(i, 1)).value(), i + 1);
    }
    leave.store(true, order::release);
  });
  auto drives = [](atomic<bool>& until) -> task<> {
    while (!until.load(order::acquire)) co_await sleep_for(50us);
  };
  EXPECT_TRUE(on.block_on(drives(leave)));
  other.join();
  EXPECT_TRUE(on.shutdown(30s));
}

// C25: two `block_on`s at once, each of which waits for what the other one's task does.
TEST(runtime_handle, concurrent_c25_block_ons_that_wait_for_each_other) {
  MAGPIE_NEED_KERNEL();
  runtime on(cell_options());
  auto turns = [](atomic<int>& turn, int mine) -> task<int> {
    int taken = 0;
    while (taken < 20) {
      if (turn.load(order::acquire) % 2 == mine) {
        ++taken;
        turn.fetch_add(1, order::acq_rel);
      }
      co_await sleep_for(20us);
    }
    co_return taken;
  };
  atomic<int> turn{0};
  std::thread other([&] { EXPECT_EQ(on.block_on(turns(turn, 1)).value(), 20); });
  EXPECT_EQ(on.block_on(turns(turn, 0)).value(), 20);
  other.join();
}

// ---- shutdown in the background -----------------------------------------------------------------

TEST(runtime_handle, concurrent_a_shutdown_in_the_background) {
  MAGPIE_NEED_CELL();
  // Static: a runtime that ends in the background is not ordered before what reuses our stack.
  static atomic<int> alive{0};
  runtime on(cell_options());
  const runtime_handle handle = on.handle();
  auto waiting = on.spawn(waits(counted(alive)));
  auto blocked = [](counted) -> task<> { co_await run_blocking([] {}); };
  for (int i = 0; i < 5; ++i) on.spawn(blocked(counted(alive))).detach();
  on.shutdown_background();
  EXPECT_FALSE(handle.takes_work());
  EXPECT_EQ(on.handle(), runtime_handle());
  on.shutdown_background();
  EXPECT_TRUE(on.shutdown(1s));
  while (alive.load(order::acquire) != 0) std::this_thread::yield();
  while (!waiting.done()) std::this_thread::yield();
  EXPECT_EQ(error_of(outcome_of(waiting)), errc::stopped);
}

}  // namespace
}  // namespace magpie::tests::runtime_handle_test
