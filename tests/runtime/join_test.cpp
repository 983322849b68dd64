/// `join`: all values, or the first failure after everybody has ended.
#include <magpie/runtime/join.hpp>

#include <magpie/tests/runtime/forks.hpp>

#include <memory>
#include <string>
#include <tuple>
#include <variant>

namespace magpie::tests::join_test {
namespace {

task<std::unique_ptr<int>> boxes(std::chrono::nanoseconds pause, int value) {
  co_await sleep_for(pause);
  co_return std::make_unique<int>(value);
}

task<> gives_all() {
  const auto before = clock::now();
  auto [first, nothing, box, again] =
      co_await join(after(3ms, 1), sleep_for(1ms), boxes(2ms, 2), result<int>(7));
  static_assert(std::is_same_v<decltype(nothing), std::monostate>);
  EXPECT_EQ(first, 1);
  EXPECT_EQ(*box, 2);
  EXPECT_EQ(again, 7);
  EXPECT_LT(clock::now() - before, 4ms);  // they waited together
  const auto alone = co_await join(at_once(3));
  EXPECT_EQ(std::get<0>(alone), 3);
}

TEST(join, gives_every_value) { in_many_orders(&gives_all); }

task<> fails() {
  atomic<int> alive{0};
  auto slow = [](counted) -> task<> { co_await sleep_for(1h); };
  const auto before = clock::now();
  const auto ended =
      co_await as_result(join(slow(counted(alive)), fails_after(1ms), slow(counted(alive))));
  EXPECT_EQ(error_of(ended), some_error());
  EXPECT_EQ(alive.load(order::relaxed), 0);  // the others have ended
  EXPECT_LT(clock::now() - before, 2ms);
  const auto other = std::make_error_code(std::errc::broken_pipe);
  const auto two = co_await as_result(join(fails_after(2ms), fails_after(1ms, other)));
  EXPECT_EQ(error_of(two), other);  // the first one
}

TEST(join, the_first_failure_stops_the_others_and_is_the_error) { in_many_orders(&fails); }

task<> must_not_start() {
  ADD_FAILURE() << "a branch after an immediate failure started";
  co_return;
}

task<> fails_at_once() {
  const auto first = co_await as_result(join(fail(some_error()), must_not_start()));
  EXPECT_EQ(error_of(first), some_error());
  const auto second = co_await as_result(
      join(sleep_for(1h), result<int>(std::unexpected(some_error())), must_not_start()));
  EXPECT_EQ(error_of(second), some_error());
}

TEST(join, starts_nothing_after_a_failure) { in_many_orders(&fails_at_once); }

task<> collects() {
  auto [good, bad] = co_await join(as_result(after(2ms, 1)), as_result(fails_after(1ms)));
  EXPECT_EQ(good.value(), 1);
  EXPECT_EQ(error_of(bad), some_error());
}

TEST(join, of_results_collects_everything) { in_many_orders(&collects); }

task<> needs_to_be_told(bool& lock) {
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
  EXPECT_FALSE(lock);  // the failing branch's guard is gone before this one is stopped
}
task<> fails_holding(bool& lock) {
  struct guard {
    explicit guard(bool& on) noexcept : flag(&on) { *flag = true; }
    guard(const guard&) = delete;
    guard& operator=(const guard&) = delete;
    ~guard() { *flag = false; }
    bool* flag;
  } const held(lock);
  co_await sleep_for(1ms);
  co_await fail(some_error());
}

task<> destroys_first() {
  bool lock = false;
  const auto ended = co_await as_result(join(needs_to_be_told(lock), fails_holding(lock)));
  EXPECT_EQ(error_of(ended), some_error());
}

TEST(join, destroys_what_failed_before_it_stops_the_others) { in_many_orders(&destroys_first); }

task<> keeps_nothing() {
  atomic<int> alive{0};
  auto quick = [](counted) -> task<> { co_return; };
  auto looks = [](atomic<int>& at) -> task<> {
    co_await sleep_for(1ms);
    EXPECT_EQ(at.load(order::relaxed), 0);
  };
  auto ends = quick(counted(alive));
  static_cast<void>(co_await join(std::move(ends), looks(alive)));
}

TEST(join, a_branch_that_has_ended_holds_nothing) { in_many_orders(&keeps_nothing); }

task<> waits_in_a_join() { static_cast<void>(co_await join(sleep_for(1h), after(1h, 1))); }

task<> stops_a_join() {
  const auto bounded = co_await as_result(timeout(1ms, join(sleep_for(1h), after(1h, 1))));
  EXPECT_EQ(error_of(bounded), errc::deadline);
  auto handle = spawn(waits_in_a_join());
  co_await sleep_for(1ms);
  handle.abort();
  const auto ended = co_await handle.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
}

TEST(join, passes_a_stop_on) { in_many_orders(&stops_a_join); }

#if defined(__cpp_exceptions)
task<> throwing() {
  const auto before = clock::now();
  int caught = 0;
  try {
    static_cast<void>(co_await join(sleep_for(1h), throws_after(1ms, 17)));
  } catch (int what) {
    caught = what;
  }
  EXPECT_EQ(caught, 17);
  try {  // through combinators that hold it back until the value is taken
    static_cast<void>(
        co_await join(sleep_for(1h), timeout(1h, as_result(join(throws_after(1ms, 18))))));
  } catch (int what) {
    caught = what;
  }
  EXPECT_EQ(caught, 18);
  EXPECT_LT(clock::now() - before, 4ms);  // the sleeps were stopped
}

TEST(join, an_exception_stops_the_others_and_is_rethrown) { in_many_orders(&throwing); }
#endif

task<> deep(std::chrono::nanoseconds pause) {
  co_await sleep_for(pause);
  co_await fail(some_error());
}
task<> failing_join() { static_cast<void>(co_await join(after(1h, 1), deep(1ms), after(2h, 1))); }

TEST(join, the_trace_leads_to_its_error) {
  for (std::uint64_t seed = 1; seed < 4; ++seed) {  // the log has a limit
    options loud = simulation(seed);
    loud.log = true;
    runtime on(loud);
    testing::internal::CaptureStderr();
    on.spawn(failing_join()).detach();
    EXPECT_TRUE(on.block_on(after(10ms, 1)));
    const std::string said = testing::internal::GetCapturedStderr();
    std::size_t places = 0;
    for (std::size_t at = said.find("join_test.cpp"); at != std::string::npos;
         at = said.find("join_test.cpp", at + 1))
      ++places;
    EXPECT_EQ(places, 3U) << said;  // where it was spawned, the fail, and the join
    EXPECT_EQ(said.find("forks.hpp"), std::string::npos) << said;  // no place of those stopped
  }
}

// ---- torture ----

task<int> counts_alive(tally& counts, std::chrono::microseconds pause, int value) {
  const counted here(counts.alive);
  co_await sleep_for(pause);
  co_return value;
}

task<> joining(int i, tally& counts) {
  const counted here(counts.alive);
  turnstile stile;
  auto grouping = [&]() -> task<> {
    const counted inner(counts.alive);
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(counts_alive(counts, std::chrono::microseconds(i % 11), 1));
      stile.pass();
      co_return;
    });
    stile.pass();
  };
  auto spinning = [&]() -> task<> {
    const counted inner(counts.alive);
    for (int k = 0; k < i % 9; ++k) {
      stile.pass();
      co_await yield();
    }
  };
  auto groups = grouping();
  auto spins = spinning();
  auto [a, b, c, d] =
      co_await join(counts_alive(counts, std::chrono::microseconds(i % 19), i), std::move(groups),
                    std::move(spins), counts_alive(counts, std::chrono::microseconds(i % 13), i));
  counts.check(a == i && d == i && !stile.crowded && (i % 9 == 0 || stile.passed >= i % 9));
}

TEST(join, stop_torture_concurrent) { torture_forks(&joining); }

task<> finds_it_free(const bool& held) {
  co_await sleep_for(2ms);
  EXPECT_FALSE(held);
}

// The other branch may wait for what the frames of the failed one hold.
task<> a_failed_branch_lets_go() {
  bool held = false;
  const auto [failed, found] =
      co_await join(as_result(fails_holding(held)), as_result(finds_it_free(held)));
  EXPECT_EQ(error_of(failed), some_error());
  EXPECT_TRUE(found);
}

TEST(join, a_branch_that_failed_lets_go_before_the_others_end) {
  in_many_orders(&a_failed_branch_lets_go);
}

}  // namespace
}  // namespace magpie::tests::join_test
