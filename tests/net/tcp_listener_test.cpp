#include <magpie/net/tcp_listener.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/tests/net/drought.hpp>
#include <magpie/tests/net/harness.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/random.hpp>
#include <magpie/util/unique_fd.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

namespace magpie::net {
namespace {

using namespace magpie::tests;

MAGPIE_TASK_TEST(tcp_listener, port_zero_gives_a_port_of_its_own) {
  const tcp_listener one = listen_somewhere();
  const tcp_listener other = listen_somewhere();
  const auto address = one.local_address().value();
  EXPECT_EQ(address.ip(), ip_address::loopback());
  EXPECT_NE(address.port(), 0);
  EXPECT_NE(address, other.local_address().value());
  EXPECT_EQ(error_of(one.peer_address()), std::errc::not_connected);
  co_return;
}

MAGPIE_TASK_TEST(tcp_listener, accepts_over_ipv6) {
  auto bound = tcp_listener::bind("[::1]:0");
  if (!bound) {
    EXPECT_EQ(error_of(bound), std::errc::address_not_available);  // a machine without IPv6
    co_return;
  }
  const auto address = bound->local_address().value();
  auto client = co_await tcp_stream::connect(address);
  auto server = co_await bound->accept();
  EXPECT_EQ(client.peer_address().value(), address);
  EXPECT_EQ(server.local_address().value(), address);
  EXPECT_EQ(server.peer_address().value(), client.local_address().value());
}

MAGPIE_TASK_TEST(tcp_listener, a_dual_stack_listener_shows_mapped_peers) {
  auto bound = tcp_listener::bind("[::]:0");
  if (!bound) co_return;  // a machine without IPv6
  const std::uint16_t port = bound->local_address().value().port();
  const socket_address v4(ip_address::loopback(), port);
  auto client = co_await tcp_stream::connect(v4);
  auto server = co_await bound->accept();
  const auto peer = server.peer_address().value();
  EXPECT_TRUE(peer.ip().is_v4_mapped());
  EXPECT_TRUE(peer.ip().is_loopback());
  listen_options v6_alone;
  v6_alone.v6_only = true;
  auto alone = tcp_listener::bind("[::]:0", v6_alone).value();
  const socket_address nobody(ip_address::loopback(), alone.local_address().value().port());
  const auto refused = co_await as_result(tcp_stream::connect(nobody));
  EXPECT_EQ(error_of(refused), std::errc::connection_refused);
}

MAGPIE_TASK_TEST(tcp_listener, bind_says_what_is_wrong) {
  const tcp_listener first = listen_somewhere();
  const auto taken = first.local_address().value();
  EXPECT_EQ(error_of(tcp_listener::bind(taken)), std::errc::address_in_use);
  EXPECT_EQ(error_of(tcp_listener::bind("localhost:80")), std::errc::invalid_argument);
  EXPECT_EQ(error_of(tcp_listener::bind("127.0.0.1")), std::errc::invalid_argument);
  co_return;
}

MAGPIE_TASK_TEST(tcp_listener, accepting_on_a_closed_listener_is_an_error) {
  tcp_listener closed;
  EXPECT_FALSE(closed.is_open());
  const auto accepted = co_await as_result(closed.accept());
  EXPECT_EQ(error_of(accepted), std::errc::bad_file_descriptor);
}

MAGPIE_TASK_TEST(tcp_listener, a_port_can_be_bound_again_at_once) {
  socket_address address;
  {
    tcp_listener listener = listen_somewhere();
    address = listener.local_address().value();
    auto client = co_await tcp_stream::connect(address);
    auto server = co_await listener.accept();
    server.close();  // our side is the one that keeps TIME_WAIT
  }
  auto again = tcp_listener::bind(address);
  EXPECT_TRUE(again) << error_of(again).message();
}

task<> accept_all(tcp_listener& from, std::vector<tcp_stream>& into) {
  for (;;) into.push_back(co_await from.accept());
}

MAGPIE_TASK_TEST(tcp_listener, two_listeners_share_a_port) {
  constexpr std::size_t connections = 64;
  listen_options shared;
  shared.reuse_port = true;
  tcp_listener one = listen_somewhere(shared);
  const auto address = one.local_address().value();
  auto bound = tcp_listener::bind(address, shared);
  EXPECT_TRUE(bound) << error_of(bound).message();
  if (!bound) co_return;
  tcp_listener other = std::move(*bound);
  std::vector<tcp_stream> by_one;
  std::vector<tcp_stream> by_other;
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(accept_all(one, by_one));
    group.spawn(accept_all(other, by_other));
    std::vector<tcp_stream> clients;
    for (std::size_t i = 0; i < connections; ++i) {
      clients.push_back(co_await tcp_stream::connect(address));
    }
    co_await sleep_for(50ms);
    group.stop();
  });
  EXPECT_EQ(by_one.size() + by_other.size(), connections);
  EXPECT_GT(by_one.size(), 0U);
  EXPECT_GT(by_other.size(), 0U);
}

