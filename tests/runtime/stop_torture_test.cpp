/// Stops at every possible moment: each kind of wait is aborted again and again, from workers and
/// from foreign threads, and every outcome is counted exactly.
#include <magpie/runtime/cancellation_token.hpp>
#include <magpie/runtime/cleanup.hpp>
#include <magpie/runtime/deadline_timer.hpp>
#include <magpie/runtime/delay_queue.hpp>
#include <magpie/runtime/descriptor.hpp>
#include <magpie/runtime/interval.hpp>
#include <magpie/runtime/io_operation.hpp>
#include <magpie/runtime/pipe.hpp>
#include <magpie/runtime/retry.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/stop_token.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/test_clock.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/util/unique_fd.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <thread>

namespace magpie::tests {
namespace {

/// What became of the victims, and what they left behind.
struct tally {
  atomic<int> alive{0};
  atomic<int> finished{0};
  atomic<int> stopped{0};
  atomic<int> wrong{0};
};

using victim = task<> (*)(int i, tally& counts);

task<> sleeping(int i, tally& counts) {
  const counted here(counts.alive);
  co_await sleep_for(std::chrono::microseconds(i % 40));
}

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

/// The clean-up runs to its end, whenever the stop comes.
task<> shielding(int i, tally& counts) {
  const counted here(counts.alive);
  const auto work = co_await as_result(sleep_for(std::chrono::microseconds(i % 30)));
  const auto cleaned = co_await as_result(shielded(sleeping(i, counts)));
  if (!cleaned) counts.wrong.fetch_add(1, order::relaxed);
  if (!work) co_await fail(work.error());
}

/// Two clean-ups around a body, and one behind it: all run, whenever the stop comes.
task<> cleaning_up(int i, tally& counts) {
  const counted here(counts.alive);
  int cleaned = 0;
  const auto clean = [&]() -> task<> {
    co_await sleep_for(std::chrono::microseconds(i % 11));
    ++cleaned;
  };
  const auto body = [&](cleanup_stack& on_exit) -> task<> {
    const counted inner(counts.alive);
    on_exit.push(clean());
    on_exit.push(clean());
    co_await sleep_for(std::chrono::microseconds(i % 30));
  };
  const auto ended = co_await as_result(finally(with_cleanup(body), clean()));
  if (cleaned != 3) counts.wrong.fetch_add(1, order::relaxed);
  if (!ended) co_await fail(ended.error());
}

/// Waits for tokens that another task cancels at about the same time.
task<> waiting_for_token(int i, tally& counts) {
  const counted here(counts.alive);
  const cancellation_token token;
  const auto canceller = [](int n, cancellation_token mine) -> task<> {
    if (n % 2 == 0) co_await sleep_for(std::chrono::microseconds(n % 23));
    mine.cancel();
  };
  auto other = spawn(canceller(i, token));
  co_await token.child_token().cancelled();
  if (!token.is_cancelled()) counts.wrong.fetch_add(1, order::relaxed);
}

task<> until_cancelled(int i, tally& counts) {
  const counted here(counts.alive);
  const cancellation_token token;
  const auto canceller = [](int n, cancellation_token mine) -> task<> {
    if (n % 2 == 0) co_await sleep_for(std::chrono::microseconds(n % 19));
    mine.cancel();
  };
  auto other = spawn(canceller(i, token));
  const bool completed = co_await token.run_until_cancelled(sleeping(i, counts));
  if (!completed && !token.is_cancelled()) counts.wrong.fetch_add(1, order::relaxed);
}

/// A standard token from outside, and one that follows the scope, inside of it.
task<> with_stop_tokens(int i, tally& counts) {
  const counted here(counts.alive);
  std::stop_source source;
  const auto stopper = [](int n, std::stop_source mine) -> task<> {
    if (n % 2 == 0) co_await sleep_for(std::chrono::microseconds(n % 19));
    mine.request_stop();
  };
  auto other = spawn(stopper(i, source));
  const auto inner = [i, &counts](std::stop_token token) -> task<> {
    const auto ended = co_await as_result(sleeping(i, counts));
    if (!ended && !token.stop_requested()) co_await yield();  // the walk comes by
    if (!ended) co_await fail(ended.error());
  };
  const auto ended = co_await as_result(stopped_by(source.get_token(), with_stop_token(inner)));
  if (!ended && ended.error() != errc::stopped) counts.wrong.fetch_add(1, order::relaxed);
  co_await yield();
}

task<> ticking(int i, tally& counts) {
  const counted here(counts.alive);
  interval every(std::chrono::microseconds(i % 13 + 1), missed_ticks::skip);
  for (int k = 0; k < i % 5; ++k) {
    const clock::time_point expected = every.next_tick();
    const auto at = co_await as_result(every.tick());
    if (!at && every.next_tick() != expected) counts.wrong.fetch_add(1, order::relaxed);
    if (!at) co_await fail(at.error());
    if (*at != expected) counts.wrong.fetch_add(1, order::relaxed);
  }
}

task<> moves_deadline(deadline_timer& timer, int i) {
  for (int k = 0; k < i % 6; ++k) {
    timer.reset_after(std::chrono::microseconds((i + k * 11) % 30));
    co_await yield();
  }
  timer.reset_after(std::chrono::microseconds(i % 20));
}

task<> awaiting_deadline(int i, tally& counts) {
  const counted here(counts.alive);
  deadline_timer timer(1h);
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(moves_deadline(timer, i));
    co_await timer.wait();
  });
}

