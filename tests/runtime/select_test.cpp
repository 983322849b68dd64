/// `select`: who wins, what becomes of the others, and that nothing that somebody had is lost.
#include <magpie/runtime/select.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/tests/runtime/forks.hpp>

#include <memory>
#include <string>
#include <vector>

namespace magpie::tests::select_test {
namespace {

task<> first_value_wins() {
  auto first = co_await select(after(2ms, 5), after(1ms, 6), sleep_for(1h));
  EXPECT_EQ(first.index(), 1U);
  EXPECT_EQ(first.value<1>(), 6);
  EXPECT_EQ(error_of(*first.get<0>()), errc::stopped);
  EXPECT_EQ(error_of(*first.get<2>()), errc::stopped);
}

TEST(select, the_first_value_wins_and_the_others_are_stopped) { in_many_orders(&first_value_wins); }

task<> an_error_is_no_winner() {
  auto first = co_await select(fails_after(1ms), after(2ms, 6));
  EXPECT_EQ(first.index(), 1U);
  EXPECT_EQ(error_of(*first.get<0>()), some_error());
}

TEST(select, c92_goes_on_after_an_error) { in_many_orders(&an_error_is_no_winner); }

task<> all_fail() {
  const auto other = std::make_error_code(std::errc::broken_pipe);
  const auto ended =
      co_await as_result(select(fails_after(3ms), fails_after(1ms, other), fails_after(2ms)));
  EXPECT_EQ(error_of(ended), other);
}

TEST(select, without_a_value_fails_with_the_first_error) { in_many_orders(&all_fail); }

task<> losers_keep_their_values() {
  auto first = co_await select(after(1ms, 1), insists(1h, 2), insists(1h, 3));
  EXPECT_EQ(first.index(), 0U);
  EXPECT_EQ(first.value<1>(), 2);
  EXPECT_EQ(first.value<2>(), 3);
}

TEST(select, hands_out_what_losers_completed_with) { in_many_orders(&losers_keep_their_values); }

task<std::unique_ptr<int>> boxes(int value) { co_return std::make_unique<int>(value); }

task<> completes_at_once() {
  const auto before = clock::now();
  auto first = co_await select(biased, at_once(1), at_once(2));
  EXPECT_EQ(first.index(), 0U);
  EXPECT_FALSE(first.get<1>());  // never started
  auto second = co_await select(biased, sleep_for(1h), at_once(2));
  EXPECT_EQ(second.index(), 1U);
  EXPECT_EQ(error_of(*second.get<0>()), errc::stopped);
  auto third = co_await select(biased, sleep_for(0s), sleep_for(1h));
  EXPECT_EQ(third.index(), 0U);
  auto fourth = co_await select(biased, sleep_for(1h), sleep_for(0s));
  EXPECT_EQ(fourth.index(), 1U);
  EXPECT_FALSE(fourth.get<0>());  // a leaf that cannot complete at once is not even begun
  auto fifth = co_await select(biased, boxes(4), sleep_for(0s));
  EXPECT_EQ(fifth.index(), 0U);  // a task before a ready operation is started first
  EXPECT_EQ(*fifth.value<0>(), 4);
  auto failed = co_await select(biased, result<int>(std::unexpected(some_error())), at_once(2));
  EXPECT_EQ(failed.index(), 1U);
  EXPECT_EQ(error_of(*failed.get<0>()), some_error());
  EXPECT_LT(clock::now() - before, 1ms);
}

TEST(select, biased_takes_what_completes_at_once_in_order) {
  for (std::uint64_t seed = 1; seed < 20; ++seed)
    EXPECT_TRUE(run_in_simulation(completes_at_once(), seed));
}

// ---- branches that are switched off: C92 ----

task<int> must_not_run() {
  ADD_FAILURE() << "a branch that is switched off ran";
  co_return 0;
}

task<> switched_off() {
  for (const bool on : {true, false}) {
    auto first = co_await select(when(false, must_not_run()), after(1us, 2), when(on, at_once(3)));
    EXPECT_EQ(first.index(), on ? 2U : 1U);
    EXPECT_FALSE(first.get<0>());
    EXPECT_EQ(first.get<2>().has_value(), on);
  }
  const auto nothing =
      co_await as_result(select(when(false, must_not_run()), when(false, sleep_for(1s))));
  EXPECT_EQ(error_of(nothing), std::errc::invalid_argument);
}

TEST(select, c92_a_branch_that_is_switched_off_never_runs) { in_many_orders(&switched_off); }

task<> a_queue_of_ready_operations() {
  // C92: each inline completion costs budget; others get their turn.
  bool ran = false;
  auto other = [](bool& done) -> task<> {
    done = true;
    co_return;
  };
  auto handle = spawn(other(ran));
  for (int i = 0; i < 1000 && !ran; ++i)
    static_cast<void>(co_await select(sleep_for(0s), sleep_for(1h)));
  EXPECT_TRUE(ran);
  EXPECT_TRUE(co_await handle.join());
}

TEST(select, c92_the_budget_lets_others_in) {
  EXPECT_TRUE(run_in_simulation(a_queue_of_ready_operations()));
}

// ---- fairness: SEMANTICS 50 and 51, RELIABILITY 35 ----

task<> serves_both(int& often, int& seldom) {
  for (int i = 0; i < 400; ++i) {
    auto first = co_await select(sleep_for(0s), sleep_for(0s));
    ++(first.index() == 0 ? often : seldom);
  }
}

TEST(select, starts_at_random_so_that_each_of_two_ready_branches_is_served) {
  int often = 0;
  int seldom = 0;
  EXPECT_TRUE(run_in_simulation(serves_both(often, seldom)));
  EXPECT_GT(often, 100);
  EXPECT_GT(seldom, 100);
}

task<> notes_winners(std::vector<std::size_t>& winners) {
  for (int i = 0; i < 50; ++i) {
    auto first = co_await select(sleep_for(0s), sleep_for(0s), sleep_for(0s), sleep_for(0s));
    winners.push_back(first.index());
  }
}

TEST(select, the_seed_decides_where_it_starts) {
  std::vector<std::size_t> runs[3];
  EXPECT_TRUE(run_in_simulation(notes_winners(runs[0]), 7));
  EXPECT_TRUE(run_in_simulation(notes_winners(runs[1]), 7));
  EXPECT_TRUE(run_in_simulation(notes_winners(runs[2]), 8));
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_NE(runs[0], runs[2]);
}

task<> prefers_the_first() {
  // Semantics 51: strict order, and a deadline made once, outside of the loop, ends it.
  const auto end = clock::now() + 1ms;
  int turns = 0;
  for (;;) {
    auto first = co_await select(biased, sleep_until(end), after(10us, 1));
    if (first.index() == 0) break;
    ++turns;
  }
  EXPECT_GT(turns, 50);
  EXPECT_LE(turns, 100);
}

TEST(select, biased_prefers_the_first) { EXPECT_TRUE(run_in_simulation(prefers_the_first())); }

// ---- stops, errors, exceptions ----

task<> waits_for_ever(std::error_code& seen) {
  const auto ended = co_await as_result(select(sleep_for(1h), after(1h, 1)));
  seen = error_of(ended);
}

task<> stops_a_select() {
  std::error_code seen;
  auto handle = spawn(waits_for_ever(seen));
  co_await sleep_for(1ms);
  handle.abort();
  EXPECT_TRUE(co_await handle.join());
  EXPECT_EQ(seen, errc::stopped);
}

TEST(select, passes_a_stop_on) { in_many_orders(&stops_a_select); }

task<> inside_and_around_timeouts() {
  const auto ended =
      co_await as_result(timeout(1ms, select(sleep_for(1h), timeout(1h, after(1h, 1)))));
  EXPECT_EQ(error_of(ended), errc::deadline);
  auto first = co_await select(timeout(1ms, after(1h, 1)), after(2ms, 7));
  EXPECT_EQ(first.index(), 1U);
  EXPECT_EQ(error_of(*first.get<0>()), errc::deadline);
  // C68: ready before its deadline's end, at it and behind it.
  auto ready = co_await select(biased, timeout(0s, at_once(1)), timeout(-1s, at_once(2)));
  EXPECT_EQ(ready.index(), 0U);
  auto past = co_await select(biased, timeout(-1s, sleep_for(1h)), sleep_for(1ms));
  EXPECT_EQ(past.index(), 1U);
  EXPECT_EQ(error_of(*past.get<0>()), errc::deadline);
}

TEST(select, c68_nests_with_timeouts) { in_many_orders(&inside_and_around_timeouts); }

task<> primary_then_fallback() {
  // Semantics 48: what is stopped has ended before the fall-back begins.
  atomic<int> alive{0};
  auto slow = [](counted) -> task<int> {
    co_await sleep_for(1h);
    co_return 1;
  };
  auto first = co_await select(slow(counted(alive)), sleep_for(1ms));
  EXPECT_EQ(first.index(), 1U);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(select, c92_losers_have_ended_when_it_goes_on) { in_many_orders(&primary_then_fallback); }

struct lock_flag {
  bool taken = false;
};
struct lock_guard {
  explicit lock_guard(lock_flag& on) noexcept : flag(&on) { flag->taken = true; }
  lock_guard(const lock_guard&) = delete;
  lock_guard& operator=(const lock_guard&) = delete;
  ~lock_guard() { flag->taken = false; }
  lock_flag* flag;
};

task<> fails_with_a_guard(lock_flag& lock) {
  const lock_guard held(lock);
  co_await sleep_for(1ms);
  co_await fail(some_error());
}
task<> needs_the_lock(lock_flag& lock) {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1ms));
  while (lock.taken) co_await yield();
}

task<> guards() {
  lock_flag lock;
  auto first = co_await select(fails_with_a_guard(lock), needs_the_lock(lock));
  EXPECT_EQ(first.index(), 1U);
}

TEST(select, an_abandoned_branch_has_let_its_guards_go) { in_many_orders(&guards); }

#if defined(__cpp_exceptions)
task<> throwing(bool late) {
  bool caught = false;
  try {
    if (late) {
      static_cast<void>(co_await select(after(1ms, 1), throws_after(1h, 17)));
    } else {
      static_cast<void>(co_await select(sleep_for(1h), timeout(1h, throws_after(1ms, 17))));
    }
  } catch (int what) {
    caught = what == 17;
  }
  EXPECT_TRUE(caught);
}
task<> throws_first() { return throwing(false); }
task<> throws_late() { return throwing(true); }

TEST(select, an_exception_wins_over_values) {
  in_many_orders(&throws_first);
  in_many_orders(&throws_late);
}
#endif

task<> deep_failure(std::chrono::nanoseconds pause) {
  co_await sleep_for(pause);
  co_await fail(some_error());
}
task<> failing_select() { static_cast<void>(co_await select(deep_failure(1ms), fails_after(2ms))); }

TEST(select, the_trace_is_that_of_its_error) {
  for (std::uint64_t seed = 1; seed < 4; ++seed) {  // the log has a limit
    options loud = simulation(seed);
    loud.log = true;
    runtime on(loud);
    testing::internal::CaptureStderr();
    on.spawn(failing_select()).detach();
    EXPECT_TRUE(on.block_on(after(10ms, 1)));
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("raised at"), std::string::npos) << said;
    EXPECT_NE(said.find("through"), std::string::npos) << said;
    EXPECT_EQ(said.find("forks.hpp"), std::string::npos) << said;  // the other branch's place
  }
}

