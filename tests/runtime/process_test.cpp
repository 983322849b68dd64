/// Child processes: how they start, what they get and say, how they end.
#include <magpie/runtime/process.hpp>

#include <magpie/io/read.hpp>
#include <magpie/io/write.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/processes.hpp>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

namespace magpie::tests::process_test {
namespace {

using process::command;
using process::exit_status;
using process::stdio;

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

/// The input is closed by the wait, so this reads to the end.
task<> reads_to_the_end() {
  command cat("cat");
  cat.input(stdio::piped());
  auto child = co_await cat.spawn();
  const auto status = co_await child.wait();
  EXPECT_TRUE(status.success());
}

TEST(process, a_wait_closes_the_input) {
  MAGPIE_NEED_KERNEL();
  EXPECT_TRUE(run_in_cell(reads_to_the_end()));
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

TEST(process, leaves_no_descriptor_behind) {
  MAGPIE_NEED_KERNEL();
  const auto open_now = [] {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
  };
  const int before = open_now();
  EXPECT_TRUE(run_in_cell(ends()));
  EXPECT_TRUE(run_in_cell(cannot_start()));
  EXPECT_TRUE(run_in_cell(through_cat()));
  EXPECT_EQ(open_now(), before);
}

}  // namespace
}  // namespace magpie::tests::process_test
