/// IP addresses and socket addresses: values that parse, print, compare and classify.
///
/// An address is sixteen bytes and a family; an IPv4 address uses the first four.  Only literals
/// are understood, and strictly: what `parse` accepts is what inet_pton accepts (no leading zeros,
/// no short forms, nothing behind the address), plus a numeric scope (`fe80::1%2`) on link-local
/// addresses.  Printing gives the text that inet_ntop gives.  Names are a resolver's business.
///
/// Invariants: the unused bytes of an IPv4 address are zero and so is its scope, so that equality
/// is the equality of the members.
///
/// Plain values: any thread, no system call.
#pragma once

#include <magpie/util/result.hpp>

#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace magpie::net {

enum class ip_family : std::uint8_t { v4, v6 };

class ip_address {
 public:
  /// 0.0.0.0.
  constexpr ip_address() noexcept = default;

  static constexpr ip_address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c,
                                 std::uint8_t d) noexcept {
    ip_address made;
    made.bytes_[0] = a;
    made.bytes_[1] = b;
    made.bytes_[2] = c;
    made.bytes_[3] = d;
    return made;
  }

  /// Sixteen bytes in network order; `scope` is the number of an interface, 0 for none.
  static constexpr ip_address v6(const std::array<std::uint8_t, 16>& bytes,
                                 std::uint32_t scope = 0) noexcept {
    ip_address made;
    made.bytes_ = bytes;
    made.scope_ = scope;
    made.family_ = ip_family::v6;
    return made;
  }

  /// The unspecified address: 0.0.0.0 or ::.
  static constexpr ip_address any(ip_family family = ip_family::v4) noexcept {
    ip_address made;
    made.family_ = family;
    return made;
  }

  /// 127.0.0.1 or ::1.
  static constexpr ip_address loopback(ip_family family = ip_family::v4) noexcept {
    if (family == ip_family::v4) return v4(127, 0, 0, 1);
    return v6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  }

  /// Reads "192.0.2.1", "2001:db8::1" or "fe80::1%2".
  /// Errors: invalid_argument.
  static result<ip_address> parse(std::string_view text) noexcept;

  constexpr ip_family family() const noexcept { return family_; }
  constexpr bool is_v4() const noexcept { return family_ == ip_family::v4; }
  constexpr bool is_v6() const noexcept { return family_ == ip_family::v6; }

  /// Four or sixteen bytes in network order.
  constexpr std::span<const std::uint8_t> bytes() const noexcept {
    return std::span(bytes_).first(is_v4() ? 4 : 16);
  }

  /// The interface of a link-local IPv6 address; 0 when none was given.
  constexpr std::uint32_t scope_id() const noexcept { return scope_; }

  /// True for ::ffff:a.b.c.d, which is how a dual-stack listener shows an IPv4 peer.
  constexpr bool is_v4_mapped() const noexcept {
    if (is_v4()) return false;
    for (std::size_t i = 0; i < 10; ++i) {
      if (bytes_[i] != 0) return false;
    }
    return bytes_[10] == 0xff && bytes_[11] == 0xff;
  }

  /// The IPv4 address inside a mapped one; any other address as it is.
  constexpr ip_address unmapped() const noexcept {
    if (!is_v4_mapped()) return *this;
    return v4(bytes_[12], bytes_[13], bytes_[14], bytes_[15]);
  }

  // A v4-mapped address belongs to the class of the IPv4 address in it.

  /// 0.0.0.0 or ::.
  constexpr bool is_unspecified() const noexcept {
    const ip_address self = unmapped();
    for (const std::uint8_t byte : self.bytes_) {
      if (byte != 0) return false;
    }
    return true;
  }

  /// 127.0.0.0/8 or ::1.
  constexpr bool is_loopback() const noexcept {
    const ip_address self = unmapped();
    if (self.is_v4()) return self.bytes_[0] == 127;
    return self.bytes_ == loopback(ip_family::v6).bytes_;
  }

  /// 224.0.0.0/4 or ff00::/8.
  constexpr bool is_multicast() const noexcept {
    const ip_address self = unmapped();
    return self.is_v4() ? (self.bytes_[0] & 0xf0) == 0xe0 : self.bytes_[0] == 0xff;
  }

  /// 169.254.0.0/16 or fe80::/10.
  constexpr bool is_link_local() const noexcept {
    const ip_address self = unmapped();
    if (self.is_v4()) return self.bytes_[0] == 169 && self.bytes_[1] == 254;
    return self.bytes_[0] == 0xfe && (self.bytes_[1] & 0xc0) == 0x80;
  }

  /// 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, or fc00::/7.
  constexpr bool is_private() const noexcept {
    const ip_address self = unmapped();
    if (self.is_v6()) return (self.bytes_[0] & 0xfe) == 0xfc;
    return self.bytes_[0] == 10 || (self.bytes_[0] == 172 && (self.bytes_[1] & 0xf0) == 16) ||
           (self.bytes_[0] == 192 && self.bytes_[1] == 168);
  }

  /// 255.255.255.255; IPv6 has none.
  constexpr bool is_broadcast() const noexcept { return unmapped() == v4(255, 255, 255, 255); }

  /// The text of inet_ntop, and `%N` for a scope.
  std::string to_string() const;

  friend constexpr bool operator==(const ip_address&, const ip_address&) noexcept = default;
  /// IPv4 before IPv6, then by number.
  friend constexpr std::strong_ordering operator<=>(const ip_address&,
                                                    const ip_address&) noexcept = default;

 private:
  ip_family family_ = ip_family::v4;
  std::array<std::uint8_t, 16> bytes_{};
  std::uint32_t scope_ = 0;
};

/// An IP address and a port.
class socket_address {
 public:
  /// 0.0.0.0:0.
  constexpr socket_address() noexcept = default;
  constexpr socket_address(ip_address ip, std::uint16_t port) noexcept : ip_(ip), port_(port) {}

  /// Reads "192.0.2.1:80" or "[2001:db8::1]:80".
  /// Errors: invalid_argument.
  static result<socket_address> parse(std::string_view text) noexcept;

  /// Takes what the kernel gave.
  /// Errors: address_family_not_supported, invalid_argument (too short).
  static result<socket_address> from_sockaddr(const sockaddr* address, socklen_t size) noexcept;

  /// Fills `storage` for the kernel; returns how much of it counts.
  socklen_t to_sockaddr(sockaddr_storage& storage) const noexcept;

  constexpr const ip_address& ip() const noexcept { return ip_; }
  constexpr std::uint16_t port() const noexcept { return port_; }

  /// What `parse` reads.
  std::string to_string() const;

  friend constexpr bool operator==(const socket_address&, const socket_address&) noexcept = default;
  friend constexpr std::strong_ordering operator<=>(const socket_address&,
                                                    const socket_address&) noexcept = default;

 private:
  ip_address ip_;
  std::uint16_t port_ = 0;
};

}  // namespace magpie::net
