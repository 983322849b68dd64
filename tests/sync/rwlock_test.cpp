/// `rwlock`: many readers or one writer, in the order of coming, whatever stops.  Compared with a
/// simple reference in rwlock_random_test.cpp.
#include <magpie/sync/rwlock.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <thread>
#include <vector>

namespace magpie::tests::rwlock_test {
namespace {

using sync::rwlock;
using sync::rwlock_read_guard;
using sync::rwlock_write_guard;

TEST(rwlock, has_many_readers_or_one_writer) {
  rwlock one;
  {
    auto first = one.try_read();
    auto second = one.try_read();
    ASSERT_TRUE(first && second);
    EXPECT_FALSE(one.try_write());
    rwlock_read_guard moved = std::move(*first);
    EXPECT_FALSE(first->owns_lock());
    EXPECT_TRUE(moved);
    moved.unlock();
    EXPECT_FALSE(one.try_write());
  }
  auto alone = one.try_write();
  ASSERT_TRUE(alone && alone->owns_lock());
  EXPECT_FALSE(one.try_read());
  EXPECT_FALSE(one.try_write());
  rwlock_write_guard moved = std::move(*alone);
  EXPECT_FALSE(*alone);
  moved.unlock();
  EXPECT_FALSE(moved);
  EXPECT_TRUE(one.try_read());
  EXPECT_FALSE(rwlock_read_guard().owns_lock());
  EXPECT_FALSE(rwlock_write_guard().owns_lock());
  one.check_invariants();
}

TEST(rwlock, has_no_more_readers_than_it_was_made_for) {
  rwlock two(2);
  const auto first = two.try_read();
  const auto second = two.try_read();
  EXPECT_TRUE(first && second && !two.try_read());
}

TEST(rwlock, misuse_is_an_abort) {
  rwlock one;
  EXPECT_DEATH(rwlock(0).check_invariants(), "nobody could ever read");
  rwlock_write_guard gone;
  EXPECT_DEATH(static_cast<void>(gone.downgrade()), "no writer's");
}

task<> reads(rwlock& one, int name, std::vector<int>& order) {
  const auto guard = co_await one.read();
  order.push_back(name);
  co_await sleep_for(1ms);
}

task<> writes(rwlock& one, int name, std::vector<int>& order) {
  const auto guard = co_await one.write();
  order.push_back(name);
  co_await sleep_for(1ms);
}

/// A reader behind a writer that waits does not pass it, nor does `try_read`; readers that stand
/// next to each other come in together.
TEST(rwlock, serves_in_the_order_of_coming) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    rwlock one;
    co_await with_task_group([&](task_group& group) -> task<> {
      auto guard = co_await one.read();
      group.spawn(reads(one, 0, order));
      co_await settled();
      EXPECT_EQ(order, std::vector{0});
      group.spawn(writes(one, 1, order));
      co_await settled();
      for (int i = 2; i < 4; ++i) {
        group.spawn(reads(one, i, order));
        co_await settled();
      }
      group.spawn(writes(one, 4, order));
      co_await sleep_for(5ms);
      EXPECT_EQ(order, std::vector{0});
      EXPECT_FALSE(one.try_read());
      one.check_invariants();
      guard.unlock();
      co_await settled();
      EXPECT_EQ(order, (std::vector{0, 1}));
      co_await sleep_for(1ms);
      EXPECT_EQ(order.size(), 4U);  // both, in whichever order they ran
    });
    EXPECT_EQ(order.size(), 5U);
    EXPECT_EQ(order.back(), 4);
    EXPECT_TRUE(one.try_write());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(rwlock, c44_a_writer_that_is_stopped_in_line_lets_the_readers_behind_it_in) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    rwlock one;
    auto held = co_await one.read();
    auto writer = spawn(writes(one, 1, order));
    co_await settled();
    auto reader = spawn(reads(one, 2, order));
    co_await settled();
    EXPECT_TRUE(order.empty());
    writer.abort();
    co_await settled();
    EXPECT_EQ(order, std::vector{2});  // at once: `held` is still held
    const auto ended = co_await writer.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    co_await reader.join();
    held.unlock();
    EXPECT_TRUE(one.try_write());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(rwlock, c44_a_writer_that_is_stopped_with_the_lock_on_its_way_hands_it_on) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    rwlock one;
    auto held = co_await one.read();
    auto writer = spawn(writes(one, 1, order));
    co_await settled();
    auto reader = spawn(reads(one, 2, order));
    co_await settled();
    held.unlock();
    writer.abort();
    co_await reader.join();
    EXPECT_EQ(order, std::vector{2});
    [[maybe_unused]] const auto ended = co_await writer.join();
    EXPECT_TRUE(one.try_write());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(rwlock, a_writer_that_becomes_a_reader_lets_readers_in_and_no_writer) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    rwlock one;
    co_await with_task_group([&](task_group& group) -> task<> {
      auto writing = co_await one.write();
      group.spawn(reads(one, 1, order));
      co_await settled();
      group.spawn(writes(one, 2, order));
      co_await settled();
      group.spawn(reads(one, 3, order));
      co_await settled();
      auto reading = writing.downgrade();
      EXPECT_FALSE(writing);
      EXPECT_TRUE(reading);
      co_await sleep_for(5ms);
      EXPECT_EQ(order, std::vector{1});  // the writer in line waits for us, and the other for it
      reading.unlock();
    });
    EXPECT_EQ(order, (std::vector{1, 2, 3}));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// With somebody who reads at each moment, a writer gets in.
TEST(rwlock, concurrent_readers_do_not_starve_a_writer) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    rwlock one;
    bool written = false;
    const auto overlapping = [](rwlock& of, const bool& done) -> task<> {
      for (;;) {
        const auto guard = co_await of.read();
        if (done) co_return;
        co_await yield();
      }
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 4; ++i) group.spawn(overlapping(one, written));
      for (int i = 0; i < 20; ++i) co_await yield();
      const auto guard = co_await one.write();
      written = true;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

task<> mixes(rwlock& one, int& sum, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    if (i % 3 == 0) {
      auto guard = co_await one.write();
      const int seen = sum;
      if (i % 2 == 0) co_await yield();
      sum = seen + 1;
      if (i % 5 != 0) continue;
      const auto reading = guard.downgrade();
      EXPECT_EQ(sum, seen + 1);
      co_await yield();
      EXPECT_EQ(sum, seen + 1);
    } else {
      const auto guard = co_await one.read();
      const int seen = sum;
      if (i % 2 == 0) co_await yield();
      EXPECT_EQ(sum, seen);
    }
  }
}

TEST(rwlock, concurrent_writers_exclude_all_and_readers_writers) {
  MAGPIE_NEED_CELL();
  constexpr int tasks = 6;
  constexpr int rounds = 600;
  int sum = 0;
  const auto scenario = [&]() -> task<> {
    rwlock one;
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < tasks; ++i) group.spawn(mixes(one, sum, rounds));
      co_return;
    });
    one.check_invariants();
    EXPECT_TRUE(one.try_write());
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  EXPECT_EQ(sum, tasks * rounds / 3);
}