task<> feeding(delay_queue<int>& queue, int i) {
  for (int k = 0; k < i % 6; ++k) {
    static_cast<void>(queue.insert(int(k), std::chrono::microseconds((i + k * 11) % 30)));
    co_await yield();
  }
}

task<> awaiting_items(int i, tally& counts) {
  const counted here(counts.alive);
  delay_queue<int> queue;
  int taken = 0;
  static_cast<void>(queue.insert(-1, std::chrono::microseconds(i % 20)));
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(feeding(queue, i));
    for (;;) {
      const std::optional<int> item = co_await queue.next();
      if (!item) break;
      ++taken;
    }
  }));
  if (ended && taken == 0) counts.wrong.fetch_add(1, order::relaxed);
  if (!ended) co_await fail(ended.error());
}

task<> fails_soon(int i) {
  co_await sleep_for(std::chrono::microseconds(i % 7));
  co_await fail(some_error());
}

task<> retrying(int i, tally& counts) {
  const counted here(counts.alive);
  retry_policy policy(static_cast<unsigned>(i % 5 + 1));
  policy.base = 5us;
  policy.attempt_timeout = std::chrono::microseconds(i % 6);
  retry_report report;
  const auto ended = co_await as_result(retry(policy, [i] { return fails_soon(i); }, report));
  if (ended) counts.wrong.fetch_add(1, order::relaxed);
  if (ended.error() == errc::stopped) co_await fail(errc::stopped);
  if (report.attempts != policy.attempts) counts.wrong.fetch_add(1, order::relaxed);
}

task<> advancing(int i, tally& counts) {
  const counted here(counts.alive);
  const auto before = clock::now();
  const std::chrono::microseconds by(i % 40);
  co_await test_clock::advance(by);
  if (clock::now() - before < by) counts.wrong.fetch_add(1, order::relaxed);
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

/// What a stopped read has left is there for the next one.
task<> reading_a_pipe(int i, tally& counts) {
  const counted here(counts.alive);
  auto ends = co_await make_pipe();
  const auto writes = [](int n, pipe_writer to) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 31));
    const std::array<std::byte, 1> byte{};
    co_await to.write(byte);
  };
  auto writing = spawn(writes(i, std::move(ends.writer)));
  std::array<std::byte, 8> into;
  const auto first = co_await as_result(ends.reader.read(into));
  if (first && *first != 1) counts.wrong.fetch_add(1, order::relaxed);
  if (first) co_return;
  const std::size_t again = co_await shielded(ends.reader.read(into));
  if (again != 1) counts.wrong.fetch_add(1, order::relaxed);
  co_await fail(first.error());
}

/// Aborts what it is given, on a thread that is no worker.
class foreign_stopper {
 public:
  foreign_stopper() : thread_([this] { work(); }) {}
  ~foreign_stopper() {
    leave_.store(true, order::release);
    thread_.join();
  }
  task<> abort(join_handle<void>& handle) {
    for (;;) {
      join_handle<void>* nobody = nullptr;
      if (next_.compare_exchange_strong(nobody, &handle, order::acq_rel)) break;
      co_await sleep_for(10us);
    }
    while (next_.load(order::acquire) == &handle) co_await sleep_for(5us);
  }

