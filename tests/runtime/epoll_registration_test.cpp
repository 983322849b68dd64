#include <magpie/runtime/epoll_registration.hpp>

#include <cstdint>
#include <gtest/gtest.h>
#include <limits>

namespace magpie::tests::epoll_registration_test {
namespace {

struct fake_operation {
  bool begin() {
    ++begun;
    return !stopped;
  }
  bool stopped = false;
  int begun = 0;
};

using registration = epoll_registration<fake_operation>;
using outcome = registration::outcome;
using knows = registration::knows;

constexpr unsigned read_way = registration::read_way;
constexpr unsigned write_way = registration::write_way;
constexpr unsigned read_bit = registration::read_bit;
constexpr unsigned write_bit = registration::write_bit;
constexpr int epoll = 7;

class epoll_registration_test : public ::testing::Test {
 protected:
  void SetUp() override { state.open(epoll); }

  registration::delivery event(unsigned ready, unsigned hung_up = 0) {
    return state.event(state.generation(), ready, hung_up);
  }

  registration state;
  fake_operation read;
  fake_operation write;
};

TEST_F(epoll_registration_test, event_ends_the_wait_of_its_direction) {
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);
  EXPECT_EQ(state.wait(write_way, write), outcome::waiting);
  auto ended = event(write_bit);
  EXPECT_EQ(ended.ended[read_way], nullptr);
  EXPECT_EQ(ended.ended[write_way], &write);
  ended = event(read_bit);
  EXPECT_EQ(ended.ended[read_way], &read);
  EXPECT_EQ(ended.ended[write_way], nullptr);
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);  // the edge was spent
  EXPECT_TRUE(state.cancel(read_way, read));
}

TEST_F(epoll_registration_test, event_for_nobody_is_kept_once) {
  event(read_bit | write_bit);
  event(read_bit);
  EXPECT_EQ(state.wait(read_way, read), outcome::ready);
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);
  EXPECT_EQ(state.wait(write_way, write), outcome::ready);
  EXPECT_EQ(event(read_bit).ended[read_way], &read);
}

TEST_F(epoll_registration_test, stopped_scope_changes_nothing) {
  read.stopped = true;
  EXPECT_EQ(state.wait(read_way, read), outcome::refused);
  event(read_bit);
  EXPECT_EQ(state.wait(read_way, read), outcome::refused);
  read.stopped = false;
  EXPECT_EQ(state.wait(read_way, read), outcome::ready);  // the bit is still there
}

TEST_F(epoll_registration_test, cancel_takes_only_what_waits) {
  fake_operation other;
  EXPECT_FALSE(state.cancel(read_way, read));
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);
  EXPECT_FALSE(state.cancel(write_way, read));
  EXPECT_FALSE(state.cancel(read_way, other));
  EXPECT_TRUE(state.cancel(read_way, read));
  EXPECT_FALSE(state.cancel(read_way, read));
  EXPECT_EQ(event(read_bit).ended[read_way], nullptr);
  EXPECT_EQ(state.wait(read_way, read), outcome::ready);
  EXPECT_FALSE(state.cancel(read_way, read));
}

TEST_F(epoll_registration_test, hang_up_asks_the_caller) {
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);
  EXPECT_EQ(event(read_bit, read_bit).ended[read_way], &read);
  const int begun = read.begun;
  EXPECT_EQ(state.wait(read_way, read), outcome::ask);
  EXPECT_EQ(read.begun, begun);
  EXPECT_EQ(state.wait(read_way, read, knows::ready), outcome::ready);
  EXPECT_EQ(state.wait(read_way, read), outcome::ask);
  EXPECT_EQ(state.wait(read_way, read, knows::not_ready), outcome::waiting);
  EXPECT_EQ(event(read_bit).ended[read_way], &read);
  EXPECT_EQ(state.wait(write_way, write), outcome::waiting);  // the other direction goes on
  EXPECT_TRUE(state.cancel(write_way, write));
}

TEST_F(epoll_registration_test, event_between_asking_and_waiting_is_kept) {
  event(read_bit, read_bit);
  EXPECT_EQ(state.wait(read_way, read), outcome::ready);
  EXPECT_EQ(state.wait(read_way, read), outcome::ask);
  event(read_bit);
  EXPECT_EQ(state.wait(read_way, read, knows::not_ready), outcome::ready);
}

TEST_F(epoll_registration_test, new_registration_knows_nothing_of_the_old_one) {
  event(read_bit | write_bit, read_bit | write_bit);
  const std::uint32_t old = state.generation();
  EXPECT_EQ(state.close(), epoll);
  EXPECT_TRUE(state.event(old, read_bit, 0).stale);
  state.closed();
  state.open(epoll + 1);
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);
  EXPECT_TRUE(state.event(old, read_bit, read_bit).stale);
  EXPECT_EQ(state.event(old, read_bit, read_bit).ended[read_way], nullptr);
  EXPECT_EQ(event(read_bit).ended[read_way], &read);
  EXPECT_FALSE(event(read_bit).stale);
}

TEST_F(epoll_registration_test, generation_may_wrap) {
  constexpr auto last = std::numeric_limits<std::uint32_t>::max();
  state.close();
  state.closed();
  state.set_generation(last);
  state.open(epoll);
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);
  EXPECT_EQ(state.event(last, read_bit, 0).ended[read_way], &read);
  state.event(last, read_bit, 0);  // ready, and then it wraps
  state.close();
  state.closed();
  state.open(epoll);
  EXPECT_EQ(state.generation(), 0U);
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);
  EXPECT_TRUE(state.event(last, read_bit, 0).stale);
  EXPECT_EQ(state.event(0, read_bit, 0).ended[read_way], &read);
}

TEST_F(epoll_registration_test, end_of_the_epoll_instance) {
  EXPECT_TRUE(state.abandon(epoll + 1));  // somebody else's
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);
  EXPECT_TRUE(state.cancel(read_way, read));
  EXPECT_TRUE(state.abandon(epoll));
  EXPECT_EQ(state.wait(read_way, read), outcome::gone);
  EXPECT_TRUE(event(read_bit).stale);
  EXPECT_EQ(state.close(), registration::no_epoll);
  state.closed();
}

TEST_F(epoll_registration_test, end_of_the_epoll_instance_waits_for_a_closer) {
  EXPECT_EQ(state.close(), epoll);
  EXPECT_FALSE(state.abandon(epoll));
  state.closed();
  EXPECT_TRUE(state.abandon(epoll));
}

TEST_F(epoll_registration_test, misuse_aborts) {
  EXPECT_EQ(state.wait(read_way, read), outcome::waiting);
  fake_operation second;
  EXPECT_DEATH(state.wait(read_way, second), "assertion");
  EXPECT_DEATH(state.close(), "assertion");
  EXPECT_DEATH(state.open(epoll), "assertion");
  EXPECT_TRUE(state.cancel(read_way, read));
}

}  // namespace
}  // namespace magpie::tests::epoll_registration_test
