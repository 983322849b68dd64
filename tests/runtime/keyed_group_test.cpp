/// `keyed_group`: one child for each key, replacement, and aborts by key.
#include <magpie/runtime/keyed_group.hpp>

#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/forks.hpp>
#include <magpie/tests/runtime/said.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <map>
#include <string>
#include <vector>

namespace magpie::tests::keyed_group_test {
namespace {

task<int> after(std::chrono::microseconds time, int value, counted) {
  co_await sleep_for(time);
  co_return value;
}

using by_name = keyed_group<std::string, int>;

task<> gives_keys(counted here) {
  co_await with_task_group([&](by_name& group) -> task<> {
    for (int i = 0; i < 100; ++i)
      EXPECT_FALSE(group.spawn("child number " + std::to_string(i),
                               after(std::chrono::microseconds(i % 9), i, here)));
    EXPECT_TRUE(group.contains("child number 42"));
    EXPECT_FALSE(group.contains("child number 100"));
    std::map<std::string, int> seen;
    for (;;) {
      const auto one = co_await group.next();
      if (!one) break;
      EXPECT_FALSE(group.contains(one->key));
      EXPECT_TRUE(seen.emplace(one->key, one->outcome.value()).second);
    }
    EXPECT_EQ(seen.size(), 100U);
    EXPECT_EQ(seen["child number 42"], 42);
  });
}

TEST(keyed_group, concurrent_next_gives_keys_and_outcomes) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_cell(gives_keys(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> leaves_failures() {
  co_await with_task_group([](by_name& group) -> task<> {
    group.spawn("taken", named("seen"), fails_after(1us));
    const auto taken = co_await group.next();
    EXPECT_EQ(error_of(taken->outcome), some_error());
    group.spawn("left", named("left"), fails_after(1us));
    group.spawn("replaced", named("replaced"), fails_after(1us));
    co_await sleep_for(100us);
    EXPECT_TRUE(group.spawn("replaced", named("second"), fails_after(1us)));
  });
}

TEST(keyed_group, failures_that_nobody_takes_are_logged) {
  const std::string said = said_by(leaves_failures());
  for (const char* name : {"(left)", "(replaced)", "(second)"})
    EXPECT_NE(said.find(name), std::string::npos) << name << '\n' << said;
  EXPECT_EQ(said.find("(seen)"), std::string::npos) << said;
}

task<> replaces(counted here) {
  co_await with_task_group([&](by_name& group) -> task<> {
    group.spawn("running", after(1h, 1, here));
    group.spawn("ended", after(0us, 1, here));
    group.spawn("queued", after(0us, 1, here));
    co_await sleep_for(100us);
    EXPECT_TRUE(group.spawn("running", after(10us, 2, here)));
    EXPECT_TRUE(group.spawn("ended", after(10us, 3, here)));
    EXPECT_TRUE(group.spawn("queued", after(10us, 4, here)));
    EXPECT_TRUE(group.spawn("queued", after(10us, 5, here)));  // replaced before it has run
    int sum = 0;
    int count = 0;
    for (;;) {
      const auto one = co_await group.next();
      if (!one) break;
      sum += one->outcome.value();
      ++count;
    }
    EXPECT_EQ(count, 3);
    EXPECT_EQ(sum, 2 + 3 + 5);
  });
}

TEST(keyed_group, concurrent_a_replaced_child_is_never_given_out) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(run_in_cell(replaces(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

/// An outcome that a combinator dropped is for the next one; if its key has been used again
/// meanwhile, it counts as replaced.
task<> drops_completed_waits(counted here) {
  co_await with_task_group([&](keyed_group<int, int>& group) -> task<> {
    group.spawn(1, after(0us, 10, here));
    co_await sleep_for(100us);
    {
      auto dropped = group.next();
      EXPECT_TRUE(dropped.try_complete(*detail::this_context().running_here()));
      EXPECT_FALSE(group.contains(1));
    }
    EXPECT_TRUE(group.contains(1));
    {
      auto dropped = group.next();
      EXPECT_TRUE(dropped.try_complete(*detail::this_context().running_here()));
      EXPECT_FALSE(group.spawn(1, after(1us, 20, here)));
    }
    const auto one = co_await group.next();
    EXPECT_EQ(one->outcome.value(), 20);
    const auto none = co_await group.next();
    EXPECT_FALSE(none);
  });
}

TEST(keyed_group, an_outcome_that_was_not_taken_comes_again_unless_its_key_was_used) {
  atomic<int> alive{0};
  EXPECT_TRUE(run_in_simulation(drops_completed_waits(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

task<> aborts_by_key(counted here) {
  co_await with_task_group([&](keyed_group<int, int>& group) -> task<> {
    for (int i = 0; i < 20; ++i) group.spawn(i, after(1h, i, here));
    co_await yield();
    EXPECT_TRUE(group.abort(7));
    EXPECT_FALSE(group.abort(99));
    const auto one = co_await group.next();
    EXPECT_EQ(one->key, 7);
    EXPECT_EQ(error_of(one->outcome), errc::aborted);
    EXPECT_FALSE(group.abort(7));
    group.spawn(7, after(0us, 70, here));
    const auto again = co_await group.next();
    EXPECT_EQ(again->key, 7);
    EXPECT_EQ(again->outcome.value(), 70);
    group.abort_all();
    int aborted = 0;
    for (;;) {
      const auto rest = co_await group.next();
      if (!rest) break;
      if (error_of(rest->outcome) == errc::aborted) ++aborted;
    }
    EXPECT_EQ(aborted, 19);
  });
}

TEST(keyed_group, concurrent_abort_by_key) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(run_in_cell(aborts_by_key(counted(alive))));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

// ---- stops, replacements and aborts at once -----------------------------------------------------

/// Replaces and aborts children of a few keys while another child does the same.
task<> meddles(keyed_group<int, int>& group, int i, int rounds, counted here) {
  for (int k = 0; k < rounds; ++k) {
    const int key = (i + k) % 5;
    if (k % 3 == 0) {
      group.abort(key);
    } else {
      group.spawn(key, after(std::chrono::microseconds((i + k) % 7), key, here));
    }
    if (k % 4 == 0) co_await yield();
  }
}

task<> contended(int i, tally& counts) {
  const counted here(counts.alive);
  co_await with_task_group([&](keyed_group<int, int>& group) -> task<> {
    co_await with_task_group([&](task_group& meddlers) -> task<> {
      meddlers.spawn(meddles(group, i, i % 23, here));
      meddlers.spawn(meddles(group, i + 1, i % 19, here));
      const auto early =
          co_await as_result(timeout(std::chrono::microseconds(i % 5), group.next()));
      counts.check(early || early.error() == errc::deadline || early.error() == errc::stopped);
    });
    if (i % 7 == 0) group.abort_all();
    int seen[5] = {};
    for (;;) {
      const auto one = co_await group.next();
      if (!one) break;
      const auto key = static_cast<std::size_t>(one->key);
      counts.check(++seen[key] == 1);  // one child for each key
      counts.check(one->outcome ? *one->outcome == one->key : true);
    }
  });
}

TEST(keyed_group, concurrent_stop_torture) {
  MAGPIE_NEED_CELL();
  torture(&contended, 10'000);
}

}  // namespace
}  // namespace magpie::tests::keyed_group_test
