// What travels: backlogs, retries and limits, delays, and that one seed decides everything.
#include <magpie/tests/runtime/sim_driver.hpp>

#include <set>
#include <thread>
#include <vector>

namespace magpie::tests::sim_wire_test {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;

class sim_wire_test : public ::testing::Test {
 public:
  socket_world world{true};
  sim_network& network = *world.network;
};

TEST_F(sim_wire_test, only_what_it_can_do) {
  EXPECT_EQ(sys::socket(AF_UNIX, SOCK_STREAM, 0), -EAFNOSUPPORT);
  EXPECT_EQ(sys::socket(AF_INET, SOCK_DGRAM, 0), -EPROTONOSUPPORT);
  EXPECT_EQ(sys::socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), -EPROTONOSUPPORT);
}

TEST_F(sim_wire_test, descriptors_are_never_used_twice) {
  std::set<int> seen;
  for (int i = 0; i < 100; ++i) {
    const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_GE(fd, sys::sim_fd_base);
    EXPECT_TRUE(seen.insert(fd).second);
    EXPECT_EQ(sys::close(fd), 0);
    EXPECT_EQ(sys::close(fd), -EBADF);
    EXPECT_TRUE(network.ready(fd, direction::read));  // whoever waits shall find out
  }
}

TEST_F(sim_wire_test, a_connection_is_never_there_at_once) {
  const int listener = listen_at(v4_address(7000));
  const int client = connect_to(7000);
  const sockaddr_in address = v4_address(7000);
  EXPECT_EQ(sys::connect(client, raw(address), sizeof address), -EALREADY);
  EXPECT_EQ(send_text(client, "x"), -EAGAIN);
  EXPECT_EQ(receive_text(client), "EAGAIN");
  EXPECT_FALSE(network.ready(client, direction::write));
  EXPECT_EQ(sys::accept(listener, nullptr, nullptr), -EAGAIN);
  EXPECT_GE(network.next_event_ns(), network.now_ns() + network.options().delay_min_ns);
  EXPECT_LE(network.next_event_ns(), network.now_ns() + network.options().delay_max_ns);
}

TEST_F(sim_wire_test, a_full_backlog_keeps_others_waiting) {
  const int listener = listen_at(v4_address(7000), 1);  // admits two, as Linux does
  std::vector<int> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(connect_to(7000));
  settle(network, network.now_ns() + second_ns / 2);
  const auto connected = [&] {
    int count = 0;
    for (const int fd : clients) count += network.ready(fd, direction::write);
    return count;
  };
  EXPECT_EQ(connected(), 2);
  EXPECT_GE(sys::accept(listener, nullptr, nullptr), 0);
  settle(network, network.now_ns() + second_ns);  // one of them tries again
  EXPECT_EQ(connected(), 3);
  settle(network);
  EXPECT_EQ(network.now_ns() / second_ns, 128U);  // 1 + 1 + 2 + 4 + ... + 64
  EXPECT_EQ(connected(), 4);
  int timed_out = 0;
  for (const int fd : clients) timed_out += option_of(fd, SOL_SOCKET, SO_ERROR) == ETIMEDOUT;
  EXPECT_EQ(timed_out, 1);
}

TEST(sim_wire, who_closes_while_connecting_leaves_nothing_behind) {
  for (int events = 0; events < 5; ++events) {
    const socket_world world(true);
    const int listener = listen_at(v4_address(7000), 0);
    const int client = connect_to(7000);
    for (int i = 0; i < events && world.network->next_event_ns() != sim_network::never; ++i) {
      world.network->advance_to(world.network->next_event_ns());
    }
    EXPECT_EQ(sys::close(client), 0);
    settle(*world.network);
    const int server = sys::accept(listener, nullptr, nullptr);
    EXPECT_EQ(server >= 0, events >= 2) << events;  // from the syn_ack on it was connected
    EXPECT_EQ(receive_text(server), server >= 0 ? "end" : "EBADF");
    const int next = connect_to(7000);  // its place in the backlog is free again
    ASSERT_TRUE(world.wait(listener, direction::read));
    EXPECT_GE(sys::accept(listener, nullptr, nullptr), 0);
    EXPECT_EQ(sys::close(next), 0);
  }
}

TEST_F(sim_wire_test, closing_the_listener_while_others_connect) {
  const int listener = listen_at(v4_address(7000));
  const int client = connect_to(7000);
  network.advance_to(network.next_event_ns());  // the syn
  EXPECT_EQ(sys::close(listener), 0);
  settle(network);
  EXPECT_TRUE(network.ready(client, direction::read));
  EXPECT_EQ(receive_text(client), "ECONNRESET");
}

