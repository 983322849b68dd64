/// Stops at every possible moment, for what shields, cleans up and follows tokens.
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/cancellation_token.hpp>
#include <magpie/runtime/cleanup.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/pipe.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/stop_token.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <array>

namespace magpie::tests::cancellation_torture_test {
namespace {

/// The clean-up runs to its end, whenever the stop comes.
task<> shielding(int i, tally& counts) {
  const counted here(counts.alive);
  const auto work = co_await as_result(sleep_for(std::chrono::microseconds(i % 30)));
  const auto cleaned = co_await as_result(shielded(sleeping(i, counts)));
  if (!cleaned) counts.wrong.fetch_add(1, order::relaxed);
  if (!work) co_await fail(work.error());
}

/// Two clean-ups around a body, and one behind it: all run, whenever the stop comes.
task<> cleaning_up(int i, tally& counts) {
  const counted here(counts.alive);
  int cleaned = 0;
  const auto clean = [&]() -> task<> {
    co_await sleep_for(std::chrono::microseconds(i % 11));
    ++cleaned;
  };
  const auto body = [&](cleanup_stack& on_exit) -> task<> {
    const counted inner(counts.alive);
    on_exit.push(clean());
    on_exit.push(clean());
    co_await sleep_for(std::chrono::microseconds(i % 30));
  };
  const auto ended = co_await as_result(finally(with_cleanup(body), clean()));
  if (cleaned != 3) counts.wrong.fetch_add(1, order::relaxed);
  if (!ended) co_await fail(ended.error());
}

/// Waits for tokens that another task cancels at about the same time.
task<> waiting_for_token(int i, tally& counts) {
  const counted here(counts.alive);
  const cancellation_token token;
  const auto canceller = [](int n, cancellation_token mine) -> task<> {
    if (n % 2 == 0) co_await sleep_for(std::chrono::microseconds(n % 23));
    mine.cancel();
  };
  auto other = spawn(canceller(i, token));
  co_await token.child_token().cancelled();
  if (!token.is_cancelled()) counts.wrong.fetch_add(1, order::relaxed);
}

task<> until_cancelled(int i, tally& counts) {
  const counted here(counts.alive);
  const cancellation_token token;
  const auto canceller = [](int n, cancellation_token mine) -> task<> {
    if (n % 2 == 0) co_await sleep_for(std::chrono::microseconds(n % 19));
    mine.cancel();
  };
  auto other = spawn(canceller(i, token));
  const bool completed = co_await token.run_until_cancelled(sleeping(i, counts));
  if (!completed && !token.is_cancelled()) counts.wrong.fetch_add(1, order::relaxed);
}

/// A standard token from outside, and one that follows the scope, inside of it.
task<> with_stop_tokens(int i, tally& counts) {
  const counted here(counts.alive);
  std::stop_source source;
  const auto stopper = [](int n, std::stop_source mine) -> task<> {
    if (n % 2 == 0) co_await sleep_for(std::chrono::microseconds(n % 19));
    mine.request_stop();
  };
  auto other = spawn(stopper(i, source));
  const auto inner = [i, &counts](std::stop_token token) -> task<> {
    const auto ended = co_await as_result(sleeping(i, counts));
    if (!ended && !token.stop_requested()) co_await yield();  // the walk comes by
    if (!ended) co_await fail(ended.error());
  };
  const auto ended = co_await as_result(stopped_by(source.get_token(), with_stop_token(inner)));
  if (!ended && ended.error() != errc::stopped) counts.wrong.fetch_add(1, order::relaxed);
  co_await yield();
}

/// What a stopped read has left is there for the next one.
task<> reading_a_pipe(int i, tally& counts) {
  const counted here(counts.alive);
  auto ends = co_await make_pipe();
  const auto writes = [](int n, pipe_writer to) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 31));
    const std::array<std::byte, 1> byte{};
    co_await to.write(byte);
  };
  auto writing = spawn(writes(i, std::move(ends.writer)));
  std::array<std::byte, 8> into;
  const auto first = co_await as_result(ends.reader.read(into));
  if (first && *first != 1) counts.wrong.fetch_add(1, order::relaxed);
  if (first) co_return;
  const std::size_t again = co_await shielded(ends.reader.read(into));
  if (again != 1) counts.wrong.fetch_add(1, order::relaxed);
  co_await fail(first.error());
}

TEST(cancellation_torture, concurrent_shields) { torture(&shielding); }
TEST(cancellation_torture, concurrent_cleanups) { torture(&cleaning_up); }
TEST(cancellation_torture, concurrent_waits_for_tokens) { torture(&waiting_for_token); }
TEST(cancellation_torture, concurrent_work_until_cancelled) { torture(&until_cancelled); }
TEST(cancellation_torture, concurrent_stop_tokens) { torture(&with_stop_tokens); }
TEST(cancellation_torture, concurrent_pipes) {
  MAGPIE_NEED_KERNEL();
  torture(&reading_a_pipe);
}

}  // namespace
}  // namespace magpie::tests::cancellation_torture_test
