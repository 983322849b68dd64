/// `stopped_by` and `with_stop_token`: the standard's stop tokens and ours, both ways.
#include <magpie/runtime/stop_token.hpp>

#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/cancellation_token.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <memory>
#include <thread>

namespace magpie::tests::stop_token_test {
namespace {

task<int> nap(std::chrono::nanoseconds d, int value) {
  co_await sleep_for(d);
  co_return value;
}

task<int> answers_a_stop(int value) {
  const auto slept = co_await as_result(sleep_for(1h));
  EXPECT_EQ(error_of(slept), errc::stopped);
  co_await shielded(sleep_for(1ms));
  co_return value;
}

task<> stops_after(std::chrono::nanoseconds d, std::stop_source source) {
  co_await sleep_for(d);
  source.request_stop();
}

task<> is_stopped_by() {
  std::stop_source source;
  const int value = co_await stopped_by(source.get_token(), nap(1ms, 4));
  EXPECT_EQ(value, 4);
  const auto failed = co_await as_result(stopped_by(source.get_token(), fail(some_error())));
  EXPECT_EQ(error_of(failed), some_error());
  const int untied = co_await stopped_by(std::stop_token(), nap(1ms, 5));
  EXPECT_EQ(untied, 5);

  spawn(stops_after(1ms, source)).detach();
  const auto stopped = co_await as_result(stopped_by(source.get_token(), nap(1h, 4)));
  EXPECT_EQ(error_of(stopped), errc::stopped);
  co_await sleep_for(0s);  // the surrounding scope is not stopped

  std::stop_source late;
  spawn(stops_after(1ms, late)).detach();
  const int after_all = co_await stopped_by(late.get_token(), answers_a_stop(6));
  EXPECT_EQ(after_all, 6);

  const auto already = co_await as_result(stopped_by(source.get_token(), sleep_for(0s)));
  EXPECT_EQ(error_of(already), errc::stopped);
  const int no_operation = co_await stopped_by(source.get_token(), answers_a_stop(7));
  EXPECT_EQ(no_operation, 7);
}

/// Stops from further out than the token's.
task<> is_stopped_from_around() {
  const std::stop_source source;  // which nobody stops
  const auto before = clock::now();
  const auto late = co_await as_result(timeout(1ms, stopped_by(source.get_token(), nap(1h, 1))));
  EXPECT_EQ(error_of(late), errc::deadline);
  auto first =
      co_await select(biased, stopped_by(source.get_token(), sleep_for(1h)),
                      unconstrained(stopped_by(source.get_token(), sleep_for(1h))), sleep_for(1ms));
  EXPECT_EQ(first.index(), 2U);
  const cancellation_token token;
  const auto cancels = [](cancellation_token it) -> task<> {
    co_await sleep_for(1ms);
    it.cancel();
  };
  spawn(cancels(token)).detach();
  const auto cancelled =
      co_await token.run_until_cancelled(stopped_by(source.get_token(), nap(1h, 1)));
  EXPECT_FALSE(cancelled);
  EXPECT_LT(clock::now() - before, 1min);

  std::stop_source stopped;
  stopped.request_stop();
  const auto both = co_await as_result(timeout(1h, stopped_by(stopped.get_token(), nap(1h, 1))));
  EXPECT_EQ(error_of(both), errc::stopped);
  EXPECT_LT(clock::now() - before, 1min);
}

TEST(stop_token, what_is_inside_is_stopped_from_around_as_well) {
  for (std::uint64_t seed = 1; seed < 20; ++seed)
    EXPECT_TRUE(run_in_simulation(is_stopped_from_around(), seed));
}

TEST(stop_token, stops_what_it_is_put_around) {
  for (std::uint64_t seed = 1; seed < 20; ++seed)
    EXPECT_TRUE(run_in_simulation(is_stopped_by(), seed));
}

task<> stopped_from_a_thread(std::stop_token token, atomic<int>& stopped) {
  const auto ended = co_await as_result(stopped_by(std::move(token), sleep_for(1h)));
  if (!ended && ended.error() == errc::stopped) stopped.fetch_add(1, order::relaxed);
}

TEST(stop_token, concurrent_stops_from_threads_that_are_no_workers) {
  MAGPIE_NEED_KERNEL();
  runtime on(cell_options());
  for (int i = 0; i < 1000; ++i) {
    atomic<int> stopped{0};
    std::stop_source source;
    std::thread stopper([source]() mutable { source.request_stop(); });
    EXPECT_TRUE(on.block_on(stopped_from_a_thread(source.get_token(), stopped)));
    stopper.join();
    EXPECT_EQ(stopped.load(order::relaxed), 1);
  }
}

/// Counts until it is told to stop.
int counts_until(std::stop_token token) {
  int rounds = 0;
  while (!token.stop_requested()) {
    ++rounds;
    ::sched_yield();
  }
  return rounds;
}

task<> stops_a_blocking_call() {
  const auto call = [](std::stop_token token) { return run_blocking(&counts_until, token); };
  const auto late = co_await as_result(timeout(5ms, with_stop_token(call)));
  EXPECT_TRUE(late || late.error() == errc::deadline);  // not begun, or stopped in the middle
}

TEST(stop_token, follows_the_scope_into_a_blocking_call) {
  MAGPIE_NEED_KERNEL();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(run_in_cell(stops_a_blocking_call()));
}

task<> follows() {
  std::stop_token kept;
  const auto remembers = [&](std::stop_token token) -> task<int> {
    kept = token;
    EXPECT_FALSE(token.stop_requested());
    co_await sleep_for(1ms);
    co_return 3;
  };
  const int value = co_await with_stop_token(remembers);
  EXPECT_EQ(value, 3);
  EXPECT_FALSE(kept.stop_requested());
  EXPECT_FALSE(kept.stop_possible());  // nobody follows any more

  const auto sees_it = [&](std::stop_token token) -> task<int> {
    kept = token;
    const auto slept = co_await as_result(sleep_for(1h));
    EXPECT_EQ(error_of(slept), errc::stopped);
    EXPECT_TRUE(token.stop_requested());
    co_await fail(some_error());
    co_return 0;
  };
  const auto failed = co_await as_result(timeout(1ms, with_stop_token(sees_it)));
  EXPECT_EQ(error_of(failed), some_error());
  EXPECT_TRUE(kept.stop_requested());

  const auto inline_value = [](std::stop_token) { return result<int>(8); };
  const int at_once = co_await with_stop_token(inline_value);
  EXPECT_EQ(at_once, 8);
}

TEST(stop_token, follows_the_scope) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(follows(), seed));
}

task<> begins_stopped(bool& right) {
  static_cast<void>(co_await as_result(sleep_for(1h)));
  const auto looks = [](std::stop_token token) -> task<bool> { co_return token.stop_requested(); };
  right = co_await with_stop_token(looks);
}

task<> aborts(bool& right) {
  auto handle = spawn(begins_stopped(right));
  co_await sleep_for(1ms);
  handle.abort();
  static_cast<void>(co_await handle.join());
}

TEST(stop_token, of_a_stopped_scope_is_stopped) {
  bool right = false;
  EXPECT_TRUE(run_in_simulation(aborts(right)));
  EXPECT_TRUE(right);
}

}  // namespace
}  // namespace magpie::tests::stop_token_test
