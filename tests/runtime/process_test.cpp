/// Child processes: how they start, what they say, how they end, and that none is left behind.
#include <magpie/runtime/process.hpp>

#include <magpie/io/read.hpp>
#include <magpie/io/write.hpp>
#include <magpie/runtime/cleanup.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests {
namespace {

using process::command;
using process::exit_status;
using process::stdio;

command shell(const char* script) {
  command made("/bin/sh");
  made.arg("-c").arg(script);
  return made;
}

/// Does nothing until it is killed.
command sleeper() {
  command made("sleep");
  made.arg("1000");
  return made;
}

task<std::string> text_of(pipe_reader& from) {
  std::string text;
  std::array<std::byte, 4096> part;
  for (;;) {
    const std::size_t got = co_await from.read(part);
    if (got == 0) break;
    text.append(reinterpret_cast<const char*>(part.data()), got);
  }
  co_return text;
}

task<std::string> output_of(command what) {
  what.output(stdio::piped());
  auto child = co_await what.spawn();
  auto text = co_await text_of(child.output());
  const auto status = co_await child.wait();
  EXPECT_TRUE(status.success());
  co_return text;
}

/// Gone altogether: neither a process nor a zombie.
bool is_gone(pid_t pid) { return ::kill(pid, 0) != 0 && errno == ESRCH; }

task<> until_gone(pid_t pid) {
  while (!is_gone(pid)) co_await sleep_for(1ms);
}

// ---- ends --------------------------------------------------------------------------------------

task<> ends() {
  auto good = co_await command("true").spawn();
  EXPECT_TRUE(good.id());
  const auto fine = co_await good.wait();
  EXPECT_TRUE(fine.success());
  EXPECT_EQ(fine, exit_status::exited(0));
  EXPECT_FALSE(good.id());
  const auto again = co_await good.wait();
  EXPECT_EQ(again, fine);

  auto bad = co_await shell("exit 7").spawn();
  const auto seven = co_await bad.wait();
  EXPECT_EQ(seven.code(), 7);
  EXPECT_EQ(seven.signal(), std::nullopt);

  auto killed = co_await shell("kill -USR1 $$; sleep 1000").spawn();
  const auto signalled = co_await killed.wait();
  EXPECT_EQ(signalled.signal(), SIGUSR1);
  EXPECT_EQ(signalled.code(), std::nullopt);
  EXPECT_FALSE(signalled.success());
}

TEST(process, tells_how_it_ended) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(ends()));
}

task<> cannot_start() {
  const auto missing = command("/no/such/program").spawn();
  EXPECT_EQ(missing ? std::error_code() : missing.error(), std::errc::no_such_file_or_directory);
  const auto nameless = command("no-such-program-in-any-path").spawn();
  EXPECT_EQ(nameless ? std::error_code() : nameless.error(), std::errc::no_such_file_or_directory);
  const auto folder = command("/").spawn();
  EXPECT_EQ(folder ? std::error_code() : folder.error(), std::errc::permission_denied);
  command nowhere("true");
  nowhere.cwd("/no/such/folder");
  const auto lost = nowhere.spawn();
  EXPECT_EQ(lost ? std::error_code() : lost.error(), std::errc::no_such_file_or_directory);
  command unconnected("true");
  unconnected.input(stdio::fd(-1));
  const auto closed = unconnected.spawn();
  EXPECT_EQ(closed ? std::error_code() : closed.error(), std::errc::bad_file_descriptor);
  co_return;
}

TEST(process, that_cannot_be_executed_is_an_error_of_the_spawn) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(cannot_start()));
}

task<> refused() {
  const auto child = command("true").spawn();
  EXPECT_EQ(child ? std::error_code() : child.error(), std::errc::operation_not_supported);
  const auto ends = make_pipe();
  EXPECT_EQ(ends ? std::error_code() : ends.error(), std::errc::operation_not_supported);
  co_return;
}

TEST(process, is_refused_in_a_simulation) { EXPECT_TRUE(run_in_simulation(refused())); }

// ---- what it gets ------------------------------------------------------------------------------

