/// The ends of a pipe: waits, stops, and what SIGPIPE does not do.
#include <magpie/runtime/pipe.hpp>

#include <magpie/io/write.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <signal.h>

#include <array>
#include <vector>

namespace magpie::tests::pipe_test {
namespace {

/// The test's process has SIGPIPE at its default, which would kill it.
task<> writes_to_nobody() {
  auto ends = co_await make_pipe();
  ends.reader.close();
  const std::array<std::byte, 3> bytes{};
  const auto written = co_await as_result(ends.writer.write(bytes));
  EXPECT_EQ(error_of(written), std::errc::broken_pipe);
  sigset_t pending;
  ::sigpending(&pending);
  EXPECT_EQ(::sigismember(&pending, SIGPIPE), 0);
  const std::size_t nothing = co_await ends.writer.write({});
  EXPECT_EQ(nothing, 0U);
}

TEST(pipe, a_broken_pipe_is_an_error_and_no_signal) {
  MAGPIE_NEED_KERNEL();
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  struct sigaction before{};
  ASSERT_EQ(::sigaction(SIGPIPE, &by_default, &before), 0);
  EXPECT_TRUE(run_in_cell(writes_to_nobody()));
  ::sigaction(SIGPIPE, &before, nullptr);
}

task<> stops_a_read() {
  auto ends = co_await make_pipe();
  std::array<std::byte, 8> into;
  const auto late = co_await as_result(timeout(1ms, ends.reader.read(into)));
  EXPECT_EQ(error_of(late), errc::deadline);
  const std::array<std::byte, 3> bytes{std::byte{1}, std::byte{2}, std::byte{3}};
  co_await io::write_all(ends.writer, std::span(bytes));
  const std::size_t got = co_await ends.reader.read(into);
  EXPECT_EQ(got, 3U);
  std::vector<std::byte> much(1 << 20);
  const std::size_t taken = co_await ends.writer.write(much);
  EXPECT_LT(taken, much.size());
  const auto full = co_await as_result(timeout(1ms, ends.writer.write(much)));
  EXPECT_EQ(error_of(full), errc::deadline);
  ends.writer.close();
  std::size_t rest = 0;
  for (;;) {
    const std::size_t more = co_await ends.reader.read(much);
    if (more == 0) break;
    rest += more;
  }
  EXPECT_EQ(rest, taken);  // a stopped write has written nothing
}

TEST(pipe, a_stopped_read_or_write_loses_nothing) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(stops_a_read()));
}

}  // namespace
}  // namespace magpie::tests::pipe_test
