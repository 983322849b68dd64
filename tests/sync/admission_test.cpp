/// `admission`: who is let in, who waits for how long, and who is refused.
#include <magpie/sync/admission.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/test_clock.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace magpie::tests::admission_test {
namespace {

using sync::admission;
using sync::admission_limits;
using sync::admitted;

admission_limits some_limits(std::size_t running, std::size_t waiting = 128) {
  admission_limits limits(running, waiting);
  limits.patience = 100ms;
  limits.impatience = 5ms;
  return limits;
}

/// What became of those who came, by name.
struct outcomes {
  std::vector<int> in;
  std::vector<int> refused;
};

task<> visits(admission& door, int name, clock::duration stays, outcomes& log) {
  auto entered = co_await as_result(door.enter());
  if (!entered) {
    if (entered.error() != errc::refused) co_await fail(entered.error());
    log.refused.push_back(name);
    co_return;
  }
  log.in.push_back(name);
  co_await sleep_for(stays);
}

TEST(admission, admits_so_many_at_once_and_the_others_in_their_order) {
  at_instants([]() -> task<> {
    admission door(some_limits(2));
    outcomes log;
    std::vector<join_handle<void>> all;
    for (int i = 0; i < 5; ++i) {
      all.push_back(spawn(visits(door, i, 10ms, log)));
      co_await test_clock::advance(1ms);
    }
    EXPECT_EQ(log.in, (std::vector{0, 1}));
    EXPECT_EQ(door.counts().running, 2U);
    EXPECT_EQ(door.counts().waiting, 3U);
    EXPECT_EQ(error_of(door.try_enter()), errc::refused);  // it does not pass the line
    for (int i = 0; i < 30; ++i) co_await test_clock::advance(1ms);
    EXPECT_EQ(log.in, (std::vector{0, 1, 2, 3, 4}));
    for (auto& one : all) co_await one.join();
    const auto counts = door.counts();
    EXPECT_EQ(counts.admitted, 5U);
    EXPECT_EQ(counts.running + counts.waiting, 0U);
    EXPECT_EQ(counts.refused_full, 1U);
    EXPECT_EQ(counts.refused_late, 0U);
  });
}

TEST(admission, refuses_at_once_when_the_line_is_full) {
  at_instants([]() -> task<> {
    admission door(some_limits(1, 2));
    outcomes log;
    auto inside = co_await door.enter();
    auto first = spawn(visits(door, 1, 0ms, log));
    auto second = spawn(visits(door, 2, 0ms, log));
    co_await test_clock::advance(0ms);
    const auto third = co_await as_result(door.enter());
    EXPECT_EQ(error_of(third), errc::refused);
    EXPECT_EQ(door.counts().refused_full, 1U);
    inside.leave();
    inside.leave();  // idempotent
    co_await first.join();
    co_await second.join();
    EXPECT_EQ(log.in.size(), 2U);
  });
}

TEST(admission, one_that_has_no_line_refuses_who_finds_no_room) {
  at_instants([]() -> task<> {
    admission door(some_limits(1, 0));
    auto inside = co_await door.enter();
    const auto other = co_await as_result(door.enter());
    EXPECT_EQ(error_of(other), errc::refused);
    inside = admitted();
    inside = co_await door.enter();
  });
}

TEST(admission, patience_ends_and_a_standing_line_makes_it_short) {
  at_instants([]() -> task<> {
    admission door(some_limits(1));
    outcomes log;
    auto inside = co_await door.enter();
    std::vector<join_handle<void>> all;
    // A line that never is empty: one comes each 10 ms, and waits for 100.
    for (int i = 0; i < 11; ++i) {
      all.push_back(spawn(visits(door, i, 0ms, log)));
      co_await test_clock::advance(10ms);
    }
    EXPECT_EQ(log.refused, (std::vector{0, 1}));  // at 100 and at 110 ms
    EXPECT_EQ(door.counts().waiting, 9U);
    // It stands now: who comes waits for 5 ms.
    all.push_back(spawn(visits(door, 11, 0ms, log)));
    co_await test_clock::advance(0ms);
    co_await test_clock::advance(4ms);
    EXPECT_EQ(log.refused.size(), 2U);
    co_await test_clock::advance(1ms);
    EXPECT_EQ(log.refused.back(), 11);
    // Once it has been empty one waits as before.
    inside.leave();
    for (auto& one : all) co_await one.join();
    EXPECT_EQ(door.counts().waiting, 0U);
    inside = co_await door.enter();
    auto patient = spawn(visits(door, 12, 0ms, log));
    co_await test_clock::advance(0ms);
    co_await test_clock::advance(99ms);
    EXPECT_EQ(door.counts().waiting, 1U);
    inside.leave();
    co_await patient.join();
    EXPECT_EQ(log.in.back(), 12);
    EXPECT_EQ(door.counts().refused_late, 3U);
  });
}

TEST(admission, a_stop_in_line_is_a_stop_and_leaves_no_trace) {
  at_instants([]() -> task<> {
    admission door(some_limits(1));
    outcomes log;
    auto inside = co_await door.enter();
    auto first = spawn(visits(door, 1, 0ms, log));
    co_await test_clock::advance(0ms);
    auto second = spawn(visits(door, 2, 0ms, log));
    co_await test_clock::advance(0ms);
    first.abort();
    const auto ended = co_await first.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    const auto late = co_await as_result(timeout(0ms, door.enter()));
    EXPECT_EQ(error_of(late),
              errc::deadline);  // the deadline of whoever calls, not that of the line
    EXPECT_EQ(door.counts().waiting, 1U);
    inside.leave();
    co_await second.join();
    EXPECT_EQ(log.in, std::vector{2});
    EXPECT_TRUE(log.refused.empty());
    EXPECT_EQ(door.counts().refused_late, 0U);
  });
}

TEST(admission, may_be_widened_and_narrowed_while_some_are_inside) {
  at_instants([]() -> task<> {
    admission door(some_limits(1));
    outcomes log;
    auto one = co_await door.enter();
    auto waits = spawn(visits(door, 1, 0ms, log));
    co_await test_clock::advance(0ms);
    door.set_running(3);
    co_await waits.join();
    EXPECT_EQ(log.in, std::vector{1});
    auto two = co_await door.enter();
    auto three = co_await door.enter();
    door.set_running(1);  // two too many
    EXPECT_FALSE(door.try_enter());
    three.leave();
    EXPECT_FALSE(door.try_enter());
    two.leave();
    EXPECT_FALSE(door.try_enter());
    one.leave();
    EXPECT_TRUE(door.try_enter());

    auto again = co_await door.enter();
    door.set_running(0);
    door.set_running(2);  // the debt of one is paid first
    auto last = door.try_enter();
    EXPECT_TRUE(last);
    EXPECT_FALSE(door.try_enter());
  });
}

/// A place that is on its way to somebody who is stopped cannot be taken away by `set_running`: it
/// goes when it is found.
TEST(admission, a_place_between_two_owners_is_not_one_too_many) {
  at_instants([]() -> task<> {
    admission door(some_limits(1));
    outcomes log;
    auto inside = co_await door.enter();
    auto waits = spawn(visits(door, 1, 0ms, log));
    co_await test_clock::advance(0ms);
    inside.leave();  // the next one's, which has not run
    door.set_running(0);
    waits.abort();
    [[maybe_unused]] const auto ended = co_await waits.join();
    EXPECT_TRUE(log.in.empty());
    EXPECT_EQ(error_of(door.try_enter()), errc::refused);
    EXPECT_EQ(door.counts().running, 0U);
    door.set_running(1);
    inside = co_await door.enter();
    EXPECT_FALSE(door.try_enter());
  });
}

TEST(admission, a_closed_door_is_closed_for_who_waits_and_who_comes) {
  at_instants([]() -> task<> {
    admission door(some_limits(1));
    std::error_code said;
    const auto waits = [](admission& at, std::error_code& into) -> task<> {
      into = error_of(co_await as_result(at.enter()));
    };
    auto inside = co_await door.enter();
    auto waiting = spawn(waits(door, said));
    co_await test_clock::advance(0ms);
    door.close();
    co_await waiting.join();
    EXPECT_EQ(said, errc::closed);
    EXPECT_EQ(error_of(door.try_enter()), errc::closed);
    const auto late = co_await as_result(door.enter());
    EXPECT_EQ(error_of(late), errc::closed);
    admission without_line(some_limits(1, 0));
    without_line.close();
    const auto refused = co_await as_result(without_line.enter());
    EXPECT_EQ(error_of(refused), errc::closed);
    EXPECT_EQ(without_line.counts().refused_full, 0U);
    inside.leave();
    EXPECT_EQ(door.counts().waiting, 0U);
  });
}

TEST(admission, an_end_while_somebody_is_inside_is_an_abort) {
  EXPECT_DEATH(
      {
        admitted inside;
        const admission door(some_limits(1));
        inside = *const_cast<admission&>(door).try_enter();
      },
      "while somebody is admitted");
}

/// Ten times as many as can be served.  Those who are admitted are as many as if nobody had come in
/// vain, and none of them has waited for longer than the line allows.
TEST(admission, keeps_its_goodput_and_its_latency_when_overloaded) {
  const auto scenario = []() -> task<> {
    admission_limits limits = some_limits(8, 64);
    admission door(limits);
    int served = 0;
    clock::duration longest{};
    const auto request = [](admission& at, int& done, clock::duration& worst) -> task<> {
      const clock::time_point came = clock::now();
      auto entered = co_await as_result(at.enter());
      if (!entered) co_return;
      worst = std::max(worst, clock::now() - came);
      co_await sleep_for(10ms);
      ++done;
    };
    constexpr int seconds = 3;
    constexpr int offered = 8000 * seconds;  // a second; 800 can be served
    co_await with_task_group([&](task_group& group) -> task<> {
      const clock::time_point began = clock::now();
      for (int i = 0; i < offered; ++i) {
        group.spawn(request(door, served, longest));
        co_await sleep_until(began + i * 125us);
      }
    });
    EXPECT_GE(served, 800 * seconds * 9 / 10);
    EXPECT_LE(longest, limits.patience + 2ms);
    const auto counts = door.counts();
    EXPECT_EQ(counts.admitted, static_cast<std::uint64_t>(served));
    EXPECT_EQ(counts.admitted + counts.refused_full + counts.refused_late,
              static_cast<std::uint64_t>(offered));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// Visitors who come, wait, give up and stay by chance, while the limit moves.
TEST(admission, random_visits_stops_and_limits_keep_the_count) {
  const auto scenario = [](std::uint64_t seed) -> task<> {
    dice chance(seed);
    admission door(some_limits(3, 6));
    std::size_t inside = 0;
    std::uint64_t entered = 0;
    const auto visit = [](admission& at, clock::duration most, clock::duration stays,
                          std::size_t& now, std::uint64_t& all) -> task<> {
      auto got = co_await as_result(timeout(most, at.enter()));
      if (!got) co_return;
      ++now;
      ++all;
      EXPECT_EQ(at.counts().running, now);
      co_await as_result(sleep_for(stays));
      --now;
      got->leave();
    };
    const int operations = model_operations(4'000);
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < operations; ++i) {
        const auto most = chance.below(3) == 0 ? std::chrono::microseconds(chance.below(400)) : 1h;
        const auto stays = std::chrono::microseconds(chance.below(900));
        group.spawn(visit(door, most, stays, inside, entered));
        if (chance.below(20) == 0) door.set_running(chance.below(6));
        EXPECT_LE(door.counts().waiting, 6U);
        if (chance.below(2) == 0) co_await sleep_for(std::chrono::microseconds(chance.below(500)));
      }
      door.set_running(2);
    });
    EXPECT_EQ(inside, 0U);
    const auto counts = door.counts();
    EXPECT_EQ(counts.admitted, entered);
    EXPECT_GT(counts.refused_full, 0U);
    EXPECT_EQ(counts.running + counts.waiting, 0U);
    auto one = door.try_enter();
    auto two = door.try_enter();
    EXPECT_TRUE(one && two);
    EXPECT_FALSE(door.try_enter());
  };
  for (std::uint64_t seed = 1; seed <= 5; ++seed)
    EXPECT_TRUE(run_on(one_at_a_time(seed), scenario(seed)));
}

TEST(admission, concurrent_visits_are_never_more_than_the_limit) {
  MAGPIE_NEED_CELL();
  admission door(some_limits(3, 4));
  atomic<int> inside{0};
  atomic<int> worst{0};
  const auto visits_often = [](admission& at, atomic<int>& now, atomic<int>& most) -> task<> {
    for (int i = 0; i < 200; ++i) {
      auto got = co_await as_result(at.enter());
      if (!got) continue;
      const int here = now.fetch_add(1, order::relaxed) + 1;
      if (here > most.load(order::relaxed)) most.store(here, order::relaxed);
      co_await yield();
      now.fetch_sub(1, order::relaxed);
    }
  };
  const auto scenario = [](admission& at, atomic<int>& now, atomic<int>& most,
                           const auto& visit) -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 16; ++i) group.spawn(visit(at, now, most));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario(door, inside, worst, visits_often)));
  EXPECT_LE(worst.load(order::relaxed), 3);
  EXPECT_EQ(door.counts().running, 0U);
  EXPECT_GT(door.counts().admitted, 0U);
}

}  // namespace
}  // namespace magpie::tests::admission_test