 private:
  void work() {
    while (!leave_.load(order::acquire)) {
      if (join_handle<void>* handle = next_.load(order::acquire)) {
        handle->abort();
        next_.store(nullptr, order::release);
      } else {
        ::sched_yield();
      }
    }
  }

  atomic<join_handle<void>*> next_{nullptr};
  atomic<bool> leave_{false};
  std::thread thread_;
};

task<> stop_some(victim make, int first, int last, tally& counts, foreign_stopper* foreign) {
  for (int i = first; i < last; ++i) {
    auto handle = spawn(make(i, counts));
    if (i % 3 == 1) {
      for (int k = 0; k < i % 7; ++k) co_await yield();
    } else if (i % 3 == 2) {
      co_await sleep_for(std::chrono::microseconds(i % 37));
    }
    if (foreign != nullptr && i % 8 == 0) {
      co_await foreign->abort(handle);
    } else {
      handle.abort();
    }
    const auto ended = co_await handle.join();
    atomic<int>& slot = ended                            ? counts.finished
                        : ended.error() == errc::aborted ? counts.stopped
                                                         : counts.wrong;
    slot.fetch_add(1, order::relaxed);
  }
}

task<> torture_all(victim make, int rounds, tally& counts, foreign_stopper* foreign) {
  co_await with_task_group([&](task_group& group) -> task<> {
    constexpr int parties = 4;
    for (int k = 0; k < parties; ++k)
      group.spawn(
          stop_some(make, rounds / parties * k, rounds / parties * (k + 1), counts, foreign));
    co_return;
  });
}

void torture(victim make) {
  MAGPIE_NEED_CELL();
  const int rounds = in_simulation() ? 10000 : 2000;
  tally counts;
  if (in_simulation()) {
    EXPECT_TRUE(run_in_cell(torture_all(make, rounds, counts, nullptr)));
  } else {
    foreign_stopper foreign;
    EXPECT_TRUE(run_in_cell(torture_all(make, rounds, counts, &foreign)));
  }
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
  EXPECT_EQ(counts.wrong.load(order::relaxed), 0);
  EXPECT_EQ(counts.finished.load(order::relaxed) + counts.stopped.load(order::relaxed), rounds);
  EXPECT_GT(counts.stopped.load(order::relaxed), 0);
}

TEST(stop_torture, concurrent_sleeps) { torture(&sleeping); }
TEST(stop_torture, concurrent_timeouts) { torture(&under_timeout); }
TEST(stop_torture, concurrent_nested_timeouts) { torture(&under_three_timeouts); }
TEST(stop_torture, concurrent_joins) { torture(&joining); }
TEST(stop_torture, concurrent_joins_of_what_waits) { torture(&joining_what_waits); }
TEST(stop_torture, concurrent_blocking_calls) { torture(&on_the_pool); }
TEST(stop_torture, concurrent_yields) { torture(&yielding); }
TEST(stop_torture, concurrent_groups) { torture(&grouping); }
TEST(stop_torture, concurrent_shields) { torture(&shielding); }
TEST(stop_torture, concurrent_cleanups) { torture(&cleaning_up); }
TEST(stop_torture, concurrent_waits_for_tokens) { torture(&waiting_for_token); }
TEST(stop_torture, concurrent_work_until_cancelled) { torture(&until_cancelled); }
TEST(stop_torture, concurrent_stop_tokens) { torture(&with_stop_tokens); }
TEST(stop_torture, concurrent_pipes) {
  MAGPIE_NEED_KERNEL();
  torture(&reading_a_pipe);
}
TEST(stop_torture, concurrent_ticks) { torture(&ticking); }
TEST(stop_torture, concurrent_deadlines_that_move) { torture(&awaiting_deadline); }
TEST(stop_torture, concurrent_delay_queues) { torture(&awaiting_items); }
TEST(stop_torture, concurrent_retries) { torture(&retrying); }
TEST(stop_torture, advances_of_the_clock) {
  if (in_simulation()) torture(&advancing);
}
TEST(stop_torture, concurrent_waits) {
  MAGPIE_NEED_KERNEL();
  torture(&waiting_for_event);
}

}  // namespace
}  // namespace magpie::tests
