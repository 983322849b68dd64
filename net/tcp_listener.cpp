#include <magpie/net/tcp_listener.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/util/errc.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>

namespace magpie::net {

namespace detail {
namespace {

/// What an accept that failed means for the listener.
enum class meaning : std::uint8_t { nothing_there, connection_gone, shortage, broken };

meaning meaning_of(int error) noexcept {
  switch (error) {
    case EAGAIN:
      return meaning::nothing_there;
    // Linux passes on what had happened to the connection before it was accepted.
    case ECONNABORTED:
    case ECONNRESET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EINTR:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EPERM:  // a firewall's rule
    case EPROTO:
    case ETIMEDOUT:
      return meaning::connection_gone;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return meaning::shortage;
    default:
      return meaning::broken;
  }
}

}  // namespace

int accept_operation::transfer() noexcept {
  half().likely = true;  // as long as the queue was not seen empty
  for (int skipped = 0; skipped < skipped_max; ++skipped) {
    const int accepted = sys::accept(fd(), nullptr, nullptr);
    if (accepted >= 0) {
      outcome_ = accepted;
      return 0;
    }
    switch (meaning_of(-accepted)) {
      case meaning::nothing_there:
        return EAGAIN;
      case meaning::connection_gone:
        break;
      case meaning::shortage:
        outcome_ = accepted;
        return 0;
      case meaning::broken:
        return -accepted;
    }
  }
  outcome_ = only_dead;
  return 0;
}

}  // namespace detail

result<tcp_listener> tcp_listener::bind(const socket_address& at,
                                        const listen_options& options) noexcept {
  const bool v6 = at.ip().is_v6();
  const int fd = sys::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return std::unexpected(errno_code(-fd));
  tcp_listener made(fd);
  result<void> set;
  if (options.nodelay) set = made.set_option(IPPROTO_TCP, TCP_NODELAY, 1);
  if (set && options.reuse_address) set = made.set_option(SOL_SOCKET, SO_REUSEADDR, 1);
  if (set && options.reuse_port) set = made.set_option(SOL_SOCKET, SO_REUSEPORT, 1);
  if (set && v6) set = made.set_option(IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0);
  if (!set) return std::unexpected(set.error());
  sockaddr_storage storage;
  const socklen_t size = at.to_sockaddr(storage);
  int failed = sys::bind(fd, reinterpret_cast<const sockaddr*>(&storage), size);
  if (failed == 0) failed = sys::listen(fd, options.backlog);
  if (failed < 0) return std::unexpected(errno_code(-failed));
  return made;
}

result<tcp_listener> tcp_listener::bind(std::string_view at,
                                        const listen_options& options) noexcept {
  const auto address = socket_address::parse(at);
  if (!address) return std::unexpected(address.error());
  return bind(*address, options);
}

task<tcp_stream> tcp_listener::accept() {
  auto pause = backoff_min;
  for (;;) {
    const int accepted = co_await detail::accept_operation(*this);
    if (accepted >= 0) co_return tcp_stream(accepted);
    if (accepted != detail::accept_operation::only_dead) {
      co_await sleep_for(pause);
      pause = std::min(pause * 2, backoff_max);
    }
  }
}

}  // namespace magpie::net
