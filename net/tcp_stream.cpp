#include <magpie/net/tcp_stream.hpp>

#include <magpie/util/errc.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>

namespace magpie::net {

namespace detail {

constinit thread_local bool hot_buffer_lent = false;

int leased_read_operation::receive() noexcept {
  auto& here = magpie::detail::this_context();
  MAGPIE_ASSERT(!hot_buffer_lent &&
                "a lease is still out on this worker: a task kept one across a suspension");
  const ssize_t got = sys::recv(fd(), here.hot_buffer, magpie::detail::hot_buffer_size, 0);
  if (got < 0) return static_cast<int>(-got);
  count_ = static_cast<std::size_t>(got);
  half().likely = count_ == magpie::detail::hot_buffer_size || count_ == 0;
  return 0;
}

int leased_read_operation::look() noexcept {
  std::byte first;
  const ssize_t got = sys::recv(fd(), &first, 1, MSG_PEEK);
  if (got < 0) return static_cast<int>(-got);
  fetch_ = got != 0;
  half().likely = true;
  return 0;
}

lease leased_read_operation::value() noexcept {
  if (fetch_) {
    fetch_ = false;
    const int error = receive();
    // One reader, and what was looked at stays: a reset does not take received bytes back.
    MAGPIE_ASSERT(error == 0 && count_ != 0);
  }
  if (count_ == 0) return lease();
  return lease(magpie::detail::this_context(), count_);
}

connect_operation::connect_operation(const socket_address& peer,
                                     const connect_options& options) noexcept
    : socket_operation(stream_, direction::write), peer_(peer), error_(prepare_socket(options)) {}

int connect_operation::prepare_socket(const connect_options& options) noexcept {
  const int fd = sys::socket(peer_.ip().is_v4() ? AF_INET : AF_INET6, SOCK_STREAM, 0);
  if (fd < 0) return -fd;
  stream_ = tcp_stream(fd);
  result<void> set;
  if (options.nodelay) set = stream_.set_nodelay(true);
  if (set && options.send_buffer_size > 0)
    set = stream_.set_send_buffer_size(options.send_buffer_size);
  if (set && options.receive_buffer_size > 0)
    set = stream_.set_receive_buffer_size(options.receive_buffer_size);
  if (!set) return set.error().value();
  if (!options.local) return 0;
  sockaddr_storage storage;
  const socklen_t size = options.local->to_sockaddr(storage);
  return -sys::bind(fd, reinterpret_cast<const sockaddr*>(&storage), size);
}

int connect_operation::transfer() noexcept {
  if (error_ != 0) return error_;
  return begun_ ? finish_connect() : begin_connect();
}

int connect_operation::begin_connect() noexcept {
  begun_ = true;
  sockaddr_storage storage;
  const socklen_t size = peer_.to_sockaddr(storage);
  const int failed = -sys::connect(fd(), reinterpret_cast<const sockaddr*>(&storage), size);
  if (failed == EINPROGRESS || failed == EINTR) return EAGAIN;
  return failed != 0 ? failed : finish_connect();
}

int connect_operation::finish_connect() noexcept {
  const auto error = stream_.option(SOL_SOCKET, SO_ERROR);
  if (!error) return error.error().value();
  if (*error != 0) return *error;
  const auto peer = stream_.peer_address();
  if (!peer) {
    const int reason = peer.error().value();
    return reason == ENOTCONN ? EAGAIN : reason;  // the wait ended for nothing
  }
  // A connection to a port that nobody listens on, but which the kernel gave to this very socket
  // as its own, connects to itself.  Nobody wants that, and it keeps the server from its port.
  const auto local = stream_.local_address();
  if (local && *local == *peer) return ECONNREFUSED;
  stream_.write_.likely = true;
  return 0;
}

}  // namespace detail

result<std::size_t> tcp_stream::try_read(std::span<std::byte> into) noexcept {
  detail::read_operation reading(*this, into);
  if (const int error = reading.attempt(); error != 0) return std::unexpected(errno_code(error));
  return reading.value();
}

result<std::size_t> tcp_stream::try_write(std::span<const std::byte> from) noexcept {
  detail::write_operation writing(*this, from);
  if (const int error = writing.attempt(); error != 0) return std::unexpected(errno_code(error));
  return writing.value();
}

namespace {

result<void> shut_down(int fd, int how) noexcept {
  if (fd < 0) return std::unexpected(errno_code(EBADF));
  const int failed = sys::shutdown(fd, how);
  if (failed < 0) return std::unexpected(errno_code(-failed));
  return {};
}

result<bool> as_flag(const result<int>& value) noexcept {
  if (!value) return std::unexpected(value.error());
  return *value != 0;
}

/// The kernel takes ints; what does not fit is refused rather than wrapped.
int seconds_option(std::chrono::seconds time) noexcept {
  return static_cast<int>(std::clamp<std::chrono::seconds::rep>(time.count(), -1, 1 << 30));
}

}  // namespace

result<void> tcp_stream::shutdown_write() noexcept { return shut_down(io_.fd, SHUT_WR); }

result<void> tcp_stream::shutdown() noexcept { return shut_down(io_.fd, SHUT_RDWR); }

result<void> tcp_stream::set_nodelay(bool on) noexcept {
  return set_option(IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
}

result<bool> tcp_stream::nodelay() const noexcept {
  return as_flag(option(IPPROTO_TCP, TCP_NODELAY));
}

result<void> tcp_stream::set_keepalive(bool on) noexcept {
  return set_option(SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
}

result<void> tcp_stream::set_keepalive(const keepalive_options& when) noexcept {
  auto set = set_option(IPPROTO_TCP, TCP_KEEPIDLE, seconds_option(when.idle));
  if (set) set = set_option(IPPROTO_TCP, TCP_KEEPINTVL, seconds_option(when.interval));
  if (set) set = set_option(IPPROTO_TCP, TCP_KEEPCNT, when.count);
  if (set) set = set_keepalive(true);
  return set;
}

result<bool> tcp_stream::keepalive() const noexcept {
  return as_flag(option(SOL_SOCKET, SO_KEEPALIVE));
}

result<void> tcp_stream::set_zero_linger(bool on) noexcept {
  if (!is_open()) return std::unexpected(errno_code(EBADF));
  const linger value{.l_onoff = on ? 1 : 0, .l_linger = 0};
  const int failed = sys::setsockopt(io_.fd, SOL_SOCKET, SO_LINGER, &value, sizeof value);
  if (failed < 0) return std::unexpected(errno_code(-failed));
  return {};
}

result<bool> tcp_stream::zero_linger() const noexcept {
  if (!is_open()) return std::unexpected(errno_code(EBADF));
  linger value{};
  socklen_t size = sizeof value;
  const int failed = sys::getsockopt(io_.fd, SOL_SOCKET, SO_LINGER, &value, &size);
  if (failed < 0) return std::unexpected(errno_code(-failed));
  return value.l_onoff != 0 && value.l_linger == 0;
}

}  // namespace magpie::net
