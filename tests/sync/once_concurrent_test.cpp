/// `once` and `once_cell` with many tasks on many workers, and with threads outside; stopped at
/// every moment.
#include <magpie/sync/once.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <thread>
#include <vector>

namespace magpie::tests::once_concurrent_test {
namespace {

using sync::once;
using sync::once_cell;

TEST(once, concurrent_threads_and_tasks_see_one_value) {
  MAGPIE_NEED_KERNEL();
  for (int round = 0; round < 50; ++round) {
    once_cell<int> one;
    atomic<int> made{0};
    atomic<int> wrong{0};
    std::vector<std::thread> all;
    for (int k = 0; k < 2; ++k)
      all.emplace_back([&] {
        const int& got =
            one.blocking_get_or_init([&] { return made.fetch_add(1, order::relaxed); });
        if (got != 0) wrong.fetch_add(1, order::relaxed);
      });
    const auto scenario = [&]() -> task<> {
      const auto needs_it = [](once_cell<int>& of, atomic<int>& count, atomic<int>& bad) -> task<> {
        const auto make = [&]() -> task<int> {
          co_await yield();
          co_return count.fetch_add(1, order::relaxed);
        };
        const int* const got = co_await of.get_or_init(make);
        if (*got != 0) bad.fetch_add(1, order::relaxed);
      };
      co_await with_task_group([&](task_group& group) -> task<> {
        for (int k = 0; k < 3; ++k) group.spawn(needs_it(one, made, wrong));
        co_return;
      });
    };
    EXPECT_TRUE(run_in_cell(scenario()));
    for (auto& each : all) each.join();
    EXPECT_EQ(made.load(order::relaxed), 1);
    EXPECT_EQ(wrong.load(order::relaxed), 0);
  }
}

/// Whoever finds it done may destroy it, while the one who did it is on its way out.
TEST(once, concurrent_may_be_destroyed_by_whoever_found_it_done) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 1000; ++i) {
      auto* const one = new once_cell<int>;
      const auto makes_it = [](once_cell<int>& of) -> task<> {
        EXPECT_TRUE(of.set(1));
        co_return;
      };
      auto other = spawn(makes_it(*one));
      if (i % 3 == 0) co_await yield();
      while (one->get() == nullptr) co_await yield();
      delete one;
      co_await other.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

// ---- stops at every moment ----------------------------------------------------------------------

/// Some come with a deadline, some fail; one does it, and is the only one.
task<> tries(once& what, atomic<int>& inside, atomic<int>& done, int i, tally& counts) {
  const counted here(counts.alive);
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 1h;
  const auto does = [&]() -> task<> {
    counts.check(inside.fetch_add(1, order::relaxed) == 0);
    const auto slept = co_await as_result(sleep_for(std::chrono::microseconds(i % 5)));
    inside.fetch_sub(1, order::relaxed);
    if (!slept) co_await fail(slept.error());
    if (i % 4 == 0) co_await fail(some_error());
    done.fetch_add(1, order::relaxed);
  };
  const auto ended = co_await as_result(timeout(longest, what.call(does)));
  if (ended) {
    counts.check(what.is_done() && done.load(order::relaxed) == 1);
  } else if (ended.error() != errc::deadline && ended.error() != some_error()) {
    co_await fail(ended.error());
  }
}

task<> doing_once(int i, tally& counts) {
  const counted here(counts.alive);
  once one;
  atomic<int> inside{0};
  atomic<int> done{0};
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 4; ++k) group.spawn(tries(one, inside, done, i + k, counts));
    co_return;
  }));
  counts.check(inside.load(order::relaxed) == 0);
  counts.check(done.load(order::relaxed) == (one.is_done() ? 1 : 0));
  // The turn is there for whoever comes.
  const auto last = co_await as_result(shielded(one.call([] { return sleep_for(1us); })));
  counts.check(last.has_value());
  if (!ended) co_await fail(ended.error());
}

TEST(sync_torture, concurrent_onces) { torture(&doing_once); }

}  // namespace
}  // namespace magpie::tests::once_concurrent_test
