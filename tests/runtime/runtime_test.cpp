/// `runtime`: blocking threads, several runtimes, flavours, fairness, options, and orderly ends.
#include <magpie/runtime/runtime.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/reactor.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests::runtime_test {
namespace {

task<int> adds(int a, int b) {
  co_await yield();
  co_return a + b;
}

task<int> sleeps_and_adds(int a, int b) {
  co_await sleep_for(200us);
  auto handle = spawn(adds(a, b));
  const auto sum = co_await handle.join();
  co_return sum.value();
}

TEST(runtime, concurrent_block_on_from_several_threads) {
  MAGPIE_NEED_KERNEL();
  runtime on(cell_options());
  atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int k = 0; k < 4; ++k)
    threads.emplace_back([&, k] {
      for (int i = 0; i < 100; ++i) {
        const auto sum = on.block_on(sleeps_and_adds(i, k));
        if (sum && *sum == i + k) right.fetch_add(1, order::relaxed);
      }
    });
  for (std::thread& one : threads) one.join();
  EXPECT_EQ(right.load(order::relaxed), 400);
}

TEST(runtime, concurrent_two_in_one_process_and_one_dies) {
  MAGPIE_NEED_CELL();
  runtime stays(cell_options());
  for (int i = 0; i < 20; ++i) {
    runtime dies(cell_options());
    EXPECT_EQ(dies.block_on(sleeps_and_adds(i, 1)).value(), i + 1);
    EXPECT_EQ(stays.block_on(sleeps_and_adds(i, 2)).value(), i + 2);
  }
  EXPECT_EQ(stays.block_on(sleeps_and_adds(1, 2)).value(), 3);
}

TEST(runtime, current_thread_flavour_runs_everything_on_the_caller) {
  MAGPIE_NEED_KERNEL();
  options alone = cell_options();
  alone.flavour = flavour::current_thread;
  runtime on(alone);
  EXPECT_EQ(on.workers(), 1U);
  EXPECT_EQ(on.block_on(sleeps_and_adds(2, 3)).value(), 5);
  const auto self = std::this_thread::get_id();
  bool same = false;
  auto looks = [&]() -> task<> {
    co_await sleep_for(10us);
    same = std::this_thread::get_id() == self;
  };
  auto handle = on.spawn(looks());
  EXPECT_FALSE(handle.done());
  EXPECT_EQ(on.block_on(sleeps_and_adds(2, 4)).value(), 6);
  EXPECT_TRUE(same);
  EXPECT_TRUE(on.shutdown(10s));
}

TEST(runtime, moves_and_is_shut_down_twice) {
  runtime first(simulation());
  runtime second(std::move(first));
  EXPECT_EQ(second.block_on(adds(1, 1)).value(), 2);
  EXPECT_TRUE(second.shutdown(1s));
  EXPECT_TRUE(second.shutdown(1s));
}

TEST(runtime, counts_what_it_does) {
  MAGPIE_NEED_CELL();
  runtime on(cell_options());
  const auto here = on.block_on(sleeps_and_adds(1, 2));
  EXPECT_TRUE(here);
  const runtime_metrics counted = on.metrics();
  EXPECT_EQ(counted.workers, matrix_workers());
  EXPECT_EQ(counted.live_tasks, 0U);
  EXPECT_GE(counted.spawned, 1U);
  EXPECT_GE(counted.polls, 3U);
  EXPECT_EQ(counted.timers, 0U);
  EXPECT_EQ(counted.waits_in_flight, 0U);
}

// ---- fairness -----------------------------------------------------------------------------------

/// Spawns itself anew and ends: on one worker the newest task always comes next.
task<> bounces(atomic<bool>& leave) {
  if (!leave.load(order::relaxed)) spawn(bounces(leave)).detach();
  co_return;
}

task<> rallies(atomic<bool>& leave) {
  while (!leave.load(order::relaxed)) co_await yield();
}

task<int> yields_a_few_times(atomic<bool>& leave) {
  for (int i = 0; i < 5; ++i) co_await yield();
  co_await sleep_for(100us);
  leave.store(true, order::relaxed);
  co_return 5;
}

task<int> runs_beside_bouncers(int bouncers, int rallying) {
  atomic<bool> leave{false};
  const int value = co_await with_task_group([&](task_group& group) -> task<int> {
    for (int i = 0; i < bouncers; ++i) spawn(bounces(leave)).detach();
    for (int i = 0; i < rallying; ++i) group.spawn(rallies(leave));
    auto handle = spawn(yields_a_few_times(leave));
    const auto ended = co_await handle.join();
    co_return ended.value();
  });
  co_await sleep_for(1ms);  // the last bouncers still look at `leave`
  co_return value;
}