MAGPIE_TASK_TEST(tcp_listener, a_stopped_accept_takes_no_connection) {
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  const auto stopped = co_await as_result(timeout(5ms, listener.accept()));
  EXPECT_EQ(error_of(stopped), errc::deadline);
  auto client = co_await tcp_stream::connect(address);
  auto server = co_await listener.accept();
  EXPECT_EQ(server.peer_address().value(), client.local_address().value());
}

// A stopped accept left its poll in the ring, and closing is no shutdown: whoever was handed the
// listener goes on with it.
MAGPIE_TASK_TEST(tcp_listener, a_duplicate_outlives_a_stopped_accept) {
  if (simulated()) {
    GTEST_LOG_(INFO) << "left out: simulated descriptors have no duplicates";
    co_return;
  }
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  const unique_fd duplicate(::dup(listener.native_handle()));
  const auto stopped = co_await as_result(timeout(5ms, listener.accept()));
  EXPECT_EQ(error_of(stopped), errc::deadline);
  listener.close();
  int listens = 0;
  socklen_t size = sizeof listens;
  EXPECT_EQ(::getsockopt(duplicate.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size), 0);
  EXPECT_EQ(listens, 1);
  const auto client = co_await as_result(tcp_stream::connect(address));
  EXPECT_TRUE(client);
}

/// A task that waits on one worker's ring, and one that computes on some worker.
struct stuck_worker {
  atomic<int> waits_at{-1};
  atomic<int> computes_at{-1};
  atomic<bool> over{false};

  static int here() { return static_cast<int>(magpie::detail::this_context().index); }
};

task<> computes(stuck_worker& state) {
  state.computes_at.store(stuck_worker::here(), order::release);
  while (!state.over.load(order::acquire)) cpu_relax();
  co_return;
}

task<> accepts(tcp_listener& listener, task_group& beside, stuck_worker& state) {
  beside.spawn(computes(state));
  state.waits_at.store(stuck_worker::here(), order::release);
  [[maybe_unused]] const auto stopped = co_await as_result(listener.accept());
}

/// Whether the kernel knows a listener on this port of 127.0.0.1.  Asking it otherwise, by a
/// connection, would end the very poll that keeps the port.
bool is_listened_on(std::uint16_t port) {
  char wanted[32];
  std::snprintf(wanted, sizeof wanted, "0100007F:%04X 00000000:0000 0A", port);
  std::ifstream sockets("/proc/net/tcp");
  for (std::string line; std::getline(sockets, line);)
    if (line.find(wanted) != std::string::npos) return true;
  return false;
}

task<> is_free(std::uint16_t port) {
  while (is_listened_on(port)) co_await sleep_for(1ms);
}

/// True if the worker that held the wait was stuck when the listener was closed.
task<bool> close_at_a_stuck_worker() {
  tcp_listener listener = listen_somewhere();
  const std::uint16_t port = listener.local_address().value().port();
  EXPECT_TRUE(is_listened_on(port));
  stuck_worker state;
  bool hit = false;
  co_await with_task_group([&](task_group& group) -> task<> {
    auto accepting = spawn(accepts(listener, group, state));
    while (state.computes_at.load(order::acquire) < 0) co_await yield();
    hit = state.computes_at.load(order::acquire) == state.waits_at.load(order::acquire);
    if (hit) co_await sleep_for(5ms);  // the watcher enters the wait into the kernel
    accepting.abort();
    [[maybe_unused]] const auto aborted = co_await accepting.join();
    listener.close();
    const auto freed = co_await as_result(timeout(10s, is_free(port)));
    EXPECT_TRUE(freed) << "hit: " << hit;
    state.over.store(true, order::release);
  });
  co_return hit;
}