task<> gets_what_it_is_given() {
  command echo("echo");
  echo.arg("two words").arg("*");
  const auto said = co_await output_of(std::move(echo));
  EXPECT_EQ(said, "two words *\n");

  ::setenv("MAGPIE_TEST_INHERITED", "yes", 1);
  ::setenv("MAGPIE_TEST_REMOVED", "no", 1);
  auto variables = shell("echo $MAGPIE_TEST_INHERITED/$MAGPIE_TEST_REMOVED/$MAGPIE_TEST_SET");
  variables.env("MAGPIE_TEST_SET", "first").env("MAGPIE_TEST_SET", "last");
  variables.env_remove("MAGPIE_TEST_REMOVED");
  const auto seen = co_await output_of(std::move(variables));
  EXPECT_EQ(seen, "yes//last\n");
  command bare("/usr/bin/env");
  bare.env_clear().env("ONE", "1");
  const auto alone = co_await output_of(std::move(bare));
  EXPECT_EQ(alone, "ONE=1\n");

  auto where = shell("pwd");
  where.cwd("/");
  const auto root = co_await output_of(std::move(where));
  EXPECT_EQ(root, "/\n");

  auto quiet = shell("cat; echo lost >&2; echo kept");
  quiet.input(stdio::null()).error(stdio::null());
  const auto kept = co_await output_of(std::move(quiet));
  EXPECT_EQ(kept, "kept\n");
}

TEST(process, gets_arguments_environment_folder_and_streams) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(gets_what_it_is_given()));
}

/// What other children's pipes are, and whatever we have open, does not reach a child.
task<> inherits_nothing() {
  command cat("cat");
  cat.input(stdio::piped()).output(stdio::piped());
  auto other = co_await cat.spawn();
  int handed_on = 0;  // by whoever started this test
  for (int fd = 3; fd < 1024; ++fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    handed_on += flags >= 0 && (flags & FD_CLOEXEC) == 0 ? 1 : 0;
  }
  const auto listed = co_await output_of(shell("ls /proc/self/fd | wc -l"));
  EXPECT_EQ(std::stoi(listed), 4 + handed_on);  // the three, and that of the folder itself
  other.input().close();
  const auto nothing = co_await text_of(other.output());
  EXPECT_EQ(nothing, "");
  co_await other.wait();
}

TEST(process, inherits_only_the_standard_streams) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(inherits_nothing()));
}

task<> writes_a_lot(pipe_writer to, std::size_t bytes) {
  const std::vector<std::byte> part(10000, std::byte{'x'});
  for (std::size_t sent = 0; sent < bytes; sent += part.size())
    co_await io::write_all(to, std::span(part));
}

/// More than a pipe holds, so that both directions wait.
task<> through_cat() {
  constexpr std::size_t bytes = 1'000'000;
  command cat("cat");
  cat.input(stdio::piped()).output(stdio::piped());
  auto child = co_await cat.spawn();
  auto writing = spawn(writes_a_lot(std::move(child.input()), bytes));
  const auto back = co_await text_of(child.output());
  EXPECT_EQ(back.size(), bytes);
  const auto written = co_await writing.join();
  EXPECT_TRUE(written);
  const auto status = co_await child.wait();
  EXPECT_TRUE(status.success());
}

TEST(process, concurrent_pipes_wait_in_both_directions) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(through_cat()));
}

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

TEST(process, a_child_moves_to_another_runtime) {
  MAGPIE_NEED_KERNEL();
  runtime first(cell_options());
  runtime second(cell_options());
  const auto spawns = []() -> task<process::child> {
    auto child = co_await sleeper().spawn();
    co_await as_result(timeout(1ms, child.wait()));
    co_return std::move(child);
  };
  auto child = first.block_on(spawns());
  ASSERT_TRUE(child);
  ASSERT_TRUE(child->kill(SIGKILL));
  const auto status = second.block_on(waits_elsewhere(std::move(*child)));
  ASSERT_TRUE(status);
  EXPECT_EQ(status->signal(), SIGKILL);
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

TEST(process, a_dropped_child_is_killed_and_reaped) {
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

TEST(process, leaves_no_descriptor_behind) {
  MAGPIE_NEED_KERNEL();
  const auto open_now = [] {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
  };
  pid_t dropped = 0;
  const int before = open_now();
  EXPECT_TRUE(run_in_cell(drops_one(true, dropped)));
  EXPECT_TRUE(run_in_cell(cannot_start()));
  EXPECT_TRUE(run_in_cell(through_cat()));
  EXPECT_EQ(open_now(), before);
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

}  // namespace
}  // namespace magpie::tests
