/// Messages through `select`: a receiver that waits for the next message or for a timer, and is
/// aborted at random moments, loses none, takes none twice and keeps their order.
///
/// `MAGPIE_TEST_MESSAGES` sets how many (20,000 by default); ten million are for a long run.
#include <magpie/runtime/pipe.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/util/random.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>

namespace magpie::tests::select_messages_test {
namespace {

/// Messages are numbers; a write of a few is atomic.
constexpr std::size_t batch_max = 8;
using batch = std::array<std::uint64_t, batch_max>;

std::uint64_t messages() {
  const char* const text = std::getenv("MAGPIE_TEST_MESSAGES");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 20'000;
}

/// One receiver at a time writes here, and the next one begins after its end.
struct inbox {
  std::uint64_t received = 0;
  std::uint64_t timeouts = 0;
  bool in_order = true;

  void take(std::span<const std::uint64_t> numbers) noexcept {
    for (const std::uint64_t number : numbers) in_order = in_order && number == received++;
  }
};

task<> sends(pipe_writer to, std::uint64_t count) {
  random_source chance(1);
  for (std::uint64_t sent = 0; sent != count;) {
    const auto size = std::min<std::uint64_t>(1 + chance.below(batch_max), count - sent);
    batch numbers{};
    for (std::uint64_t i = 0; i != size; ++i) numbers[i] = sent + i;
    const auto bytes = std::as_bytes(std::span(numbers).first(size));
    const std::size_t written = co_await to.write(bytes);
    EXPECT_EQ(written, bytes.size());
    sent += size;
    if (chance.below(50) == 0) co_await sleep_for(std::chrono::microseconds(chance.below(40)));
  }
}

/// Until everything has come, or it is aborted.
task<> receives(pipe_reader& from, std::uint64_t seed, inbox& to) {
  random_source chance(seed);
  for (;;) {
    batch numbers{};
    const auto into = std::as_writable_bytes(std::span(numbers).first(1 + chance.below(batch_max)));
    auto first = co_await select(from.read(into),
                                 sleep_for(std::chrono::microseconds(1 + chance.below(20))));
    if (first.index() == 1) ++to.timeouts;
    // Whoever won: what the loser had is there.
    const auto& message = first.get<0>();
    if (!message || !message->has_value()) continue;
    if (**message == 0) co_return;
    to.take(std::span(numbers).first(**message / sizeof(std::uint64_t)));
  }
}

/// Aborts one receiver after the other until one has seen the end; gives how many were aborted.
task<std::uint64_t> aborts_receivers(pipe_reader& from, inbox& to) {
  random_source chance(2);
  for (std::uint64_t aborted = 0;; ++aborted) {
    auto handle = spawn(receives(from, aborted, to));
    co_await sleep_for(std::chrono::microseconds(chance.below(100)));
    handle.abort();
    const auto ended = co_await handle.join();
    if (ended) co_return aborted;
  }
}

TEST(select, concurrent_messages_survive_random_stops) {
  MAGPIE_NEED_KERNEL();
  const std::uint64_t count = messages();
  inbox all;
  const auto scenario = [&]() -> task<std::uint64_t> {
    auto ends = co_await make_pipe();
    auto sender = spawn(sends(std::move(ends.writer), count));
    const std::uint64_t aborted = co_await aborts_receivers(ends.reader, all);
    const auto sent = co_await sender.join();
    EXPECT_TRUE(sent);
    co_return aborted;
  };
  const auto aborted = run_in_cell(scenario());
  ASSERT_TRUE(aborted);
  EXPECT_EQ(all.received, count);
  EXPECT_TRUE(all.in_order);
  EXPECT_GT(all.timeouts, 0U);
  EXPECT_GT(*aborted, 0U);
  RecordProperty("aborted", std::to_string(*aborted));
  RecordProperty("timeouts", std::to_string(all.timeouts));
}

}  // namespace
}  // namespace magpie::tests::select_messages_test
