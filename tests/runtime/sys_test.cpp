#include <magpie/runtime/sys.hpp>
#include <magpie/util/unique_fd.hpp>

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace magpie::tests::sys_test {
namespace {

bool is_non_blocking_and_cloexec(int fd) {
  return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 && (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

sockaddr_in loopback() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

TEST(sys, kernel_sockets_from_listen_to_close) {
  sockaddr_in address = loopback();
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  const int listener = sys::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_GE(listener, 0);
  EXPECT_TRUE(is_non_blocking_and_cloexec(listener));
  const int one = 1;
  EXPECT_EQ(sys::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
  EXPECT_EQ(sys::bind(listener, generic, size), 0);
  EXPECT_EQ(sys::listen(listener, 8), 0);
  EXPECT_EQ(sys::getsockname(listener, generic, &size), 0);
  EXPECT_EQ(sys::accept(listener, nullptr, nullptr), -EAGAIN);

  const int client = sys::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_GE(client, 0);
  const int connected = sys::connect(client, generic, size);
  EXPECT_TRUE(connected == 0 || connected == -EINPROGRESS) << connected;
  int server = -EAGAIN;
  while (server == -EAGAIN) server = sys::accept(listener, nullptr, nullptr);
  ASSERT_GE(server, 0);
  EXPECT_TRUE(is_non_blocking_and_cloexec(server));
  int error = -1;
  socklen_t error_size = sizeof error;
  EXPECT_EQ(sys::getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &error_size), 0);
  EXPECT_EQ(error, 0);
  sockaddr_in peer{};
  size = sizeof peer;
  EXPECT_EQ(sys::getpeername(client, reinterpret_cast<sockaddr*>(&peer), &size), 0);
  EXPECT_EQ(peer.sin_port, address.sin_port);

  char bytes[8];
  EXPECT_EQ(sys::recv(server, bytes, sizeof bytes, 0), -EAGAIN);
  EXPECT_EQ(sys::send(client, "magpie", 6, 0), 6);
  ssize_t count = -EAGAIN;
  while (count == -EAGAIN) count = sys::recv(server, bytes, sizeof bytes, 0);
  EXPECT_EQ(count, 6);
  EXPECT_EQ(sys::shutdown(client, SHUT_WR), 0);
  do count = sys::recv(server, bytes, sizeof bytes, 0);
  while (count == -EAGAIN);
  EXPECT_EQ(count, 0);
  for (const int fd : {listener, client, server}) EXPECT_EQ(sys::close(fd), 0);
  EXPECT_EQ(sys::close(client), -EBADF);
}

TEST(sys, nothing_blocks_even_on_a_blocking_descriptor) {
  int both[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both), 0);
  const unique_fd near(both[0]);
  const unique_fd far(both[1]);
  char block[4096] = {};
  EXPECT_EQ(sys::recv(near.get(), block, sizeof block, 0), -EAGAIN);
  ssize_t count = 0;
  while (count >= 0) count = sys::send(near.get(), block, sizeof block, 0);
  EXPECT_EQ(count, -EAGAIN);
}

TEST(sys, send_raises_no_signal) {
  int both[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both), 0);
  const unique_fd near(both[0]);
  ::close(both[1]);
  struct sigaction deadly = {};
  struct sigaction before = {};
  deadly.sa_handler = SIG_DFL;
  ASSERT_EQ(::sigaction(SIGPIPE, &deadly, &before), 0);
  EXPECT_EQ(sys::send(near.get(), "x", 1, 0), -EPIPE);
  ASSERT_EQ(::sigaction(SIGPIPE, &before, nullptr), 0);
}

/// Answers every call with a number of its own.
class numbered_network final : public sys::network {
 public:
  int socket(int, int, int) noexcept override { return sys::sim_fd_base; }
  int bind(int fd, const sockaddr*, socklen_t) noexcept override { return seen(fd, 1); }
  int listen(int fd, int) noexcept override { return seen(fd, 2); }
  int accept(int fd, sockaddr*, socklen_t*) noexcept override { return seen(fd, 3); }
  int connect(int fd, const sockaddr*, socklen_t) noexcept override { return seen(fd, 4); }
  int shutdown(int fd, int) noexcept override { return seen(fd, 5); }
  int close(int fd) noexcept override { return seen(fd, 6); }
  ssize_t recv(int fd, void*, std::size_t, int) noexcept override { return seen(fd, 7); }
  ssize_t send(int fd, const void*, std::size_t, int) noexcept override { return seen(fd, 8); }
  int getsockname(int fd, sockaddr*, socklen_t*) noexcept override { return seen(fd, 9); }
  int getpeername(int fd, sockaddr*, socklen_t*) noexcept override { return seen(fd, 10); }
  int setsockopt(int fd, int, int, const void*, socklen_t) noexcept override {
    return seen(fd, 11);
  }
  int getsockopt(int fd, int, int, void*, socklen_t*) noexcept override { return seen(fd, 12); }

  int last = -1;

 private:
  int seen(int fd, int number) noexcept {
    last = fd;
    return number;
  }
};

TEST(sys, simulated_descriptors_go_to_the_current_network) {
  numbered_network network;
  EXPECT_EQ(sys::set_current_network(&network), nullptr);
  const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(fd, sys::sim_fd_base);
  EXPECT_EQ(sys::bind(fd, nullptr, 0), 1);
  EXPECT_EQ(sys::listen(fd, 0), 2);
  EXPECT_EQ(sys::accept(fd, nullptr, nullptr), 3);
  EXPECT_EQ(sys::connect(fd, nullptr, 0), 4);
  EXPECT_EQ(sys::shutdown(fd, 0), 5);
  EXPECT_EQ(sys::close(fd), 6);
  EXPECT_EQ(sys::recv(fd + 1, nullptr, 0, 0), 7);
  EXPECT_EQ(network.last, fd + 1);
  EXPECT_EQ(sys::send(fd, nullptr, 0, 0), 8);
  EXPECT_EQ(sys::getsockname(fd, nullptr, nullptr), 9);
  EXPECT_EQ(sys::getpeername(fd, nullptr, nullptr), 10);
  EXPECT_EQ(sys::setsockopt(fd, 0, 0, nullptr, 0), 11);
  EXPECT_EQ(sys::getsockopt(fd, 0, 0, nullptr, nullptr), 12);

  // What the kernel gave stays the kernel's.
  int both[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both), 0);
  EXPECT_EQ(sys::send(both[0], "x", 1, 0), 1);
  EXPECT_EQ(sys::close(both[0]), 0);
  EXPECT_EQ(sys::close(both[1]), 0);
  EXPECT_EQ(sys::set_current_network(nullptr), &network);
}

TEST(sys, simulated_descriptor_outside_of_its_simulation) {
  const int fd = sys::sim_fd_base + 5;
  EXPECT_EQ(sys::recv(fd, nullptr, 0, 0), -EBADF);
  EXPECT_EQ(sys::shutdown(fd, SHUT_RDWR), -EBADF);
  EXPECT_EQ(sys::close(fd), 0);
}

}  // namespace
}  // namespace magpie::tests::sys_test
