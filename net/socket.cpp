#include <magpie/net/socket.hpp>

#include <magpie/runtime/descriptor.hpp>
#include <magpie/runtime/sys.hpp>
#include <magpie/util/errc.hpp>

namespace magpie::net {
namespace {

using name_function = int (*)(int, sockaddr*, socklen_t*) noexcept;

result<socket_address> ask(name_function name, int fd) noexcept {
  if (fd < 0) return std::unexpected(errno_code(EBADF));
  sockaddr_storage storage;
  socklen_t size = sizeof storage;
  const int failed = name(fd, reinterpret_cast<sockaddr*>(&storage), &size);
  if (failed < 0) return std::unexpected(errno_code(-failed));
  return socket_address::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), size);
}

}  // namespace

result<socket_address> socket::local_address() const noexcept {
  return ask(&sys::getsockname, io_.fd);
}

result<socket_address> socket::peer_address() const noexcept {
  return ask(&sys::getpeername, io_.fd);
}

result<void> socket::set_option(int level, int name, int value) noexcept {
  if (!is_open()) return std::unexpected(errno_code(EBADF));
  const int failed = sys::setsockopt(io_.fd, level, name, &value, sizeof value);
  if (failed < 0) return std::unexpected(errno_code(-failed));
  return {};
}

result<int> socket::option(int level, int name) const noexcept {
  if (!is_open()) return std::unexpected(errno_code(EBADF));
  int value = 0;
  socklen_t size = sizeof value;
  const int failed = sys::getsockopt(io_.fd, level, name, &value, &size);
  if (failed < 0) return std::unexpected(errno_code(-failed));
  return value;
}

result<void> socket::set_send_buffer_size(int bytes) noexcept {
  if (bytes <= 0) return std::unexpected(errno_code(EINVAL));
  return set_option(SOL_SOCKET, SO_SNDBUF, bytes);
}

result<void> socket::set_receive_buffer_size(int bytes) noexcept {
  if (bytes <= 0) return std::unexpected(errno_code(EINVAL));
  return set_option(SOL_SOCKET, SO_RCVBUF, bytes);
}

result<int> socket::send_buffer_size() const noexcept { return option(SOL_SOCKET, SO_SNDBUF); }

result<int> socket::receive_buffer_size() const noexcept { return option(SOL_SOCKET, SO_RCVBUF); }

void socket::close() noexcept {
  if (!is_open()) return;
  MAGPIE_ASSERT(read_.idle() && write_.idle() &&
                "a socket was closed while an operation is pending on it");
  magpie::detail::forget_descriptor(io_);
  // The number is free whatever close reports, and a second close could hit somebody else's.
  static_cast<void>(sys::close(io_.fd));
  io_ = descriptor();
  read_ = half();
  write_ = half();
}

}  // namespace magpie::net
