/// The end of child processes: killing and waiting, and that a dropped one leaves nothing behind.
#include <magpie/runtime/process.hpp>

#include <magpie/io/read.hpp>
#include <magpie/runtime/cleanup.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/processes.hpp>

#include <signal.h>

#include <array>
#include <functional>

namespace magpie::tests::process_end_test {
namespace {

using process::exit_status;
using process::stdio;

// ---- killing and waiting -----------------------------------------------------------------------

task<> kills_and_waits() {
  auto child = co_await sleeper().spawn();
  const auto running = co_await child.try_wait();
  EXPECT_FALSE(running);
  co_await yield();
  co_await child.kill(SIGKILL);
  const auto status = co_await child.wait();
  EXPECT_EQ(status.signal(), SIGKILL);
  co_await child.kill(SIGKILL);  // harmless
  const auto once_more = co_await child.try_wait();
  EXPECT_EQ(once_more, status);
}

task<> twenty_at_once() {
  co_await with_task_group([](task_group& group) -> task<> {
    for (int i = 0; i < 20; ++i) group.spawn(kills_and_waits());
    co_return;
  });
}

TEST(process, conformance_c91_concurrent_kills_and_waits) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(twenty_at_once()));
}

task<exit_status> waits_elsewhere(process::child child) {
  const auto status = co_await child.wait();
  co_return status;
}

/// The child moves to other tasks, after a first wait was given up.
task<> waited_for_by_another() {
  for (int i = 0; i < 20; ++i) {
    auto child = co_await shell("read line; exit 3").spawn();
    const auto late = co_await as_result(timeout(1ms, child.wait()));
    if (!late) {
      EXPECT_EQ(late.error(), errc::deadline);
      co_await child.kill(SIGTERM);
    }
    auto other = spawn(waits_elsewhere(std::move(child)));
    const auto status = co_await other.join();
    EXPECT_TRUE(status && (status->code() == 3 || status->signal() == SIGTERM));
  }
}

TEST(process, conformance_c91_waits_on_another_task) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(waited_for_by_another()));
}

TEST(process, c91_a_child_moves_to_another_runtime) {
  MAGPIE_NEED_KERNEL();
  runtime first(cell_options());
  runtime second(cell_options());
  const auto spawns = []() -> task<process::child> {
    auto child = co_await sleeper().spawn();
    co_await as_result(timeout(1ms, child.wait()));
    co_return std::move(child);
  };
  const auto waits_then_kills = [](process::child moved) -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      group.spawn(
          [](process::child& one) -> task<> {
            const auto status = co_await one.wait();
            EXPECT_EQ(status.signal(), SIGKILL);
          },
          std::ref(moved));
      co_await sleep_for(1ms);
      co_await moved.kill(SIGKILL);
    });
  };
  auto child = first.block_on(spawns());
  ASSERT_TRUE(child);
  EXPECT_TRUE(second.block_on(waits_then_kills(std::move(*child))));
}

task<> terminates() {
  auto polite = co_await sleeper().spawn();
  const auto at_once = co_await polite.terminate(1h);
  EXPECT_EQ(at_once.signal(), SIGTERM);

  auto deaf = shell("trap '' TERM; echo ready; exec sleep 1000");
  deaf.output(stdio::piped());
  auto stubborn = co_await deaf.spawn();
  std::array<std::byte, 6> ready;
  co_await io::read_exact(stubborn.output(), std::span(ready));
  const auto forced = co_await stubborn.terminate(5ms);
  EXPECT_EQ(forced.signal(), SIGKILL);
}

TEST(process, is_terminated_and_then_killed) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(terminates()));
}

// ---- no orphans and no zombies -----------------------------------------------------------------

task<> drops_one(bool kills, pid_t& dropped) {
  auto reads = shell("read line");
  reads.input(stdio::piped()).kill_on_drop(kills);
  {
    auto child = co_await reads.spawn();
    dropped = child.id().value();
  }  // its pipe is closed too, so that it ends without a signal
  co_await until_gone(dropped);
}

TEST(process, c91_a_dropped_child_is_killed_and_reaped) {
  MAGPIE_NEED_KERNEL();
  pid_t dropped = 0;
  const auto drops = [](pid_t& which) -> task<> {
    {
      which = (co_await sleeper().spawn()).id().value();
    }
    co_await until_gone(which);
  };
  EXPECT_TRUE(run_in_cell(drops(dropped)));
  EXPECT_TRUE(is_gone(dropped));
}

TEST(process, a_dropped_child_that_may_run_on_is_reaped_when_it_ends) {
  MAGPIE_NEED_KERNEL();
  pid_t dropped = 0;
  EXPECT_TRUE(run_in_cell(drops_one(false, dropped)));
  EXPECT_TRUE(is_gone(dropped));
}

TEST(process, a_stopped_task_takes_its_child_with_it) {
  MAGPIE_NEED_KERNEL();
  pid_t owned = 0;
  const auto owns = [](pid_t& which) -> task<> {
    auto child = co_await sleeper().spawn();
    which = child.id().value();
    co_await child.wait();
  };
  const auto aborts = [&]() -> task<> {
    const auto late = co_await as_result(timeout(1ms, owns(owned)));
    EXPECT_EQ(error_of(late), errc::deadline);
  };
  EXPECT_TRUE(run_in_cell(aborts()));  // whose shutdown waits for the reaping
  EXPECT_TRUE(is_gone(owned));
}

TEST(process, a_child_dropped_outside_of_a_runtime_is_killed_and_reaped) {
  MAGPIE_NEED_KERNEL();
  pid_t dropped = 0;
  {
    const auto child = sleeper().spawn();
    ASSERT_TRUE(child);
    dropped = child->id().value();
  }
  EXPECT_TRUE(is_gone(dropped));
}

/// A clean-up that ends a child in time.
task<> cleans_up() {
  pid_t ended = 0;
  co_await with_cleanup([&](cleanup_stack& on_exit) -> task<> {
    auto child = co_await sleeper().spawn();
    ended = child.id().value();
    const auto end_it = [](process::child one) -> task<> { co_await one.terminate(1s); };
    on_exit.push(end_it(std::move(child)));
  });
  EXPECT_TRUE(is_gone(ended));
}

TEST(process, is_terminated_by_a_cleanup) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(cleans_up()));
}

TEST(process, has_no_signal_blocked) {
  MAGPIE_NEED_KERNEL();
  sigset_t blocked;
  sigset_t before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  auto child = shell("kill -USR1 $$; exit 0").spawn();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(child);
  const auto status = run_in_cell(waits_elsewhere(std::move(*child)));
  ASSERT_TRUE(status);
  EXPECT_EQ(status->signal(), SIGUSR1);
}

}  // namespace
}  // namespace magpie::tests::process_end_test
