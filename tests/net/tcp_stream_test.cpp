#include <magpie/io/read.hpp>
#include <magpie/io/write.hpp>
#include <magpie/net/tcp_stream.hpp>
#include <magpie/tests/net/harness.hpp>
#include <magpie/util/random.hpp>

#include <sys/socket.h>

#include <array>

namespace magpie::net {
namespace {

using namespace magpie::tests;

MAGPIE_TASK_TEST(tcp_stream, carries_bytes_both_ways) {
  stream_pair peers = co_await connected_pair();
  std::array<std::byte, 64> buffer;
  for (int round = 0; round < 100; ++round) {
    co_await peers.client.write_all(bytes_of("a question"));
    co_await io::read_exact(peers.server, std::span(buffer).first(10));
    EXPECT_EQ(text_of(std::span(buffer).first(10)), "a question");
    co_await peers.server.write_all(bytes_of("an answer"));
    co_await io::read_exact(peers.client, std::span(buffer).first(9));
    EXPECT_EQ(text_of(std::span(buffer).first(9)), "an answer");
  }
}

MAGPIE_TASK_TEST(tcp_stream, read_gives_what_is_there) {
  stream_pair peers = co_await connected_pair();
  std::array<std::byte, 64> buffer;
  const std::size_t written = co_await peers.client.write(bytes_of("x"));
  EXPECT_EQ(written, 1U);
  const std::size_t count = co_await peers.server.read(buffer);
  EXPECT_EQ(text_of(std::span(buffer).first(count)), "x");
}

MAGPIE_TASK_TEST(tcp_stream, zero_length_transfers_end_at_once) {
  stream_pair peers = co_await connected_pair();
  const std::size_t read = co_await peers.server.read(std::span<std::byte>());
  EXPECT_EQ(read, 0U);  // although nothing is there
  const std::size_t written = co_await peers.server.write(std::span<const std::byte>());
  EXPECT_EQ(written, 0U);
  co_await peers.server.write_all(std::span<const std::byte>());
  EXPECT_EQ(peers.server.try_read({}), 0U);
  EXPECT_EQ(peers.server.try_write({}), 0U);
  // It is not the end of the stream.
  std::array<std::byte, 8> buffer;
  co_await peers.client.write_all(bytes_of("on"));
  const std::size_t count = co_await peers.server.read(buffer);
  EXPECT_GT(count, 0U);
}

MAGPIE_TASK_TEST(tcp_stream, reads_the_end_again_and_again) {
  stream_pair peers = co_await connected_pair();
  co_await peers.client.write_all(bytes_of("last"));
  peers.client.close();
  std::array<std::byte, 64> buffer;
  co_await io::read_exact(peers.server, std::span(buffer).first(4));
  EXPECT_EQ(text_of(std::span(buffer).first(4)), "last");
  for (int i = 0; i < 3; ++i) {
    const std::size_t count = co_await peers.server.read(buffer);
    EXPECT_EQ(count, 0U);
  }
}

// A read stops short at the mark of urgent data, with bytes behind it and no event to come.
MAGPIE_TASK_TEST(tcp_stream, reads_on_behind_urgent_data) {
  if (simulated()) {
    GTEST_LOG_(INFO) << "left out: a simulation has no urgent data";
    co_return;
  }
  stream_pair peers = co_await connected_pair();
  const int client = peers.client.native_handle();
  EXPECT_EQ(::send(client, "abc", 3, 0), 3);
  EXPECT_EQ(::send(client, "!", 1, MSG_OOB), 1);
  EXPECT_EQ(::send(client, "def", 3, 0), 3);
  std::array<std::byte, 64> buffer;
  co_await timeout(10s, io::read_exact(peers.server, std::span(buffer).first(6)));
  EXPECT_EQ(text_of(std::span(buffer).first(6)), "abcdef");
}

// The last bytes and the end may come as one event; a short read must not wait for another one.
MAGPIE_TASK_TEST(tcp_stream, finds_an_end_that_came_together_with_bytes) {
  for (int round = 0; round < 50; ++round) {
    stream_pair peers = co_await connected_pair();
    co_await peers.client.write_all(bytes_of("last"));
    peers.client.close();
    co_await sleep_for(1ms);
    std::array<std::byte, 64> buffer;
    std::size_t total = 0;
    for (;;) {
      const std::size_t count = co_await timeout(10s, peers.server.read(buffer));
      if (count == 0) break;
      total += count;
    }
    EXPECT_EQ(total, 4U);
  }
}

task<> half_close(tcp_stream& first, tcp_stream& second) {
  std::array<std::byte, 64> buffer;
  co_await first.write_all(bytes_of("request"));
  co_await first.shutdown_write();
  co_await io::read_exact(second, std::span(buffer).first(7));
  const std::size_t at_end = co_await second.read(buffer);
  EXPECT_EQ(at_end, 0U);
  co_await second.write_all(bytes_of("response"));
  co_await second.shutdown_write();
  co_await io::read_exact(first, std::span(buffer).first(8));
  EXPECT_EQ(text_of(std::span(buffer).first(8)), "response");
  const std::size_t at_other_end = co_await first.read(buffer);
  EXPECT_EQ(at_other_end, 0U);
  const auto refused = co_await as_result(first.write(bytes_of("too late")));
  EXPECT_EQ(error_of(refused), std::errc::broken_pipe);
}

MAGPIE_TASK_TEST(tcp_stream, half_closes_in_both_orders) {
  stream_pair one = co_await connected_pair();
  co_await half_close(one.client, one.server);
  stream_pair other = co_await connected_pair();
  co_await half_close(other.server, other.client);
}

MAGPIE_TASK_TEST(tcp_stream, shutdown_ends_a_pending_read) {
  stream_pair peers = co_await connected_pair();
  std::size_t count = 99;
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(
        [](tcp_stream& stream, std::size_t& into) -> task<> {
          std::array<std::byte, 8> buffer;
          into = co_await stream.read(buffer);
        },
        std::ref(peers.server), std::ref(count));
    co_await sleep_for(5ms);
    co_await peers.server.shutdown();
  });
  EXPECT_EQ(count, 0U);
}