TEST(rwlock, concurrent_threads_and_tasks_exclude_each_other) {
  MAGPIE_NEED_KERNEL();
  constexpr int rounds = 300;
  rwlock one;
  int sum = 0;
  std::vector<std::thread> all;
  for (int k = 0; k < 3; ++k)
    all.emplace_back([&] {
      for (int i = 0; i < rounds; ++i) {
        if (i % 3 == 0) {
          const auto guard = one.blocking_write();
          ++sum;
        } else {
          const auto guard = one.blocking_read();
          EXPECT_GE(sum, 0);
        }
      }
    });
  const auto scenario = [&]() -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int k = 0; k < 3; ++k) group.spawn(mixes(one, sum, rounds));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  for (auto& each : all) each.join();
  EXPECT_EQ(sum, 6 * rounds / 3);
}

/// The last one to have it alone destroys it, while those before are on their way out.
TEST(rwlock, concurrent_may_be_destroyed_once_it_was_had_alone) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 1000; ++i) {
      auto* const one = new rwlock;
      const auto leaves = [](rwlock_read_guard guard) -> task<> {
        guard.unlock();
        co_return;
      };
      auto guard = co_await one->read();
      auto other = spawn(leaves(std::move(guard)));
      if (i % 3 == 0) co_await yield();
      auto alone = co_await one->write();
      alone.unlock();
      delete one;
      co_await other.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

// ---- stops at every moment ----------------------------------------------------------------------

task<> visits(rwlock& one, atomic<int>& readers, atomic<int>& writers, int i, tally& counts) {
  const counted here(counts.alive);
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 1h;
  if (i % 2 == 0) {
    auto guard = co_await as_result(timeout(longest, one.read()));
    if (!guard && guard.error() == errc::deadline) co_return;
    if (!guard) co_await fail(guard.error());
    readers.fetch_add(1, order::relaxed);
    counts.check(writers.load(order::relaxed) == 0);
    const auto slept = co_await as_result(sleep_for(std::chrono::microseconds(i % 5)));
    readers.fetch_sub(1, order::relaxed);
    if (!slept) co_await fail(slept.error());
  } else {
    auto guard = co_await as_result(timeout(longest, one.write()));
    if (!guard && guard.error() == errc::deadline) co_return;
    if (!guard) co_await fail(guard.error());
    counts.check(writers.fetch_add(1, order::relaxed) == 0 && readers.load(order::relaxed) == 0);
    const auto slept = co_await as_result(sleep_for(std::chrono::microseconds(i % 5)));
    writers.fetch_sub(1, order::relaxed);
    if (!slept) co_await fail(slept.error());
    if (i % 5 != 0) co_return;
    const auto reading = guard->downgrade();
    counts.check(writers.load(order::relaxed) == 0);
    co_await yield();
  }
}

task<> reading_and_writing(int i, tally& counts) {
  const counted here(counts.alive);
  rwlock one;
  atomic<int> readers{0};
  atomic<int> writers{0};
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 5; ++k) group.spawn(visits(one, readers, writers, i + k, counts));
    co_return;
  }));
  counts.check(one.try_write().has_value());
  one.check_invariants();
  if (!ended) co_await fail(ended.error());
}

TEST(sync_torture, concurrent_rwlocks) { torture(&reading_and_writing); }

}  // namespace
}  // namespace magpie::tests::rwlock_test
