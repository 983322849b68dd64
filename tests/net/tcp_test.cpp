#include <magpie/io/write.hpp>
#include <magpie/net/tcp.hpp>
#include <magpie/tests/net/harness.hpp>
#include <magpie/util/random.hpp>

#include <sys/resource.h>

#include <array>
#include <cstring>
#include <vector>

namespace magpie::net {
namespace {

using namespace magpie::tests;

task<> echo(tcp_stream peer) {
  std::array<std::byte, 4096> buffer;
  while (auto count = co_await peer.read(buffer)) {
    co_await io::write_all(peer, std::span(buffer).first(count));
  }
}

task<> serve(tcp_listener listener) {
  co_await with_task_group([&](task_group& sessions) -> task<> {
    for (;;) {
      auto peer = co_await listener.accept();
      sessions.spawn_isolated(echo(std::move(peer)));
    }
  });
}

task<> converse(socket_address server, std::uint64_t salt, int rounds) {
  auto stream = co_await tcp_stream::connect(server);
  random_source random(salt);
  std::vector<std::byte> question(9000);
  std::vector<std::byte> answer(question.size());
  for (std::size_t i = 0; i < question.size(); ++i) question[i] = pattern(salt + i);
  for (int round = 0; round < rounds; ++round) {
    const std::size_t size = 1 + random.below(static_cast<std::uint32_t>(question.size()));
    co_await stream.write_all(std::span(question).first(size));
    for (std::size_t got = 0; got < size;) {
      const std::size_t count = co_await stream.read(std::span(answer).subspan(got, size - got));
      EXPECT_NE(count, 0U);
      if (count == 0) co_return;
      got += count;
    }
    EXPECT_TRUE(std::equal(question.begin(), question.begin() + static_cast<std::ptrdiff_t>(size),
                           answer.begin()));
  }
}

MAGPIE_TASK_TEST(tcp, the_echo_server_of_the_readme_concurrent) {
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  auto server = spawn(serve(std::move(listener)));
  co_await with_task_group([&](task_group& clients) -> task<> {
    for (std::uint64_t i = 0; i < 20; ++i) clients.spawn(converse(address, i, 50));
    co_return;
  });
  server.abort();
  const auto ended = co_await server.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
}

constexpr std::size_t piece_size = 262'144;

/// Bytes of a pattern that comes again after a prime number of them.
std::span<const std::byte> patterns(std::uint64_t at, std::size_t size) {
  constexpr std::size_t period = 1'048'573;
  static const std::vector<std::byte> all = [] {
    std::vector<std::byte> made(period + piece_size);
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = pattern(i % period);
    return made;
  }();
  return std::span(all).subspan(at % period, size);
}

task<> send_pattern(tcp_stream& to, std::uint64_t total, std::uint64_t salt) {
  random_source random(salt);
  for (std::uint64_t at = 0; at < total;) {
    const std::uint64_t wanted = 1 + random.below(piece_size);
    const std::size_t size = static_cast<std::size_t>(std::min(wanted, total - at));
    co_await io::write_all(to, patterns(salt + at, size));
    at += size;
  }
  co_await to.shutdown_write();
}

task<> expect_pattern(tcp_stream& from, std::uint64_t total, std::uint64_t salt) {
  random_source random(~salt);
  std::vector<std::byte> piece(piece_size);
  std::uint64_t at = 0;
  int wrong = 0;
  for (;;) {
    const std::size_t room = 1 + random.below(piece_size);
    const std::size_t count = co_await from.read(std::span(piece).first(room));
    if (count == 0) break;
    wrong += std::memcmp(piece.data(), patterns(salt + at, count).data(), count) != 0;
    at += count;
  }
  EXPECT_EQ(at, total);
  EXPECT_EQ(wrong, 0);
}

// Four tasks on one connection: each side reads and writes at the same time.
MAGPIE_TASK_TEST(tcp, much_passes_both_ways_unchanged) {
  const std::uint64_t total = simulated() ? 2U << 20 : 64U << 20;
  stream_pair peers = co_await connected_pair();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(send_pattern(peers.client, total, 1));
    group.spawn(send_pattern(peers.server, total, 2));
    group.spawn(expect_pattern(peers.client, total, 2));
    group.spawn(expect_pattern(peers.server, total, 1));
    co_return;
  });
}

MAGPIE_TASK_TEST(tcp, small_buffers_carry_much_too_concurrent) {
  // The kernel answers tiny windows with delayed acknowledgements: 40 ms each.
  const std::uint64_t total = simulated() ? 256U << 10 : 16U << 10;
  stream_pair peers = co_await connected_pair();
  for (tcp_stream* stream : {&peers.client, &peers.server}) {
    co_await stream->set_send_buffer_size(4096);
    co_await stream->set_receive_buffer_size(4096);
  }
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(send_pattern(peers.client, total, 3));
    group.spawn(send_pattern(peers.server, total, 4));
    group.spawn(expect_pattern(peers.client, total, 4));
    group.spawn(expect_pattern(peers.server, total, 3));
    co_return;
  });
}

/// Both ends of so many connections are in this process.
bool allow_descriptors(rlim_t wanted) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= wanted) return true;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted;
}

MAGPIE_TASK_TEST(tcp, a_thousand_connections) {
  constexpr std::uint64_t connections = 1000;
  if (!simulated() && !allow_descriptors(2 * connections + 200)) {
    GTEST_LOG_(INFO) << "left out: the limit on descriptors is too low";
    co_return;
  }
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  auto server = spawn(serve(std::move(listener)));
  co_await with_task_group([&](task_group& clients) -> task<> {
    for (std::uint64_t i = 0; i < connections; ++i) clients.spawn(converse(address, i, 3));
    co_return;
  });
  server.abort();
  static_cast<void>(co_await server.join());
}

}  // namespace
}  // namespace magpie::net
