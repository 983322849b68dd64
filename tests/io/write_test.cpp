#include <magpie/io/write.hpp>
#include <magpie/tests/net/harness.hpp>

#include <algorithm>

namespace magpie::io {
namespace {

using namespace magpie::tests;

/// Takes at most `step` bytes at a time, `limit` in all, then nothing or an error.
struct stepwise_writer {
  std::size_t step = 1;
  std::size_t limit = 1000;
  std::error_code then;
  std::string taken;

  task<std::size_t> write(std::span<const std::byte> bytes) {
    const std::size_t size = std::min({bytes.size(), step, limit - taken.size()});
    if (size == 0 && then) co_await fail(then);
    taken += text_of(bytes.first(size));
    co_return size;
  }
};

static_assert(byte_writer<stepwise_writer> && !whole_writer<stepwise_writer>);
static_assert(byte_writer<net::tcp_stream> && whole_writer<net::tcp_stream>);
static_assert(!byte_writer<int>);

MAGPIE_TASK_TEST(write_all, goes_on_until_everything_is_taken) {
  stepwise_writer writer;
  writer.step = 3;
  co_await write_all(writer, bytes_of("0123456789"));
  EXPECT_EQ(writer.taken, "0123456789");
  co_await write_all(writer, bytes_of(""));
  EXPECT_EQ(writer.taken.size(), 10U);
}

MAGPIE_TASK_TEST(write_all, a_writer_that_takes_nothing_is_an_error) {
  stepwise_writer writer;
  writer.limit = 4;
  const auto outcome = co_await as_result(write_all(writer, bytes_of("0123456789")));
  EXPECT_EQ(error_of(outcome), std::errc::broken_pipe);
  EXPECT_EQ(writer.taken, "0123");
}

MAGPIE_TASK_TEST(write_all, passes_errors_on) {
  stepwise_writer writer;
  writer.limit = 4;
  writer.then = std::make_error_code(std::errc::no_space_on_device);
  const auto outcome = co_await as_result(write_all(writer, bytes_of("0123456789")));
  EXPECT_EQ(error_of(outcome), std::errc::no_space_on_device);
}

MAGPIE_TASK_TEST(write_all, uses_the_streams_own) {
  static_assert(std::same_as<decltype(write_all(std::declval<net::tcp_stream&>(), {})),
                             net::detail::write_all_operation>);
  stream_pair peers = co_await connected_pair();
  co_await write_all(peers.client, bytes_of("through the socket"));
  peers.client.close();
  std::string got;
  std::array<std::byte, 64> buffer;
  for (;;) {
    const std::size_t count = co_await peers.server.read(buffer);
    if (count == 0) break;
    got += text_of(std::span(buffer).first(count));
  }
  EXPECT_EQ(got, "through the socket");
}

MAGPIE_TASK_TEST(write_all, can_be_stopped_in_the_middle) {
  stream_pair peers = co_await connected_pair();
  const std::vector<std::byte> much(64 << 20);
  const auto outcome = co_await as_result(timeout(20ms, write_all(peers.client, much)));
  EXPECT_EQ(error_of(outcome), errc::deadline);
}

}  // namespace
}  // namespace magpie::io
