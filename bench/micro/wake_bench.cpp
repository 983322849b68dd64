/// Measures: from the post of a foreign thread to the first instruction of the task that a parked
/// runtime of one worker runs for it; the poster on the worker's core, and on another one.
/// Against: a thread parked in epoll_wait on an eventfd, woken in the same way (floor).
///
/// On the same core the poster has to leave the core before the worker can run: the figure holds
/// the poster's post, its way to sleep, a switch, and the worker's way out of its reactor.

#include <magpie/bench/micro/baton.hpp>
#include <magpie/bench/micro/quantiles.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/spawn.hpp>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace magpie::bench {
namespace {

constexpr std::int64_t posts = 20'000;

/// What the poster and the woken one share.
struct exchange {
  std::atomic<std::uint64_t> woken_at{0};  // 0: not yet
  std::atomic<bool> over{false};
};

std::uint64_t now_ns() noexcept { return clock::detail_now_ns(); }

/// The answer of whoever was woken; on the same core the poster sleeps meanwhile.
std::uint64_t wait_for_answer(exchange& with, bool same_core) noexcept {
  std::uint64_t at;
  while ((at = with.woken_at.load(std::memory_order_acquire)) == 0) {
    if (same_core) with.woken_at.wait(0, std::memory_order_acquire);
  }
  with.woken_at.store(0, std::memory_order_relaxed);
  return at;
}

void answer(exchange& with) noexcept {
  with.woken_at.store(now_ns(), std::memory_order_release);
  with.woken_at.notify_one();
}

/// Long enough for the woken one to have parked again.
void let_it_park() noexcept {
  const timespec pause{0, 60'000};
  ::nanosleep(&pause, nullptr);
}

template <class Post>
void measure(benchmark::State& state, exchange& with, bool same_core, Post post) {
  std::vector<std::int64_t> samples;
  samples.reserve(posts);
  pin_to(same_core ? 0 : 1);
  ::prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
  for (auto _ : state) {
    let_it_park();
    const std::uint64_t begin = now_ns();
    post();
    const auto took = static_cast<std::int64_t>(wait_for_answer(with, same_core) - begin);
    state.SetIterationTime(static_cast<double>(took) * 1e-9);
    samples.push_back(took);
  }
  pin_to_first(0);
  const quantiles of(std::move(samples));
  state.counters["p50_us"] = of.microseconds(0.5);
  state.counters["p99_us"] = of.microseconds(0.99);
  state.counters["p99.9_us"] = of.microseconds(0.999);
}

// ---- Magpie ----------------------------------------------------------------------------------

task<> answer_posts(baton& on, exchange& with) {
  for (;;) {
    co_await on.wait();
    if (with.over.load(std::memory_order_relaxed)) co_return;
    answer(with);
  }
}

void wake(benchmark::State& state, bool same_core) {
  runtime& woken = runtime_of(1);
  baton on;
  exchange with;
  auto handle = woken.spawn(answer_posts(on, with));
  const tally before = tally_of(woken);
  measure(state, with, same_core, [&] { on.post(); });
  meter::report(state, before, tally_of(woken), 1.0);
  with.over.store(true, std::memory_order_relaxed);
  on.post();
  while (!handle.done()) let_it_park();
}

// ---- floor -----------------------------------------------------------------------------------

class parked_thread {
 public:
  explicit parked_thread(exchange& with)
      : with_(&with), event_(::eventfd(0, EFD_NONBLOCK)), epoll_(::epoll_create1(0)) {
    epoll_event wanted{};
    wanted.events = EPOLLIN | EPOLLET;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, event_, &wanted);
    thread_ = std::thread([this] { loop(); });
  }
  parked_thread(const parked_thread&) = delete;
  parked_thread& operator=(const parked_thread&) = delete;
  ~parked_thread() {
    with_->over.store(true, std::memory_order_relaxed);
    post();
    thread_.join();
    ::close(event_);
    ::close(epoll_);
  }

  void post() noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(event_, &one, sizeof one));
  }

 private:
  void loop() noexcept {
    pin_to(0);
    for (;;) {
      epoll_event event;
      ::epoll_wait(epoll_, &event, 1, -1);
      if (with_->over.load(std::memory_order_relaxed)) return;
      answer(*with_);
    }
  }

  exchange* with_;
  int event_;
  int epoll_;
  std::thread thread_;
};

void wake_floor(benchmark::State& state, bool same_core) {
  exchange with;
  parked_thread woken(with);
  measure(state, with, same_core, [&] { woken.post(); });
}

}  // namespace

void register_all() {
  add_manual("wake_same_core/floor", [](benchmark::State& s) { wake_floor(s, true); }, posts);
  add_manual("wake_same_core/1w", [](benchmark::State& s) { wake(s, true); }, posts);
  if (cores() < 2) return;
  add_manual("wake_other_core/floor", [](benchmark::State& s) { wake_floor(s, false); }, posts);
  add_manual("wake_other_core/1w", [](benchmark::State& s) { wake(s, false); }, posts);
}

}  // namespace magpie::bench
