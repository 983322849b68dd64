/// Hooks: in pairs, on the right threads, and what one makes ready before a parking is run.
#include <magpie/runtime/worker_hooks.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <pthread.h>

#include <array>
#include <optional>

namespace magpie::tests::worker_hooks_test {
namespace {

struct seen_hooks {
  struct of_worker {
    atomic<int> starts{0};
    atomic<int> parks{0};
    atomic<int> unparks{0};
    atomic<int> stops{0};
    atomic<pthread_t> thread{};
    atomic<int> wrong{0};
  };
  std::array<of_worker, 8> workers;

  static of_worker& at(void* context, std::size_t worker) {
    return static_cast<seen_hooks*>(context)->workers[worker];
  }
  static void on_start(void* context, std::size_t worker) noexcept {
    of_worker& seen = at(context, worker);
    seen.starts.fetch_add(1, order::relaxed);
    seen.thread.store(::pthread_self(), order::relaxed);
  }
  static void check(of_worker& seen, bool right) noexcept {
    if (!right || seen.thread.load(order::relaxed) != ::pthread_self() || !on_worker())
      seen.wrong.fetch_add(1, order::relaxed);
  }
  static void on_park(void* context, std::size_t worker) noexcept {
    of_worker& seen = at(context, worker);
    check(seen, seen.parks.load(order::relaxed) == seen.unparks.load(order::relaxed));
    seen.parks.fetch_add(1, order::relaxed);
  }
  static void on_unpark(void* context, std::size_t worker) noexcept {
    of_worker& seen = at(context, worker);
    check(seen, seen.parks.load(order::relaxed) == seen.unparks.load(order::relaxed) + 1);
    seen.unparks.fetch_add(1, order::relaxed);
  }
  static void on_stop(void* context, std::size_t worker) noexcept {
    of_worker& seen = at(context, worker);
    check(seen, seen.starts.load(order::relaxed) == 1);
    seen.stops.fetch_add(1, order::relaxed);
  }
};

options with_hooks(seen_hooks& seen) {
  options chosen = cell_options();
  chosen.hooks.context = &seen;
  chosen.hooks.starts = &seen_hooks::on_start;
  chosen.hooks.parks = &seen_hooks::on_park;
  chosen.hooks.unparks = &seen_hooks::on_unpark;
  chosen.hooks.stops = &seen_hooks::on_stop;
  return chosen;
}

task<> sleeps_often() {
  co_await with_task_group([&](task_group& group) -> task<> {
    auto naps = []() -> task<> {
      for (int i = 0; i < 20; ++i) co_await sleep_for(20us);
    };
    for (int k = 0; k < 8; ++k) group.spawn(naps());
    co_return;
  });
}

void expect_pairs(const options& chosen, seen_hooks& seen) {
  {
    runtime on(chosen);
    EXPECT_TRUE(on.block_on(sleeps_often()));
    EXPECT_TRUE(on.block_on(sleeps_often()));
  }
  int parks = 0;
  for (std::size_t i = 0; i < chosen.workers; ++i) {
    const auto& one = seen.workers[i];
    EXPECT_EQ(one.starts.load(order::relaxed), one.stops.load(order::relaxed));
    EXPECT_LE(one.starts.load(order::relaxed), 1);
    EXPECT_EQ(one.wrong.load(order::relaxed), 0);
    EXPECT_LE(one.parks.load(order::relaxed) - one.unparks.load(order::relaxed), 1);
    parks += one.parks.load(order::relaxed);
  }
  EXPECT_EQ(seen.workers[0].starts.load(order::relaxed), 1);
  EXPECT_GT(parks, 0);
}

TEST(worker_hooks, concurrent_come_in_pairs_on_their_workers) {
  MAGPIE_NEED_CELL();
  seen_hooks seen;
  expect_pairs(with_hooks(seen), seen);
}

TEST(worker_hooks, of_the_calling_thread) {
  MAGPIE_NEED_KERNEL();
  seen_hooks seen;
  options alone = with_hooks(seen);
  alone.flavour = flavour::current_thread;
  alone.workers = 1;
  expect_pairs(alone, seen);
}

/// Spawns tasks from the hook, each time until there have been enough.
struct spawner {
  int enough = 200;
  int at_once = 1;
  atomic<int> spawned{0};
  atomic<int> ran{0};

