/// Stops at every possible moment: each kind of wait is aborted again and again, from workers and
/// from foreign threads, and every outcome is counted exactly.
#include <magpie/runtime/descriptor.hpp>
#include <magpie/runtime/io_operation.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/util/unique_fd.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

namespace magpie::tests::stop_torture_test {
namespace {

task<> under_timeout(int i, tally& counts) {
  const counted here(counts.alive);
  auto pause = sleeping(i % 29, counts);
  const auto ended =
      co_await as_result(timeout(std::chrono::microseconds(i % 31), std::move(pause)));
  if (!ended && ended.error() == errc::stopped) co_await fail(errc::stopped);
  if (!ended && ended.error() != errc::deadline) counts.wrong.fetch_add(1, order::relaxed);
}

task<> under_three_timeouts(int i, tally& counts) {
  const counted here(counts.alive);
  auto inner = timeout(std::chrono::microseconds(i % 17), sleeping(i % 23, counts));
  auto middle = timeout(std::chrono::microseconds(i % 19), std::move(inner));
  const auto ended =
      co_await as_result(timeout(std::chrono::microseconds(i % 13), std::move(middle)));
  if (!ended && ended.error() == errc::stopped) co_await fail(errc::stopped);
}

task<int> numbered(int i, tally& counts) {
  const counted here(counts.alive);
  if (i % 3 != 0) co_await sleep_for(std::chrono::microseconds(i % 20));
  co_return i;
}

task<> joining(int i, tally& counts) {
  const counted here(counts.alive);
  auto handle = spawn(numbered(i, counts));
  const auto first = co_await as_result(handle.join());
  if (first) {
    if (!*first || **first != i) counts.wrong.fetch_add(1, order::relaxed);
    co_return;
  }
  if (first.error() != errc::stopped) counts.wrong.fetch_add(1, order::relaxed);
  co_await fail(first.error());
}

/// What it joins does not end by itself: a stop that is lost is a test that hangs.
task<> joining_what_waits(int, tally& counts) {
  const counted here(counts.alive);
  auto waits = [](tally& in) -> task<> {
    const counted inner(in.alive);
    co_await sleep_for(1h);
  };
  auto handle = spawn(waits(counts));
  const auto first = co_await as_result(handle.join());
  if (first || first.error() != errc::stopped) counts.wrong.fetch_add(1, order::relaxed);
  handle.abort();
  co_await fail(errc::stopped);
}

int square(int i) { return i * i; }

task<> on_the_pool(int i, tally& counts) {
  const counted here(counts.alive);
  const int squared = co_await run_blocking(square, i % 1000);
  if (squared != square(i % 1000)) counts.wrong.fetch_add(1, order::relaxed);
}

task<> yielding(int i, tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < i % 12; ++k) co_await yield();
}

task<> grouping(int i, tally& counts) {
  const counted here(counts.alive);
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(sleeping(i, counts));
    group.spawn(yielding(i, counts));
    group.spawn_isolated(sleeping(i + 7, counts));
    co_return;
  });
}

/// Waits until an eventfd was written.
class event_wait final : public io_operation<event_wait, void> {
 public:
  explicit event_wait(descriptor& on) noexcept : io_operation(on, direction::read) {}
  static bool hint() noexcept { return true; }
  int attempt() noexcept {
    std::uint64_t count;
    return ::read(io->fd, &count, sizeof count) < 0 ? errno : 0;
  }
  static result<void> value() noexcept { return {}; }
};

struct event {
  event() : fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { io.fd = fd.get(); }
  ~event() { detail::forget_descriptor(io); }
  void set() const {
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(fd.get(), &one, sizeof one), 8);
  }
  unique_fd fd;
  descriptor io;
};

task<> waiting_for_event(int i, tally& counts) {
  const counted here(counts.alive);
  event ready;
  if (i % 4 == 0) ready.set();
  const auto ended =
      co_await as_result(timeout(std::chrono::microseconds(i % 50), event_wait(ready.io)));
  if (!ended && ended.error() == errc::stopped) co_await fail(errc::stopped);
  if (!ended && ended.error() != errc::deadline) counts.wrong.fetch_add(1, order::relaxed);
}

TEST(stop_torture, concurrent_sleeps) { torture(&sleeping); }
TEST(stop_torture, concurrent_timeouts) { torture(&under_timeout); }
TEST(stop_torture, concurrent_nested_timeouts) { torture(&under_three_timeouts); }
TEST(stop_torture, concurrent_joins) { torture(&joining); }
TEST(stop_torture, concurrent_joins_of_what_waits) { torture(&joining_what_waits); }
TEST(stop_torture, concurrent_blocking_calls) { torture(&on_the_pool); }
TEST(stop_torture, concurrent_yields) { torture(&yielding); }
TEST(stop_torture, concurrent_groups) { torture(&grouping); }
TEST(stop_torture, concurrent_waits) {
  MAGPIE_NEED_KERNEL();
  torture(&waiting_for_event);
}

}  // namespace
}  // namespace magpie::tests::stop_torture_test
