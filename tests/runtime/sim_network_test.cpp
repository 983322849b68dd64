// The socket calls: what Linux does, said once and asked of the kernel and of the simulation.
#include <magpie/tests/runtime/sim_driver.hpp>

#include <netinet/tcp.h>
#include <unistd.h>
#include <vector>

namespace magpie::tests::sim_network_test {
namespace {

class as_linux : public ::testing::TestWithParam<bool> {
 public:
  socket_world world{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(sockets, as_linux, ::testing::Bool(),
                         [](const auto& which) { return which.param ? "sim" : "kernel"; });

// ---- connecting --------------------------------------------------------------------------------

TEST_P(as_linux, both_ends_know_each_other) {
  const connection pair(world);
  EXPECT_NE(port_of(pair.client), 0);
  EXPECT_EQ(port_of(pair.server), port_of(pair.listener));
  sockaddr_in seen{};
  socklen_t size = sizeof seen;
  ASSERT_EQ(sys::getpeername(pair.server, raw(seen), &size), 0);
  EXPECT_EQ(size, sizeof seen);
  EXPECT_EQ(ntohs(seen.sin_port), port_of(pair.client));
  EXPECT_EQ(ntohl(seen.sin_addr.s_addr), INADDR_LOOPBACK);
  ASSERT_EQ(sys::getsockname(pair.client, raw(seen), &size), 0);
  EXPECT_EQ(ntohl(seen.sin_addr.s_addr), INADDR_LOOPBACK);
  ASSERT_EQ(sys::getpeername(pair.client, raw(seen), &size), 0);
  EXPECT_EQ(ntohs(seen.sin_port), port_of(pair.listener));
}

TEST_P(as_linux, nobody_listens) {
  const int probe = listen_at(v4_address(0));
  const std::uint16_t port = port_of(probe);
  EXPECT_EQ(sys::close(probe), 0);
  const int fd = connect_to(port);
  ASSERT_TRUE(world.wait(fd, direction::write));
  EXPECT_TRUE(world.wait(fd, direction::read));
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_ERROR), 0);
  EXPECT_EQ(receive_text(fd), "end");
  EXPECT_EQ(send_text(fd, "x"), -EPIPE);
  EXPECT_EQ(sys::getpeername(fd, nullptr, nullptr), -ENOTCONN);
  EXPECT_EQ(sys::close(fd), 0);
}

TEST_P(as_linux, connecting_twice) {
  const connection pair(world);
  const sockaddr_in address = v4_address(port_of(pair.listener));
  EXPECT_EQ(sys::connect(pair.client, raw(address), sizeof address), 0);
  EXPECT_EQ(sys::connect(pair.client, raw(address), sizeof address), -EISCONN);
  EXPECT_EQ(sys::connect(pair.server, raw(address), sizeof address), -EISCONN);
  EXPECT_EQ(sys::connect(pair.listener, raw(address), sizeof address), -EISCONN);
}

TEST_P(as_linux, sockets_that_are_not_connected) {
  const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(receive_text(fd), "ENOTCONN");
  EXPECT_EQ(send_text(fd, "x"), -EPIPE);
  EXPECT_EQ(sys::shutdown(fd, SHUT_RDWR), -ENOTCONN);
  EXPECT_EQ(sys::accept(fd, nullptr, nullptr), -EINVAL);
  EXPECT_EQ(port_of(fd), 0);
  EXPECT_TRUE(world.wait(fd, direction::read));  // epoll says: hung up
  EXPECT_TRUE(world.wait(fd, direction::write));
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
  EXPECT_EQ(sys::listen(fd, 1), 0);  // binds by itself
  EXPECT_NE(port_of(fd), 0);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
  EXPECT_EQ(receive_text(fd), "ENOTCONN");
  EXPECT_EQ(send_text(fd, "x"), -EPIPE);
  EXPECT_EQ(sys::accept(fd, nullptr, nullptr), -EAGAIN);
  EXPECT_EQ(sys::shutdown(fd, SHUT_RD), 0);  // no listener any more
  EXPECT_EQ(sys::accept(fd, nullptr, nullptr), -EINVAL);
  EXPECT_EQ(sys::close(fd), 0);
  EXPECT_EQ(receive_text(fd), "EBADF");
  EXPECT_EQ(sys::close(fd), -EBADF);
}

TEST_P(as_linux, closing_a_listener_resets_who_was_not_accepted) {
  connection pair(world);
  const int late = connect_to(port_of(pair.listener));
  ASSERT_TRUE(world.wait(pair.listener, direction::read));
  connection::close(pair.listener);
  ASSERT_TRUE(world.wait(late, direction::read));
  EXPECT_EQ(receive_text(late), "ECONNRESET");
  EXPECT_EQ(receive_text(pair.client), "EAGAIN");
  EXPECT_EQ(sys::close(late), 0);
}

// ---- addresses ---------------------------------------------------------------------------------

TEST_P(as_linux, addresses_in_use) {
  const connection pair(world);
  const sockaddr_in same = v4_address(port_of(pair.listener));
  const sockaddr_in any = v4_address(port_of(pair.listener), INADDR_ANY);
  const sockaddr_in other = v4_address(port_of(pair.listener), INADDR_LOOPBACK + 1);
  const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(sys::bind(fd, raw(same), sizeof same), -EADDRINUSE);
  EXPECT_EQ(sys::bind(fd, raw(any), sizeof any), -EADDRINUSE);
  EXPECT_EQ(set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1), 0);
  EXPECT_EQ(sys::bind(fd, raw(same), sizeof same), -EADDRINUSE);  // the other one listens
  EXPECT_EQ(sys::bind(fd, raw(other), sizeof other), 0);
  EXPECT_EQ(sys::bind(fd, raw(other), sizeof other), -EINVAL);
  EXPECT_EQ(sys::close(fd), 0);
}

TEST_P(as_linux, a_port_is_used_again) {
  const int first = sys::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(set_option(first, SOL_SOCKET, SO_REUSEADDR, 1), 0);
  const sockaddr_in free_port = v4_address(0);
  ASSERT_EQ(sys::bind(first, raw(free_port), sizeof free_port), 0);
  ASSERT_EQ(sys::listen(first, 4), 0);
  const std::uint16_t port = port_of(first);
  const int client = connect_to(port);
  ASSERT_TRUE(world.wait(first, direction::read));
  const int server = sys::accept(first, nullptr, nullptr);
  EXPECT_EQ(option_of(server, SOL_SOCKET, SO_REUSEADDR), 1);
  EXPECT_EQ(sys::close(first), 0);

  const sockaddr_in same = v4_address(port);
  const int second = sys::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(sys::bind(second, raw(same), sizeof same), -EADDRINUSE);
  EXPECT_EQ(set_option(second, SOL_SOCKET, SO_REUSEADDR, 1), 0);
  EXPECT_EQ(sys::bind(second, raw(same), sizeof same), 0);
  EXPECT_EQ(sys::listen(second, 4), 0);
  for (const int fd : {client, server, second}) EXPECT_EQ(sys::close(fd), 0);
}

TEST_P(as_linux, bad_addresses) {
  const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in good = v4_address(0);
  const sockaddr_in6 foreign = v6_address(0);
  EXPECT_EQ(sys::bind(fd, raw(good), sizeof good - 1), -EINVAL);
  EXPECT_EQ(sys::bind(fd, raw(foreign), sizeof foreign), -EAFNOSUPPORT);
  EXPECT_EQ(sys::connect(fd, raw(good), sizeof good - 1), -EINVAL);
  EXPECT_EQ(sys::connect(fd, raw(foreign), sizeof foreign), -EAFNOSUPPORT);
  EXPECT_EQ(sys::close(fd), 0);
}

TEST_P(as_linux, one_listener_for_both_families) {
  const int listener = sys::socket(AF_INET6, SOCK_STREAM, 0);
  if (listener < 0) GTEST_SKIP() << "no IPv6";
  const sockaddr_in6 any = v6_address(0, in6addr_any);
  if (sys::bind(listener, raw(any), sizeof any) != 0) {
    sys::close(listener);
    GTEST_SKIP() << "no IPv6 addresses";
  }
  ASSERT_EQ(set_option(listener, IPPROTO_IPV6, IPV6_V6ONLY, 0), -EINVAL);  // too late
  ASSERT_EQ(sys::listen(listener, 4), 0);
  if (option_of(listener, IPPROTO_IPV6, IPV6_V6ONLY) != 0) GTEST_SKIP() << "IPv6 stays alone here";
  const int client = connect_to(port_of(listener));
  ASSERT_TRUE(world.wait(listener, direction::read));
  sockaddr_in6 seen{};
  socklen_t size = sizeof seen;
  const int server = sys::accept(listener, raw(seen), &size);
  ASSERT_GE(server, 0);
  EXPECT_EQ(size, sizeof seen);
  EXPECT_EQ(seen.sin6_family, AF_INET6);
  EXPECT_TRUE(IN6_IS_ADDR_V4MAPPED(&seen.sin6_addr));
  EXPECT_EQ(ntohs(seen.sin6_port), port_of(client));
  for (const int fd : {listener, client, server}) EXPECT_EQ(sys::close(fd), 0);
}

// ---- bytes -------------------------------------------------------------------------------------

TEST_P(as_linux, bytes_come_and_can_be_looked_at) {
  const connection pair(world);
  EXPECT_EQ(receive_text(pair.server), "EAGAIN");
  EXPECT_EQ(send_text(pair.client, "hello"), 5);
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(receive_text(pair.server, 2, MSG_PEEK), "he");
  EXPECT_EQ(receive_text(pair.server, 2), "he");
  EXPECT_EQ(receive_text(pair.server, 0), "end");
  EXPECT_EQ(receive_text(pair.server), "llo");
  EXPECT_EQ(send_text(pair.client, ""), 0);
  EXPECT_EQ(receive_text(pair.server), "EAGAIN");
}

TEST_P(as_linux, a_full_connection_takes_no_more) {
  const connection pair(world);
  const std::vector<char> block(10'000, 'x');
  std::size_t sent = 0;
  bool short_write = false;
  for (;;) {
    const ssize_t count = sys::send(pair.client, block.data(), block.size(), 0);
    if (count == -EAGAIN) {
      if (!GetParam() || world.network->next_event_ns() == sim_network::never) break;
      settle(*world.network);
      continue;
    }
    ASSERT_GT(count, 0);
    short_write |= count != static_cast<ssize_t>(block.size());
    sent += static_cast<std::size_t>(count);
  }
  EXPECT_TRUE(short_write || !GetParam());
  std::size_t got = 0;
  std::vector<char> into(7'000);
  while (got < sent) {
    ASSERT_TRUE(world.wait(pair.server, direction::read));
    const ssize_t count = sys::recv(pair.server, into.data(), into.size(), 0);
    ASSERT_GT(count, 0);
    got += static_cast<std::size_t>(count);
  }
  EXPECT_EQ(got, sent);
  EXPECT_TRUE(world.wait(pair.client, direction::write));
  EXPECT_EQ(receive_text(pair.server), "EAGAIN");
}

// ---- ends --------------------------------------------------------------------------------------

TEST_P(as_linux, half_close) {
  const connection pair(world);
  EXPECT_EQ(send_text(pair.client, "last"), 4);
  EXPECT_EQ(sys::shutdown(pair.client, SHUT_WR), 0);
  EXPECT_EQ(send_text(pair.client, "x"), -EPIPE);
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(receive_text(pair.server), "last");
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(receive_text(pair.server), "end");
  EXPECT_EQ(receive_text(pair.server), "end");
  EXPECT_EQ(send_text(pair.server, "reply"), 5);
  ASSERT_TRUE(world.wait(pair.client, direction::read));
  EXPECT_EQ(receive_text(pair.client), "reply");
  EXPECT_EQ(sys::shutdown(pair.client, 77), -EINVAL);
}

TEST_P(as_linux, not_reading_any_more) {
  const connection pair(world);
  EXPECT_EQ(send_text(pair.client, "before"), 6);
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(sys::shutdown(pair.server, SHUT_RD), 0);
  EXPECT_EQ(receive_text(pair.server), "before");
  EXPECT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(receive_text(pair.server), "end");
  EXPECT_EQ(send_text(pair.client, "after"), 5);
  EXPECT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(send_text(pair.server, "still"), 5);
  ASSERT_TRUE(world.wait(pair.client, direction::read));
  EXPECT_EQ(receive_text(pair.client), "still");
}

TEST_P(as_linux, writing_to_who_has_closed) {
  connection pair(world);
  EXPECT_EQ(send_text(pair.client, "bye"), 3);
  connection::close(pair.client);
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(receive_text(pair.server), "bye");
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(receive_text(pair.server), "end");
  EXPECT_EQ(send_text(pair.server, "anybody?"), 8);  // the answer is a reset
  if (GetParam()) settle(*world.network);
  EXPECT_EQ(send_text(pair.server, "x"), -EPIPE);
  EXPECT_EQ(send_text(pair.server, "x"), -EPIPE);
  EXPECT_EQ(receive_text(pair.server), "end");
}

TEST_P(as_linux, closing_with_unread_bytes_resets) {
  connection pair(world);
  EXPECT_EQ(send_text(pair.client, "unread"), 6);
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(send_text(pair.server, "read"), 4);
  connection::close(pair.server);
  ASSERT_TRUE(world.wait(pair.client, direction::read));
  EXPECT_EQ(receive_text(pair.client), "read");  // what had come before stays
  ASSERT_TRUE(world.wait(pair.client, direction::read));
  EXPECT_EQ(receive_text(pair.client), "ECONNRESET");
  EXPECT_EQ(receive_text(pair.client), "end");
  EXPECT_EQ(send_text(pair.client, "x"), -EPIPE);
  EXPECT_EQ(sys::getpeername(pair.client, nullptr, nullptr), -ENOTCONN);
  EXPECT_EQ(sys::shutdown(pair.client, SHUT_WR), -ENOTCONN);
}

TEST_P(as_linux, nothing_is_reset_after_both_ends) {
  connection pair(world);
  EXPECT_EQ(send_text(pair.client, "unread"), 6);
  EXPECT_EQ(sys::shutdown(pair.client, SHUT_WR), 0);
  EXPECT_EQ(sys::shutdown(pair.server, SHUT_WR), 0);
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  ASSERT_TRUE(world.wait(pair.client, direction::read));
  connection::close(pair.server);
  if (GetParam()) settle(*world.network);
  EXPECT_EQ(receive_text(pair.client), "end");
  EXPECT_EQ(option_of(pair.client, SOL_SOCKET, SO_ERROR), 0);
}

TEST_P(as_linux, the_nearest_listener_accepts) {
  const int any = sys::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(set_option(any, SOL_SOCKET, SO_REUSEPORT, 1), 0);
  int exact = -1;
  // Below the ports that the kernel gives: of those, tests beside this one may use nearly all.
  constexpr int ports_max = 256;
  const int first = 20'000 + ::getpid() * 7 % 10'000;
  for (int i = 0; i < ports_max && exact < 0; ++i) {
    const auto port = static_cast<std::uint16_t>(first + i);
    const int candidate = sys::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in here = v4_address(port, INADDR_LOOPBACK + 7);
    const sockaddr_in everywhere = v4_address(port, INADDR_ANY);
    // Shared only once it is ours: this test may run several times over at the same moment.
    if (sys::bind(candidate, raw(here), sizeof here) == 0 && sys::listen(candidate, 4) == 0 &&
        set_option(candidate, SOL_SOCKET, SO_REUSEPORT, 1) == 0 &&
        sys::bind(any, raw(everywhere), sizeof everywhere) == 0) {
      exact = candidate;
    } else {
      EXPECT_EQ(sys::close(candidate), 0);
    }
  }
  ASSERT_GE(exact, 0);
  ASSERT_EQ(sys::listen(any, 4), 0);
  for (int i = 0; i < 4; ++i) {
    const int client = sys::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = v4_address(port_of(exact), INADDR_LOOPBACK + 7);
    EXPECT_EQ(sys::connect(client, raw(address), sizeof address), -EINPROGRESS);
    ASSERT_TRUE(world.wait(exact, direction::read));
    const int server = sys::accept(exact, nullptr, nullptr);
    EXPECT_GE(server, 0);
    EXPECT_EQ(sys::close(server), 0);
    EXPECT_EQ(sys::close(client), 0);
  }
  for (const int fd : {exact, any}) EXPECT_EQ(sys::close(fd), 0);
}

TEST_P(as_linux, no_time_to_linger_resets) {
  connection pair(world);
  const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  EXPECT_EQ(sys::setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  connection::close(pair.client);
  ASSERT_TRUE(world.wait(pair.server, direction::write));
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(send_text(pair.server, "x"), -ECONNRESET);  // told once
  EXPECT_EQ(send_text(pair.server, "x"), -EPIPE);
  EXPECT_EQ(receive_text(pair.server), "end");
}

TEST_P(as_linux, an_error_is_told_once) {
  connection pair(world);
  const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  EXPECT_EQ(sys::setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  connection::close(pair.client);
  ASSERT_TRUE(world.wait(pair.server, direction::read));
  EXPECT_EQ(option_of(pair.server, SOL_SOCKET, SO_ERROR), ECONNRESET);
  EXPECT_EQ(option_of(pair.server, SOL_SOCKET, SO_ERROR), 0);
  EXPECT_EQ(receive_text(pair.server), "end");
}

TEST_P(as_linux, an_accepted_connection_may_be_over_already) {
  const int listener = listen_at(v4_address(0));
  const int client = connect_to(port_of(listener));
  ASSERT_TRUE(world.wait(listener, direction::read));
  ASSERT_TRUE(world.wait(client, direction::write));
  EXPECT_EQ(send_text(client, "hi"), 2);
  EXPECT_EQ(sys::close(client), 0);
  if (GetParam()) settle(*world.network);
  const int server = sys::accept(listener, nullptr, nullptr);
  ASSERT_TRUE(world.wait(server, direction::read));
  EXPECT_EQ(receive_text(server), "hi");
  ASSERT_TRUE(world.wait(server, direction::read));
  EXPECT_EQ(receive_text(server), "end");
  for (const int fd : {listener, server}) EXPECT_EQ(sys::close(fd), 0);
}

}  // namespace
}  // namespace magpie::tests::sim_network_test