TEST(runtime, concurrent_c02_tasks_that_breed_do_not_starve_others) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(run_in_cell(runs_beside_bouncers(1, 0)).value(), 5);
  EXPECT_EQ(run_in_cell(runs_beside_bouncers(8, 0)).value(), 5);
}

TEST(runtime, concurrent_c01_a_hundred_rallies_do_not_starve_others) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(run_in_cell(runs_beside_bouncers(0, 100)).value(), 5);
  EXPECT_EQ(run_in_cell(runs_beside_bouncers(4, 100)).value(), 5);
}

task<int> spins_on_ready_operations(atomic<bool>& leave) {
  int turns = 0;
  while (!leave.load(order::relaxed)) {
    co_await sleep_until(clock::time_point());  // long past: completes inline
    ++turns;
  }
  co_return turns;
}

task<> sets(atomic<bool>& leave) {
  leave.store(true, order::relaxed);
  co_return;
}

task<bool> spins_beside(atomic<bool>& leave) {
  auto other = spawn(sets(leave));
  const int turns = co_await spins_on_ready_operations(leave);
  co_await other.join();
  co_return turns <= 4 * detail::task_budget;
}

TEST(runtime, c08_a_budget_ends_a_row_of_inline_completions) {
  options one = simulation();
  one.workers = 1;
  atomic<bool> leave{false};
  EXPECT_TRUE(run_on(one, spins_beside(leave)).value());
}

/// Blocks its worker until its child has run: somebody else has to take the child.
task<> blocks_for_its_child() {
  atomic<bool> ran{false};
  auto child = spawn(sets(ran));
  while (!ran.load(order::acquire)) std::this_thread::yield();
  co_await child.join();
}

/// After pauses in which workers park and take turns in watching each other.
task<> blocks_often(int times) {
  for (int i = 0; i < times; ++i) {
    co_await sleep_for(std::chrono::microseconds(60 * (i % 7)));
    co_await blocks_for_its_child();
  }
}

/// Says for ever that it has something, as the kernel's note of work may do when the work is done.
class insistent_reactor final : public reactor {
 public:
  explicit insistent_reactor(reactor& real) noexcept : real_(&real) {}

  const char* name() const noexcept override { return real_->name(); }
  bool wait(readiness_operation& op) noexcept override { return real_->wait(op); }
  void cancel(readiness_operation& op) noexcept override { real_->cancel(op); }
  void forget(descriptor& io) noexcept override { real_->forget(io); }
  void turn(std::uint64_t deadline_ns, std::size_t limit, runnable_chain& out) noexcept override {
    ++turns;
    real_->turn(deadline_ns, limit, out);
  }
  bool ready() const noexcept override { return true; }
  void wake() noexcept override { real_->wake(); }
  rescue_report rescue(bool on_core, std::size_t limit, runnable_chain& out) noexcept override {
    return real_->rescue(on_core, limit, out);
  }
  void set_parked(bool parked) noexcept override { real_->set_parked(parked); }
  std::size_t in_flight() const noexcept override { return real_->in_flight(); }
  std::uint64_t system_calls() const noexcept override { return real_->system_calls(); }

  int turns = 0;

 private:
  reactor* real_;
};

/// By a thread that drives alone: no other looks for the reactor meanwhile, to wake it.
task<int> turns_in(int yields) {
  reactor*& io = detail::this_context().io;
  reactor& real = *io;
  insistent_reactor insists(real);
  io = &insists;
  for (int i = 0; i < yields; ++i) co_await yield();
  io = &real;
  co_return insists.turns;
}

TEST(runtime, a_reactor_that_brings_nothing_is_asked_more_rarely) {
  MAGPIE_NEED_KERNEL();
  options alone = cell_options();
  alone.flavour = flavour::current_thread;
  alone.workers = 1;
  const auto turns = run_on(alone, turns_in(6400));
  ASSERT_TRUE(turns);
  EXPECT_GE(*turns, 6400 / 64 - 2);  // it is asked
  EXPECT_LE(*turns, 6400 / 64 + 8);  // and not each 8 tasks
}

TEST(runtime, concurrent_a_blocked_worker_strands_nobody) {
  MAGPIE_NEED_KERNEL();
  if (matrix_workers() < 2) GTEST_SKIP() << "needs two workers";
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(run_in_cell(blocks_often(20)));
}

// ---- options ------------------------------------------------------------------------------------

