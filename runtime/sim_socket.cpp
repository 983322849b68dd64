#include <magpie/runtime/sim_socket.hpp>

#include <magpie/util/assert.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>

namespace magpie {

namespace {

constexpr int buffer_option_max = 64 * 1024 * 1024;

/// Options that are kept and given back but change nothing, and those that are read elsewhere.
constexpr std::array<std::pair<int, int>, 15> kept_options{{
    {SOL_SOCKET, SO_REUSEADDR},
    {SOL_SOCKET, SO_REUSEPORT},
    {SOL_SOCKET, SO_KEEPALIVE},
    {SOL_SOCKET, SO_PRIORITY},
    {IPPROTO_TCP, TCP_NODELAY},
    {IPPROTO_TCP, TCP_CORK},
    {IPPROTO_TCP, TCP_KEEPIDLE},
    {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT},
    {IPPROTO_TCP, TCP_QUICKACK},
    {IPPROTO_TCP, TCP_USER_TIMEOUT},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {IPPROTO_IP, IP_TOS},
    {IPPROTO_IP, IP_TTL},
    {IPPROTO_IPV6, IPV6_V6ONLY},
}};

bool is_kept(int level, int option) noexcept {
  return std::ranges::find(kept_options, std::pair(level, option)) != kept_options.end();
}

void copy_out(const void* from, socklen_t full, void* value, socklen_t* size) noexcept {
  *size = std::min(*size, full);
  std::memcpy(value, from, *size);
}

}  // namespace

void sim_bytes::drop(std::size_t count) noexcept {
  MAGPIE_ASSERT(count <= size());
  begin_ += count;
  if (begin_ < bytes_.size() - begin_) return;  // moving the rest would cost more than it frees
  bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_));
  begin_ = 0;
}

int sim_socket::kept_option(int level, int name) const noexcept {
  const auto found = kept.find({level, name});
  return found == kept.end() ? 0 : found->second;
}

std::size_t sim_socket::send_room() const noexcept {
  const std::size_t used = unsent.size() + in_flight;
  return used < send_max ? send_max - used : 0;
}

bool sim_socket::ready(direction way) const noexcept {
  switch (now) {
    case condition::fresh:
    case condition::closed:
      return true;  // as epoll: hung up
    case condition::listening:
      return way == direction::read && !accept_queue.empty();
    case condition::connecting:
      return false;
    case condition::connected:
      break;
  }
  if (way == direction::read) return !received.empty() || fin_received || read_shut;
  return send_room() > 0 || write_shut;
}

void sim_socket::signal() noexcept {
  for (const direction way : {direction::read, direction::write}) {
    held_wait& held = waits[static_cast<std::size_t>(way)];
    if (held.op == nullptr || !ready(way)) continue;
    const held_wait wait = std::exchange(held, {});
    wait.by->socket_ready(*wait.op);
  }
}

int sim_socket::set_option(int level, int option, const void* value, socklen_t size) {
  if (value == nullptr) return -EFAULT;
  if (level == SOL_SOCKET && option == SO_LINGER) {
    struct linger given;
    if (size < sizeof given) return -EINVAL;
    std::memcpy(&given, value, sizeof given);
    linger_on = given.l_onoff != 0;
    linger_seconds = given.l_linger;
    return 0;
  }
  int number = 0;
  if (size < sizeof number) return -EINVAL;
  std::memcpy(&number, value, sizeof number);
  if (level == SOL_SOCKET && (option == SO_SNDBUF || option == SO_RCVBUF)) {
    const auto bytes = static_cast<std::size_t>(std::clamp(number, 1, buffer_option_max));
    (option == SO_SNDBUF ? send_max : receive_max) = bytes;
    return 0;
  }
  if (!is_kept(level, option)) return -ENOPROTOOPT;
  if (level == IPPROTO_IPV6 && local.port != 0) return -EINVAL;  // too late for V6ONLY
  kept[{level, option}] = number;
  return 0;
}

int sim_socket::get_option(int level, int option, void* value, socklen_t* size) noexcept {
  if (value == nullptr || size == nullptr) return -EFAULT;
  if (level == SOL_SOCKET && option == SO_LINGER) {
    const struct linger set = {.l_onoff = linger_on, .l_linger = linger_seconds};
    copy_out(&set, sizeof set, value, size);
    return 0;
  }
  const bool kept_only = is_kept(level, option);
  if (!kept_only && level != SOL_SOCKET) return -ENOPROTOOPT;
  int number = 0;
  switch (kept_only ? -1 : option) {
    case -1:
      number = kept_option(level, option);
      break;
    case SO_ERROR:
      number = take_error();
      break;
    case SO_SNDBUF:
      number = static_cast<int>(send_max);
      break;
    case SO_RCVBUF:
      number = static_cast<int>(receive_max);
      break;
    case SO_TYPE:
      number = SOCK_STREAM;
      break;
    case SO_DOMAIN:
      number = family;
      break;
    case SO_PROTOCOL:
      number = IPPROTO_TCP;
      break;
    case SO_ACCEPTCONN:
      number = is(condition::listening);
      break;
    default:
      return -ENOPROTOOPT;
  }
  copy_out(&number, sizeof number, value, size);
  return 0;
}

}  // namespace magpie
