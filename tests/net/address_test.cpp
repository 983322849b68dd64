#include <magpie/net/address.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/util/random.hpp>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>
#include <string>
#include <vector>

namespace magpie::net {
namespace {

static_assert(ip_address::loopback().is_loopback());
static_assert(ip_address::loopback(ip_family::v6).is_loopback());
static_assert(ip_address::any(ip_family::v6).is_unspecified());
static_assert(ip_address::v4(224, 0, 0, 251).is_multicast());
static_assert(ip_address::v4(9, 9, 9, 9) < ip_address::v4(10, 0, 0, 0));

/// What the C library makes of the text.
bool reference_parse(const std::string& text, std::string& printed) {
  in_addr v4;
  in6_addr v6;
  char out[INET6_ADDRSTRLEN];
  if (::inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    printed = ::inet_ntop(AF_INET, &v4, out, sizeof out);
    return true;
  }
  if (::inet_pton(AF_INET6, text.c_str(), &v6) == 1) {
    printed = ::inet_ntop(AF_INET6, &v6, out, sizeof out);
    return true;
  }
  return false;
}

void expect_as_reference(const std::string& text) {
  std::string printed;
  const bool valid = reference_parse(text, printed);
  const auto parsed = ip_address::parse(text);
  ASSERT_EQ(parsed.has_value(), valid) << '"' << text << '"';
  if (!valid) {
    EXPECT_EQ(parsed.error(), std::errc::invalid_argument);
    return;
  }
  EXPECT_EQ(parsed->to_string(), printed) << text;
  EXPECT_EQ(ip_address::parse(parsed->to_string()), *parsed) << text;
}

TEST(ip_address, parses_what_the_c_library_parses) {
  for (const char* text : {"0.0.0.0",
                           "255.255.255.255",
                           "127.0.0.1",
                           "1.2.3.4",
                           "::",
                           "::1",
                           "1::",
                           "2001:db8::1",
                           "1:2:3:4:5:6:7:8",
                           "1:2:3:4:5:6:7::",
                           "::2:3:4:5:6:7:8",
                           "1::8",
                           "::ffff:1.2.3.4",
                           "::1.2.3.4",
                           "64:ff9b::1.2.3.4",
                           "1:2:3:4:5:6:1.2.3.4",
                           "fe80::1",
                           "FE80::ABCD",
                           "0:0:0:0:0:0:0:0",
                           "1:0:0:2:0:0:0:3",
                           "0001:0002::"}) {
    expect_as_reference(text);
    EXPECT_TRUE(ip_address::parse(text)) << text;
  }
}

TEST(ip_address, refuses_what_is_not_exact) {
  for (const char* text : {"",
                           " ",
                           "1",
                           "1.2",
                           "1.2.3",
                           "1.2.3.4.5",
                           "1.2.3.4 ",
                           " 1.2.3.4",
                           "1.2.3.",
                           ".1.2.3",
                           "1..2.3",
                           "01.2.3.4",
                           "1.2.3.04",
                           "00.0.0.0",
                           "256.0.0.1",
                           "1.2.3.256",
                           "1.2.3.1000",
                           "4294967296.1.1.1",
                           "-1.2.3.4",
                           "+1.2.3.4",
                           "0x1.2.3.4",
                           "1.2.3.4x",
                           "a.b.c.d",
                           "localhost",
                           ":",
                           ":::",
                           "::1::",
                           "1::2::3",
                           ":1",
                           "1:",
                           "1:2:3:4:5:6:7",
                           "::1:",
                           "1:2:3:4:5:6:7:8:9",
                           "1:2:3:4:5:6:7:8::",
                           "::1:2:3:4:5:6:7:8",
                           "12345::",
                           "g::",
                           "::-1",
                           "::0x1",
                           "1:2:3:4:5:6:7:1.2.3.4",
                           "::1.2.3",
                           "::1.2.3.4.5",
                           "::1.2.3.256",
                           "::1.2.3.4:1",
                           "[::1]",
                           "::1%",
                           "::1%1",
                           "fe80::1%",
                           "fe80::1%0",
                           "fe80::1%01",
                           "fe80::1%-1",
                           "fe80::1%4294967296",
                           "fe80::1%eth0",
                           "fe80::1%1%1",
                           "1.2.3.4%1",
                           "2001:db8::1%1"}) {
    const auto parsed = ip_address::parse(text);
    ASSERT_FALSE(parsed) << '"' << text << '"';
    EXPECT_EQ(parsed.error(), std::errc::invalid_argument);
    expect_as_reference(text);
  }
  using namespace std::literals;
  EXPECT_FALSE(ip_address::parse("1.2.3.4\0"sv));
  EXPECT_FALSE(ip_address::parse("::1\0"sv));
}

TEST(ip_address, parses_scopes_of_link_local_addresses) {
  const auto scoped = ip_address::parse("fe80::1%12").value();
  EXPECT_EQ(scoped.scope_id(), 12U);
  EXPECT_EQ(scoped.to_string(), "fe80::1%12");
  EXPECT_NE(scoped, ip_address::parse("fe80::1").value());
  EXPECT_EQ(ip_address::parse("ff02::1%4294967295").value().scope_id(), 4294967295U);
}

TEST(ip_address, agrees_with_the_c_library_on_mutated_text) {
  MAGPIE_NEED_ONE_CELL();
  const std::vector<std::string> seeds = {
      "127.0.0.1",       "255.255.255.255",  "::",       "::1", "2001:db8::8:800:200c:417a",
      "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1", "fe80::a:b"};
  constexpr std::string_view alphabet = "0123456789abcdefABCDEF::::....%g -";
  random_source random(20261123);
  for (int round = 0; round < 200'000; ++round) {
    std::string text = seeds[random.below(static_cast<std::uint32_t>(seeds.size()))];
    for (std::uint32_t edits = random.below(4); edits > 0; --edits) {
      const std::size_t at = random.below(static_cast<std::uint32_t>(text.size() + 1));
      const char character = alphabet[random.below(static_cast<std::uint32_t>(alphabet.size()))];
      switch (random.below(3)) {
        case 0:
          text.insert(at, 1, character);
          break;
        case 1:
          text.erase(at, 1);
          break;
        default:
          if (at < text.size()) text[at] = character;
      }
    }
    if (text.find('%') == std::string::npos) expect_as_reference(text);
  }
}

TEST(ip_address, prints_what_the_c_library_prints) {
  MAGPIE_NEED_ONE_CELL();
  random_source random(7);
  for (int round = 0; round < 100'000; ++round) {
    std::array<std::uint8_t, 16> bytes;
    // Many zeros, so that every place and length of a "::" comes up.
    for (auto& byte : bytes) {
      byte = random.below(3) == 0 ? static_cast<std::uint8_t>(random.below(256)) : std::uint8_t{0};
    }
    const auto address = ip_address::v6(bytes);
    char out[INET6_ADDRSTRLEN];
    EXPECT_EQ(address.to_string(), ::inet_ntop(AF_INET6, bytes.data(), out, sizeof out));
    EXPECT_EQ(ip_address::parse(address.to_string()), address);
  }
}

TEST(ip_address, classifies) {
  const auto is = [](const char* text) { return ip_address::parse(text).value(); };
  EXPECT_TRUE(is("127.255.0.3").is_loopback());
  EXPECT_TRUE(is("::1").is_loopback());
  EXPECT_FALSE(is("::2").is_loopback());
  EXPECT_FALSE(is("128.0.0.1").is_loopback());
  EXPECT_TRUE(is("0.0.0.0").is_unspecified());
  EXPECT_TRUE(is("::").is_unspecified());
  EXPECT_FALSE(is("::1").is_unspecified());
  EXPECT_TRUE(is("239.1.1.1").is_multicast());
  EXPECT_FALSE(is("240.0.0.1").is_multicast());
  EXPECT_TRUE(is("ff02::1").is_multicast());
  EXPECT_TRUE(is("169.254.9.9").is_link_local());
  EXPECT_TRUE(is("febf::1").is_link_local());
  EXPECT_FALSE(is("fec0::1").is_link_local());
  EXPECT_TRUE(is("10.1.2.3").is_private());
  EXPECT_TRUE(is("172.31.0.1").is_private());
  EXPECT_FALSE(is("172.32.0.1").is_private());
  EXPECT_TRUE(is("192.168.0.1").is_private());
  EXPECT_TRUE(is("fd00::1").is_private());
  EXPECT_TRUE(is("255.255.255.255").is_broadcast());
  EXPECT_FALSE(is("::").is_broadcast());
}

TEST(ip_address, treats_a_mapped_address_as_what_it_maps) {
  const auto mapped = ip_address::parse("::ffff:127.0.0.1").value();
  EXPECT_TRUE(mapped.is_v6());
  EXPECT_TRUE(mapped.is_v4_mapped());
  EXPECT_TRUE(mapped.is_loopback());
  EXPECT_EQ(mapped.unmapped(), ip_address::loopback());
  EXPECT_EQ(mapped.bytes().size(), 16U);
  EXPECT_EQ(mapped.unmapped().bytes().size(), 4U);
  EXPECT_FALSE(ip_address::parse("::fffe:127.0.0.1").value().is_v4_mapped());
}

TEST(socket_address, parses_and_prints) {
  const auto v4 = socket_address::parse("192.0.2.7:65535").value();
  EXPECT_EQ(v4.ip(), ip_address::v4(192, 0, 2, 7));
  EXPECT_EQ(v4.port(), 65535);
  EXPECT_EQ(v4.to_string(), "192.0.2.7:65535");
  const auto v6 = socket_address::parse("[2001:DB8::1]:0").value();
  EXPECT_EQ(v6.port(), 0);
  EXPECT_EQ(v6.to_string(), "[2001:db8::1]:0");
  const auto scoped = socket_address::parse("[fe80::1%3]:80").value();
  EXPECT_EQ(scoped.ip().scope_id(), 3U);
  EXPECT_EQ(scoped.to_string(), "[fe80::1%3]:80");
}

TEST(socket_address, refuses_what_is_not_exact) {
  for (const char* text : {"",
                           ":",
                           ":80",
                           "127.0.0.1",
                           "127.0.0.1:",
                           "127.0.0.1:65536",
                           "127.0.0.1:080",
                           "127.0.0.1:00",
                           "127.0.0.1:-1",
                           "127.0.0.1:+1",
                           "127.0.0.1: 80",
                           "127.0.0.1:80 ",
                           "127.0.0.1:80x",
                           "127.0.0.1:0x50",
                           "127.0.0.1:99999999999",
                           "[127.0.0.1]:80",
                           "::1:80",
                           "::1",
                           "[::1]",
                           "[::1]:",
                           "[::1]80",
                           "[::1",
                           "::1]:80",
                           "[[::1]]:80",
                           "[]:80",
                           "[:80",
                           "localhost:80",
                           "[fe80::1%3:80"}) {
    const auto parsed = socket_address::parse(text);
    ASSERT_FALSE(parsed) << '"' << text << '"';
    EXPECT_EQ(parsed.error(), std::errc::invalid_argument);
  }
}

TEST(socket_address, survives_the_kernels_form) {
  for (const char* text : {"1.2.3.4:5", "[::1]:443", "[fe80::2%9]:1"}) {
    const auto address = socket_address::parse(text).value();
    sockaddr_storage storage;
    std::memset(&storage, 0xff, sizeof storage);
    const socklen_t size = address.to_sockaddr(storage);
    const auto* raw = reinterpret_cast<const sockaddr*>(&storage);
    EXPECT_EQ(socket_address::from_sockaddr(raw, size), address);
    const auto cut = socket_address::from_sockaddr(raw, size - 1);
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error(), std::errc::invalid_argument);
  }
}

TEST(socket_address, refuses_other_families) {
  sockaddr_storage storage{};
  storage.ss_family = AF_UNIX;
  const auto* raw = reinterpret_cast<const sockaddr*>(&storage);
  const auto other = socket_address::from_sockaddr(raw, sizeof storage);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error(), std::errc::address_family_not_supported);
  EXPECT_FALSE(socket_address::from_sockaddr(raw, 0));
}

TEST(socket_address, orders_by_family_then_number_then_port) {
  std::vector<socket_address> sorted;
  for (const char* text : {"1.2.3.4:1", "1.2.3.4:2", "1.2.3.5:1", "[::]:1", "[::1]:1"}) {
    sorted.push_back(socket_address::parse(text).value());
  }
  for (std::size_t i = 1; i < sorted.size(); ++i) EXPECT_LT(sorted[i - 1], sorted[i]);
}

}  // namespace
}  // namespace magpie::net
