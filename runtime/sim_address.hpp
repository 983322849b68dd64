/// Addresses of the simulated network.
///
/// Idea: one form for both families.  An IPv4 address is kept as the IPv6 address it maps to
/// (::ffff:a.b.c.d), so that a dual-stack listener needs no cases; the family of the socket decides
/// how an address is shown.
/// Called by the simulated network alone, on the simulation's thread.
#pragma once

#include <array>
#include <cstdint>
#include <sys/socket.h>

namespace magpie {

struct sim_address {
  std::array<std::uint8_t, 16> bytes{};
  std::uint16_t port = 0;

  bool is_v4() const noexcept;
  /// 0.0.0.0 or ::.
  bool is_any() const noexcept;
  bool same_host(const sim_address& other) const noexcept { return bytes == other.bytes; }

  static sim_address any(int family) noexcept;
  static sim_address loopback(bool v4) noexcept;
};

/// Reads what a user passed to a socket of `family`.  0 or a negative errno.
int read_address(int family, const sockaddr* from, socklen_t size, sim_address& into) noexcept;

/// Writes an address for a socket of `family`, cut to `*size`; sets `*size` to the full size.
/// Both pointers may be null.
void write_address(int family, const sim_address& from, sockaddr* into, socklen_t* size) noexcept;

/// Whether a socket bound to `local` receives what is sent to host `to`.  `only_v6`: :: does not
/// stand for IPv4 as well.
bool covers(const sim_address& local, bool only_v6, const sim_address& to) noexcept;

}  // namespace magpie
