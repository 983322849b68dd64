#include <magpie/runtime/sys.hpp>

#include <unistd.h>

#include <cerrno>

namespace magpie::sys {
namespace {

constinit thread_local network* current_network = nullptr;

/// The result of a libc call as the raw system call gives it.
template <class Call>
auto retried(Call call) noexcept -> decltype(call()) {
  for (;;) {
    const auto status = call();
    if (status >= 0) return status;
    if (errno != EINTR) return -errno;
  }
}

/// Does `call` in the kernel, or `simulated` in the current thread's network.  A simulated
/// descriptor means nothing outside of its simulation.
template <class Call, class Simulated>
auto dispatch(int fd, Call call, Simulated simulated) noexcept -> decltype(call()) {
  if (fd < sim_fd_base) [[likely]]
    return retried(call);
  network* here = current_network;
  return here == nullptr ? -EBADF : simulated(*here);
}

}  // namespace

network* set_current_network(network* simulated) noexcept {
  network* before = current_network;
  current_network = simulated;
  return before;
}

int socket(int domain, int type, int protocol) noexcept {
  if (network* here = current_network) return here->socket(domain, type, protocol);
  return retried([&] { return ::socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol); });
}

int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
  return dispatch(
      fd, [&] { return ::bind(fd, address, size); },
      [&](network& here) { return here.bind(fd, address, size); });
}

int listen(int fd, int backlog) noexcept {
  return dispatch(
      fd, [&] { return ::listen(fd, backlog); },
      [&](network& here) { return here.listen(fd, backlog); });
}

int accept(int fd, sockaddr* address, socklen_t* size) noexcept {
  return dispatch(
      fd, [&] { return ::accept4(fd, address, size, SOCK_NONBLOCK | SOCK_CLOEXEC); },
      [&](network& here) { return here.accept(fd, address, size); });
}

int connect(int fd, const sockaddr* address, socklen_t size) noexcept {
  // An interrupted connect goes on by itself: what a second call says of it is EALREADY.
  bool interrupted = false;
  const auto call = [&] {
    const int status = ::connect(fd, address, size);
    if (status < 0 && errno == EALREADY && interrupted) errno = EINPROGRESS;
    if (status < 0 && errno == EINTR) interrupted = true;
    return status;
  };
  return dispatch(fd, call, [&](network& here) { return here.connect(fd, address, size); });
}

int shutdown(int fd, int how) noexcept {
  return dispatch(
      fd, [&] { return ::shutdown(fd, how); },
      [&](network& here) { return here.shutdown(fd, how); });
}

int close(int fd) noexcept {
  if (fd >= sim_fd_base) [[unlikely]] {
    // A socket may outlive its simulation; the network that it was part of is gone then.
    network* here = current_network;
    return here == nullptr ? 0 : here->close(fd);
  }
  // Not retried: Linux has freed the number when close reports EINTR.
  return ::close(fd) == 0 || errno == EINTR ? 0 : -errno;
}

ssize_t recv(int fd, void* into, std::size_t size, int flags) noexcept {
  return dispatch(
      fd, [&] { return ::recv(fd, into, size, flags | MSG_DONTWAIT); },
      [&](network& here) { return here.recv(fd, into, size, flags); });
}

ssize_t send(int fd, const void* from, std::size_t size, int flags) noexcept {
  return dispatch(
      fd, [&] { return ::send(fd, from, size, flags | MSG_DONTWAIT | MSG_NOSIGNAL); },
      [&](network& here) { return here.send(fd, from, size, flags); });
}

int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept {
  return dispatch(
      fd, [&] { return ::getsockname(fd, address, size); },
      [&](network& here) { return here.getsockname(fd, address, size); });
}

int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept {
  return dispatch(
      fd, [&] { return ::getpeername(fd, address, size); },
      [&](network& here) { return here.getpeername(fd, address, size); });
}

int setsockopt(int fd, int level, int option, const void* value, socklen_t size) noexcept {
  return dispatch(
      fd, [&] { return ::setsockopt(fd, level, option, value, size); },
      [&](network& here) { return here.setsockopt(fd, level, option, value, size); });
}

int getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept {
  return dispatch(
      fd, [&] { return ::getsockopt(fd, level, option, value, size); },
      [&](network& here) { return here.getsockopt(fd, level, option, value, size); });
}

}  // namespace magpie::sys
