#include <magpie/net/socket.hpp>
#include <magpie/tests/net/harness.hpp>

#include <fcntl.h>

#include <array>

namespace magpie::net {
namespace {

using namespace magpie::tests;

MAGPIE_TASK_TEST(socket, options_come_back) {
  stream_pair peers = co_await connected_pair();
  for (tcp_stream* stream : {&peers.client, &peers.server}) {
    EXPECT_EQ(stream->nodelay(), true);  // on both sides unless switched off
    EXPECT_TRUE(stream->set_nodelay(false));
    EXPECT_EQ(stream->nodelay(), false);
    EXPECT_EQ(stream->keepalive(), false);
    EXPECT_TRUE(stream->set_keepalive(true));
    EXPECT_EQ(stream->keepalive(), true);
    EXPECT_TRUE(stream->set_keepalive(false));
    EXPECT_TRUE(stream->set_keepalive(keepalive_options(30s, 5s, 3)));
    EXPECT_EQ(stream->keepalive(), true);
    EXPECT_EQ(stream->zero_linger(), false);
    EXPECT_TRUE(stream->set_zero_linger(true));
    EXPECT_EQ(stream->zero_linger(), true);
    EXPECT_TRUE(stream->set_zero_linger(false));
    EXPECT_EQ(stream->zero_linger(), false);
    EXPECT_TRUE(stream->set_send_buffer_size(32 * 1024));
    EXPECT_GE(stream->send_buffer_size().value(), 32 * 1024);
    EXPECT_TRUE(stream->set_receive_buffer_size(16 * 1024));
    EXPECT_GE(stream->receive_buffer_size().value(), 16 * 1024);
    EXPECT_EQ(error_of(stream->set_send_buffer_size(0)), std::errc::invalid_argument);
    EXPECT_EQ(error_of(stream->set_receive_buffer_size(-1)), std::errc::invalid_argument);
  }
}

MAGPIE_TASK_TEST(socket, the_kernel_refuses_senseless_keepalives) {
  if (simulated()) co_return;  // a simulation only keeps them
  stream_pair peers = co_await connected_pair();
  EXPECT_EQ(error_of(peers.client.set_keepalive(keepalive_options(0s, 1s, 1))),
            std::errc::invalid_argument);
  EXPECT_EQ(error_of(peers.client.set_keepalive(keepalive_options(1'000'000'000'000s, 1s, 1))),
            std::errc::invalid_argument);
}

MAGPIE_TASK_TEST(socket, buffer_sizes_can_be_set_before_connecting) {
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  connect_options small;
  small.receive_buffer_size = 8 * 1024;
  small.send_buffer_size = 8 * 1024;
  const auto client = co_await tcp_stream::connect(address, small);
  EXPECT_LE(client.receive_buffer_size().value(), 16 * 1024);
  EXPECT_LE(client.send_buffer_size().value(), 16 * 1024);
}

MAGPIE_TASK_TEST(socket, both_ends_agree_on_their_addresses) {
  const stream_pair peers = co_await connected_pair();
  EXPECT_EQ(peers.client.local_address().value(), peers.server.peer_address().value());
  EXPECT_EQ(peers.client.peer_address().value(), peers.server.local_address().value());
}

MAGPIE_TASK_TEST(socket, descriptors_do_not_block_and_are_not_inherited) {
  if (simulated()) co_return;
  stream_pair peers = co_await connected_pair();
  const tcp_listener listener = listen_somewhere();
  for (const int fd :
       {peers.client.native_handle(), peers.server.native_handle(), listener.native_handle()}) {
    EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  }
}

MAGPIE_TASK_TEST(socket, a_moved_stream_goes_on_and_leaves_a_closed_one) {
  stream_pair peers = co_await connected_pair();
  std::array<std::byte, 8> buffer;
  co_await peers.client.write_all(bytes_of("one"));
  const std::size_t before = co_await peers.server.read(buffer);
  EXPECT_GT(before, 0U);
  tcp_stream moved(std::move(peers.server));
  tcp_stream& left = peers.server;
  EXPECT_FALSE(left.is_open());
  EXPECT_EQ(left.native_handle(), -1);
  left.close();
  EXPECT_EQ(error_of(left.local_address()), std::errc::bad_file_descriptor);
  EXPECT_EQ(error_of(left.peer_address()), std::errc::bad_file_descriptor);
  EXPECT_EQ(error_of(left.shutdown()), std::errc::bad_file_descriptor);
  EXPECT_EQ(error_of(left.set_nodelay(true)), std::errc::bad_file_descriptor);
  EXPECT_EQ(error_of(left.zero_linger()), std::errc::bad_file_descriptor);
  EXPECT_EQ(error_of(left.set_zero_linger(true)), std::errc::bad_file_descriptor);
  EXPECT_EQ(error_of(left.try_read(buffer)), std::errc::bad_file_descriptor);
  const auto read = co_await as_result(left.read(buffer));
  EXPECT_EQ(error_of(read), std::errc::bad_file_descriptor);
  const auto written = co_await as_result(left.write_all(bytes_of("x")));
  EXPECT_EQ(error_of(written), std::errc::bad_file_descriptor);
  const auto readable = co_await as_result(left.readable());
  EXPECT_EQ(error_of(readable), std::errc::bad_file_descriptor);
  const auto leased = co_await as_result(left.read_leased());
  EXPECT_EQ(error_of(leased), std::errc::bad_file_descriptor);
  co_await peers.client.write_all(bytes_of("two"));
  const std::size_t after = co_await moved.read(buffer);
  EXPECT_GT(after, 0U);
  left = std::move(moved);  // and back
  co_await left.write_all(bytes_of("three"));
}

// A stopped wait may hold the file open in the kernel; the peer sees the close all the same.
MAGPIE_TASK_TEST(socket, closing_after_a_stopped_wait_is_seen_at_once) {
  stream_pair peers = co_await connected_pair();
  std::array<std::byte, 8> buffer;
  const auto stopped = co_await as_result(timeout(1ms, peers.server.read(buffer)));
  EXPECT_EQ(error_of(stopped), errc::deadline);
  peers.server.close();
  const std::size_t count = co_await timeout(10s, peers.client.read(buffer));
  EXPECT_EQ(count, 0U);
}

}  // namespace
}  // namespace magpie::net
