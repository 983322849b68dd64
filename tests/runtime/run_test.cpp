/// `run`: the exit codes of programs.  Each case runs in a child process that ends by `run`.
#include <magpie/runtime/run.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/tests/runtime/exits.hpp>

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace magpie::tests::run_test {
namespace {

class running : public testing::Test {
 protected:
  void SetUp() override {
    MAGPIE_NEED_CELL();
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

task<> ends() { co_await sleep_for(1ms); }
task<int> gives(int code) {
  co_await sleep_for(1ms);
  co_return code;
}

TEST_F(running, a_value_is_the_exit_code) {
  EXPECT_EXIT(leave_with(ends()), ExitedWithCode(0), "");
  EXPECT_EXIT(leave_with(gives(7)), ExitedWithCode(7), "");
}

task<> fails_below() {
  co_await sleep_for(1ms);
  co_await fail(some_error());
}
task<> fails_above() { co_await fails_below(); }

TEST_F(running, an_error_prints_its_trace_and_exits_1) {
  EXPECT_EXIT(leave_with(fails_above()), ExitedWithCode(1),
              "ended with an error.*\n.*raised at .*run_test.cpp:.*\n.*through.*run_test.cpp");
}

#if defined(__cpp_exceptions)
task<> throws_error() {
  co_await sleep_for(1ms);
  throw std::runtime_error("the words of an exception");
}
task<> throws_number() {
  throw 5;
  co_return;
}

TEST_F(running, an_exception_is_told_and_exits_1) {
  EXPECT_EXIT(leave_with(throws_error()), ExitedWithCode(1), "the words of an exception");
  EXPECT_EXIT(leave_with(throws_number()), ExitedWithCode(1), "unknown type");
}
#endif

task<> waits_for_years() { co_await sleep_for(24h * 3650); }

task<> stays_until_stopped(int signal) {
  for (int i = 0; i < 20; ++i) spawn(waits_for_years()).detach();
  co_await sleep_for(1ms);
  ::kill(::getpid(), signal);
  co_await sleep_for(1h);
}

class running_with_signals : public running {
 protected:
  void SetUp() override {
    running::SetUp();
    if (in_simulation()) GTEST_SKIP() << "a simulation handles no signals";
  }
};

TEST_F(running_with_signals, a_signal_stops_and_drains_and_exits_0) {
  EXPECT_EXIT(leave_with(stays_until_stopped(SIGTERM)), ExitedWithCode(0), "");
  EXPECT_EXIT(leave_with(stays_until_stopped(SIGINT)), ExitedWithCode(0), "");
}

task<int> finishes_its_work_when_stopped() {
  ::kill(::getpid(), SIGTERM);
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
  co_return slept ? 1 : 5;
}

TEST_F(running_with_signals, a_value_after_a_signal_is_the_exit_code) {
  EXPECT_EXIT(leave_with(finishes_its_work_when_stopped()), ExitedWithCode(5), "");
}

task<> fails_when_stopped() {
  ::kill(::getpid(), SIGTERM);
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
  co_await fail(some_error());
}

TEST_F(running_with_signals, an_error_after_a_signal_exits_1) {
  EXPECT_EXIT(leave_with(fails_when_stopped()), ExitedWithCode(1), "ended with an error");
}

task<> leaves_an_ignored_signal_alone() {
  ::kill(::getpid(), SIGINT);
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(20ms));
  EXPECT_TRUE(slept);
  co_await fail(some_error());
}

void leave_with_sigint_ignored() {
  ::signal(SIGINT, SIG_IGN);
  leave_with(leaves_an_ignored_signal_alone());
}

TEST_F(running_with_signals, a_signal_that_was_ignored_stays_so) {
  EXPECT_EXIT(leave_with_sigint_ignored(), ExitedWithCode(1), "ended with an error");
}

task<> is_signalled_twice() {
  ::kill(::getpid(), SIGTERM);
  [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
  for (;;) ::kill(::getpid(), SIGINT);
}

TEST_F(running_with_signals, a_second_signal_exits_at_once) {
  EXPECT_EXIT(leave_with(is_signalled_twice()), ExitedWithCode(128 + SIGINT), "");
}

task<> keeps_default_signals() {
  ::kill(::getpid(), SIGTERM);
  co_await sleep_for(1h);
}

[[noreturn]] void leave_without_handlers() {
  options chosen = cell_options();
  chosen.handle_signals = false;
  std::exit(run(keeps_default_signals(), chosen));
}

TEST_F(running_with_signals, handlers_can_be_declined) {
  EXPECT_EXIT(leave_without_handlers(), testing::KilledBySignal(SIGTERM), "");
}

TEST_F(running_with_signals, handlers_are_put_back) {
  EXPECT_EQ(run(ends(), cell_options()), 0);
  for (const int signal : {SIGTERM, SIGINT}) {
    struct sigaction after = {};
    ::sigaction(signal, nullptr, &after);
    EXPECT_EQ(after.sa_handler, SIG_DFL);
  }
}

task<> is_stubborn() {
  for (;;) {
    [[maybe_unused]] const auto slept = co_await as_result(sleep_for(100us));
  }
}

task<> leaves_a_stubborn_task() {
  spawn(is_stubborn()).detach();
  co_await sleep_for(1ms);
}

/// The process leaves without looking for leaks, which there are.
[[noreturn]] void leave_leaking() {
  options chosen = cell_options();
  chosen.log = true;
  chosen.drain_deadline = 20ms;
  ::_exit(run(leaves_a_stubborn_task(), chosen));
}

TEST_F(running, what_does_not_drain_is_named_and_exits_3) {
  EXPECT_EXIT(leave_leaking(), ExitedWithCode(3), "still running.*\n.*spawned at .*run_test.cpp");
}

[[noreturn]] void leave_without_runtime() {
  ::setenv("MAGPIE_WORKERS", "none", 1);
  std::exit(run(ends(), options()));
}

TEST_F(running, a_runtime_that_cannot_start_exits_4) {
  EXPECT_EXIT(leave_without_runtime(), ExitedWithCode(4), "MAGPIE_WORKERS=none.*\n.*cannot start");
}

TEST_F(running, several_in_a_row) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(run(gives(i), cell_options()), i);
}

}  // namespace
}  // namespace magpie::tests::run_test
