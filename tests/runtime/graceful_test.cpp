/// The end of a server: what is stopped when, what a report tells.  Mostly in virtual time.
#include <magpie/runtime/graceful.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/exits.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <signal.h>
#include <unistd.h>

#include <optional>
#include <stdexcept>
#include <string>

namespace magpie::tests::graceful_test {
namespace {

using testing::ExitedWithCode;
using cause = shutdown_report::cause;

task<> works(clock::duration time, counted) { co_await sleep_for(time); }

/// Waits for requests, as a session does between two of them.
task<> idles(cancellation_token stopping, counted) {
  const bool came = co_await stopping.run_until_cancelled(sleep_for(1h));
  EXPECT_FALSE(came);
}

/// Takes no stop for an answer, until it is told to leave.
task<> is_stubborn(atomic<bool>& leave, counted) {
  while (!leave.load(order::acquire)) {
    [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1ms));
  }
}

/// The time that a shutdown took, to the millisecond: turns of the simulation take a little too.
std::chrono::milliseconds took(const shutdown_report& report) {
  return std::chrono::round<std::chrono::milliseconds>(report.took);
}

TEST(graceful, stops_the_body_and_lets_the_rest_end) {
  auto scenario = []() -> task<> {
    atomic<int> alive{0};
    bool accepts = true;
    const graceful_options wanted(10s);
    const auto report =
        co_await with_graceful_shutdown(wanted, [&](graceful_group& server) -> task<> {
          for (const auto time : {1s, 2s, 3s}) server.spawn(works(time, counted(alive)));
          server.spawn(idles(server.stopping(), counted(alive)));
          EXPECT_EQ(server.size(), 4U);
          const auto stops = [](graceful_group& it) -> task<> {
            co_await sleep_for(500ms);
            it.stop();
          };
          auto stopping = spawn(stops(server));
          const auto accepted = co_await as_result(sleep_for(1h));
          EXPECT_EQ(error_of(accepted), errc::stopped);
          accepts = false;
        });
    EXPECT_EQ(alive.load(order::relaxed), 0);
    EXPECT_FALSE(accepts);
    EXPECT_EQ(report.why, cause::requested);
    EXPECT_GE(report.running, 3U);  // the idle one may have ended before the count
    EXPECT_TRUE(report.clean());
    EXPECT_EQ(took(report), 2500ms);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(graceful, stops_what_has_not_ended_in_time_and_names_it) {
  auto scenario = []() -> task<> {
    atomic<int> alive{0};
    const graceful_options wanted(2s, 1s);
    const auto report =
        co_await with_graceful_shutdown(wanted, [&](graceful_group& server) -> task<> {
          server.spawn(works(1s, counted(alive)));
          server.spawn(named("the slow one"), works(1h, counted(alive)));
          server.stop();
          co_await sleep_for(1h);
        });
    EXPECT_EQ(alive.load(order::relaxed), 0);
    EXPECT_FALSE(report.clean());
    EXPECT_EQ(report.running, 2U);
    EXPECT_EQ(report.aborted.count, 1U);
    EXPECT_EQ(report.stuck.count, 0U);
    EXPECT_EQ(took(report), 2s);
    EXPECT_EQ(report.aborted.named.size(), 1U);
    EXPECT_EQ(report.aborted.named[0].name(), "the slow one");
    EXPECT_NE(report.aborted.named[0].id(), 0U);
    const std::string text = to_string(report);
    EXPECT_NE(text.find("(requested): 2 tasks were running, 1 had to be stopped"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("(the slow one), spawned at "), std::string::npos) << text;
    EXPECT_NE(text.find("graceful_test.cpp:"), std::string::npos) << text;
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(graceful, a_drain_below_zero_is_none_and_takes_no_time_from_the_abort) {
  for (const clock::duration drain : {clock::duration(-1h), clock::duration::min()}) {
    auto scenario = [](clock::duration time) -> task<> {
      atomic<int> alive{0};
      const graceful_options wanted(time, 1s);
      const auto report =
          co_await with_graceful_shutdown(wanted, [&](graceful_group& server) -> task<> {
            server.spawn(works(1h, counted(alive)));
            co_await sleep_for(1ms);
          });
      EXPECT_EQ(report.aborted.count, 1U);
      EXPECT_EQ(report.stuck.count, 0U);
      EXPECT_EQ(alive.load(order::relaxed), 0);
    };
    EXPECT_TRUE(run_in_simulation(scenario(drain)));
  }
}

TEST(graceful, gives_up_what_is_stuck_and_names_it) {
  MAGPIE_NEED_SIMULATION();
  atomic<int> alive{0};
  atomic<bool> leave{false};
  auto scenario = [&]() -> task<> {
    const graceful_options wanted(2s, 1s);
    const auto report =
        co_await with_graceful_shutdown(wanted, [&](graceful_group& server) -> task<> {
          server.spawn(named("stubborn"), is_stubborn(leave, counted(alive)));
          server.spawn(named("slow"), works(1h, counted(alive)));
          co_return;
        });
    EXPECT_EQ(report.why, cause::body_ended);
    EXPECT_EQ(report.aborted.count, 2U);
    EXPECT_EQ(report.stuck.count, 1U);
    EXPECT_EQ(report.stuck.named.at(0).name(), "stubborn");
    EXPECT_EQ(took(report), 3s);
    EXPECT_EQ(alive.load(order::relaxed), 1);
    EXPECT_NE(to_string(report).find("stuck: task "), std::string::npos);
    leave.store(true, order::release);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));  // the runtime waits for it, and frees what it shares
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(graceful, waits_for_what_tasks_spawn_meanwhile) {
  auto scenario = []() -> task<> {
    atomic<int> alive{0};
    const auto breeds = [](graceful_group& in, atomic<int>& count) -> task<> {
      co_await sleep_for(1s);
      in.spawn(works(1s, counted(count)));
      in.spawn(named("with arguments"), works, 3s, counted(count));
    };
    const auto report = co_await with_graceful_shutdown([&](graceful_group& server) -> task<> {
      server.spawn(breeds(server, alive));
      co_return;
    });
    EXPECT_EQ(alive.load(order::relaxed), 0);
    EXPECT_EQ(report.running, 1U);
    EXPECT_TRUE(report.clean());
    EXPECT_EQ(took(report), 4s);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(graceful, names_a_hundred_and_counts_the_others) {
  auto scenario = []() -> task<> {
    atomic<int> alive{0};
    const graceful_options wanted(1s);
    const auto report =
        co_await with_graceful_shutdown(wanted, [&](graceful_group& server) -> task<> {
          for (int i = 0; i < 130; ++i) server.spawn(works(1h, counted(alive)));
          co_return;
        });
    EXPECT_EQ(report.aborted.count, 130U);
    EXPECT_EQ(report.aborted.named.size(), tasks_left::named_max);
    EXPECT_NE(to_string(report).find("stopped: 30 more"), std::string::npos);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

// ---- other ends ---------------------------------------------------------------------------------

task<> fails_with_tasks(atomic<int>& alive) {
  static_cast<void>(co_await with_graceful_shutdown([&](graceful_group& server) -> task<> {
    server.spawn(works(1s, counted(alive)));
    co_await fail(some_error());
  }));
}

TEST(graceful, a_body_that_fails_ends_the_rest_first) {
  options loud = simulation();
  loud.log = true;
  atomic<int> alive{0};
  testing::internal::CaptureStderr();
  EXPECT_EQ(error_of(run_on(loud, fails_with_tasks(alive))), some_error());
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(alive.load(order::relaxed), 0);
  EXPECT_NE(said.find("1 tasks were running, 0 had to be stopped"), std::string::npos) << said;
}

task<> fails_when_it_is_stopped(atomic<int>& alive) {
  static_cast<void>(co_await with_graceful_shutdown([&](graceful_group& server) -> task<> {
    server.spawn(works(1s, counted(alive)));
    server.stop();
    [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1h));
    co_await fail(some_error());
  }));
}

TEST(graceful, a_failure_of_a_stopped_body_is_told) {
  atomic<int> alive{0};
  EXPECT_EQ(error_of(run_in_simulation(fails_when_it_is_stopped(alive))), some_error());
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

#if defined(__cpp_exceptions)
task<> throws_with_tasks(atomic<int>& alive) {
  static_cast<void>(co_await with_graceful_shutdown([&](graceful_group& server) -> task<> {
    server.spawn(works(1s, counted(alive)));
    co_await yield();
    throw std::runtime_error("thrown by a body");
  }));
}

TEST(graceful, a_body_that_throws_ends_the_rest_first) {
  atomic<int> alive{0};
  runtime on(simulation());
  EXPECT_THROW(static_cast<void>(on.block_on(throws_with_tasks(alive))), std::runtime_error);
  EXPECT_EQ(alive.load(order::relaxed), 0);
  EXPECT_TRUE(on.shutdown(1s));
}
#endif

TEST(graceful, a_stop_from_outside_begins_the_shutdown) {
  auto scenario = []() -> task<> {
    atomic<int> alive{0};
    atomic<int> ended{0};
    const auto ends = [](atomic<int>& count, counted) -> task<> {
      co_await sleep_for(8s);  // longer than a clean-up may take by default
      count.fetch_add(1, order::relaxed);
    };
    const auto serves = [&]() -> task<> {
      static_cast<void>(co_await with_graceful_shutdown([&](graceful_group& server) -> task<> {
        server.spawn(ends(ended, counted(alive)));
        co_await sleep_for(1h);
      }));
    };
    auto serving = spawn(serves());
    co_await sleep_for(100ms);
    serving.abort();
    const auto outcome = co_await serving.join();
    EXPECT_EQ(error_of(outcome), errc::aborted);
    EXPECT_EQ(ended.load(order::relaxed), 1);  // it came to its own end
    EXPECT_EQ(alive.load(order::relaxed), 0);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

/// Any moment will do for a stop: each task is counted, and ends before the outcome.
task<> serving_while_stopped(int i, tally& counts) {
  const counted here(counts.alive);
  const graceful_options wanted(std::chrono::microseconds(i % 5 * 10), 30s, false);
  atomic<int> mine{0};
  const auto ended =
      co_await as_result(with_graceful_shutdown(wanted, [&](graceful_group& server) -> task<> {
        for (int k = 0; k < 3; ++k)
          server.spawn(works(std::chrono::microseconds((i + k) % 40), counted(mine)));
        if (i % 4 == 0) server.stop();
        co_await sleep_for(std::chrono::microseconds(i % 20));
      }));
  counts.check(mine.load(order::relaxed) == 0);
  if (ended) {
    counts.check(ended->stuck.count == 0);
  } else {
    co_await fail(ended.error());
  }
}

TEST(graceful, concurrent_stop_torture) { torture(&serving_while_stopped); }

// ---- the kernel's -------------------------------------------------------------------------------

TEST(graceful, names_a_task_that_never_waits) {
  MAGPIE_NEED_KERNEL();
  if (matrix_workers() < 2) GTEST_SKIP() << "needs two workers";
  atomic<bool> leave{false};  // outlives the runtime, and so the task
  auto scenario = [](atomic<bool>& leave_now) -> task<> {
    const auto computes = [](atomic<bool>& until) -> task<> {
      while (!until.load(order::relaxed)) cpu_relax();
      co_return;
    };
    const graceful_options wanted(0s, 0s, false);
    const auto report =
        co_await with_graceful_shutdown(wanted, [&](graceful_group& server) -> task<> {
          server.spawn(named("computes"), computes(leave_now));
          co_return;
        });
    EXPECT_EQ(report.stuck.count, 1U);
    EXPECT_EQ(report.stuck.named.at(0).name(), "computes");
    leave_now.store(true, order::relaxed);
  };
  EXPECT_TRUE(run_in_cell(scenario(leave)));
}

class graceful_signals : public exits_over_kernel {};

task<int> serves_until(int signal) {
  atomic<int> alive{0};
  const auto report = co_await with_graceful_shutdown([&](graceful_group& server) -> task<> {
    server.spawn(works(5ms, counted(alive)));
    server.spawn(idles(server.stopping(), counted(alive)));
    ::raise(signal);
    co_await sleep_for(1h);
  });
  co_await sleep_for(1ms);  // the program itself is not stopped
  const bool right = report.why == cause::signalled && report.signal == signal && report.clean() &&
                     report.running == 2 && alive.load(order::relaxed) == 0;
  co_return right ? 0 : 1;
}

TEST_F(graceful_signals, begin_the_shutdown_and_stop_nothing_else) {
  EXPECT_EXIT(leave_with(serves_until(SIGTERM)), ExitedWithCode(0), "");
  EXPECT_EXIT(leave_with(serves_until(SIGINT)), ExitedWithCode(0), "");
}

/// Every worker is stuck when the second signal comes.
task<> is_signalled_twice(bool drains) {
  static_cast<void>(co_await with_graceful_shutdown([&](graceful_group& server) -> task<> {
    const auto raises = [](bool later) -> task<> {
      ::raise(SIGTERM);
      if (later) co_await sleep_for(5ms);  // the drain is on
      for (;;) ::raise(SIGINT);
    };
    server.spawn(raises(drains));
    co_await sleep_for(1h);
  }));
}

TEST_F(graceful_signals, the_second_one_exits_at_once) {
  EXPECT_EXIT(leave_with(is_signalled_twice(true)), ExitedWithCode(128 + SIGINT), "");
  EXPECT_EXIT(leave_with(is_signalled_twice(false)), ExitedWithCode(128 + SIGINT), "");
}

task<> is_signalled_after_the_end() {
  static_cast<void>(co_await with_graceful_shutdown([&](graceful_group&) -> task<> {
    ::raise(SIGTERM);
    co_await sleep_for(1h);
  }));
  ::raise(SIGTERM);  // it is the second one
  ::_exit(1);
}

TEST_F(graceful_signals, a_second_one_after_the_end_exits_too) {
  EXPECT_EXIT(leave_with(is_signalled_after_the_end()), ExitedWithCode(128 + SIGTERM), "");
}

task<int> declines_signals() {
  const graceful_options wanted(10s, 1s, false);
  const auto ended =
      co_await as_result(with_graceful_shutdown(wanted, [&](graceful_group&) -> task<> {
        ::raise(SIGTERM);  // `run`'s: it stops everything
        co_await sleep_for(1h);
      }));
  co_return error_of(ended) == errc::stopped ? 9 : 1;
}

TEST_F(graceful_signals, can_be_declined) {
  EXPECT_EXIT(leave_with(declines_signals()), ExitedWithCode(9), "");
}

}  // namespace
}  // namespace magpie::tests::graceful_test