TEST_F(sim_wire_test, shutdown_while_connecting_ends_it) {
  const int listener = listen_at(v4_address(7000));
  const int client = connect_to(7000);
  EXPECT_EQ(sys::shutdown(client, SHUT_RDWR), 0);
  EXPECT_TRUE(network.ready(client, direction::write));
  const sockaddr_in address = v4_address(7000);
  EXPECT_EQ(sys::connect(client, raw(address), sizeof address), -ECONNRESET);
  EXPECT_EQ(sys::connect(client, raw(address), sizeof address), -ECONNABORTED);
  settle(network);
  EXPECT_EQ(sys::accept(listener, nullptr, nullptr), -EAGAIN);
}

TEST_F(sim_wire_test, several_listeners_share_a_port) {
  std::vector<int> listeners;
  const sockaddr_in address = v4_address(7000);
  for (int i = 0; i < 2; ++i) {
    listeners.push_back(sys::socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(set_option(listeners.back(), SOL_SOCKET, SO_REUSEPORT, 1), 0);
    EXPECT_EQ(sys::bind(listeners.back(), raw(address), sizeof address), 0);
    EXPECT_EQ(sys::listen(listeners.back(), 100), 0);
  }
  for (int i = 0; i < 50; ++i) connect_to(7000);
  settle(network);
  for (const int listener : listeners) {
    int count = 0;
    while (sys::accept(listener, nullptr, nullptr) >= 0) ++count;
    EXPECT_GT(count, 5);
  }
}

TEST_F(sim_wire_test, ports_run_out_and_come_back) {
  std::vector<int> bound;
  const sockaddr_in any_port = v4_address(0);
  for (;;) {
    const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
    const int status = sys::bind(fd, raw(any_port), sizeof any_port);
    if (status != 0) {
      EXPECT_EQ(status, -EADDRINUSE);
      const sockaddr_in address = v4_address(7000);
      EXPECT_EQ(sys::connect(fd, raw(address), sizeof address), -EADDRNOTAVAIL);
      break;
    }
    bound.push_back(fd);
  }
  EXPECT_EQ(bound.size(), 60'999U - 32'768U + 1U);
  const std::uint16_t freed = port_of(bound[100]);
  EXPECT_EQ(sys::close(bound[100]), 0);
  EXPECT_EQ(port_of(listen_at(any_port)), freed);
}

TEST(sim_wire, descriptors_run_out) {
  sim_options options;
  options.descriptors_max = 3;
  const socket_world world(true, options);
  const int listener = listen_at(v4_address(7000));
  const int first = connect_to(7000);
  const int second = connect_to(7000);
  EXPECT_EQ(sys::socket(AF_INET, SOCK_STREAM, 0), -EMFILE);
  ASSERT_TRUE(world.wait(listener, direction::read));
  EXPECT_EQ(sys::accept(listener, nullptr, nullptr), -EMFILE);
  EXPECT_EQ(sys::close(second), 0);
  EXPECT_GE(sys::accept(listener, nullptr, nullptr), 0);  // it was not lost
  EXPECT_EQ(sys::accept(listener, nullptr, nullptr), -EMFILE);
  EXPECT_EQ(sys::close(first), 0);
}

/// Sends 1 to `total` bytes and notes the sizes in which they come.
std::multiset<ssize_t> sizes(std::uint64_t seed, std::uint32_t split_one_in) {
  sim_options options(seed);
  options.split_one_in = split_one_in;
  const socket_world world(true, options);
  const connection pair(world);
  std::multiset<ssize_t> seen;
  const std::string block(1000, 'x');
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(send_text(pair.client, block), 1000);
    while (world.network->next_event_ns() != sim_network::never) {
      world.network->advance_to(world.network->next_event_ns());
      char into[1000];
      const ssize_t count = sys::recv(pair.server, into, sizeof into, 0);
      if (count > 0) seen.insert(count);
    }
  }
  return seen;
}

TEST(sim_wire, bytes_are_split_by_chance) {
  EXPECT_EQ(sizes(1, 0).size(), 50U);
  EXPECT_GT(sizes(1, 4).size(), 55U);
  EXPECT_EQ(sizes(1, 4), sizes(1, 4));
  EXPECT_NE(sizes(1, 4), sizes(2, 4));
}

TEST(sim_wire_death_test, another_thread_aborts) {
  const socket_world world(true);
  const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_DEATH(std::thread([&] { world.network->close(fd); }).join(), "not the simulation's");
}

}  // namespace
}  // namespace magpie::tests::sim_wire_test