// ---- handlers ----

task<int> handles(int value, int& seen) {
  co_await sleep_for(1us);
  seen = value;
  co_return value * 2;
}

task<> matches() {
  int seen = 0;
  auto first = co_await select(after(1ms, 4), sleep_for(1h));
  const int doubled = co_await first.match([&](int value) { return handles(value, seen); },
                                           [&]() { return handles(-1, seen); });
  EXPECT_EQ(doubled, 8);
  EXPECT_EQ(seen, 4);
  auto second = co_await select(insists(1h, 9), sleep_for(1ms));
  co_await second.match([](int) -> task<> { co_return; },
                        [&]() -> task<> {
                          co_await sleep_for(1us);
                          seen = second.value<0>();  // what the loser had
                        });
  EXPECT_EQ(seen, 9);
  const std::string text =
      second.match([](int) { return std::string("value"); }, []() { return std::string("slept"); });
  EXPECT_EQ(text, "slept");
}

TEST(select, calls_the_winners_handler_after_the_losers_have_ended) { in_many_orders(&matches); }

int squares(int i) { return i * i; }

task<> sixteen() {
  auto first = co_await select(sleep_for(1h), sleep_for(2h), sleep_for(3h), sleep_for(4h),
                               sleep_for(5h), sleep_for(6h), sleep_for(7h), yield(), after(1h, 1),
                               after(1h, 2), after(1h, 3), after(1h, 4), after(1h, 5), after(1h, 6),
                               after(1h, 7), after(1h, 8));
  EXPECT_EQ(first.index(), 7U);
  auto nested = co_await select(select(sleep_for(1h), run_blocking(squares, 3)), sleep_for(1h));
  EXPECT_EQ(nested.index(), 0U);
  EXPECT_EQ(nested.value<0>().value<1>(), 9);
}