MAGPIE_TASK_TEST(tcp_stream, a_reset_is_an_error) {
  stream_pair peers = co_await connected_pair();
  co_await peers.client.set_zero_linger(true);
  peers.client.close();
  std::array<std::byte, 8> buffer;
  const auto read = co_await as_result(peers.server.read(buffer));
  EXPECT_EQ(error_of(read), std::errc::connection_reset);
}

MAGPIE_TASK_TEST(tcp_stream, a_reset_ends_a_pending_read) {
  stream_pair peers = co_await connected_pair();
  std::error_code error;
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(
        [](tcp_stream& stream, std::error_code& into) -> task<> {
          std::array<std::byte, 8> buffer;
          const auto read = co_await as_result(stream.read(buffer));
          into = error_of(read);
        },
        std::ref(peers.server), std::ref(error));
    co_await sleep_for(5ms);
    co_await peers.client.set_zero_linger(true);
    peers.client.close();
  });
  EXPECT_EQ(error, std::errc::connection_reset);
}

// No SIGPIPE: its default action would end the test.
MAGPIE_TASK_TEST(tcp_stream, writing_to_a_closed_peer_is_an_error) {
  stream_pair peers = co_await connected_pair();
  peers.client.close();
  std::error_code error;
  for (int i = 0; i < 1000 && !error; ++i) {
    const auto written = co_await as_result(peers.server.write(bytes_of("anybody there?")));
    error = error_of(written);
    co_await sleep_for(100us);
  }
  EXPECT_TRUE(error == std::errc::broken_pipe || error == std::errc::connection_reset)
      << error.message();
}

MAGPIE_TASK_TEST(tcp_stream, try_twins_do_not_wait) {
  stream_pair peers = co_await connected_pair();
  std::array<std::byte, 64> buffer;
  EXPECT_EQ(error_of(peers.server.try_read(buffer)), std::errc::resource_unavailable_try_again);
  EXPECT_EQ(peers.client.try_write(bytes_of("now")), 3U);
  co_await peers.server.readable();
  const auto count = peers.server.try_read(buffer);
  EXPECT_GT(count.value_or(0), 0U);
  // Until the buffers are full.
  const std::vector<std::byte> much(1 << 20);
  std::error_code error;
  for (int i = 0; i < 1000 && !error; ++i) error = error_of(peers.client.try_write(much));
  EXPECT_EQ(error, std::errc::resource_unavailable_try_again);
}

