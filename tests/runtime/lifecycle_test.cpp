/// Runtimes that come and go with everything under way: sockets, timers, blocking calls, signals,
/// and foreign threads that spawn, stop and cancel meanwhile.
///
/// `MAGPIE_TEST_LIVES` sets how many runtimes live in the long one (40 by default): 10000 of them,
/// under AddressSanitizer and under ThreadSanitizer, are for a long run.
#include <magpie/net/tcp.hpp>
#include <magpie/runtime/cancellation_token.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/runtime_handle.hpp>
#include <magpie/runtime/signal.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_tracker.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <signal.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <thread>
#include <vector>

namespace magpie::tests::lifecycle_test {
namespace {

int lives(int by_default) {
  const char* const text = std::getenv("MAGPIE_TEST_LIVES");
  return text != nullptr ? std::atoi(text) : by_default;
}

/// What has been done in all lives.
struct deeds {
  atomic<int> echoes{0};
  atomic<int> ticks{0};
  atomic<int> timeouts{0};
  atomic<int> calls{0};
  atomic<int> signals{0};
  atomic<int> cancelled{0};
  atomic<int> spawned_outside{0};
};
deeds done;

void count(atomic<int>& of) { of.fetch_add(1, order::relaxed); }

/// Everything has been done once; in a simulation nobody comes from outside.
bool all_done() {
  for (const auto* deed : {&done.echoes, &done.ticks, &done.timeouts, &done.calls})
    if (deed->load(order::relaxed) == 0) return false;
  for (const auto* deed : {&done.signals, &done.cancelled, &done.spawned_outside})
    if (!in_simulation() && deed->load(order::relaxed) == 0) return false;
  return true;
}

// ---- what is under way --------------------------------------------------------------------------

task<> echoes(net::tcp_stream peer, counted) {
  std::array<std::byte, 512> buffer;
  while (const std::size_t count = co_await peer.read(buffer))
    co_await peer.write_all(std::span(buffer).first(count));
}

task<> asks(net::socket_address server, counted) {
  auto stream = co_await net::tcp_stream::connect(server);
  std::array<std::byte, 300> buffer{};
  for (;;) {
    co_await stream.write_all(buffer);
    if (co_await stream.read(buffer) == 0) co_return;
    count(done.echoes);
  }
}

task<> serves(counted here) {
  auto listener = net::tcp_listener::bind("127.0.0.1:0").value();
  const auto address = listener.local_address().value();
  for (int i = 0; i < 3; ++i) spawn(asks(address, here)).detach();
  for (;;) spawn(echoes(co_await listener.accept(), here)).detach();
}

task<> ticks(int i, counted) {
  for (;;) {
    co_await sleep_for(std::chrono::microseconds(20 + i * 7));
    count(done.ticks);
  }
}

task<> times_out(counted) {
  for (;;) {
    const auto late = co_await as_result(timeout(50us, sleep_for(1h)));
    if (error_of(late) == errc::deadline) count(done.timeouts);
    co_await yield();
  }
}

task<> blocks(counted) {
  for (;;) {
    co_await run_blocking([] { std::this_thread::yield(); });
    count(done.calls);
  }
}

task<> listens(counted) {
  auto signals = co_await signal_stream::open(SIGUSR1);
  for (;;) {
    co_await signals.next();
    count(done.signals);
  }
}

task<> tracks(counted here) {
  const task_tracker tracker;
  for (int i = 0; i < 3; ++i) tracker.spawn(ticks(i, here));
  tracker.close();
  co_await tracker.wait();
}

task<> awaits(cancellation_token token, counted) {
  co_await token.cancelled();
  count(done.cancelled);
}

task<> comes_from_outside(int i, counted here) {
  count(done.spawned_outside);
  co_await ticks(i, here);
}

/// Everything at once, for about so long, and until everything has happened in some life.
task<> lives_for(std::chrono::microseconds time, cancellation_token token, counted here) {
  spawn(serves(here)).detach();
  for (int i = 0; i < 5; ++i) spawn(ticks(i, here)).detach();
  spawn(times_out(here)).detach();
  for (int i = 0; i < 3; ++i) spawn(blocks(here)).detach();
  if (!in_simulation()) spawn(listens(here)).detach();
  spawn(tracks(here)).detach();
  spawn(awaits(std::move(token), here)).detach();
  do {
    co_await sleep_for(time);
  } while (!all_done());
}

/// A thread that the runtime does not know.
void interferes(const runtime_handle& handle, const cancellation_token& token, counted here) {
  std::vector<join_handle<void>> spawned;
  for (int i = 0; handle.takes_work(); ++i) {
    spawned.push_back(handle.spawn(comes_from_outside(i % 5, here)));
    spawned.push_back(handle.spawn(awaits(token, here)));
    if (i % 4 == 1) spawned[spawned.size() / 2].abort();
    if (i % 8 == 2) ::raise(SIGUSR1);
    if (i == 20) token.cancel();
    if (spawned.size() > 50) spawned.clear();
    std::this_thread::yield();
  }
  token.cancel();
  for (auto& one : spawned) one.abort();
}

// ---- the lives ----------------------------------------------------------------------------------

void one_life(int i, atomic<int>& alive) {
  std::optional<runtime> on(std::in_place, cell_options());
  const cancellation_token token;
  std::vector<std::thread> foreign;
  if (!in_simulation()) {
    for (int k = 0; k < (i + 1) % 3; ++k)
      foreign.emplace_back([handle = on->handle(), token, here = counted(alive)] {
        interferes(handle, token, here);
      });
  }
  const std::chrono::microseconds time((i + 1) % 7 * 100);
  if (i % 5 == 4) {
    on->spawn(lives_for(time, token, counted(alive))).detach();
  } else {
    EXPECT_TRUE(on->block_on(lives_for(time, token, counted(alive))));
  }
  switch (i % 4) {
    case 0:
      EXPECT_TRUE(on->shutdown(60s));
      break;
    case 1:
      on->shutdown_background();
      break;
    default:
      on.reset();
  }
  for (std::thread& one : foreign) one.join();
  while (alive.load(order::acquire) != 0) std::this_thread::yield();  // the one in the background
}

// C19 to C28 at once, with live sockets.
TEST(lifecycle, concurrent_many_lives_with_everything_under_way) {
  MAGPIE_NEED_CELL();
  std::optional<signal_stream> stays;  // else the default action would come in between
  if (!in_simulation()) stays.emplace(signal_stream::open(SIGUSR1).value());
  // Static: a runtime that ends in the background is not ordered before what reuses our stack.
  static atomic<int> alive{0};
  for (int i = 0; i < lives(40); ++i) one_life(i, alive);
  EXPECT_EQ(alive.load(order::relaxed), 0);
  EXPECT_TRUE(all_done());
}

TEST(lifecycle, concurrent_runtimes_beside_each_other) {
  MAGPIE_NEED_KERNEL();
  const signal_stream stays = signal_stream::open(SIGUSR1).value();
  static atomic<int> alive[2] = {};
  std::vector<std::thread> threads;
  for (int k = 0; k < 2; ++k)
    threads.emplace_back([k] {
      for (int i = 0; i < lives(40) / 4; ++i) one_life(i + k, alive[k]);
    });
  for (std::thread& one : threads) one.join();
}

// ---- destructors at the end ---------------------------------------------------------------------

/// Wakes somebody, and tries to spawn, when its frame is destroyed.
class wakes_at_its_end {
 public:
  wakes_at_its_end(cancellation_token other, counted here)
      : other_(std::move(other)), home_(runtime_handle::current()), here_(here) {}
  wakes_at_its_end(const wakes_at_its_end&) = delete;
  wakes_at_its_end& operator=(const wakes_at_its_end&) = delete;
  ~wakes_at_its_end() {
    other_.cancel();
    auto late = home_.spawn(awaits(other_, here_));  // run, or refused
    late.detach();
  }

