/// `as_completed`: elements in the order in which they finish, and none that outlives the body.
#include <magpie/runtime/as_completed.hpp>

#include <magpie/runtime/select.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/forks.hpp>

#include <vector>

namespace magpie::tests::as_completed_test {
namespace {

std::vector<task<int>> countdown(int count) {
  std::vector<task<int>> all;
  for (int i = 0; i < count; ++i) all.push_back(after(1ms * (count - i), i));
  return all;
}

task<> in_order() {
  std::vector<std::size_t> order;
  const int sum = co_await as_completed(countdown(20), [&](completions<int>& done) -> task<int> {
    int total = 0;
    for (;;) {
      auto next = co_await done.next();
      if (!next) break;
      order.push_back(next->index);
      EXPECT_EQ(next->value.value(), static_cast<int>(next->index));
      total += next->value.value();
    }
    const auto again = co_await done.next();
    EXPECT_FALSE(again);  // exhausted for good
    co_return total;
  });
  EXPECT_EQ(sum, 190);
  EXPECT_EQ(order.size(), 20U);
  for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], 19 - i);
}

TEST(as_completed, gives_elements_as_they_finish) { EXPECT_TRUE(run_in_simulation(in_order())); }

task<> mixed() {
  std::vector<task<int>> all;
  all.push_back(fails_after(1ms));
  all.push_back(at_once(2));
  all.push_back(after(2ms, 3));
  int seen = 0;
  co_await as_completed(std::move(all), [&](completions<int>& done) -> task<> {
    while (done.left() != 0) {
      co_await sleep_for(3ms);  // elements that finish meanwhile wait in the list
      auto next = co_await done.next();
      if (next->index == 0) {
        EXPECT_EQ(error_of(next->value), some_error());
      }
      ++seen;
    }
  });
  EXPECT_EQ(seen, 3);
  co_await as_completed(std::vector<task<int>>(), [](completions<int>& done) -> task<> {
    const auto next = co_await done.next();
    EXPECT_FALSE(next);
  });
}

TEST(as_completed, a_failure_is_a_result) { in_many_orders(&mixed); }

task<> leaves_early() {
  atomic<int> alive{0};
  auto slow = [](counted) -> task<int> {
    co_await sleep_for(1h);
    co_return 1;
  };
  std::vector<task<int>> all;
  for (int i = 0; i < 5; ++i) all.push_back(slow(counted(alive)));
  all.push_back(after(1ms, 7));
  const int value = co_await as_completed(std::move(all), [](completions<int>& done) -> task<int> {
    auto next = co_await done.next();
    co_return next->value.value();
  });
  EXPECT_EQ(value, 7);
  EXPECT_EQ(alive.load(order::relaxed), 0);  // those that ran were stopped and awaited
  std::vector<task<int>> more;
  for (int i = 0; i < 5; ++i) more.push_back(slow(counted(alive)));
  const auto failed =
      co_await as_result(as_completed(std::move(more), [](completions<int>& done) -> task<> {
        EXPECT_EQ(done.left(), 5U);
        co_await fail(some_error());
      }));
  EXPECT_EQ(error_of(failed), some_error());
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(as_completed, no_element_outlives_the_body) { in_many_orders(&leaves_early); }

task<> gives_up_waiting() {
  // A `next` that loses a select takes no element with it.
  std::vector<task<int>> all;
  all.push_back(after(3ms, 1));
  int timed_out = 0;
  int got = 0;
  co_await as_completed(std::move(all), [&](completions<int>& done) -> task<> {
    while (done.left() != 0) {
      auto first = co_await select(done.next(), sleep_for(1ms));
      if (first.get<0>() && first.get<0>()->has_value()) {
        EXPECT_EQ(first.value<0>()->value.value(), 1);
        ++got;
      } else {
        ++timed_out;
      }
    }
  });
  EXPECT_EQ(got, 1);
  EXPECT_GE(timed_out, 2);
}

TEST(as_completed, a_next_that_is_stopped_loses_no_element) { in_many_orders(&gives_up_waiting); }

task<> bounded() {
  const auto ended = co_await as_result(
      timeout(1ms, as_completed(countdown(5000), [](completions<int>& done) -> task<int> {
                for (;;) {
                  auto next = co_await done.next();
                  if (!next) break;
                }
                co_return 1;
              })));
  EXPECT_EQ(error_of(ended), errc::deadline);
}

TEST(as_completed, passes_a_stop_on) {
  MAGPIE_NEED_SIMULATION();
  in_many_orders(&bounded);
}

#if defined(__cpp_exceptions)
task<> throwing() {
  std::vector<task<int>> all;
  all.push_back(throws_after(1ms, 17));
  all.push_back(after(2ms, 3));
  const int value = co_await as_completed(std::move(all), [](completions<int>& done) -> task<int> {
    int caught = 0;
    try {
      static_cast<void>(co_await done.next());
    } catch (int what) {
      caught = what;
    }
    auto next = co_await done.next();
    co_return caught + next->value.value();
  });
  EXPECT_EQ(value, 20);
  int caught = 0;
  try {
    co_await as_completed(countdown(3), [](completions<int>&) -> task<> {
      co_await sleep_for(1us);
      throw 4;
    });
  } catch (int what) {
    caught = what;
  }
  EXPECT_EQ(caught, 4);
}

TEST(as_completed, exceptions_of_elements_and_of_the_body) { in_many_orders(&throwing); }

task<> takes_what_throws() {
  int caught = 0;
  for (int moves = 1; moves < 9; ++moves) {
    std::vector<task<throws_when_moved>> all;
    all.push_back(gives_what_throws(moves));
    const auto takes = [](completions<throws_when_moved>& done) -> task<> {
      static_cast<void>(co_await done.next());
    };
    try {
      co_await as_completed(std::move(all), takes);
    } catch (int what) {
      caught += what;
    }
  }
  EXPECT_GE(caught, 2 * 19);
}

TEST(as_completed, a_value_that_throws_when_it_is_moved) { in_many_orders(&takes_what_throws); }

task<> has_no_body() {
  std::vector<task<int>> all;
  all.push_back(after(1h, 1));
  const auto throws = [](completions<int>& done) -> task<> {
    if (done.left() == 1) throw 23;
    return []() -> task<> { co_return; }();
  };
  int caught = 0;
  try {
    co_await as_completed(std::move(all), throws);
  } catch (int what) {
    caught = what;
  }
  EXPECT_EQ(caught, 23);
}

TEST(as_completed, a_body_that_throws_instead_of_giving_a_task) { in_many_orders(&has_no_body); }
#endif

task<int> counts_alive(tally& counts, std::chrono::microseconds pause, int value) {
  const counted here(counts.alive);
  co_await sleep_for(pause);
  co_return value;
}

task<> completing(int i, tally& counts) {
  const counted here(counts.alive);
  std::vector<task<int>> all;
  for (int k = 0; k < i % 6; ++k)
    all.push_back(counts_alive(counts, std::chrono::microseconds((i + k) % 17), k));
  const int seen = co_await as_completed(std::move(all), [&](completions<int>& done) -> task<int> {
    int count = 0;
    for (;;) {
      auto next = co_await done.next();
      if (!next) break;
      if (next->value) counts.check(*next->value == static_cast<int>(next->index));
      ++count;
    }
    co_return count;
  });
  counts.check(seen == i % 6);
}

TEST(as_completed, stop_torture_concurrent) { torture_forks(&completing); }

}  // namespace
}  // namespace magpie::tests::as_completed_test
