/// `spawn` and `join_handle`: joining, dropping, aborting, and who frees what when.
#include <magpie/runtime/spawn.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/said.hpp>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests::spawn_test {
namespace {

task<int> doubles(int i, counted) {
  co_await yield();
  co_return i * 2;
}

task<> joins_before_and_after(counted here) {
  auto first = spawn(doubles(3, here));
  const auto waited = co_await first.join();
  EXPECT_EQ(waited.value(), 6);
  EXPECT_TRUE(first.done());
  auto second = spawn(doubles(4, here));
  co_await sleep_for(1ms);
  EXPECT_TRUE(second.done());
  const auto ready = co_await second.join();
  EXPECT_EQ(ready.value(), 8);
}

TEST(spawn, concurrent_join_before_and_after_the_end) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(joins_before_and_after(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> looks_at_frames(atomic<int>& alive) {
  for (int i = 0; i < 200; ++i) {
    auto handle = spawn(doubles(i, counted(alive)));
    const auto ended = co_await handle.join();
    EXPECT_EQ(alive.load(order::relaxed), 0);  // the frame went before the joiner goes on
    EXPECT_EQ(ended.value(), i * 2);
  }
}

TEST(spawn, concurrent_frame_is_gone_before_its_joiner_goes_on) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(looks_at_frames(alive)));
}

task<int> pool_of(int count, atomic<int>& alive) {
  std::vector<join_handle<int>> handles;
  for (int i = 0; i < count; ++i) handles.push_back(spawn(doubles(i, counted(alive))));
  int right = 0;
  for (int i = 0; i < count; ++i) {
    const auto ended = co_await handles[static_cast<std::size_t>(i)].join();
    if (ended && *ended == i * 2) ++right;
  }
  co_return right;
}

TEST(spawn, concurrent_many_at_once) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_EQ(run_in_cell(pool_of(20'000, alive)).value(), 20'000);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(spawn, a_hundred_thousand_in_a_simulation) {
  atomic<int> alive{0};
  EXPECT_EQ(run_in_simulation(pool_of(100'000, alive)).value(), 100'000);
}

task<> sets_after_a_while(atomic<int>& count, counted) {
  co_await yield();
  co_await sleep_for(10us);
  count.fetch_add(1, order::relaxed);
}

task<> drops_handles(atomic<int>& count, counted here) {
  for (int i = 0; i < 500; ++i) spawn(sets_after_a_while(count, here)).detach();
  while (count.load(order::relaxed) != 500) co_await sleep_for(10us);
  auto done = spawn(sets_after_a_while(count, here));
  while (!done.done()) co_await sleep_for(10us);
}

TEST(spawn, concurrent_dropped_handles_detach) {
  MAGPIE_NEED_CELL();
  atomic<int> count{0};
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(drops_handles(count, counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> sleeps_long(counted) { co_await sleep_for(1h); }

task<> aborts(counted here) {
  auto waiting = spawn(sleeps_long(here));
  co_await sleep_for(100us);
  waiting.abort();
  waiting.abort();
  const auto ended = co_await waiting.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
  waiting.abort();  // long after the end: nothing

  auto unstarted = spawn(sleeps_long(here));
  unstarted.abort();
  const auto never_began = co_await unstarted.join();
  EXPECT_EQ(error_of(never_began), errc::aborted);

  auto finished = spawn(doubles(1, here));
  while (!finished.done()) co_await yield();
  finished.abort();
  const auto value = co_await finished.join();
  EXPECT_EQ(value.value(), 2);  // what happened is the truth
}

TEST(spawn, concurrent_aborts) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(aborts(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<int> sleeps_then(int value) {
  co_await sleep_for(10ms);
  co_return value;
}

task<> joins_impatiently() {
  auto handle = spawn(sleeps_then(5));
  for (int i = 0; i < 3; ++i) {
    const auto late = co_await as_result(timeout(1ms, handle.join()));
    EXPECT_EQ(error_of(late), errc::deadline);
  }
  const auto in_time = co_await as_result(timeout(1h, handle.join()));
  EXPECT_EQ(in_time.value().value(), 5);
}

TEST(spawn, a_stopped_joiner_leaves_the_handle_usable) {
  EXPECT_TRUE(run_in_simulation(joins_impatiently()));
}

atomic<int> spare{0};

/// Stops the join again and again while the task ends.
task<> joins_by_reference(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto handle = spawn(doubles(i, counted(spare)));
    auto joins = [](join_handle<int>& by_reference) -> task<result<int>> {
      auto outcome = co_await by_reference.join();
      co_return outcome;
    };
    auto first = spawn(joins(handle));
    for (int k = 0; k < i % 4; ++k) co_await yield();
    first.abort();
    const auto once = co_await first.join();
    if (once) {
      EXPECT_EQ(once->value(), i * 2);  // it was there before the stop
    } else {
      EXPECT_EQ(error_of(once), errc::aborted);
      const auto again = co_await handle.join();
      EXPECT_EQ(again.value(), i * 2);
    }
  }
}

TEST(spawn, concurrent_c16_a_join_that_was_stopped_loses_no_outcome) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(joins_by_reference(10'000)));
}

task<> fails() { co_await fail(some_error()); }

task<> drops_a_failing_task() {
  spawn(fails()).detach();
  co_await sleep_for(1ms);
}

TEST(spawn, the_failure_of_a_detached_task_is_logged) {
  const std::string said = said_by(drops_a_failing_task());
  EXPECT_NE(said.find("spawn_test.cpp"), std::string::npos) << said;
  EXPECT_NE(said.find(some_error().message()), std::string::npos) << said;
  EXPECT_NE(said.find("raised at"), std::string::npos) << said;
}

/// A callable that owns something, and notices if it is used after its end.
struct owning_callable {
  std::unique_ptr<int> owned = std::make_unique<int>(20);
  task<int> operator()(std::unique_ptr<int> more, int by) {
    co_await yield();
    co_await sleep_for(10us);
    co_return *owned + *more + by;
  }
};

task<> spawns_callables() {
  owning_callable call;
  auto handle = spawn(std::move(call), std::make_unique<int>(2), 1);
  const auto ended = co_await handle.join();
  EXPECT_EQ(ended.value(), 23);
  int captured = 5;
  captured += static_cast<int>(ended.value()) - 23;
  auto closure = [captured](int i) -> task<int> {
    co_await yield();
    co_return captured* i;
  };
  auto second = spawn(closure, 4);
  const auto product = co_await second.join();
  EXPECT_EQ(product.value(), 20);
}

TEST(spawn, keeps_a_callable_and_its_arguments) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(spawns_callables()));
}

task<std::unique_ptr<int>> makes_a_box(int i) {
  co_await yield();
  co_return std::make_unique<int>(i);
}

task<> joins_boxes() {
  auto handle = spawn(makes_a_box(6));
  auto ended = co_await handle.join();
  EXPECT_EQ(**ended, 6);
  auto unread = spawn(makes_a_box(7));
  while (!unread.done()) co_await yield();  // dropped with its value
}

TEST(spawn, values_that_only_move) { EXPECT_TRUE(run_in_cell(joins_boxes())); }

/// Spawns a task in its destructor.
class spawns_at_its_end {
 public:
  explicit spawns_at_its_end(atomic<int>& count) : count_(&count) {}
  spawns_at_its_end(spawns_at_its_end&& other) noexcept
      : count_(std::exchange(other.count_, nullptr)) {}
  spawns_at_its_end& operator=(spawns_at_its_end&&) = delete;
  ~spawns_at_its_end() {
    if (count_ == nullptr) return;
    count_->fetch_add(1, order::relaxed);
    spawn(ends(*count_)).detach();
  }

 private:
  static task<> ends(atomic<int>& count) {
    count.fetch_add(100, order::relaxed);
    co_return;
  }
  atomic<int>* count_;
};

task<> waits_holding(spawns_at_its_end) { co_await sleep_for(1h); }
task<spawns_at_its_end> gives(spawns_at_its_end value) { co_return std::move(value); }

task<> leaves_tasks_behind(atomic<int>& count) {
  spawn(waits_holding(spawns_at_its_end(count))).detach();
  spawn(gives(spawns_at_its_end(count))).detach();
  co_return;
}

TEST(spawn, concurrent_destructors_spawn_while_the_runtime_ends) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 50; ++i) {
    atomic<int> count{0};
    EXPECT_TRUE(run_in_cell(leaves_tasks_behind(count)));
    EXPECT_EQ(count.load(order::relaxed), 202);
  }
}

#if defined(__cpp_exceptions)

task<int> throws_later() {
  co_await yield();
  throw std::string("thrown by a task");
}

task<int> joins_what_throws() {
  auto handle = spawn(throws_later());
  try {
    co_await handle.join();
  } catch (const std::string& thrown) {
    co_return static_cast<int>(thrown.size());
  }
  co_return 0;
}

TEST(spawn, concurrent_join_rethrows) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(run_in_cell(joins_what_throws()).value(), 16);
}

task<> drops_what_throws() {
  spawn(throws_later()).detach();
  auto unread = spawn(throws_later());
  while (!unread.done()) co_await yield();
}

TEST(spawn, exceptions_that_nobody_reads_are_freed) {
  EXPECT_TRUE(run_in_cell(drops_what_throws()));
}

#endif

// ---- other threads, other runtimes --------------------------------------------------------------

TEST(spawn, concurrent_foreign_threads_spawn) {
  MAGPIE_NEED_KERNEL();
  atomic<int> count{0};
  atomic<int> alive{0};
  runtime on(cell_options());
  std::vector<std::thread> threads;
  for (int k = 0; k < 3; ++k)
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i) on.spawn(sets_after_a_while(count, counted(alive))).detach();
    });
  for (std::thread& one : threads) one.join();
  EXPECT_TRUE(on.shutdown(30s));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> joins_there(std::optional<join_handle<int>>& handle, scheduler*& home_after) {
  const auto ended = co_await handle->join();
  EXPECT_EQ(ended.value(), 2);
  home_after = &detail::current_scheduler();
  co_await sleep_for(10us);
}

task<int> waits_for(atomic<bool>& go) {
  while (!go.load(order::acquire)) co_await sleep_for(10us);
  co_return 2;
}

task<scheduler*> own_scheduler() { co_return &detail::current_scheduler(); }

task<> lets_go(atomic<bool>& go) {
  co_await sleep_for(500us);
  go.store(true, order::release);
}

TEST(spawn, concurrent_joiner_of_another_runtime_goes_on_at_home) {
  MAGPIE_NEED_KERNEL();
  for (int i = 0; i < 20; ++i) {
    atomic<bool> go{false};
    runtime one(cell_options());
    runtime other(cell_options());
    std::optional<join_handle<int>> handle(one.spawn(waits_for(go)));
    scheduler* home_after = nullptr;
    auto opens = one.spawn(lets_go(go));
    EXPECT_TRUE(other.block_on(joins_there(handle, home_after)));
    EXPECT_EQ(home_after, other.block_on(own_scheduler()).value());
    handle.reset();
  }
}

}  // namespace
}  // namespace magpie::tests::spawn_test
