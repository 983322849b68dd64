/// Stops at every possible moment, for sockets: no byte, connection or descriptor is lost.
#include <magpie/io/read.hpp>
#include <magpie/io/write.hpp>
#include <magpie/net/serve.hpp>
#include <magpie/net/tcp.hpp>
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/util/atomic.hpp>

#include <unistd.h>

#include <array>
#include <string>

namespace magpie::tests::net_torture_test {
namespace {

struct pair_of_streams {
  pair_of_streams(net::tcp_stream&& a, net::tcp_stream&& b) noexcept
      : client(std::move(a)), server(std::move(b)) {}
  net::tcp_stream client;
  net::tcp_stream server;
};

/// On another address of the loopback each time: thousands of connections that wait out their last
/// minute on one and the same make the kernel's search for a free port slow.
net::tcp_listener listens() {
  static atomic<unsigned> count{0};
  const unsigned at = count.fetch_add(1, order::relaxed);
  const auto part = [](unsigned long number) { return '.' + std::to_string(1 + number % 250); };
  const auto process = static_cast<unsigned long>(getpid());
  return net::tcp_listener::bind("127" + part(process) + part(at / 250) + part(at) + ":0").value();
}

task<pair_of_streams> makes_a_pair() {
  auto listener = listens();
  net::connect_options small;
  small.send_buffer_size = 4096;
  const auto to = listener.local_address().value();
  auto client = co_await net::tcp_stream::connect(to, small);
  auto server = co_await listener.accept();
  co_return pair_of_streams(std::move(client), std::move(server));
}

task<> pauses(int i) {
  if (i % 4 != 0) co_await sleep_for(std::chrono::microseconds(i % 41));
}

// What victims work with runs under a shield, so that it comes to its end at a shutdown, too.

task<> writes_to(int i, net::tcp_stream& to, std::size_t count) {
  co_await pauses(i);
  const std::array<std::byte, 4> bytes{};
  co_await to.write_all(std::span(bytes).first(count));
}

task<> writes(int i, net::tcp_stream to, std::size_t count) {
  co_await shielded(writes_to(i, to, count));
}

/// What a stopped read has left is there for the next one.
task<> reading(int i, tally& counts) {
  const counted here(counts.alive);
  auto pair = co_await makes_a_pair();
  auto sender = spawn(writes(i, std::move(pair.client), 1));
  std::array<std::byte, 8> into;
  const auto first = co_await as_result(pair.server.read(into));
  counts.check(!first || *first == 1);
  if (first) co_return;
  const std::size_t again = co_await shielded(pair.server.read(into));
  counts.check(again == 1);
  co_await fail(first.error());
}

task<> waiting_until_readable(int i, tally& counts) {
  const counted here(counts.alive);
  auto pair = co_await makes_a_pair();
  auto sender = spawn(writes(i, std::move(pair.client), 2));
  const auto first = co_await as_result(pair.server.readable());
  std::array<std::byte, 2> into;
  co_await shielded(io::read_exact(pair.server, std::span(into)));
  if (!first) co_await fail(first.error());
}

task<> leasing(int i, tally& counts) {
  const counted here(counts.alive);
  auto pair = co_await makes_a_pair();
  auto sender = spawn(writes(i, std::move(pair.client), 1));
  std::error_code error;
  {
    const auto lease = co_await as_result(pair.server.read_leased());
    if (lease) {
      counts.check(lease->bytes().size() == 1);
      co_return;
    }
    error = lease.error();
  }
  std::array<std::byte, 8> into;
  const std::size_t again = co_await shielded(pair.server.read(into));
  counts.check(again == 1);
  co_await fail(error);
}

/// It may end between two reads; what is left and what was read is what was sent.
task<> reading_exactly(int i, tally& counts) {
  const counted here(counts.alive);
  auto pair = co_await makes_a_pair();
  auto sender = spawn(writes(i, std::move(pair.client), 3));
  std::array<std::byte, 3> into;
  co_await io::read_exact(pair.server, std::span(into));
}

task<> counts_bytes_of(int i, net::tcp_stream& from, std::size_t& sum) {
  co_await pauses(i);
  std::array<std::byte, 1 << 14> into;
  while (const std::size_t count = co_await from.read(into)) sum += count;
}

task<> counts_bytes(int i, net::tcp_stream from, std::size_t& sum) {
  co_await shielded(counts_bytes_of(i, from, sum));
}

/// What was written is what arrives, whenever the stop comes.
task<> writing(int i, tally& counts) {
  const counted here(counts.alive);
  auto pair = co_await makes_a_pair();
  std::size_t arrived = 0;
  std::size_t written = 0;
  auto receiver = spawn(counts_bytes(i, std::move(pair.server), arrived));
  const std::array<std::byte, 1 << 14> much{};
  std::error_code error;
  for (int k = 0; k < 4 && !error; ++k) {
    const auto count = co_await as_result(pair.client.write(much));
    if (count) written += *count;
    if (!count) error = count.error();
  }
  counts.check(pair.client.shutdown_write().has_value());
  co_await shielded(receiver.join());
  counts.check(arrived == written);
  if (error) co_await fail(error);
}

/// Nobody knows how much was written; all of it, if there was no stop.
task<> writing_all(int i, tally& counts) {
  const counted here(counts.alive);
  auto pair = co_await makes_a_pair();
  std::size_t arrived = 0;
  auto receiver = spawn(counts_bytes(i, std::move(pair.server), arrived));
  const std::array<std::byte, 1 << 15> much{};
  result<void> ended;
  if (i % 2 == 0) {
    ended = co_await as_result(pair.client.write_all(much));
  } else {
    ended = co_await as_result(io::write_all(pair.client, std::span<const std::byte>(much)));
  }
  counts.check(pair.client.shutdown_write().has_value());
  co_await shielded(receiver.join());
  counts.check(ended ? arrived == much.size() : arrived <= much.size());
  if (!ended) co_await fail(ended.error());
}

task<> connects_to(int i, net::socket_address to) {
  co_await pauses(i);
  auto stream = co_await net::tcp_stream::connect(to);
  std::array<std::byte, 1> end;
  // Who connects while the listener is being closed may be connected to nobody.
  static_cast<void>(co_await as_result(timeout(50ms, stream.read(end))));
}

task<> connects(int i, net::socket_address to) { co_await shielded(connects_to(i, to)); }

/// A connection that a stopped accept has left is there for the next one.
task<> accepting(int i, tally& counts) {
  const counted here(counts.alive);
  auto listener = listens();
  auto peer = spawn(connects(i, listener.local_address().value()));
  const auto first = co_await as_result(listener.accept());
  if (first) co_return;
  const auto again = co_await shielded(listener.accept());
  counts.check(again.peer_address().has_value());
  co_await fail(first.error());
}

task<> connecting(int i, tally& counts) {
  const counted here(counts.alive);
  const auto listener = listens();
  co_await pauses(i);
  const auto stream = co_await net::tcp_stream::connect(listener.local_address().value());
  counts.check(stream.peer_address().has_value());
}

task<> answers(int i, tally& counts, net::tcp_stream peer) {
  const counted here(counts.alive);
  co_await pauses(i);
  const std::array<std::byte, 1> byte{};
  co_await peer.write_all(byte);
}

/// Whenever a server is stopped, no session is left and every permit is back.
task<> serving(int i, tally& counts) {
  const counted here(counts.alive);
  auto listener = listens();
  const auto whom = listener.local_address().value();
  for (int k = 0; k < 3; ++k) spawn(connects(i + k, whom)).detach();
  sync::semaphore limit(2);
  const auto handler = [&](net::tcp_stream peer) { return answers(i, counts, std::move(peer)); };
  const auto longest = i % 4 == 0 ? std::chrono::nanoseconds(i % 101 * 1us) : 1h;
  const auto ended = co_await as_result(timeout(longest, net::serve(listener, limit, handler)));
  counts.check(!ended && limit.available() == 2);
  if (ended.error() != errc::deadline) co_await fail(ended.error());
}

TEST(net_torture, concurrent_reads) { torture(&reading); }
TEST(net_torture, concurrent_waits_for_bytes) { torture(&waiting_until_readable); }
TEST(net_torture, concurrent_leased_reads) { torture(&leasing); }
TEST(net_torture, concurrent_exact_reads) { torture(&reading_exactly); }
TEST(net_torture, concurrent_writes) { torture(&writing); }
TEST(net_torture, concurrent_whole_writes) { torture(&writing_all); }
TEST(net_torture, concurrent_accepts) { torture(&accepting); }
TEST(net_torture, concurrent_servers) { torture(&serving); }
TEST(net_torture, concurrent_connects) { torture(&connecting); }

}  // namespace
}  // namespace magpie::tests::net_torture_test
