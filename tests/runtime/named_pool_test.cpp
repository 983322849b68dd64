/// Pools of the program's own: admission in line, first come, first served, and stops in the line.
#include <magpie/runtime/blocking_pool.hpp>
#include <magpie/runtime/run_blocking.hpp>

#include <magpie/tests/runtime/stop_torture.hpp>

#include <pthread.h>

#include <deque>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests::named_pool_test {
namespace {

blocking_limits narrow(std::size_t threads = 1, std::size_t queue = 1) {
  blocking_limits limits;
  limits.threads_max = threads;
  limits.queue_max = queue;
  return limits;
}

void expect_empty(const blocking_pool& pool) {
  const blocking_metrics seen = pool.metrics();
  EXPECT_EQ(seen.queued, 0U);
  EXPECT_EQ(seen.waiting, 0U);
}

std::string thread_name() {
  char name[16] = {};
  EXPECT_EQ(::pthread_getname_np(::pthread_self(), name, sizeof name), 0);
  return name;
}

task<> asks_for_the_name(blocking_pool& pool) {
  const std::string name = co_await run_blocking(pool, &thread_name);
  EXPECT_EQ(name, "reports-of-the-");
}

TEST(named_pool, concurrent_threads_have_its_name) {
  MAGPIE_NEED_KERNEL();
  blocking_pool pool("reports-of-the-day");
  EXPECT_EQ(pool.name(), "reports-of-the-");
  EXPECT_TRUE(run_in_cell(asks_for_the_name(pool)));
  EXPECT_EQ(pool.metrics().started, 1U);
}

// ---- in line, in a simulation -------------------------------------------------------------------

task<> notes_its_turn(blocking_pool& pool, int number, std::vector<int>& order) {
  auto call = [number, &order] { order.push_back(number); };
  co_await run_blocking(pool, call);
}

/// One at a time has a turn, two are queued, seven wait in line; two of those and one of the queue
/// give up.
task<> first_come_first_served(blocking_pool& pool) {
  std::vector<int> order;
  std::deque<join_handle<void>> handles;
  for (int i = 0; i < 10; ++i) {
    handles.push_back(spawn(notes_its_turn(pool, i, order)));
    co_await yield();
    while (pool.metrics().started + pool.metrics().queued + pool.metrics().waiting <=
           static_cast<std::size_t>(i))
      co_await yield();
  }
  const blocking_metrics full = pool.metrics();
  EXPECT_EQ(full.queued, 2U);
  EXPECT_GE(full.waiting, 5U);  // some may have had their turns
  for (const std::size_t i : {8U, 9U}) handles[i].abort();
  const auto refused = co_await as_result(try_run_blocking(pool, &thread_name));
  EXPECT_EQ(error_of(refused), std::errc::resource_unavailable_try_again);
  EXPECT_EQ(pool.metrics().refused, 1U);
  for (std::size_t i = 0; i < handles.size(); ++i) {
    const auto ended = co_await handles[i].join();
    EXPECT_EQ(error_of(ended), i < 8 ? std::error_code() : make_error_code(errc::aborted));
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  expect_empty(pool);
  EXPECT_EQ(pool.metrics().running, 0U);
}

TEST(named_pool, who_waits_first_is_served_first) {
  for (std::uint64_t seed = 1; seed < 40; ++seed) {
    blocking_pool pool("narrow", narrow(1, 2));
    EXPECT_TRUE(run_in_simulation(first_come_first_served(pool), seed));
  }
}

// ---- in line, with threads ----------------------------------------------------------------------

struct gate {
  atomic<int> inside{0};
  atomic<bool> open{false};
  int pass(int value) {
    inside.fetch_add(1, order::release);
    while (!open.load(order::acquire)) std::this_thread::yield();
    return value;
  }
};

task<int> passes(blocking_pool& pool, gate& through, int value) {
  auto call = [&through, value] { return through.pass(value); };
  const int passed = co_await run_blocking(pool, call);
  co_return passed;
}

task<> until_listed(blocking_pool& pool, std::size_t count) {
  while (pool.metrics().queued + pool.metrics().waiting != count) co_await sleep_for(10us);
}

/// The one in the queue and one in the line give up: those behind move on, and every other call
/// runs.
task<> stops_lose_no_slot(blocking_pool& pool) {
  gate through;
  std::deque<join_handle<int>> handles;
  handles.push_back(spawn(passes(pool, through, 0)));
  while (through.inside.load(order::acquire) == 0) co_await sleep_for(10us);
  for (int i = 1; i < 5; ++i) {
    handles.push_back(spawn(passes(pool, through, i)));
    co_await until_listed(pool, static_cast<std::size_t>(i));
  }
  EXPECT_EQ(pool.metrics().running, 1U);
  EXPECT_EQ(pool.metrics().queued, 1U);
  EXPECT_EQ(pool.metrics().waiting, 3U);
  handles[1].abort();  // queued
  handles[3].abort();  // in line
  co_await until_listed(pool, 2);
  EXPECT_EQ(pool.metrics().queued, 1U);
  EXPECT_EQ(pool.metrics().waiting, 1U);
  const auto refused = co_await as_result(try_run_blocking(pool, &thread_name));
  EXPECT_EQ(error_of(refused), std::errc::resource_unavailable_try_again);
  through.open.store(true, order::release);
  for (int i = 0; i < 5; ++i) {
    const auto ended = co_await handles[static_cast<std::size_t>(i)].join();
    if (i == 1 || i == 3) {
      EXPECT_EQ(error_of(ended), errc::aborted);
    } else {
      EXPECT_EQ(ended.value(), i);
    }
  }
  EXPECT_EQ(through.inside.load(order::relaxed), 3);
  const std::string fits = co_await try_run_blocking(pool, &thread_name);
  EXPECT_EQ(fits, "narrow");
  expect_empty(pool);
}

TEST(named_pool, concurrent_a_stop_leaves_the_line_and_loses_no_slot) {
  MAGPIE_NEED_KERNEL();
  blocking_pool pool("narrow", narrow());
  EXPECT_TRUE(run_in_cell(stops_lose_no_slot(pool)));
}

int square(int i) { return i * i; }

task<> many_calls(blocking_pool& pool, int first, atomic<int>& wrong) {
  for (int i = first; i < first + 200; ++i) {
    const int squared = co_await run_blocking(pool, square, i);
    if (squared != square(i)) wrong.fetch_add(1, order::relaxed);
  }
}

task<> from_many_tasks(blocking_pool& pool, atomic<int>& wrong) {
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 10; ++k) group.spawn(many_calls(pool, k * 100, wrong));
    co_return;
  });
}

