/// Helpers to drive a simulated network, or the kernel's, by hand through the same calls.
///
/// A test that uses `socket_world` says what Linux does and runs twice: over the kernel's loopback
/// and over the simulation, so that the simulation cannot drift away from what it stands for.
#pragma once

#include <magpie/runtime/reactor.hpp>
#include <magpie/runtime/sim_network.hpp>
#include <magpie/runtime/sys.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <string_view>

namespace magpie::tests {

inline sockaddr_in v4_address(std::uint16_t port, std::uint32_t host = INADDR_LOOPBACK) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(host);
  return address;
}

inline sockaddr_in6 v6_address(std::uint16_t port, const in6_addr& host = in6addr_loopback) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  address.sin6_addr = host;
  return address;
}

template <class Address>
const sockaddr* raw(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

template <class Address>
sockaddr* raw(Address& address) {
  return reinterpret_cast<sockaddr*>(&address);
}

/// Lets everything arrive that is under way, for as long as `limit_ns` of virtual time.
inline void settle(sim_network& network, std::uint64_t limit_ns = sim_network::never) {
  while (network.next_event_ns() != sim_network::never && network.next_event_ns() <= limit_ns) {
    network.advance_to(network.next_event_ns());
    network.check_invariants();
  }
}

/// Sockets of the kernel or of a simulation, through `sys::`.
class socket_world {
 public:
  explicit socket_world(bool simulated, const sim_options& options = sim_options(1)) {
    if (simulated) network = std::make_unique<sim_network>(options);
    before_ = sys::set_current_network(network.get());
  }
  socket_world(const socket_world&) = delete;
  socket_world& operator=(const socket_world&) = delete;
  ~socket_world() { sys::set_current_network(before_); }

  /// Waits until `fd` is ready in that direction; false when that does not happen.
  bool wait(int fd, direction way) const {
    if (network != nullptr) {
      settle(*network);
      return network->ready(fd, way);
    }
    pollfd entry{
        .fd = fd, .events = way == direction::read ? short{POLLIN} : short{POLLOUT}, .revents = 0};
    return ::poll(&entry, 1, 2000) == 1;
  }

  std::unique_ptr<sim_network> network;  ///< Null: the kernel.

 private:
  sys::network* before_;
};

inline std::uint16_t port_of(int fd) {
  sockaddr_in6 address{};
  socklen_t size = sizeof address;
  EXPECT_EQ(sys::getsockname(fd, raw(address), &size), 0);
  return ntohs(address.sin6_port);  // at the same place in both families
}

inline int listen_at(const sockaddr_in& address, int backlog = 16) {
  const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_GE(fd, 0);
  EXPECT_EQ(sys::bind(fd, raw(address), sizeof address), 0);
  EXPECT_EQ(sys::listen(fd, backlog), 0);
  return fd;
}

inline int connect_to(std::uint16_t port) {
  const int fd = sys::socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = v4_address(port);
  EXPECT_EQ(sys::connect(fd, raw(address), sizeof address), -EINPROGRESS);
  return fd;
}

inline int option_of(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(sys::getsockopt(fd, level, name, &value, &size), 0);
  return value;
}

inline int set_option(int fd, int level, int name, int value) {
  return sys::setsockopt(fd, level, name, &value, sizeof value);
}

inline ssize_t send_text(int fd, std::string_view text) {
  return sys::send(fd, text.data(), text.size(), 0);
}

/// What one recv gives: the text, or "end", or the name of the error.
inline std::string receive_text(int fd, std::size_t most = 1000, int flags = 0) {
  std::string text(most, '\0');
  const ssize_t count = sys::recv(fd, text.data(), most, flags);
  if (count == 0) return "end";
  if (count < 0) return ::strerrorname_np(static_cast<int>(-count));
  text.resize(static_cast<std::size_t>(count));
  return text;
}

/// A listener and one connection through it.
struct connection {
  explicit connection(const socket_world& world) : listener(listen_at(v4_address(0))) {
    client = connect_to(port_of(listener));
    EXPECT_TRUE(world.wait(listener, direction::read));
    server = sys::accept(listener, nullptr, nullptr);
    EXPECT_GE(server, 0);
    EXPECT_TRUE(world.wait(client, direction::write));
    EXPECT_EQ(option_of(client, SOL_SOCKET, SO_ERROR), 0);
  }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;
  ~connection() {
    for (const int fd : {listener, client, server}) {
      if (fd >= 0) sys::close(fd);
    }
  }

  /// Closes one of the three now.
  static void close(int& fd) {
    EXPECT_EQ(sys::close(fd), 0);
    fd = -1;
  }

  int listener = -1;
  int client = -1;
  int server = -1;
};

}  // namespace magpie::tests