/// Sets a variable of the environment for its lifetime.
class with_environment {
 public:
  with_environment(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~with_environment() { ::unsetenv(name_); }
  with_environment(const with_environment&) = delete;
  with_environment& operator=(const with_environment&) = delete;

 private:
  const char* name_;
};

TEST(runtime, the_environment_overrides_defaults_and_code_overrides_both) {
  const with_environment workers("MAGPIE_WORKERS", "3");
  const with_environment reactor("MAGPIE_REACTOR", "epoll");
  const auto from_environment = runtime::make();
  ASSERT_TRUE(from_environment);
  EXPECT_EQ(from_environment->workers(), 3U);
  EXPECT_EQ(from_environment->reactor(), reactor_kind::epoll);
  options in_code;
  in_code.workers = 2;
  in_code.reactor = reactor_kind::sim;
  const auto from_code = runtime::make(in_code);
  ASSERT_TRUE(from_code);
  EXPECT_EQ(from_code->workers(), 2U);
  EXPECT_EQ(from_code->reactor(), reactor_kind::sim);
}

TEST(runtime, nonsense_in_the_environment_is_a_clear_error) {
  for (const char* text : {"", "0", "-1", "two", "2 ", "1.5", "100000", "99999999999999999999"}) {
    const with_environment workers("MAGPIE_WORKERS", text);
    testing::internal::CaptureStderr();
    const auto made = runtime::make();
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(error_of(made), std::errc::invalid_argument) << text;
    EXPECT_NE(said.find("MAGPIE_WORKERS"), std::string::npos) << said;
  }
  for (const char* text : {"", "sim", "kqueue", "epoll ", "URING"}) {
    const with_environment reactor("MAGPIE_REACTOR", text);
    testing::internal::CaptureStderr();
    const auto made = runtime::make();
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(error_of(made), std::errc::invalid_argument) << text;
    EXPECT_NE(said.find("MAGPIE_REACTOR"), std::string::npos) << said;
  }
}

TEST(runtime, too_many_workers_are_refused) {
  options many = simulation();
  many.workers = options::workers_max + 1;
  EXPECT_EQ(error_of(runtime::make(many)), std::errc::invalid_argument);
}

TEST(runtime, a_blocking_pool_without_threads_is_refused) {
  options none = simulation();
  none.blocking_threads_max = 0;
  EXPECT_EQ(error_of(runtime::make(none)), std::errc::invalid_argument);
}

TEST(runtime, a_watcher_that_looks_all_the_time_or_earlier_is_refused) {
  options wrong = simulation();
  for (const std::chrono::nanoseconds each : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
    wrong.watch_interval = each;
    EXPECT_EQ(error_of(runtime::make(wrong)), std::errc::invalid_argument);
  }
}

task<> does_nothing() { co_return; }

void blocks_on_another_thread() {
  options alone = cell_options();
  if (!in_simulation()) alone.flavour = flavour::current_thread;
  runtime on(alone);
  std::thread([&on] { static_cast<void>(on.block_on(does_nothing())); }).join();
}

void spawns_on_another_thread() {
  runtime on(simulation());
  std::thread([&on] { on.spawn(does_nothing()).detach(); }).join();
}

TEST(runtime_death_test, a_runtime_without_threads_belongs_to_its_thread) {
  MAGPIE_NEED_CELL();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  constexpr const char* said = "used by another thread than the one that made it";
  EXPECT_DEATH(blocks_on_another_thread(), said);
  EXPECT_DEATH(spawns_on_another_thread(), said);
}

task<> blocks_inside(runtime& on) {
  static_cast<void>(on.block_on(does_nothing()));
  co_return;
}

void blocks_in_its_own_task() {
  runtime on(cell_options());
  static_cast<void>(on.block_on(blocks_inside(on)));
}

TEST(runtime_death_test, misuse_says_what_was_wrong) {
  MAGPIE_NEED_CELL();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(blocks_in_its_own_task(), "block_on inside of a task");
  EXPECT_DEATH(static_cast<void>(spawn(does_nothing())), "outside of a runtime");
}

runtime shut_down() {
  runtime on(cell_options());
  EXPECT_TRUE(on.shutdown(30s));
  return on;
}

TEST(runtime_death_test, use_after_the_shutdown_says_so) {
  MAGPIE_NEED_CELL();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  constexpr const char* said = "after its shutdown";
  EXPECT_DEATH(static_cast<void>(shut_down().workers()), said);
  EXPECT_DEATH(static_cast<void>(shut_down().metrics()), said);
}

}  // namespace
}  // namespace magpie::tests::runtime_test