MAGPIE_TASK_TEST(tcp_stream, readable_consumes_nothing) {
  stream_pair peers = co_await connected_pair();
  const auto nothing = co_await as_result(timeout(5ms, peers.server.readable()));
  EXPECT_EQ(error_of(nothing), errc::deadline);
  co_await peers.client.write_all(bytes_of("ready"));
  for (int i = 0; i < 3; ++i) co_await peers.server.readable();
  std::array<std::byte, 64> buffer;
  co_await io::read_exact(peers.server, std::span(buffer).first(5));
  EXPECT_EQ(text_of(std::span(buffer).first(5)), "ready");
}

MAGPIE_TASK_TEST(tcp_stream, readable_tells_of_the_end) {
  stream_pair peers = co_await connected_pair();
  peers.client.close();
  co_await peers.server.readable();
  std::array<std::byte, 8> buffer;
  EXPECT_EQ(peers.server.try_read(buffer), 0U);
}

MAGPIE_TASK_TEST(tcp_stream, a_stopped_read_consumes_nothing) {
  stream_pair peers = co_await connected_pair();
  std::array<std::byte, 64> buffer;
  const auto stopped = co_await as_result(timeout(5ms, peers.server.read(buffer)));
  EXPECT_EQ(error_of(stopped), errc::deadline);
  co_await peers.client.write_all(bytes_of("kept"));
  co_await io::read_exact(peers.server, std::span(buffer).first(4));
  EXPECT_EQ(text_of(std::span(buffer).first(4)), "kept");
}

task<> write_slowly(tcp_stream& to, std::uint64_t total) {
  random_source random(1);
  std::array<std::byte, 7> piece;
  for (std::uint64_t at = 0; at < total;) {
    std::size_t size = 0;
    while (size < piece.size() && at < total) piece[size++] = pattern(at++);
    co_await to.write_all(std::span(piece).first(size));
    if (random.one_in(2)) co_await sleep_for(std::chrono::microseconds(random.below(60)));
  }
  co_await to.shutdown_write();
}

// Reads that are stopped all the time, around the moment at which bytes arrive, lose none.
MAGPIE_TASK_TEST(tcp_stream, stopping_reads_loses_no_byte_concurrent) {
  stream_pair peers = co_await connected_pair();
  const std::uint64_t total = 10'500;
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(write_slowly(peers.client, total));
    random_source random(2);
    std::array<std::byte, 5> buffer;
    std::uint64_t at = 0;
    for (;;) {
      const auto patience = std::chrono::microseconds(random.below(80));
      const auto count = co_await as_result(timeout(patience, peers.server.read(buffer)));
      if (!count) {
        EXPECT_EQ(error_of(count), errc::deadline);
        continue;
      }
      if (*count == 0) break;
      for (std::size_t i = 0; i < *count; ++i) EXPECT_EQ(buffer[i], pattern(at++));
    }
    EXPECT_EQ(at, total);
  });
}

MAGPIE_TASK_TEST(tcp_stream, a_stopped_write_has_written_nothing) {
  stream_pair peers = co_await connected_pair();
  const std::vector<std::byte> much(1 << 20);
  std::uint64_t written = 0;
  for (;;) {
    const auto count = co_await as_result(timeout(20ms, peers.client.write(much)));
    if (!count) {
      EXPECT_EQ(error_of(count), errc::deadline);
      break;
    }
    written += *count;
  }
  co_await peers.client.shutdown_write();
  std::vector<std::byte> buffer(1 << 16);
  std::uint64_t read = 0;
  for (;;) {
    const std::size_t count = co_await peers.server.read(buffer);
    if (count == 0) break;
    read += count;
  }
  EXPECT_EQ(read, written);
}

