// One simulated socket: its options and its bytes.
#include <magpie/runtime/sim_socket.hpp>
#include <magpie/tests/runtime/sim_driver.hpp>

#include <netinet/tcp.h>

namespace magpie::tests::sim_socket_test {
namespace {

TEST(sim_bytes, first_in_first_out) {
  sim_bytes bytes;
  EXPECT_TRUE(bytes.empty());
  unsigned put = 0;
  unsigned taken = 0;
  for (int round = 0; round < 1000; ++round) {
    for (int i = 0; i < round % 7; ++i) {
      const auto next = static_cast<std::byte>(put++ & 0xff);
      bytes.append(&next, 1);
    }
    for (int i = 0; i < round % 5 && !bytes.empty(); ++i) {
      EXPECT_EQ(*bytes.data(), static_cast<std::byte>(taken++ & 0xff));
      bytes.drop(1);
    }
    ASSERT_EQ(bytes.size(), put - taken);
  }
  bytes.clear();
  EXPECT_TRUE(bytes.empty());
}

TEST(sim_socket, keeps_options) {
  const socket_world world(true);
  const int fd = sys::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  EXPECT_EQ(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1), 0);
  EXPECT_EQ(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1), 0);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_DOMAIN), AF_INET);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_SNDBUF), 64 * 1024);
  EXPECT_EQ(set_option(fd, SOL_SOCKET, SO_SNDBUF, 1000), 0);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_SNDBUF), 1000);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_RCVBUF), 64 * 1024);
  EXPECT_EQ(set_option(fd, SOL_SOCKET, SO_RCVBUF, -1), 0);
  EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_RCVBUF), 1);
}

TEST(sim_socket, keeps_the_linger_time) {
  const socket_world world(true);
  const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
  const struct linger wanted = {.l_onoff = 1, .l_linger = 7};
  EXPECT_EQ(sys::setsockopt(fd, SOL_SOCKET, SO_LINGER, &wanted, sizeof wanted), 0);
  struct linger kept = {};
  socklen_t size = sizeof kept;
  EXPECT_EQ(sys::getsockopt(fd, SOL_SOCKET, SO_LINGER, &kept, &size), 0);
  EXPECT_EQ(kept.l_onoff, 1);
  EXPECT_EQ(kept.l_linger, 7);
  EXPECT_EQ(sys::setsockopt(fd, SOL_SOCKET, SO_LINGER, &wanted, 1), -EINVAL);
}

TEST(sim_socket, refuses_options_that_it_does_not_know) {
  const socket_world world(true);
  const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
  int value = 0;
  socklen_t size = sizeof value;
  EXPECT_EQ(set_option(fd, SOL_SOCKET, SO_PEEK_OFF, 1), -ENOPROTOOPT);
  EXPECT_EQ(set_option(fd, IPPROTO_TCP, TCP_INFO, 1), -ENOPROTOOPT);
  EXPECT_EQ(sys::getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &value, &size), -ENOPROTOOPT);
  EXPECT_EQ(sys::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &value, &size), -ENOPROTOOPT);
  EXPECT_EQ(sys::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, nullptr, 4), -EFAULT);
  EXPECT_EQ(sys::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, 1), -EINVAL);
  EXPECT_EQ(sys::getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, nullptr, &size), -EFAULT);
  EXPECT_EQ(sys::getsockopt(fd + 1, SOL_SOCKET, SO_KEEPALIVE, &value, &size), -EBADF);
  size = 1;
  EXPECT_EQ(sys::getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size), 0);
  EXPECT_EQ(size, 1U);  // cut to the room that there is
}

TEST(sim_socket, refuses_flags_that_it_does_not_know) {
  const socket_world world(true);
  const connection pair(world);
  char byte = 0;
  EXPECT_EQ(sys::recv(pair.client, &byte, 1, MSG_OOB), -EOPNOTSUPP);
  EXPECT_EQ(sys::send(pair.client, &byte, 1, MSG_OOB), -EOPNOTSUPP);
  EXPECT_EQ(sys::send(pair.client, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT), 1);
}

}  // namespace
}  // namespace magpie::tests::sim_socket_test
