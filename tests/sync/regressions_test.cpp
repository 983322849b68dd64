/// Bugs that others have had in their locks and waits, each as a test: r31, r32, r35 and r39 of the
/// list of regressions; those of channels are in channel_regressions_test.cpp.  What a comment
/// names is where the bug was.
#include <magpie/sync/event.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/notify.hpp>
#include <magpie/sync/semaphore.hpp>
#include <magpie/tests/sync/world.hpp>

#include <cstddef>
#include <optional>
#include <utility>

namespace magpie::tests::regressions_test {
namespace {

using sync::notify;
using sync::semaphore;

// ---- 31: permits --------------------------------------------------------------------------------

/// tokio #904 and #2325: a big request is stopped after so many of its permits have come.
TEST(regression, r31_a_request_that_is_stopped_half_served_keeps_no_permit) {
  const auto scenario = []() -> task<> {
    for (std::size_t come = 0; come < 5; ++come) {
      semaphore some(0);
      const auto takes = [](semaphore& from, std::size_t count, int& had) -> task<> {
        auto permit = co_await from.acquire(count);
        ++had;
        permit.forget();
      };
      int big = 0;
      int small = 0;
      auto first = spawn(takes(some, 4, big));
      co_await settled();
      auto second = spawn(takes(some, 1, small));
      co_await settled();
      for (std::size_t i = 0; i < come; ++i) some.add(1);
      first.abort();
      [[maybe_unused]] const auto ended = co_await first.join();
      co_await settled();
      EXPECT_EQ(big, 0);
      EXPECT_EQ(small, come == 0 ? 0 : 1);  // what came is the next one's
      EXPECT_EQ(some.available(), come == 0 ? 0 : come - 1);
      some.check_invariants();
      if (come == 0) some.add(1);
      co_await second.join();
    }
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// #3644: more permits than there can be, also where the sum would come round.
TEST(regression, r31_a_count_that_would_come_round_is_an_abort) {
  semaphore some(2);
  EXPECT_DEATH(some.add(semaphore::permits_max), "more permits than there can be");
  EXPECT_DEATH(some.add(~std::size_t{0}), "more permits than there can be");
  EXPECT_DEATH(some.add(~std::size_t{0} / 4), "more permits than there can be");
  EXPECT_EQ(some.available(), 2U);
  some.add(semaphore::permits_max - 2);
  EXPECT_EQ(some.available(), semaphore::permits_max);
}

/// #8021: forgetting and adding do not open what is closed.
TEST(regression, r31_forgetting_leaves_a_closed_one_closed) {
  semaphore some(3);
  some.close();
  EXPECT_EQ(some.forget(2), 2U);
  EXPECT_EQ(error_of(some.try_acquire()), errc::closed);
  EXPECT_EQ(some.forget(2), 1U);
  some.add(1);
  EXPECT_TRUE(some.is_closed());
  EXPECT_EQ(error_of(some.try_acquire(0)), errc::closed);
}

/// Uses the semaphore where the frame that waited for it is destroyed.
struct meddles {
  explicit meddles(semaphore& with) noexcept : some(&with) {}
  meddles(const meddles&) = delete;
  meddles& operator=(const meddles&) = delete;
  ~meddles() {
    some->add(1);
    if (auto permit = some->try_acquire()) permit->forget();
    some->close();
  }
  semaphore* some;
};

/// #5475: what goes with who waited uses the semaphore: no lock is held.
TEST(regression, r31_the_destructors_of_who_waited_may_use_the_semaphore) {
  const auto scenario = []() -> task<> {
    semaphore some(0);
    const auto waits = [](semaphore& from) -> task<> {
      const meddles last(from);
      const auto permit = co_await from.acquire(2);
    };
    auto first = spawn(waits(some));
    auto second = spawn(waits(some));
    co_await settled();
    first.abort();
    [[maybe_unused]] const auto ended = co_await timeout(1s, first.join());
    const auto other = co_await timeout(1s, second.join());
    EXPECT_EQ(error_of(other), errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- 32: notifications --------------------------------------------------------------------------

/// tokio #3652: a wait that was notified and never runs hands the notification on, also where a
/// `notify_all` (#3660, #7996) comes between, which gives to those only who wait at that moment.
TEST(regression, r32_a_notification_that_nobody_took_is_the_next_ones) {
  const auto scenario = []() -> task<> {
    notify changed;
    const auto waits = [](notify& on, int& had) -> task<> {
      co_await on.notified();
      ++had;
    };
    int first_had = 0;
    int second_had = 0;
    int third_had = 0;
    auto first = spawn(waits(changed, first_had));
    co_await settled();
    auto second = spawn(waits(changed, second_had));
    co_await settled();
    changed.notify_one();  // the first one's
    changed.notify_all();  // the second one's
    first.abort();         // has not run
    [[maybe_unused]] const auto ended = co_await first.join();
    co_await second.join();
    EXPECT_EQ(first_had, 0);
    EXPECT_EQ(second_had, 1);
    auto third = spawn(waits(changed, third_had));  // what the first one was given is there
    co_await timeout(1s, third.join());
    EXPECT_EQ(third_had, 1);
    EXPECT_FALSE(changed.try_notified());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// A `notify_all` takes no permit away from who looks for it.
TEST(regression, r32_a_permit_is_had_whatever_notify_all_does) {
  notify changed;
  EXPECT_FALSE(changed.try_notified());
  changed.notify_all();
  EXPECT_FALSE(changed.try_notified());
  changed.notify_one();
  changed.notify_all();
  EXPECT_TRUE(changed.try_notified());
  EXPECT_FALSE(changed.try_notified());
}

// ---- 35: select ---------------------------------------------------------------------------------

/// sv2-apps #801, tokio #4624: a branch that always has a message does not starve one that has one
/// now and then; and what the loser was about to get is still in its channel.
TEST(regression, r35_a_select_over_channels_starves_none_and_loses_nothing) {
  const auto scenario = []() -> task<> {
    auto [often, from_often] = sync::mpsc<int>(2);
    auto [rarely, from_rarely] = sync::mpsc<int>(2);
    int sent = 0;
    int had = 0;
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(rarely.try_send(i));
      int rounds = 0;
      for (bool served = false; !served && rounds < 200; ++rounds) {
        while (often.try_send(sent)) ++sent;
        auto first = co_await select(from_often.receive(), from_rarely.receive());
        if (first.get<0>() && first.get<0>()->has_value()) {
          EXPECT_EQ(**first.get<0>(), had++);
        }
        if (first.get<1>() && first.get<1>()->has_value()) {
          EXPECT_EQ(**first.get<1>(), i);
          served = true;
        }
      }
      EXPECT_LT(rounds, 200);
      EXPECT_TRUE(from_rarely.empty());
    }
    for (auto rest = from_often.try_receive(); rest; rest = from_often.try_receive())
      EXPECT_EQ(*rest, had++);
    EXPECT_EQ(had, sent);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- 39: stops that meet ------------------------------------------------------------------------

/// Two who wait, each of whom ends the other.
struct pair_of_stops {
  semaphore first{0};
  semaphore second{0};
  std::optional<join_handle<void>> one;
  std::optional<join_handle<void>> other;
  sync::event there;
};

/// Where it is destroyed, stopped or not, it lets the other go on and stops it as well.
struct ends_the_other {
  ends_the_other(semaphore& its, std::optional<join_handle<void>>& who) noexcept
      : more(&its), task(&who) {}
  ends_the_other(const ends_the_other&) = delete;
  ends_the_other& operator=(const ends_the_other&) = delete;
  ~ends_the_other() {
    (*task)->abort();
    more->add(1);
  }
  semaphore* more;
  std::optional<join_handle<void>>* task;
};

/// cppcoro #221, asio #1576: a stop meets one that comes the other way, and what it stops is being
/// served at that moment.  All end, and the permits are counted.
TEST(regression, concurrent_r39_two_who_stop_each_other_both_end) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    const auto waits = [](pair_of_stops& of, semaphore& mine, semaphore& its,
                          std::optional<join_handle<void>>& who) -> task<> {
      co_await of.there.wait();
      const ends_the_other last(its, who);
      auto permit = co_await mine.acquire();
      permit.forget();
    };
    for (int i = 0; i < 1000; ++i) {
      pair_of_stops both;
      both.one = spawn(waits(both, both.first, both.second, both.other));
      both.other = spawn(waits(both, both.second, both.first, both.one));
      both.there.set();
      if (i % 3 != 0) co_await yield();
      if (i % 2 == 0) {
        both.first.add(1);
      } else {
        both.one->abort();
        both.there.set();
        both.second.add(1);
      }
      [[maybe_unused]] const auto ended = co_await both.one->join();
      [[maybe_unused]] const auto ended_too = co_await both.other->join();
      both.first.check_invariants();
      both.second.check_invariants();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::regressions_test
