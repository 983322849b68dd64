#include <magpie/runtime/signal_table.hpp>

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <optional>
#include <vector>

namespace magpie::detail {
namespace {

void (*handler_of(int number))(int) {
  struct sigaction now = {};
  ::sigaction(number, nullptr, &now);
  return now.sa_handler;
}

/// A listener with an eventfd of its own.
class listener {
 public:
  explicit listener(int number, signal_use use = signal_use::listens) : events_(make_eventfd()) {
    EXPECT_FALSE(place_.begin(number, events_, use));
  }
  listener(const listener&) = delete;
  listener& operator=(const listener&) = delete;
  ~listener() {
    place_.end();
    ::close(events_);
  }

  /// The sum of the numbers of the signals that it was told of.
  std::uint64_t told() const {
    std::uint64_t sum = 0;
    return ::read(events_, &sum, sizeof sum) < 0 ? 0 : sum;
  }

 private:
  int events_;
  signal_registration place_;
};

void somebodys_handler(int) {}

TEST(signal_table, puts_the_action_back_after_the_last_listener) {
  EXPECT_EQ(handler_of(SIGUSR1), SIG_DFL);
  {
    std::optional<listener> first(std::in_place, SIGUSR1);
    const listener second(SIGUSR1);
    EXPECT_NE(handler_of(SIGUSR1), SIG_DFL);
    first.reset();
    EXPECT_NE(handler_of(SIGUSR1), SIG_DFL);
  }
  EXPECT_EQ(handler_of(SIGUSR1), SIG_DFL);
  {
    const listener hidden(SIGUSR1);
    ::signal(SIGUSR1, &somebodys_handler);
  }
  EXPECT_EQ(handler_of(SIGUSR1), &somebodys_handler);
  ::signal(SIGUSR1, SIG_DFL);
}

TEST(signal_table, tells_the_last_resort_when_nobody_else_listens) {
  const listener fallback(SIGUSR1, signal_use::last_resort);
  {
    const listener other(SIGUSR2);  // has nothing to do with it
    const listener first(SIGUSR1);
    const listener second(SIGUSR1);
    ::raise(SIGUSR1);
    ::raise(SIGUSR1);
    EXPECT_EQ(first.told(), 2U * SIGUSR1);
    EXPECT_EQ(second.told(), 2U * SIGUSR1);
    EXPECT_EQ(other.told(), 0U);
  }
  EXPECT_EQ(fallback.told(), 0U);
  EXPECT_EQ(ending_signals_seen(), 0);
  ::raise(SIGUSR1);
  EXPECT_EQ(fallback.told(), static_cast<std::uint64_t>(SIGUSR1));
  EXPECT_EQ(ending_signals_seen(), 1);
}

void ends_at_the_second() {
  const listener ends(SIGUSR1, signal_use::ends);
  const listener too(SIGUSR2, signal_use::ends);
  ::raise(SIGUSR1);
  ::raise(SIGUSR2);
}

TEST(signal_table, exits_at_the_second_of_those_that_end_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(ends_at_the_second(), testing::ExitedWithCode(128 + SIGUSR2), "");
  const listener ends(SIGUSR1, signal_use::ends);  // counts anew: it is the first of its kind
  EXPECT_EQ(ending_signals_seen(), 0);
  ::raise(SIGUSR1);
  EXPECT_EQ(ending_signals_seen(), 1);
}

TEST(signal_table, has_an_end) {
  std::vector<signal_registration> all(signal_listeners_max);
  const int events = make_eventfd();
  for (auto& one : all) ASSERT_FALSE(one.begin(SIGUSR1, events, signal_use::listens));
  signal_registration more;
  EXPECT_EQ(more.begin(SIGUSR1, events, signal_use::listens),
            std::errc::resource_unavailable_try_again);
  all[500].end();
  EXPECT_FALSE(more.begin(SIGUSR1, events, signal_use::listens));
  ::raise(SIGUSR1);
  std::uint64_t told = 0;
  EXPECT_EQ(::read(events, &told, sizeof told), static_cast<ssize_t>(sizeof told));
  EXPECT_EQ(told, signal_listeners_max * SIGUSR1);
  more.end();
  all.clear();
  ::close(events);
}

}  // namespace
}  // namespace magpie::detail
