#include <magpie/net/address.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace magpie::net {
namespace {

std::unexpected<std::error_code> malformed() noexcept {
  return std::unexpected(std::make_error_code(std::errc::invalid_argument));
}

/// A decimal number without sign, leading zeros or anything behind it.
std::optional<std::uint32_t> parse_decimal(std::string_view text, std::uint32_t max) noexcept {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > max) return std::nullopt;
  return number;
}

/// Exactly four decimal parts into `out[0..3]`.
bool parse_v4(std::string_view text, std::uint8_t* out) noexcept {
  for (int part = 0; part < 4; ++part) {
    const std::size_t end = part < 3 ? text.find('.') : text.size();
    if (end == std::string_view::npos) return false;
    const auto number = parse_decimal(text.substr(0, end), 255);
    if (!number) return false;
    out[part] = static_cast<std::uint8_t>(*number);
    if (part < 3) text.remove_prefix(end + 1);
  }
  return true;
}

/// The sixteen bytes while they are read: groups before a "::" grow from the left, those behind it
/// are moved to the right end once their number is known.
class v6_reader {
 public:
  bool read(std::string_view text) noexcept {
    if (text.starts_with("::")) {
      gap_ = 0;
      text.remove_prefix(2);
      if (text.empty()) return true;
    }
    while (take_group(text)) {
      if (text.empty()) return finish();
      if (text.front() != ':') return false;
      text.remove_prefix(1);
      if (text.starts_with(':')) {
        if (gap_ != none) return false;
        gap_ = size_;
        text.remove_prefix(1);
        if (text.empty()) return finish();
      }
    }
    return false;
  }

  const std::array<std::uint8_t, 16>& bytes() const noexcept { return bytes_; }

 private:
  static constexpr std::size_t none = 17;

  bool take_group(std::string_view& text) noexcept {
    std::uint16_t group = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), group, 16);
    const auto digits = static_cast<std::size_t>(end - text.data());
    if (error != std::errc() || digits > 4) return false;
    if (digits < text.size() && text[digits] == '.') {
      if (size_ > 12 || !parse_v4(text, &bytes_[size_])) return false;
      size_ += 4;
      text = {};
      return true;
    }
    if (size_ > 14) return false;
    bytes_[size_++] = static_cast<std::uint8_t>(group >> 8);
    bytes_[size_++] = static_cast<std::uint8_t>(group & 0xff);
    text.remove_prefix(digits);
    return true;
  }

  bool finish() noexcept {
    if (gap_ == none) return size_ == 16;
    if (size_ == 16) return false;  // "::" stands for one group at least
    std::uint8_t* const gap = bytes_.data() + gap_;
    std::uint8_t* const end = bytes_.data() + bytes_.size();
    std::uint8_t* const moved = std::copy_backward(gap, bytes_.data() + size_, end);
    std::fill(gap, moved, std::uint8_t{0});
    return true;
  }

  std::array<std::uint8_t, 16> bytes_{};
  std::size_t size_ = 0;
  std::size_t gap_ = none;  ///< Where the "::" was.
};

bool takes_scope(const ip_address& ip) noexcept {
  // Unicast fe80::/10, and multicast of interface or link scope.
  return ip.is_v6() && (ip.is_link_local() || (ip.is_multicast() && (ip.bytes()[1] & 0x0f) <= 2));
}

}  // namespace

result<ip_address> ip_address::parse(std::string_view text) noexcept {
  if (text.find(':') == std::string_view::npos) {
    std::uint8_t part[4];
    if (!parse_v4(text, part)) return malformed();
    return v4(part[0], part[1], part[2], part[3]);
  }
  const std::size_t percent = text.find('%');
  v6_reader reader;
  if (!reader.read(text.substr(0, percent))) return malformed();
  ip_address parsed = v6(reader.bytes());
  if (percent != std::string_view::npos) {
    const auto scope = parse_decimal(text.substr(percent + 1), 0xffff'ffff);
    if (!scope || *scope == 0 || !takes_scope(parsed)) return malformed();
    parsed.scope_ = *scope;
  }
  return parsed;
}

std::string ip_address::to_string() const {
  char text[INET6_ADDRSTRLEN];
  ::inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes_.data(), text, sizeof text);
  std::string printed(text);
  if (scope_ != 0) printed.append("%").append(std::to_string(scope_));
  return printed;
}

result<socket_address> socket_address::parse(std::string_view text) noexcept {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return malformed();
  const auto port = parse_decimal(text.substr(colon + 1), 0xffff);
  if (!port) return malformed();
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto ip = ip_address::parse(host);
  if (!ip || ip->is_v6() != bracketed) return malformed();
  return socket_address(*ip, static_cast<std::uint16_t>(*port));
}

result<socket_address> socket_address::from_sockaddr(const sockaddr* address,
                                                     socklen_t size) noexcept {
  if (size < sizeof(sa_family_t)) return malformed();
  if (address->sa_family == AF_INET) {
    if (size < sizeof(sockaddr_in)) return malformed();
    sockaddr_in in;
    std::memcpy(&in, address, sizeof in);
    std::uint8_t part[4];
    std::memcpy(part, &in.sin_addr, sizeof part);
    return socket_address(ip_address::v4(part[0], part[1], part[2], part[3]), ntohs(in.sin_port));
  }
  if (address->sa_family == AF_INET6) {
    if (size < sizeof(sockaddr_in6)) return malformed();
    sockaddr_in6 in;
    std::memcpy(&in, address, sizeof in);
    std::array<std::uint8_t, 16> bytes;
    std::memcpy(bytes.data(), &in.sin6_addr, bytes.size());
    return socket_address(ip_address::v6(bytes, in.sin6_scope_id), ntohs(in.sin6_port));
  }
  return std::unexpected(std::make_error_code(std::errc::address_family_not_supported));
}

socklen_t socket_address::to_sockaddr(sockaddr_storage& storage) const noexcept {
  if (ip_.is_v4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port_);
    std::memcpy(&in.sin_addr, ip_.bytes().data(), sizeof in.sin_addr);
    std::memcpy(&storage, &in, sizeof in);
    return sizeof in;
  }
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(port_);
  in.sin6_scope_id = ip_.scope_id();
  std::memcpy(&in.sin6_addr, ip_.bytes().data(), sizeof in.sin6_addr);
  std::memcpy(&storage, &in, sizeof in);
  return sizeof in;
}

std::string socket_address::to_string() const {
  std::string printed = ip_.to_string();
  if (ip_.is_v6()) printed.insert(0, 1, '[').push_back(']');
  return printed.append(":").append(std::to_string(port_));
}

}  // namespace magpie::net
