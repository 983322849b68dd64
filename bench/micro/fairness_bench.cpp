/// Measures: how long the unluckiest waits.
///
/// A hundred tasks want the same thing, again and again, a million times in all; each stays inside
/// for one turn of the run queue.  Waiting is counted in turns, not in time: how many others were
/// served between a task's coming and its being served.  A queue that nobody passes lets as many go
/// before as stood there, so 99 is the least that the worst can be where one is served at a time.
/// `worst_turns` is over all waits of all tasks; `mean_turns` the mean; `least_share` what the task
/// that was served least often got, as a share of the mean.

#include <magpie/bench/micro/support.hpp>
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/mutex.hpp>
#include <magpie/sync/pool.hpp>
#include <magpie/sync/rate_limiter.hpp>
#include <magpie/sync/rwlock.hpp>
#include <magpie/sync/semaphore.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

namespace magpie::bench {
namespace {

constexpr int contenders = 100;
constexpr std::int64_t rounds = 1'000'000;

/// Who was served, in which turn, and what it had seen when it came.
class ledger {
 public:
  bool goes_on() const noexcept { return served_.load(std::memory_order_relaxed) < rounds; }
  std::int64_t come() const noexcept { return served_.load(std::memory_order_acquire); }
  void serve(std::size_t who, std::int64_t came) noexcept {
    const std::int64_t waited = served_.fetch_add(1, std::memory_order_acq_rel) - came;
    one& its = each_[who];
    ++its.served;
    its.sum += waited;
    its.worst = std::max(its.worst, waited);
  }

  void report(benchmark::State& state) const {
    std::int64_t worst = 0;
    std::int64_t sum = 0;
    std::int64_t served = 0;
    std::int64_t least = rounds;
    for (const one& its : each_) {
      worst = std::max(worst, its.worst);
      least = std::min(least, its.served);
      sum += its.sum;
      served += its.served;
    }
    state.counters["worst_turns"] = static_cast<double>(worst);
    state.counters["mean_turns"] = static_cast<double>(sum) / static_cast<double>(served);
    state.counters["least_share"] =
        static_cast<double>(least) * contenders / static_cast<double>(served);
  }

 private:
  struct alignas(64) one {
    std::int64_t served = 0;
    std::int64_t sum = 0;
    std::int64_t worst = 0;
  };

  std::atomic<std::int64_t> served_{0};
  std::vector<one> each_ = std::vector<one>(contenders);
};

/// Lets a hundred tasks contend, each with `round(who)` until there have been enough.
template <class Round>
task<> contend(benchmark::State& state, ledger& book, Round& round) {
  auto wants = [](ledger& until, Round& its, std::size_t who) -> task<> {
    while (until.goes_on()) co_await its(who);
  };
  auto spawn_all = [&](task_group& group) -> task<> {
    for (std::size_t i = 0; i < contenders; ++i) group.spawn(wants(book, round, i));
    co_return;
  };
  while (state.KeepRunningBatch(rounds)) co_await with_task_group(spawn_all);
  book.report(state);
}

task<> of_mutex(benchmark::State& state) {
  sync::mutex one;
  ledger book;
  auto round = [&](std::size_t who) -> task<> {
    const std::int64_t came = book.come();
    const auto guard = co_await one.lock();
    book.serve(who, came);
    co_await yield();
  };
  co_await contend(state, book, round);
}

/// One in four writes.
task<> of_rwlock(benchmark::State& state) {
  sync::rwlock one;
  ledger book;
  auto round = [&](std::size_t who) -> task<> {
    const std::int64_t came = book.come();
    if (who % 4 == 0) {
      const auto guard = co_await one.write();
      book.serve(who, came);
      co_await yield();
    } else {
      const auto guard = co_await one.read();
      book.serve(who, came);
      co_await yield();
    }
  };
  co_await contend(state, book, round);
}

/// Eight permits; one in four wants all of them.
task<> of_semaphore(benchmark::State& state) {
  sync::semaphore eight(8);
  ledger book;
  auto round = [&](std::size_t who) -> task<> {
    const std::int64_t came = book.come();
    const auto permits = co_await eight.acquire(who % 4 == 0 ? 8 : 1);
    book.serve(who, came);
    co_await yield();
  };
  co_await contend(state, book, round);
}

task<> of_senders(benchmark::State& state) {
  ledger book;
  auto [to, from] = sync::mpsc<std::size_t>(8);
  auto drains = [](sync::mpsc_receiver<std::size_t>& all) -> task<> {
    while (co_await as_result(all.receive())) co_await yield();
  };
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(drains(from));
    auto round = [&](std::size_t who) -> task<> {
      const std::int64_t came = book.come();
      co_await to.send(std::size_t{who});
      book.serve(who, came);
    };
    co_await contend(state, book, round);
    to = {};
  });
}

task<> of_rate_limiter(benchmark::State& state) {
  sync::rate_limiter often(sync::rate_limit(1'000'000, std::chrono::seconds(1), 100));
  ledger book;
  auto round = [&](std::size_t who) -> task<> {
    const std::int64_t came = book.come();
    co_await often.acquire();
    book.serve(who, came);
  };
  co_await contend(state, book, round);
}

struct numbers {
  task<int> create() { co_return 1; }
};

task<> of_pool(benchmark::State& state) {
  sync::pool<numbers> eight(sync::pool_options(8));
  ledger book;
  auto round = [&](std::size_t who) -> task<> {
    const std::int64_t came = book.come();
    const auto one = co_await eight.get();
    book.serve(who, came);
    co_await yield();
  };
  co_await contend(state, book, round);
}

}  // namespace

void register_all() {
  add("fair_mutex", of_mutex, {1, 2});
  add("fair_rwlock", of_rwlock, {1, 2});
  add("fair_semaphore", of_semaphore, {1, 2});
  add("fair_senders", of_senders, {1, 2});
  add("fair_rate_limiter", of_rate_limiter, {1, 2});
  add("fair_pool", of_pool, {1, 2});
}

}  // namespace magpie::bench