MAGPIE_TASK_TEST(tcp_stream, operations_of_a_stopped_task_do_not_begin) {
  stream_pair peers = co_await connected_pair();
  co_await peers.client.write_all(bytes_of("there already"));
  co_await peers.server.readable();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.stop();
    std::array<std::byte, 8> buffer;
    const auto read = co_await as_result(peers.server.read(buffer));
    EXPECT_EQ(error_of(read), errc::stopped);
    const auto written = co_await as_result(peers.server.write(bytes_of("x")));
    EXPECT_EQ(error_of(written), errc::stopped);
    const auto leased = co_await as_result(peers.server.read_leased());
    EXPECT_EQ(error_of(leased), errc::stopped);
    const auto to = peers.server.local_address().value();
    const auto connected = co_await as_result(tcp_stream::connect(to));
    EXPECT_EQ(error_of(connected), errc::stopped);
  });
  std::array<std::byte, 64> buffer;
  co_await io::read_exact(peers.server, std::span(buffer).first(13));
}

MAGPIE_TASK_TEST(tcp_stream, connecting_to_nobody_is_refused) {
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  listener.close();
  const auto refused = co_await as_result(tcp_stream::connect(address));
  EXPECT_EQ(error_of(refused), std::errc::connection_refused);
}

// The kernel may pick the very port that is connected to; then the socket is its own peer.
MAGPIE_TASK_TEST(tcp_stream, refuses_to_be_its_own_peer) {
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  listener.close();
  connect_options from_there;
  from_there.local = address;
  const auto refused = co_await as_result(tcp_stream::connect(address, from_there));
  EXPECT_EQ(error_of(refused), std::errc::connection_refused);
}

MAGPIE_TASK_TEST(tcp_stream, connects_from_a_given_address) {
  tcp_listener listener = listen_somewhere();
  connect_options options;
  options.local = socket_address(ip_address::v4(127, 0, 0, 2), 0);
  options.nodelay = false;
  const auto address = listener.local_address().value();
  auto client = co_await tcp_stream::connect(address, options);
  auto server = co_await listener.accept();
  EXPECT_EQ(server.peer_address().value().ip(), ip_address::v4(127, 0, 0, 2));
  EXPECT_EQ(client.nodelay(), false);
}

// A full backlog drops the attempt: the connect waits until it is stopped.
MAGPIE_TASK_TEST(tcp_stream, a_connect_can_be_stopped) {
  listen_options tiny;
  tiny.backlog = 0;
  tcp_listener listener = listen_somewhere(tiny);
  const auto address = listener.local_address().value();
  std::vector<tcp_stream> connected;
  std::error_code error;
  while (!error && connected.size() < 10) {
    auto next = co_await as_result(timeout(100ms, tcp_stream::connect(address)));
    error = error_of(next);
    if (next) connected.push_back(std::move(*next));
  }
  EXPECT_EQ(error, errc::deadline);
  EXPECT_GE(connected.size(), 1U);
  EXPECT_LT(connected.size(), 10U);
}

using tcp_stream_death_test = ::testing::Test;

task<> read_one(tcp_stream& from) {
  std::array<std::byte, 8> buffer;
  static_cast<void>(co_await from.read(buffer));
}

task<> two_readers() {
  stream_pair peers = co_await connected_pair();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(read_one(peers.server));
    co_await sleep_for(20ms);
    co_await read_one(peers.server);
  });
}

task<> moved_while_reading() {
  stream_pair peers = co_await connected_pair();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(read_one(peers.server));
    co_await sleep_for(20ms);
    const tcp_stream elsewhere(std::move(peers.server));
  });
}

task<> closed_while_reading() {
  stream_pair peers = co_await connected_pair();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(read_one(peers.server));
    co_await sleep_for(20ms);
    peers.server.close();
  });
}

TEST_F(tcp_stream_death_test, misuse_is_an_abort) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  if (matrix_reactor() == "uring" && !kernel_has_uring()) GTEST_SKIP() << "no io_uring here";
  EXPECT_DEATH(run_test(two_readers()), "two tasks use one direction of a socket");
  EXPECT_DEATH(run_test(moved_while_reading()), "moved while an operation is pending");
  EXPECT_DEATH(run_test(closed_while_reading()), "closed while an operation is pending");
}

}  // namespace
}  // namespace magpie::net
