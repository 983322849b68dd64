/// Stops at every possible moment, for what is made of several waits, for child processes and for
/// what is no wait of its own.
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/pipe.hpp>
#include <magpie/runtime/process.hpp>
#include <magpie/runtime/result_group.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/signal.hpp>
#include <magpie/tests/runtime/processes.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <signal.h>

#include <array>

namespace magpie::tests::composite_torture_test {
namespace {

/// Frames of a chain of which each holds something.
task<int> nested(int depth, int i, tally& counts) {
  const counted here(counts.alive);
  if (depth == 0) {
    co_await sleep_for(std::chrono::microseconds(i % 30));
    co_return i;
  }
  if (depth % 2 == 0) co_await yield();
  const int below = co_await nested(depth - 1, i, counts);
  co_return below + 1;
}

task<> chaining(int i, tally& counts) {
  const counted here(counts.alive);
  const int sum = co_await nested(i % 7, i, counts);
  counts.check(sum == i + i % 7);
}

/// A stop that has become a value is seen by the next operation.
task<> asking(int i, tally& counts) {
  const counted here(counts.alive);
  const auto ended = co_await as_result(nested(i % 4, i, counts));
  counts.check(ended ? *ended == i + i % 4 : ended.error() == errc::stopped);
  const auto next = co_await as_result(yield());
  counts.check(ended || !next);
  if (!next) co_await fail(next.error());
}

task<> looking_at_itself(int i, tally& counts) {
  const counted here(counts.alive);
  co_await sleep_for(std::chrono::microseconds(i % 20));
  const auto stack = co_await current_stack();
  counts.check(!stack.places.empty());
}

task<> collecting(int i, tally& counts) {
  const counted here(counts.alive);
  const auto all =
      co_await with_task_group([&](result_group<int>& group) -> task<std::vector<result<int>>> {
        for (int k = 0; k < i % 6; ++k) group.spawn(nested(k % 3, i + k, counts));
        auto outcomes = co_await group.collect();
        co_return outcomes;
      });
  counts.check(all.size() == static_cast<std::size_t>(i % 6));
  // A stop may have reached children before the body, which then has their outcomes.
  for (std::size_t k = 0; k < all.size(); ++k)
    counts.check(all[k] ? *all[k] == i + static_cast<int>(k + k % 3)
                        : all[k].error() == errc::stopped);
}

task<> reads_from(int i, pipe_reader& from, std::size_t& sum) {
  if (i % 4 != 0) co_await sleep_for(std::chrono::microseconds(i % 31));
  std::array<std::byte, 1 << 15> into;
  while (const std::size_t count = co_await from.read(into)) sum += count;
}

/// Under a shield, so that it comes to its end at a shutdown, too.
task<> reads_all(int i, pipe_reader from, std::size_t& sum) {
  co_await shielded(reads_from(i, from, sum));
}

/// Writes into a pipe that is full at once; what was written is what is read.
task<> writing_a_pipe(int i, tally& counts) {
  const counted here(counts.alive);
  auto ends = co_await make_pipe();
  std::size_t read = 0;
  std::size_t written = 0;
  auto reading = spawn(reads_all(i, std::move(ends.reader), read));
  std::error_code error;
  {
    pipe_writer to = std::move(ends.writer);
    const std::array<std::byte, 40'000> much{};
    for (int k = 0; k < 4 && !error; ++k) {
      const auto count = co_await as_result(to.write(much));
      if (count) written += *count;
      if (!count) error = count.error();
    }
  }
  co_await shielded(reading.join());
  counts.check(read == written);
  if (error) co_await fail(error);
}

task<> waiting_for_ctrl_c(int i, tally& counts) {
  const counted here(counts.alive);
  const auto sends = [](int n) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 31));
    ::raise(SIGINT);
  };
  auto sending = spawn(sends(i));
  const auto got = co_await as_result(ctrl_c());
  co_await shielded(sending.join());
  if (!got) co_await fail(got.error());
}

/// A wait that was stopped is awaited again, and says how the child ended.
task<> waiting_for_a_child(int i, tally& counts) {
  const counted here(counts.alive);
  auto child = co_await shell("exit 3").spawn();
  if (i % 2 == 0) co_await sleep_for(std::chrono::microseconds(i % 97 * 10));
  const auto status = co_await as_result(child.wait());
  const auto again = co_await shielded(child.wait());
  counts.check(again.code() == 3);
  if (!status) co_await fail(status.error());
}

/// Whatever became of the wish, the child is gone with its handle.
task<> terminating_a_child(int i, tally& counts) {
  const counted here(counts.alive);
  auto child = co_await sleeper().spawn();
  const auto status = co_await child.terminate(std::chrono::microseconds(i % 50));
  counts.check(status.signal() == SIGTERM || status.signal() == SIGKILL);
}

TEST(composite_torture, concurrent_chains_of_tasks) { torture(&chaining); }
TEST(composite_torture, concurrent_results) { torture(&asking); }
TEST(composite_torture, concurrent_looks_at_oneself) { torture(&looking_at_itself); }
TEST(composite_torture, concurrent_collections) { torture(&collecting); }
TEST(composite_torture, concurrent_pipes_that_are_full) {
  MAGPIE_NEED_KERNEL();
  torture(&writing_a_pipe);
}
TEST(composite_torture, concurrent_interrupts) {
  MAGPIE_NEED_KERNEL();
  const signal_stream stays = signal_stream::open(SIGINT).value();
  torture(&waiting_for_ctrl_c);
}

// A child takes about a millisecond: fewer rounds.
constexpr int children = 200;

TEST(composite_torture, concurrent_waits_for_children) {
  MAGPIE_NEED_KERNEL();
  torture(&waiting_for_a_child, children);
}
TEST(composite_torture, concurrent_ends_of_children) {
  MAGPIE_NEED_KERNEL();
  torture(&terminating_a_child, children);
}

}  // namespace
}  // namespace magpie::tests::composite_torture_test
