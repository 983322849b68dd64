// Addresses: there and back in both families, and who receives what is sent where.
#include <magpie/runtime/sim_address.hpp>
#include <magpie/tests/runtime/sim_driver.hpp>

#include <array>

namespace magpie::tests::sim_address_test {
namespace {

sim_address read(const sockaddr_in& from) {
  sim_address into;
  EXPECT_EQ(read_address(AF_INET, raw(from), sizeof from, into), 0);
  return into;
}

sim_address read(const sockaddr_in6& from) {
  sim_address into;
  EXPECT_EQ(read_address(AF_INET6, raw(from), sizeof from, into), 0);
  return into;
}

TEST(sim_address, there_and_back) {
  const sockaddr_in v4 = v4_address(80, 0x0a01'0203);
  sockaddr_in v4_again{};
  socklen_t size = sizeof v4_again;
  write_address(AF_INET, read(v4), raw(v4_again), &size);
  EXPECT_EQ(size, sizeof v4);
  EXPECT_EQ(std::memcmp(&v4, &v4_again, sizeof v4), 0);

  const sockaddr_in6 v6 = v6_address(443);
  sockaddr_in6 v6_again{};
  size = sizeof v6_again;
  write_address(AF_INET6, read(v6), raw(v6_again), &size);
  EXPECT_EQ(size, sizeof v6);
  EXPECT_EQ(std::memcmp(&v6, &v6_again, sizeof v6), 0);
}

TEST(sim_address, short_room_is_filled_and_the_full_size_told) {
  std::array<char, 6> room;
  room.fill('#');
  socklen_t size = 4;
  write_address(AF_INET, read(v4_address(0x1234)), raw(room), &size);
  EXPECT_EQ(size, sizeof(sockaddr_in));
  EXPECT_EQ(room[2], 0x12);
  EXPECT_EQ(room[3], 0x34);
  EXPECT_EQ(room[4], '#');
  write_address(AF_INET, {}, nullptr, nullptr);
}

TEST(sim_address, refuses_what_is_no_address) {
  const sockaddr_in v4 = v4_address(80);
  sim_address into;
  EXPECT_EQ(read_address(AF_INET, nullptr, 0, into), -EFAULT);
  EXPECT_EQ(read_address(AF_INET, raw(v4), 1, into), -EINVAL);
  EXPECT_EQ(read_address(AF_INET, raw(v4), sizeof v4 - 1, into), -EINVAL);
  EXPECT_EQ(read_address(AF_INET6, raw(v4), sizeof v4, into), -EAFNOSUPPORT);
}

TEST(sim_address, kinds) {
  EXPECT_TRUE(sim_address::any(AF_INET).is_any());
  EXPECT_TRUE(sim_address::any(AF_INET).is_v4());
  EXPECT_TRUE(sim_address::any(AF_INET6).is_any());
  EXPECT_FALSE(sim_address::any(AF_INET6).is_v4());
  EXPECT_TRUE(sim_address::loopback(true).same_host(read(v4_address(1))));
  EXPECT_TRUE(sim_address::loopback(false).same_host(read(v6_address(1))));
  EXPECT_FALSE(sim_address::loopback(true).is_any());
}

TEST(sim_address, who_receives) {
  const sim_address v4 = sim_address::loopback(true);
  const sim_address v6 = sim_address::loopback(false);
  const sim_address any4 = sim_address::any(AF_INET);
  const sim_address any6 = sim_address::any(AF_INET6);
  EXPECT_TRUE(covers(v4, false, v4));
  EXPECT_FALSE(covers(v4, false, v6));
  EXPECT_TRUE(covers(any4, false, v4));
  EXPECT_FALSE(covers(any4, false, v6));
  EXPECT_TRUE(covers(any6, false, v4));
  EXPECT_FALSE(covers(any6, true, v4));
  EXPECT_TRUE(covers(any6, true, v6));
}

}  // namespace
}  // namespace magpie::tests::sim_address_test