  static task<> counts(spawner& self) {
    self.ran.fetch_add(1, order::relaxed);
    co_return;
  }
  static void on_park(void* context, std::size_t) noexcept {
    auto& self = *static_cast<spawner*>(context);
    if (self.spawned.load(order::relaxed) >= self.enough) return;
    for (int i = 0; i < self.at_once; ++i) {
      self.spawned.fetch_add(1, order::relaxed);
      spawn(counts(self)).detach();
    }
  }
};

task<> waits_for_all(spawner& self) {
  while (self.ran.load(order::relaxed) < self.enough) co_await sleep_for(100us);
}

// C26: what the hook before a parking spawns is not slept through, and timers still fire.
TEST(worker_hooks, concurrent_c26_a_hook_that_spawns) {
  MAGPIE_NEED_CELL();
  spawner self;
  options chosen = cell_options();
  chosen.hooks.context = &self;
  chosen.hooks.parks = &spawner::on_park;
  EXPECT_TRUE(run_on(chosen, waits_for_all(self)));
  EXPECT_EQ(self.ran.load(order::relaxed), self.spawned.load(order::relaxed));
}

/// Spawns whenever a worker parks, until a task has slept often enough.
struct restless {
  atomic<bool> leave{false};
  atomic<int> spawned{0};

  static task<> nothing() { co_return; }
  static void on_park(void* context, std::size_t) noexcept {
    auto& self = *static_cast<restless*>(context);
    if (self.leave.load(order::relaxed)) return;
    self.spawned.fetch_add(1, order::relaxed);
    spawn(nothing()).detach();
  }
};

task<> sleeps_beside_the_hook(restless& self) {
  for (int i = 0; i < 20; ++i) co_await sleep_for(100us);
  self.leave.store(true, order::relaxed);
}

// C26: a hook that always finds something to do does not keep the worker from its timers.
TEST(worker_hooks, concurrent_c26_timers_fire_beside_a_hook_that_never_rests) {
  MAGPIE_NEED_CELL();
  restless self;
  options chosen = cell_options();
  chosen.hooks.context = &self;
  chosen.hooks.parks = &restless::on_park;
  EXPECT_TRUE(run_on(chosen, sleeps_beside_the_hook(self)));
  EXPECT_GT(self.spawned.load(order::relaxed), 0);
}

// C26: not even when the runtime ends meanwhile: what a hook has spawned by then has run.
TEST(worker_hooks, concurrent_c26_a_hook_that_spawns_at_the_end) {
  MAGPIE_NEED_CELL();
  for (int i = 0; i < 20; ++i) {
    spawner self;
    if (i % 4 == 0) self.at_once = 2000;  // more than the worker's queues hold
    self.enough = 20 * self.at_once;      // more than there are parkings before the end
    options chosen = cell_options();
    chosen.hooks.context = &self;
    chosen.hooks.parks = &spawner::on_park;
    chosen.hooks.unparks = &spawner::on_park;
    EXPECT_TRUE(run_on(chosen, []() -> task<> { co_return; }()));
    EXPECT_EQ(self.ran.load(order::relaxed), self.spawned.load(order::relaxed));
  }
}

/// Wakes the task that waits, by ending what it joins; nothing else would.
struct waker {
  std::optional<abort_handle> sleeper;
  atomic<bool> armed{false};
  atomic<int> calls{0};

  static void on_park(void* context, std::size_t) noexcept {
    auto& self = *static_cast<waker*>(context);
    self.calls.fetch_add(1, order::relaxed);
    if (!self.armed.exchange(false, order::acq_rel)) return;
    const abort_handle own = *self.sleeper;  // the task goes on before the abort has returned
    own.abort();
  }
};

task<> waits_for_the_hook(waker& self) {
  auto sleeps = []() -> task<> { co_await sleep_for(24h * 365); };
  for (int i = 0; i < 50; ++i) {
    auto sleeper = spawn(sleeps());
    self.sleeper.emplace(sleeper.abort_handle());
    self.armed.store(true, order::release);
    const auto ended = co_await sleeper.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
  }
}

// C26: the same for what it wakes.  In a simulation time would move by a year.
TEST(worker_hooks, concurrent_c26_a_hook_that_wakes) {
  MAGPIE_NEED_CELL();
  waker self;
  options chosen = cell_options();
  chosen.hooks.context = &self;
  chosen.hooks.parks = &waker::on_park;
  EXPECT_TRUE(run_on(chosen, waits_for_the_hook(self)));
  EXPECT_GE(self.calls.load(order::relaxed), 50);
}

}  // namespace
}  // namespace magpie::tests::worker_hooks_test
