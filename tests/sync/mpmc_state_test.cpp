/// What the values of a channel may do when they are moved and destroyed.
#include <magpie/sync/mpmc_state.hpp>

#include <magpie/sync/mpmc.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <stdexcept>

namespace magpie::tests::mpmc_state_test {
namespace {

TEST(mpmc_state, takes_values_of_every_size_and_alignment) {
  struct alignas(64) big {
    std::array<int, 100> all{};
  };
  auto [to, from] = sync::mpmc<big>(3);
  for (int i = 0; i < 7; ++i) {
    big one;
    one.all[99] = i;
    EXPECT_TRUE(to.try_send(one));
    const auto got = from.try_receive();
    EXPECT_EQ(got.value().all[99], i);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&*got) % 64, 0U);
  }
}

#if defined(__cpp_exceptions)
/// Throws when it is moved while `trips` is what it is told.
struct moody {
  explicit moody(int n) : number(n) { ++alive; }
  moody(moody&& other) : number(other.number) {
    if (number == trips) throw std::runtime_error("does not move");
    other.number = -1;
    ++alive;
  }
  ~moody() { --alive; }
  int number;
  static inline int trips = 0;
  static inline int alive = 0;
};

TEST(mpmc_state, a_message_that_throws_when_it_is_sent_is_not_sent) {
  moody::trips = 1;
  const auto scenario = []() -> task<> {
    auto [to, from] = sync::mpmc<moody>(1);
    moody bad(1);
    EXPECT_THROW(static_cast<void>(to.try_send(std::move(bad))), std::runtime_error);
    bool thrown = false;
    try {
      co_await to.send(std::move(bad));
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
    EXPECT_EQ(bad.number, 1);
    EXPECT_EQ(to.available(), 1U);
    moody good(2);
    co_await to.send(std::move(good));
    const auto got = from.try_receive();
    EXPECT_EQ(got.value().number, 2);
    auto permit = to.try_reserve().value();
    EXPECT_THROW(permit.send(std::move(bad)), std::runtime_error);
    EXPECT_EQ(to.available(), 1U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
  EXPECT_EQ(moody::alive, 0);
}

TEST(mpmc_state, a_message_that_throws_when_it_is_received_stays_in_front) {
  {
    auto [to, from] = sync::mpmc<moody>(2);
    moody::trips = 0;
    EXPECT_TRUE(to.try_send(moody(1)));
    EXPECT_TRUE(to.try_send(moody(2)));
    to = sync::mpmc_sender<moody>();
    moody::trips = 1;
    EXPECT_THROW(static_cast<void>(from.try_receive()), std::runtime_error);
    EXPECT_EQ(from.size(), 2U);
    moody::trips = 0;
    EXPECT_EQ(from.try_receive().value().number, 1);
    EXPECT_EQ(from.try_receive().value().number, 2);
    EXPECT_EQ(error_of(from.try_receive()), errc::closed);
  }
  EXPECT_EQ(moody::alive, 0);
}
#endif

}  // namespace
}  // namespace magpie::tests::mpmc_state_test
