/// `race` and `any_of`: the first success, or what all failed with.
#include <magpie/runtime/race.hpp>

#include <magpie/tests/runtime/forks.hpp>

#include <memory>
#include <vector>

namespace magpie::tests::race_test {
namespace {

const std::error_code other = std::make_error_code(std::errc::broken_pipe);

task<> first_success() {
  atomic<int> alive{0};
  auto slow = [](counted) -> task<int> {
    co_await sleep_for(1h);
    co_return 1;
  };
  const int value =
      co_await race(slow(counted(alive)), fails_after(1ms), after(2ms, 2), after(3ms, 3));
  EXPECT_EQ(value, 2);
  EXPECT_EQ(alive.load(order::relaxed), 0);  // the losers have ended
  co_await race(sleep_for(1h), sleep_for(1ms));
  std::vector<task<int>> all;
  all.push_back(after(1h, 1));
  all.push_back(fails_after(1ms));
  all.push_back(after(2ms, 3));
  const int ranged = co_await race(std::move(all));
  EXPECT_EQ(ranged, 3);
}

TEST(race, gives_the_first_success) { in_many_orders(&first_success); }

task<> all_fail() {
  const auto ended = co_await as_result(race(fails_after(2ms), fails_after(1ms, other)));
  EXPECT_EQ(error_of(ended), other);
  std::vector<task<int>> all;
  all.push_back(fails_after(2ms));
  all.push_back(fails_after(1ms, other));
  const auto ranged = co_await as_result(race(std::move(all)));
  EXPECT_EQ(error_of(ranged), other);
  const auto none = co_await as_result(race(std::vector<task<int>>()));
  EXPECT_EQ(error_of(none), std::errc::invalid_argument);
}

TEST(race, fails_with_the_first_error_when_all_fail) { in_many_orders(&all_fail); }

task<> collects_errors() {
  const auto failed = co_await any_of(fails_after(2ms), fails_after(1ms, other));
  EXPECT_FALSE(failed);
  EXPECT_EQ(failed.error()[0], some_error());
  EXPECT_EQ(failed.error()[1], other);
  const auto good = co_await any_of(fails_after(1ms), after(2ms, 4));
  EXPECT_EQ(good.value(), 4);
  const auto slept = co_await any_of(sleep_for(1h), sleep_for(1ms));
  EXPECT_TRUE(slept);
  std::vector<task<int>> all;
  all.push_back(fails_after(2ms));
  all.push_back(fails_after(1ms, other));
  const auto ranged = co_await any_of(std::move(all));
  EXPECT_FALSE(ranged);
  EXPECT_EQ(ranged.error(), (std::vector<std::error_code>{some_error(), other}));
  const auto none = co_await any_of(std::vector<task<int>>());
  EXPECT_TRUE(none.error().empty());
  std::vector<task<int>> best;
  best.push_back(fails_after(2ms));
  best.push_back(after(3ms, 9));
  const auto found = co_await any_of(std::move(best));
  EXPECT_EQ(found.value(), 9);
}

TEST(race, any_of_gives_all_errors) { in_many_orders(&collects_errors); }

task<> bounded() {
  const auto late = co_await as_result(timeout(1ms, race(after(1h, 1), after(2h, 2))));
  EXPECT_EQ(error_of(late), errc::deadline);
  const auto none = co_await timeout(1ms, any_of(after(1h, 1), after(2h, 2)));
  EXPECT_EQ(none.error()[0], errc::stopped);
  EXPECT_EQ(none.error()[1], errc::stopped);
}

TEST(race, passes_a_stop_on) { in_many_orders(&bounded); }

#if defined(__cpp_exceptions)
task<> throwing() {
  int caught = 0;
  try {
    static_cast<void>(co_await race(after(1h, 1), throws_after(1ms, 17)));
  } catch (int what) {
    caught += what;
  }
  try {
    static_cast<void>(co_await any_of(fails_after(1us), throws_after(1ms, 4)));
  } catch (int what) {
    caught += what;
  }
  std::vector<task<int>> all;
  all.push_back(after(1ms, 1));
  all.push_back(throws_after(1h, 2));
  try {
    static_cast<void>(co_await race(std::move(all)));
  } catch (int what) {
    caught += what;
  }
  EXPECT_EQ(caught, 23);
}

TEST(race, an_exception_wins) { in_many_orders(&throwing); }
#endif

task<int> counts_alive(tally& counts, std::chrono::microseconds pause, int value) {
  const counted here(counts.alive);
  co_await sleep_for(pause);
  co_return value;
}

task<> racing(int i, tally& counts) {
  const counted here(counts.alive);
  const int value = co_await race(counts_alive(counts, std::chrono::microseconds(i % 19), i),
                                  counts_alive(counts, std::chrono::microseconds(i % 17), i));
  counts.check(value == i);
}

task<> trying_any(int i, tally& counts) {
  const counted here(counts.alive);
  std::vector<task<int>> all;
  for (int k = 0; k < 1 + i % 5; ++k)
    all.push_back(counts_alive(counts, std::chrono::microseconds((i + k) % 19), i));
  const auto value = co_await any_of(std::move(all));
  if (value) {
    counts.check(*value == i);
  } else {
    for (const std::error_code& error : value.error()) counts.check(error == errc::stopped);
    co_await fail(errc::stopped);
  }
}

TEST(race, stop_torture_concurrent) {
  torture_forks(&racing);
  torture_forks(&trying_any);
}

}  // namespace
}  // namespace magpie::tests::race_test
