#include <magpie/runtime/sim_address.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>

namespace magpie {

namespace {

constexpr std::array<std::uint8_t, 12> mapped_prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

sim_address mapped(std::uint32_t network_order) noexcept {
  sim_address result;
  std::ranges::copy(mapped_prefix, result.bytes.begin());
  std::memcpy(result.bytes.data() + mapped_prefix.size(), &network_order, sizeof network_order);
  return result;
}

}  // namespace

bool sim_address::is_v4() const noexcept {
  return std::equal(mapped_prefix.begin(), mapped_prefix.end(), bytes.begin());
}

bool sim_address::is_any() const noexcept {
  const auto begin = bytes.begin() + (is_v4() ? mapped_prefix.size() : 0);
  return std::all_of(begin, bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

sim_address sim_address::any(int family) noexcept {
  return family == AF_INET ? mapped(0) : sim_address{};
}

sim_address sim_address::loopback(bool v4) noexcept {
  if (v4) return mapped(htonl(INADDR_LOOPBACK));
  sim_address result;
  result.bytes.back() = 1;
  return result;
}

int read_address(int family, const sockaddr* from, socklen_t size, sim_address& into) noexcept {
  if (from == nullptr) return -EFAULT;
  const socklen_t needed = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  if (size < sizeof(sa_family_t)) return -EINVAL;
  if (from->sa_family != family) return -EAFNOSUPPORT;
  if (size < needed) return -EINVAL;
  if (family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, from, sizeof v4);
    into = mapped(v4.sin_addr.s_addr);
    into.port = ntohs(v4.sin_port);
  } else {
    sockaddr_in6 v6;
    std::memcpy(&v6, from, sizeof v6);
    std::memcpy(into.bytes.data(), &v6.sin6_addr, into.bytes.size());
    into.port = ntohs(v6.sin6_port);
  }
  return 0;
}

void write_address(int family, const sim_address& from, sockaddr* into, socklen_t* size) noexcept {
  if (into == nullptr || size == nullptr) return;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  const void* whole = &v6;
  socklen_t full = sizeof v6;
  if (family == AF_INET) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(from.port);
    std::memcpy(&v4.sin_addr, from.bytes.data() + mapped_prefix.size(), sizeof v4.sin_addr);
    whole = &v4;
    full = sizeof v4;
  } else {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(from.port);
    std::memcpy(&v6.sin6_addr, from.bytes.data(), from.bytes.size());
  }
  std::memcpy(into, whole, std::min(*size, full));
  *size = full;
}

bool covers(const sim_address& local, bool only_v6, const sim_address& to) noexcept {
  if (local.same_host(to)) return true;
  if (!local.is_any()) return false;
  return local.is_v4() == to.is_v4() || (!local.is_v4() && !only_v6);
}

}  // namespace magpie
