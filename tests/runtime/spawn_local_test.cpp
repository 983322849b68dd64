/// Pinned tasks: every run of every frame is on the worker that spawned them, whatever wakes them.
#include <magpie/runtime/spawn_local.hpp>

#include <magpie/runtime/cancellation_token.hpp>
#include <magpie/runtime/join.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>

#include <vector>

namespace magpie::tests::spawn_local_test {
namespace {

std::size_t here() { return detail::this_context().index; }

/// Says so when it is made, or destroyed, anywhere but on one worker.
class at_home {
 public:
  explicit at_home(atomic<int>& wrong) noexcept : wrong_(&wrong), home_(here()) {}
  at_home(const at_home&) = delete;
  at_home& operator=(const at_home&) = delete;
  ~at_home() { check(); }
  void check() const {
    if (!on_worker() || here() != home_) wrong_->fetch_add(1, order::relaxed);
  }

 private:
  atomic<int>* wrong_;
  std::size_t home_;
};

/// Keeps every worker busy with tasks that thieves may take, so that nothing stays where it is.
task<> stirs(atomic<bool>& leave) {
  while (!leave.load(order::relaxed)) co_await yield();
}

int double_of(int i) { return 2 * i; }

/// Counted without atomics by all pinned tasks of one worker: a race is a finding.
struct shared_by_locals {
  std::uint64_t count = 0;
};

task<int> child(int i) {
  if (i % 2 == 0) co_await yield();
  co_return i;
}

task<> all_kinds_of_waits(int number, int rounds, shared_by_locals& with, atomic<int>& wrong) {
  const at_home home(wrong);
  for (int i = 0; i < rounds; ++i) {
    ++with.count;
    co_await yield();
    home.check();
    co_await sleep_for(std::chrono::microseconds((number + i) % 7));
    home.check();
    ++with.count;
    const int doubled = co_await run_blocking(double_of, i);
    home.check();
    if (doubled != 2 * i) wrong.fetch_add(1, order::relaxed);
    auto handle = spawn(child(i));  // not pinned
    const auto joined = co_await handle.join();
    home.check();
    if (joined.value() != i) wrong.fetch_add(1, order::relaxed);
    [[maybe_unused]] const auto late = co_await as_result(timeout(3us, sleep_for(1h)));
    home.check();
    ++with.count;
  }
}

task<> sleeps(int i) { co_await sleep_for(std::chrono::microseconds(i)); }

task<> forks_and_groups(int rounds, atomic<int>& wrong) {
  const at_home home(wrong);
  for (int i = 0; i < rounds; ++i) {
    [[maybe_unused]] const auto first = co_await select(sleep_for(1us), sleep_for(5us), yield());
    home.check();
    int inside = 0;
    auto branch = [&home, &inside]() -> task<> {
      for (int k = 0; k < 3; ++k) {
        ++inside;
        co_await sleep_for(std::chrono::microseconds(k));
        home.check();
      }
    };
    co_await join(branch(), branch(), branch());
    home.check();
    if (inside != 9) wrong.fetch_add(1, order::relaxed);
    co_await with_task_group([&home](task_group& group) -> task<> {
      for (int k = 0; k < 4; ++k) group.spawn(sleeps(k));
      home.check();
      co_return;
    });
    home.check();
    // A task without branches is as pinned as before, also for a thread that is no worker.
    [[maybe_unused]] const int doubled = co_await run_blocking(double_of, i);
    home.check();
  }
}

task<> among_thieves(atomic<int>& wrong) {
  atomic<bool> leave{false};
  std::vector<join_handle<void>> others;
  for (int i = 0; i < 16; ++i) others.push_back(spawn(stirs(leave)));
  shared_by_locals with;
  const int rounds = in_simulation() ? 100 : 40;
  std::vector<join_handle<void>> locals;
  for (int i = 0; i < 8; ++i)
    locals.push_back(spawn_local(all_kinds_of_waits(i, rounds, with, wrong)));
  locals.push_back(spawn_local(named("forks"), forks_and_groups(rounds, wrong)));
  for (auto& one : locals) {
    const auto ended = co_await one.join();
    if (!ended) wrong.fetch_add(1, order::relaxed);
  }
  EXPECT_EQ(with.count, static_cast<std::uint64_t>(rounds) * 3 * 8);
  leave.store(true, order::relaxed);
  for (auto& one : others) [[maybe_unused]]
    const auto ended = co_await one.join();
}

TEST(spawn_local, concurrent_runs_on_its_worker_alone) {
  MAGPIE_NEED_CELL();
  atomic<int> wrong{0};
  EXPECT_TRUE(run_in_cell(among_thieves(wrong)));
  EXPECT_EQ(wrong.load(order::relaxed), 0);
}

task<> waits_for_ever(atomic<int>& wrong, atomic<int>& begun) {
  const at_home home(wrong);
  begun.fetch_add(1, order::release);
  co_await sleep_for(1h);
}

task<std::vector<join_handle<void>>> spawns_locals(int count, atomic<int>& wrong,
                                                   atomic<int>& begun) {
  std::vector<join_handle<void>> handles;
  for (int i = 0; i < count; ++i) handles.push_back(spawn_local(waits_for_ever(wrong, begun)));
  while (begun.load(order::acquire) != count) co_await yield();
  co_return handles;
}

task<> all_aborted(std::vector<join_handle<void>>& handles) {
  for (auto& one : handles) {
    const auto ended = co_await one.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
  }
}

/// Aborted by a thread that is no worker: the frames are destroyed at home.
TEST(spawn_local, concurrent_conformance_c14_an_abort_from_elsewhere_destroys_at_home) {
  MAGPIE_NEED_KERNEL();
  atomic<int> wrong{0};
  atomic<int> begun{0};
  runtime on(cell_options());
  auto handles = on.block_on(spawns_locals(50, wrong, begun));
  ASSERT_TRUE(handles);
  for (auto& one : *handles) one.abort();
  EXPECT_TRUE(on.block_on(all_aborted(*handles)));
  EXPECT_EQ(wrong.load(order::relaxed), 0);
}

/// A shutdown stops them like all others.
TEST(spawn_local, concurrent_ends_at_a_shutdown_at_home) {
  MAGPIE_NEED_CELL();
  atomic<int> wrong{0};
  atomic<int> begun{0};
  runtime on(cell_options());
  auto handles = on.block_on(spawns_locals(20, wrong, begun));
  EXPECT_TRUE(on.shutdown(30s));
  ASSERT_TRUE(handles);
  for (const auto& one : *handles) EXPECT_TRUE(one.done());
  EXPECT_EQ(wrong.load(order::relaxed), 0);
}

task<> token_waits(cancellation_token token, atomic<int>& wrong) {
  const at_home home(wrong);
  const bool ended = co_await token.run_until_cancelled(sleep_for(1h));
  home.check();
  EXPECT_FALSE(ended);
}

task<> cancels(cancellation_token token) {
  for (int i = 0; i < 5; ++i) co_await yield();
  token.cancel();
}

task<> with_tokens(atomic<int>& wrong) {
  for (int i = 0; i < 50; ++i) {
    cancellation_token token;
    auto waits = spawn_local(token_waits(token, wrong));
    auto other = spawn(cancels(token));
    const auto ended = co_await waits.join();
    EXPECT_TRUE(ended);
    [[maybe_unused]] const auto cancelled = co_await other.join();
  }
}

TEST(spawn_local, concurrent_a_token_wakes_it_at_home) {
  MAGPIE_NEED_CELL();
  atomic<int> wrong{0};
  EXPECT_TRUE(run_in_cell(with_tokens(wrong)));
  EXPECT_EQ(wrong.load(order::relaxed), 0);
}

task<> turns(const bool& flag, int& rounds) {
  while (!flag && rounds < 1'000) {
    ++rounds;
    co_await yield();
  }
}
task<> two_wake_each_other(const bool& flag, int& rounds) {
  while (!flag && rounds < 1'000) {
    ++rounds;
    auto handle = spawn_local(child(rounds));
    [[maybe_unused]] const auto joined = co_await handle.join();
  }
}
task<> sets(bool& flag) {
  flag = true;
  co_return;
}

/// The inbox takes turns with the queues: neither starves the other.
task<> is_fair() {
  bool flag = false;
  int busy = 0;
  auto local = spawn_local(two_wake_each_other(flag, busy));
  auto other = spawn(sets(flag));
  const auto ended = co_await local.join();
  EXPECT_TRUE(ended && flag);
  EXPECT_LT(busy, 1'000);
  bool local_flag = false;
  int rounds = 0;
  auto spins = spawn(turns(local_flag, rounds));
  auto sets_it = spawn_local(sets(local_flag));
  [[maybe_unused]] const auto one = co_await spins.join();
  EXPECT_TRUE(local_flag);
  [[maybe_unused]] const auto two = co_await sets_it.join();
  [[maybe_unused]] const auto three = co_await other.join();
}

TEST(spawn_local, inbox_and_queues_take_turns) {
  MAGPIE_NEED_CELL();
  options one = cell_options();
  one.workers = 1;
  EXPECT_TRUE(run_on(one, is_fair()));
}

task<> local_victim(int i, tally& counts) {
  const counted here_too(counts.alive);
  auto local = spawn_local(sleeping(i, counts));
  const auto ended = co_await as_result(local.join());
  if (ended) co_return;
  local.abort();
  co_await fail(ended.error());
}

TEST(spawn_local, concurrent_stop_torture) { torture(&local_victim); }

task<> aborted_local(int i, tally& counts) {
  const at_home home(counts.wrong);
  const counted here_too(counts.alive);
  co_await sleep_for(std::chrono::microseconds(i % 40));
  home.check();
  auto branch = sleeping(i % 11, counts);
  [[maybe_unused]] const auto won = co_await select(std::move(branch), sleep_for(20us));
}

task<> aborts_locals(int rounds, tally& counts) {
  for (int i = 0; i < rounds; ++i) {
    auto handle = spawn_local(aborted_local(i, counts));
    for (int k = 0; k < i % 7; ++k) co_await yield();
    if (i % 3 == 0) co_await sleep_for(std::chrono::microseconds(i % 37));
    handle.abort();
    const auto ended = co_await handle.join();
    counts.check(ended || ended.error() == errc::aborted);
  }
}

task<> aborts_from_all_sides(int rounds, tally& counts) {
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 4; ++k) group.spawn(aborts_locals(rounds, counts));
    co_return;
  });
}

TEST(spawn_local, concurrent_aborts_at_every_moment) {
  MAGPIE_NEED_CELL();
  tally counts;
  EXPECT_TRUE(run_in_cell(aborts_from_all_sides(in_simulation() ? 2'500 : 500, counts)));
  EXPECT_EQ(counts.alive.load(order::relaxed), 0);
  EXPECT_EQ(counts.wrong.load(order::relaxed), 0);
}

}  // namespace
}  // namespace magpie::tests::spawn_local_test