TEST(named_pool, concurrent_all_calls_are_served) {
  MAGPIE_NEED_CELL();
  blocking_pool pool("busy", narrow(2, 3));
  atomic<int> wrong{0};
  EXPECT_TRUE(run_in_cell(from_many_tasks(pool, wrong)));
  EXPECT_EQ(wrong.load(order::relaxed), 0);
  EXPECT_EQ(pool.metrics().started, 2'000U);
  expect_empty(pool);
}

/// C29: a thread at the cap that is between its job and idling gets the next one.
task<> one_after_the_other(blocking_pool& pool) {
  for (int i = 0; i < 2'000; ++i) {
    const int squared = co_await run_blocking(pool, square, i % 100);
    EXPECT_EQ(squared, square(i % 100));
  }
  EXPECT_LE(pool.metrics().threads, 1U);
}

TEST(named_pool, concurrent_conformance_c29_a_single_thread_gets_the_next_job) {
  MAGPIE_NEED_CELL();
  blocking_pool pool("single", narrow());
  EXPECT_TRUE(run_in_cell(one_after_the_other(pool)));
}

/// C28: a call that races with the end of its runtime ends, one way or the other.
task<int> calls_once(blocking_pool& pool, int i) {
  if (i % 2 == 0) {
    const int own = co_await run_blocking(square, 3);
    co_return own;
  }
  const int squared = co_await run_blocking(pool, square, 3);
  co_return squared;
}

task<std::deque<join_handle<int>>> spawns_calls(blocking_pool& pool) {
  std::deque<join_handle<int>> handles;
  for (int i = 0; i < 12; ++i) handles.push_back(spawn(calls_once(pool, i)));
  co_return handles;
}

TEST(named_pool, concurrent_conformance_c28_calls_that_race_a_shutdown_end) {
  MAGPIE_NEED_CELL();
  blocking_pool pool("racing", narrow(2, 2));
  for (int round = 0; round < 100; ++round) {
    runtime on(cell_options());
    auto handles = on.block_on(spawns_calls(pool));
    ASSERT_TRUE(handles);
    EXPECT_TRUE(on.shutdown(30s));
    for (auto& one : *handles) {
      ASSERT_TRUE(one.done());
      const auto ended = one.blocking_join();
      EXPECT_TRUE(ended ? *ended == 9 : ended.error() == errc::stopped);
    }
  }
  expect_empty(pool);
}

// ---- stops at every moment ----------------------------------------------------------------------

blocking_pool* tortured = nullptr;

task<> in_line(int i, tally& counts) {
  const counted here(counts.alive);
  const int squared = co_await run_blocking(*tortured, square, i % 1'000);
  counts.check(squared == square(i % 1'000));
}

TEST(named_pool, concurrent_stop_torture) {
  blocking_pool pool("tortured", narrow());
  tortured = &pool;
  torture(&in_line);
  expect_empty(pool);
  EXPECT_LE(pool.metrics().threads, 1U);
}

}  // namespace
}  // namespace magpie::tests::named_pool_test