// ... and without a duplicate the port is closed soon, although the worker whose ring holds the
// poll does not come to cancel it.
MAGPIE_TASK_TEST(tcp_listener, a_stuck_worker_keeps_no_port_open_concurrent) {
  if (simulated() || matrix_workers() < 2) {
    GTEST_LOG_(INFO) << "left out: needs two workers that run at once";
    co_return;
  }
  int hits = 0;
  for (int round = 0; round < 500 && hits < 3; ++round) {
    const bool hit = co_await close_at_a_stuck_worker();
    hits += hit ? 1 : 0;
  }
  EXPECT_GT(hits, 0);
}

task<> connect_slowly(socket_address to, std::size_t count, std::vector<tcp_stream>& into) {
  random_source random(3);
  while (into.size() < count) {
    into.push_back(co_await tcp_stream::connect(to));
    co_await sleep_for(std::chrono::microseconds(random.below(100)));
  }
}

template <class Address>
std::vector<socket_address> sorted_addresses(const std::vector<tcp_stream>& of, Address address) {
  std::vector<socket_address> all;
  for (const tcp_stream& stream : of) all.push_back((stream.*address)().value());
  std::ranges::sort(all);
  return all;
}

// Accepts that are stopped all the time, around the moment at which connections come, lose none.
MAGPIE_TASK_TEST(tcp_listener, stopping_accepts_loses_no_connection_concurrent) {
  constexpr std::size_t connections = 300;
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  std::vector<tcp_stream> clients;
  std::vector<tcp_stream> servers;
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(connect_slowly(address, connections, clients));
    random_source random(4);
    while (servers.size() < connections) {
      const auto patience = std::chrono::microseconds(random.below(150));
      auto accepted = co_await as_result(timeout(patience, listener.accept()));
      if (accepted) servers.push_back(std::move(*accepted));
    }
  });
  const auto more = co_await as_result(timeout(5ms, listener.accept()));
  EXPECT_EQ(error_of(more), errc::deadline);
  EXPECT_EQ(sorted_addresses(servers, &tcp_stream::peer_address),
            sorted_addresses(clients, &tcp_stream::local_address));
}

// Clients that connect and reset at once: the kernel hands some of them out all the same.
MAGPIE_TASK_TEST(tcp_listener, survives_connections_that_are_reset_in_the_queue) {
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  for (int i = 0; i < 50; ++i) {
    auto client = co_await tcp_stream::connect(address);
    co_await client.set_zero_linger(true);
  }
  auto good = co_await tcp_stream::connect(address);
  const auto wanted = good.local_address().value();
  for (bool found = false; !found;) {
    auto next = co_await timeout(10s, listener.accept());
    const auto peer = next.peer_address();
    found = peer && *peer == wanted;
  }
}

MAGPIE_TASK_TEST(tcp_listener, waits_out_a_lack_of_descriptors) {
  if (simulated()) {
    GTEST_LOG_(INFO) << "left out: RLIMIT_NOFILE does not bind simulated descriptors";
    co_return;
  }
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  auto client = co_await tcp_stream::connect(address);
  auto drought = std::make_unique<descriptor_drought>();
  const auto starved = co_await as_result(timeout(200ms, listener.accept()));
  EXPECT_EQ(error_of(starved), errc::deadline);
  const auto more = co_await as_result(tcp_stream::connect(address));
  EXPECT_EQ(error_of(more), std::errc::too_many_files_open);
  drought.reset();
  auto server = co_await timeout(10s, listener.accept());
  EXPECT_EQ(server.peer_address().value(), client.local_address().value());
}

}  // namespace
}  // namespace magpie::net