 private:
  cancellation_token other_;
  runtime_handle home_;
  counted here_;
};

task<> waits_and_wakes(cancellation_token mine, cancellation_token other, counted here) {
  const wakes_at_its_end last(std::move(other), here);
  co_await mine.cancelled();
}

task<> leaves_pairs(counted here) {
  for (int i = 0; i < 5; ++i) {
    const cancellation_token first;
    const cancellation_token second;
    spawn(waits_and_wakes(first, second, here)).detach();
    spawn(waits_and_wakes(second, first, here)).detach();
    if (i % 2 == 0) co_await yield();
  }
}

// C20: tasks whose destructors wake each other while the runtime ends.
TEST(lifecycle, concurrent_c20_destructors_wake_each_other) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 50; ++i) {
    atomic<int> alive{0};
    EXPECT_TRUE(run_in_cell(leaves_pairs(counted(alive))));
    EXPECT_EQ(alive.load(order::relaxed), 0);
  }
}

/// A runtime that lives and ends inside of a task of another one.
TEST(lifecycle, concurrent_a_runtime_within_a_task) {
  MAGPIE_NEED_KERNEL();
  static atomic<int> alive{0};
  auto holds_one = []() -> task<int> {
    runtime inner(cell_options());
    inner.spawn(ticks(1, counted(alive))).detach();
    auto spawned = inner.spawn([]() -> task<int> {
      co_await yield();
      co_return 7;
    }());
    const auto outcome = co_await spawned.join();
    inner.shutdown_background();  // the other ways would wait, on a worker
    co_return outcome.value();
  };
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(run_in_cell(holds_one()).value(), 7);
  }
  while (alive.load(order::acquire) != 0) std::this_thread::yield();
}

}  // namespace
}  // namespace magpie::tests::lifecycle_test
