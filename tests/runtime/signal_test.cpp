/// Signals as awaitables.  Real ones: a simulation handles none.
#include <magpie/runtime/signal.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/exits.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <signal.h>
#include <unistd.h>

#include <optional>
#include <thread>
#include <vector>

namespace magpie::tests::signal_test {
namespace {

signal_stream listens(int number) { return signal_stream::open(number).value(); }

void (*handler_of(int number))(int) {
  struct sigaction now = {};
  ::sigaction(number, nullptr, &now);
  return now.sa_handler;
}

task<> waits_for(signal_stream& signals) { co_await signals.next(); }

TEST(signals, end_a_wait_and_are_kept_for_the_next) {
  MAGPIE_NEED_KERNEL();
  auto scenario = []() -> task<> {
    auto signals = listens(SIGUSR1);
    EXPECT_EQ(signals.number(), SIGUSR1);
    auto waiting = spawn([&]() -> task<> { co_await signals.next(); });
    co_await yield();
    ::raise(SIGUSR1);
    EXPECT_TRUE((co_await waiting.join()).has_value());
    ::raise(SIGUSR1);  // while nobody waits
    const int number = co_await signals.next();
    EXPECT_EQ(number, SIGUSR1);
    EXPECT_FALSE(signals.try_next());
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(signals, coalesce_and_are_told_apart) {
  MAGPIE_NEED_KERNEL();
  auto scenario = []() -> task<> {
    auto first = listens(SIGUSR1);
    auto second = listens(SIGUSR2);
    for (int i = 0; i < 3; ++i) ::raise(SIGUSR1);
    EXPECT_FALSE(second.try_next());
    co_await first.next();
    EXPECT_FALSE(first.try_next());
    ::raise(SIGUSR2);
    EXPECT_FALSE(first.try_next());
    EXPECT_TRUE(second.try_next());
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(signals, reach_every_listener_of_every_runtime) {
  MAGPIE_NEED_KERNEL();
  runtime stays(cell_options());
  std::vector<signal_stream> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(listens(SIGUSR1));
  std::optional<runtime> dies(std::in_place, cell_options());
  auto first = stays.spawn(waits_for(streams[0]));
  auto second = stays.spawn(waits_for(streams[1]));
  auto third = dies->spawn(waits_for(streams[2]));
  auto fourth = dies->spawn(waits_for(streams[3]));
  ::raise(SIGUSR1);
  const auto joins = [](join_handle<void>& waiting) -> task<> { co_await co_await waiting.join(); };
  for (auto* handle : {&first, &second, &third, &fourth})
    EXPECT_TRUE(stays.block_on(joins(*handle)));
  // One runtime ends while its task waits: the other one's goes on.
  auto left = dies->spawn(waits_for(streams[3]));
  auto goes_on = stays.spawn(waits_for(streams[0]));
  dies.reset();
  EXPECT_TRUE(left.done());
  ::raise(SIGUSR1);
  EXPECT_TRUE(stays.block_on(joins(goes_on)));
  EXPECT_TRUE(streams[3].try_next());  // the stopped wait took none
}

TEST(signals, concurrent_from_foreign_threads) {
  MAGPIE_NEED_KERNEL();
  const signal_stream stays = listens(SIGUSR1);  // else the default action comes in between
  atomic<bool> leave{false};
  std::thread sender([&leave] {
    while (!leave.load(order::relaxed)) {
      ::raise(SIGUSR1);  // handled by this thread; one to the process may come late
      std::this_thread::yield();
    }
  });
  auto one = []() -> task<> {
    for (int i = 0; i < 50; ++i) {
      auto signals = listens(SIGUSR1);  // comes and goes while handlers run
      co_await signals.next();
    }
  };
  auto scenario = [&]() -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 4; ++i) group.spawn(one());
      co_return;
    });
    leave.store(true, order::relaxed);
    co_await run_blocking([&sender] { sender.join(); });
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(signals, that_cannot_be_handled_are_errors) {
  for (const int number : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGILL, SIGFPE, 0, -1, 65, 1000, 32})
    EXPECT_EQ(error_of(signal_stream::open(number)), std::errc::invalid_argument) << number;
  for (const int number : {SIGHUP, SIGQUIT, SIGWINCH, SIGCHLD, SIGALRM, SIGRTMIN, SIGRTMAX})
    EXPECT_TRUE(signal_stream::open(number)) << number;
}

TEST(signals, a_moved_stream_goes_on) {
  signal_stream first = listens(SIGUSR1);
  signal_stream second(std::move(first));
  ::raise(SIGUSR1);
  EXPECT_TRUE(second.try_next());
  first = std::move(second);
  ::raise(SIGUSR1);
  EXPECT_TRUE(first.try_next());
}

TEST(signals, are_no_matter_of_a_simulation) {
  signal_stream signals = listens(SIGUSR1);
  EXPECT_EQ(error_of(run_in_simulation(waits_for(signals))), std::errc::operation_not_supported);
}

TEST(signals, a_stopped_wait_takes_none) {
  MAGPIE_NEED_KERNEL();
  auto scenario = []() -> task<> {
    auto signals = listens(SIGUSR1);
    const auto late = co_await as_result(timeout(1us, signals.next()));
    EXPECT_EQ(error_of(late), errc::deadline);
    const auto first = co_await select(signals.next(), yield());
    EXPECT_EQ(first.index(), 1U);
    ::raise(SIGUSR1);
    EXPECT_TRUE(signals.try_next());
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(signals, ctrl_c_comes_once) {
  MAGPIE_NEED_KERNEL();
  auto scenario = []() -> task<> {
    auto waiting = spawn(ctrl_c());
    while (handler_of(SIGINT) == SIG_DFL) co_await yield();
    ::raise(SIGINT);
    EXPECT_TRUE((co_await waiting.join()).has_value());
    EXPECT_EQ(handler_of(SIGINT), SIG_DFL);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// A signal that was sent is the wait's outcome, or is there when the wait was stopped.
task<> waiting_for_a_signal(int i, tally& counts) {
  const counted here(counts.alive);
  auto signals = listens(SIGUSR1);
  const auto sends = [](int n) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 31));
    ::raise(SIGUSR1);
  };
  auto sending = spawn(sends(i));
  const auto got = co_await as_result(signals.next());
  co_await shielded(sending.join());
  if (got) co_return;
  if (!signals.try_next()) counts.wrong.fetch_add(1, order::relaxed);
  co_await fail(got.error());
}

TEST(signals, concurrent_stop_torture) {
  MAGPIE_NEED_KERNEL();
  const signal_stream stays = listens(SIGUSR1);
  torture(&waiting_for_a_signal);
}

// ---- under `run` --------------------------------------------------------------------------------

class running_signals : public exits_over_kernel {};

task<int> takes_signals_over() {
  {
    auto signals = listens(SIGTERM);
    for (int i = 0; i < 3; ++i) {
      ::raise(SIGTERM);
      co_await signals.next();
    }
    co_await sleep_for(1ms);  // nobody stops it
  }
  ::raise(SIGTERM);  // now it is `run`'s again
  const auto slept = co_await as_result(sleep_for(1h));
  co_return slept ? 1 : 7;
}

TEST_F(running_signals, a_listener_takes_the_signal_over) {
  EXPECT_EXIT(leave_with(takes_signals_over()), ExitedWithCode(7), "");
}

task<> interrupted_once_then_twice() {
  {
    auto signals = listens(SIGINT);
    ::raise(SIGTERM);  // `run` stops
    const auto slept = co_await as_result(sleep_for(1h));
    EXPECT_FALSE(slept);
  }
  ::raise(SIGINT);
  ::_exit(1);
}

TEST_F(running_signals, what_nobody_listens_for_is_still_runs) {
  EXPECT_EXIT(leave_with(interrupted_once_then_twice()), ExitedWithCode(128 + SIGINT), "");
}

}  // namespace
}  // namespace magpie::tests::signal_test
