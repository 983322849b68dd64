#include <magpie/io/read.hpp>
#include <magpie/tests/net/harness.hpp>

#include <algorithm>

namespace magpie::io {
namespace {

using namespace magpie::tests;

/// Gives at most `step` bytes at a time.
struct stepwise_reader {
  std::string_view rest;
  std::size_t step = 1;

  task<std::size_t> read(std::span<std::byte> into) {
    const std::size_t size = std::min({into.size(), step, rest.size()});
    std::ranges::copy(bytes_of(rest.substr(0, size)), into.begin());
    rest.remove_prefix(size);
    co_return size;
  }
};

static_assert(byte_reader<stepwise_reader>);
static_assert(byte_reader<net::tcp_stream>);
static_assert(!byte_reader<int>);

MAGPIE_TASK_TEST(read_exact, goes_on_until_the_buffer_is_full) {
  stepwise_reader reader;
  reader.rest = "0123456789";
  reader.step = 3;
  std::array<std::byte, 8> buffer;
  co_await read_exact(reader, buffer);
  EXPECT_EQ(text_of(buffer), "01234567");
  EXPECT_EQ(reader.rest, "89");
  co_await read_exact(reader, std::span<std::byte>());
  EXPECT_EQ(reader.rest, "89");
}

MAGPIE_TASK_TEST(read_exact, an_early_end_is_an_error) {
  stepwise_reader reader;
  reader.rest = "0123";
  std::array<std::byte, 8> buffer;
  const auto outcome = co_await as_result(read_exact(reader, buffer));
  EXPECT_EQ(error_of(outcome), std::errc::no_message_available);
}

MAGPIE_TASK_TEST(read_exact, reads_from_streams) {
  stream_pair peers = co_await connected_pair();
  co_await peers.client.write_all(bytes_of("exactly"));
  std::array<std::byte, 7> buffer;
  co_await read_exact(peers.server, buffer);
  EXPECT_EQ(text_of(buffer), "exactly");
  peers.client.close();
  const auto outcome = co_await as_result(read_exact(peers.server, buffer));
  EXPECT_EQ(error_of(outcome), std::errc::no_message_available);
}

}  // namespace
}  // namespace magpie::io
