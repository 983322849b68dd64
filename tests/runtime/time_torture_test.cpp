/// Stops at every possible moment, for what waits for a time.
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/deadline_timer.hpp>
#include <magpie/runtime/delay_queue.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/interval.hpp>
#include <magpie/runtime/retry.hpp>
#include <magpie/runtime/test_clock.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <array>

namespace magpie::tests::time_torture_test {
namespace {

task<> ticking(int i, tally& counts) {
  const counted here(counts.alive);
  interval every(std::chrono::microseconds(i % 13 + 1), missed_ticks::skip);
  for (int k = 0; k < i % 5; ++k) {
    const clock::time_point expected = every.next_tick();
    const auto at = co_await as_result(every.tick());
    if (!at && every.next_tick() != expected) counts.wrong.fetch_add(1, order::relaxed);
    if (!at) co_await fail(at.error());
    if (*at != expected) counts.wrong.fetch_add(1, order::relaxed);
  }
}

task<> moves_deadline(deadline_timer& timer, int i) {
  for (int k = 0; k < i % 6; ++k) {
    timer.reset_after(std::chrono::microseconds((i + k * 11) % 30));
    co_await yield();
  }
  timer.reset_after(std::chrono::microseconds(i % 20));
}

task<> awaiting_deadline(int i, tally& counts) {
  const counted here(counts.alive);
  deadline_timer timer(1h);
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(moves_deadline(timer, i));
    co_await timer.wait();
  });
}

task<> feeding(delay_queue<int>& queue, int i) {
  for (int k = 0; k < i % 6; ++k) {
    static_cast<void>(queue.insert(int(k), std::chrono::microseconds((i + k * 11) % 30)));
    co_await yield();
  }
}

task<> awaiting_items(int i, tally& counts) {
  const counted here(counts.alive);
  delay_queue<int> queue;
  int taken = 0;
  static_cast<void>(queue.insert(-1, std::chrono::microseconds(i % 20)));
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(feeding(queue, i));
    for (;;) {
      const std::optional<int> item = co_await queue.next();
      if (!item) break;
      ++taken;
    }
  }));
  if (ended && taken == 0) counts.wrong.fetch_add(1, order::relaxed);
  if (!ended) co_await fail(ended.error());
}

task<> fails_soon(int i) {
  co_await sleep_for(std::chrono::microseconds(i % 7));
  co_await fail(some_error());
}

task<> retrying(int i, tally& counts) {
  const counted here(counts.alive);
  retry_policy policy(static_cast<unsigned>(i % 5 + 1));
  policy.base = 5us;
  policy.attempt_timeout = std::chrono::microseconds(i % 6);
  retry_report report;
  const auto ended = co_await as_result(retry(policy, [i] { return fails_soon(i); }, report));
  if (ended) counts.wrong.fetch_add(1, order::relaxed);
  if (ended.error() == errc::stopped) co_await fail(errc::stopped);
  if (report.attempts != policy.attempts) counts.wrong.fetch_add(1, order::relaxed);
}

task<> advancing(int i, tally& counts) {
  const counted here(counts.alive);
  const auto before = clock::now();
  const std::chrono::microseconds by(i % 40);
  co_await test_clock::advance(by);
  if (clock::now() - before < by) counts.wrong.fetch_add(1, order::relaxed);
}

TEST(time_torture, concurrent_ticks) { torture(&ticking); }
TEST(time_torture, concurrent_deadlines_that_move) { torture(&awaiting_deadline); }
TEST(time_torture, concurrent_delay_queues) { torture(&awaiting_items); }
TEST(time_torture, concurrent_retries) { torture(&retrying); }
TEST(time_torture, advances_of_the_clock) {
  if (in_simulation()) torture(&advancing);
}

}  // namespace
}  // namespace magpie::tests::time_torture_test