TEST(select, takes_sixteen_branches_of_every_kind) { in_many_orders(&sixteen); }

// ---- torture ----

task<int> counts_alive(tally& counts, std::chrono::microseconds pause, int value) {
  const counted here(counts.alive);
  co_await sleep_for(pause);
  co_return value;
}

task<> selecting(int i, tally& counts) {
  const counted here(counts.alive);
  turnstile stile;
  auto spinning = [&]() -> task<> {
    const counted inner(counts.alive);
    for (int k = 0; k < i % 9; ++k) {
      stile.pass();
      co_await yield();
    }
  };
  auto spins = spinning();
  auto bounded = timeout(std::chrono::microseconds(i % 23),
                         counts_alive(counts, std::chrono::microseconds(i % 17), i));
  auto ended = co_await as_result(select(counts_alive(counts, std::chrono::microseconds(i % 19), i),
                                         std::move(bounded), std::move(spins)));
  counts.check(!stile.crowded);
  if (!ended) {
    counts.check(ended.error() == errc::stopped || ended.error() == errc::deadline);
    co_await fail(errc::stopped);
  }
  auto& first = *ended;
  if (first.get<0>() && first.get<0>()->has_value()) counts.check(first.value<0>() == i);
  if (first.get<1>() && first.get<1>()->has_value()) counts.check(first.value<1>() == i);
}

TEST(select, stop_torture_concurrent) { torture_forks(&selecting); }

/// Two selects stop each other's sides: RELIABILITY 39.
task<> cross_stopping(int i, tally& counts) {
  const counted here(counts.alive);
  auto left = select(sleep_for(std::chrono::microseconds(i % 7)), sleep_for(1h));
  auto right = select(sleep_for(1h), sleep_for(std::chrono::microseconds(i % 5)));
  auto first = co_await select(std::move(left), std::move(right));
  counts.check(first.index() < 2);
}

TEST(select, cross_stops_concurrent) { torture_forks(&cross_stopping); }

}  // namespace
}  // namespace magpie::tests::select_test
