/// The watchdog: who ran for too long, from where, and how often that is said; who ignores a stop.
///
/// No clock is read here: what is too long runs until it has been reported.
#include <magpie/runtime/watchdog.hpp>

#include <magpie/runtime/current_task.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/util/spin_lock.hpp>

#include <algorithm>
#include <source_location>
#include <string>
#include <vector>

namespace magpie::tests::watchdog_test {
namespace {

/// Notes the reports about one task, by its name or by having none.
struct notes {
  explicit notes(std::string_view about) : name(about) {}

  static void take(void* context, const long_run& seen) noexcept {
    auto& self = *static_cast<notes*>(context);
    if (seen.name != self.name) return;
    self.last = seen;
    self.last.name = {};
    self.count.fetch_add(1, order::release);
  }
  void wait_for(int reports) const noexcept {
    while (count.load(order::acquire) < reports) cpu_relax();
  }

  std::string_view name;
  long_run last;
  atomic<int> count{0};
};

options watched(notes& into) {
  options chosen = cell_options();
  chosen.workers = std::max<std::size_t>(chosen.workers, 2);
  chosen.watchdog.threshold = 1ms;
  chosen.watchdog.context = &into;
  chosen.watchdog.reports = &notes::take;
  return chosen;
}

struct place {
  std::uint64_t task = 0;
  unsigned line = 0;
  std::size_t worker = 0;
};

task<> spins_after_an_await(const notes& until, place& at) {
  co_await yield();
  const unsigned line = std::source_location::current().line() - 1;
  at = {current_task().id, line, detail::this_context().index};
  until.wait_for(1);
}

void expect_same(const notes& seen, const place& at) {
  EXPECT_EQ(seen.count.load(order::acquire), 1);
  EXPECT_EQ(seen.last.task, at.task);
  EXPECT_EQ(seen.last.place.line(), at.line);
  EXPECT_EQ(seen.last.worker, at.worker);
  EXPECT_GE(seen.last.ran, 1ms);
  EXPECT_NE(std::string(seen.last.place.file_name()).find("watchdog_test"), std::string::npos);
}

task<> with_a_literal_name(const notes& seen) {
  place at;
  auto handle = spawn(named("spins"), spins_after_an_await(seen, at));
  [[maybe_unused]] const auto ended = co_await handle.join();
  expect_same(seen, at);
  EXPECT_GE(current_metrics().long_runs, 1U);
}

TEST(watchdog, concurrent_names_the_task_and_the_await_after_which_it_runs) {
  MAGPIE_NEED_KERNEL();
  notes seen("spins");
  EXPECT_TRUE(run_on(watched(seen), with_a_literal_name(seen)));
}

task<> with_a_long_name(const notes& seen) {
  place at;
  const std::string name(seen.name);
  auto handle = spawn(named(std::string_view(name)), spins_after_an_await(seen, at));
  [[maybe_unused]] const auto ended = co_await handle.join();
  expect_same(seen, at);
}

TEST(watchdog, concurrent_copies_names) {
  MAGPIE_NEED_KERNEL();
  notes seen("a name that was put together at runtime");  // as long as names may be
  ASSERT_EQ(seen.name.size(), task_name::size_max);
  EXPECT_TRUE(run_on(watched(seen), with_a_long_name(seen)));
}

task<> spins_at_once(const notes& until, place& at) {
  at.task = current_task().id;
  at.worker = detail::this_context().index;
  until.wait_for(1);
  co_return;
}

task<> that_never_waited(const notes& seen) {
  place at;
  at.line = std::source_location::current().line() + 1;
  auto handle = spawn(named("spins"), spins_at_once(seen, at));
  // Not joined in place: then it would be this task's run, too.
  while (!handle.done()) co_await sleep_for(100us);
  expect_same(seen, at);
}

TEST(watchdog, concurrent_says_where_a_task_was_spawned_that_never_waited) {
  MAGPIE_NEED_KERNEL();
  notes seen("spins");
  EXPECT_TRUE(run_on(watched(seen), that_never_waited(seen)));
}

/// Long enough for the watcher to have come by many times.
void spins_for_many_looks() {
  const std::uint64_t before = current_metrics().watches;
  while (current_metrics().watches < before + 50) cpu_relax();
}

task<> runs_twice(const notes& seen) {
  co_await yield();
  seen.wait_for(1);
  spins_for_many_looks();
  EXPECT_EQ(seen.count.load(order::acquire), 1);  // this run has been reported
  co_await yield();
  seen.wait_for(2);
}

TEST(watchdog, concurrent_reports_each_run_once) {
  MAGPIE_NEED_KERNEL();
  notes seen("twice");
  runtime on(watched(seen));
  EXPECT_TRUE(on.block_on(named("twice"), runs_twice(seen)));
  EXPECT_TRUE(on.shutdown(30s));
  EXPECT_EQ(seen.count.load(order::acquire), 2);
}

task<> runs_unwatched() {
  co_await yield();
  spins_for_many_looks();
  EXPECT_EQ(current_metrics().long_runs, 0U);
}

TEST(watchdog, concurrent_can_be_switched_off) {
  MAGPIE_NEED_KERNEL();
  notes seen("off");
  options chosen = watched(seen);
  chosen.watchdog.threshold = 0ns;
  runtime on(chosen);
  EXPECT_TRUE(on.block_on(named("off"), runs_unwatched()));
  EXPECT_TRUE(on.shutdown(30s));
  EXPECT_EQ(seen.count.load(order::acquire), 0);
}

// ---- ignored stops ------------------------------------------------------------------------------

/// Reports about tasks of one name.
struct ignored_notes {
  static void take(void* context, const ignored_stop& seen) noexcept {
    auto& self = *static_cast<ignored_notes*>(context);
    if (seen.name != "stubborn") return;
    ++self.count;
    self.last = seen;
    self.last.name = {};
  }

  ignored_stop last;
  int count = 0;
};

struct refusals {
  int seen = 0;
  unsigned line = 0;
  std::uint64_t task = 0;
};

/// Awaits on until it has been refused `enough` times.
task<> takes_no_notice(int enough, refusals& counts) {
  counts.task = current_task().id;
  while (counts.seen < enough) {
    counts.line = std::source_location::current().line() + 1;
    const auto slept = co_await as_result(sleep_for(1ms));
    if (!slept) ++counts.seen;
  }
}

task<> aborts_a_stubborn_one(int enough, refusals& counts) {
  auto handle = spawn(named("stubborn"), takes_no_notice(enough, counts));
  handle.abort();
  [[maybe_unused]] const auto ended = co_await handle.join();
}

/// How often it was reported, and counted.
void expect_ignored(int awaits, int times) {
  ignored_notes notes;
  refusals counts;
  options chosen = cell_options();
  chosen.watchdog.context = &notes;
  chosen.watchdog.ignores = &ignored_notes::take;
  const auto scenario = [&]() -> task<std::uint64_t> {
    co_await aborts_a_stubborn_one(awaits, counts);
    co_return current_metrics().ignored_stops;
  };
  EXPECT_EQ(run_on(chosen, scenario()).value(), static_cast<std::uint64_t>(times));
  EXPECT_EQ(counts.seen, awaits);
  EXPECT_EQ(notes.count, times);
  if (times == 0) return;
  EXPECT_EQ(notes.last.task, counts.task);
  EXPECT_EQ(notes.last.place.line(), counts.line);
  EXPECT_NE(std::string(notes.last.place.file_name()).find("watchdog_test"), std::string::npos);
}

constexpr int enough_on_any_worker = 8 * 1000;  // it may wander: one of eight sees a thousand

TEST(watchdog, names_a_task_that_ignores_its_stop_once) {
  MAGPIE_NEED_CELL();
  expect_ignored(2 * enough_on_any_worker, 1);
}

TEST(watchdog, says_nothing_of_a_long_cleanup) {
  MAGPIE_NEED_CELL();
  expect_ignored(999, 0);
}

TEST(watchdog, prints_an_ignored_stop_when_nobody_listens) {
  MAGPIE_NEED_CELL();
  refusals counts;
  options chosen = cell_options();
  chosen.log = true;
  testing::internal::CaptureStderr();
  const auto ended = run_on(chosen, aborts_a_stubborn_one(enough_on_any_worker, counts));
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(ended);
  EXPECT_NE(said.find("(stubborn) goes on although it was stopped: 1000 awaits since, at "),
            std::string::npos)
      << said;
  EXPECT_NE(said.find(':' + std::to_string(counts.line) + '\n'), std::string::npos) << said;
}

/// Does what a program might when it hears of a task that takes no notice.
struct ignored_measures {
  static void take(void* context, const ignored_stop&) noexcept {
    auto& self = *static_cast<ignored_measures*>(context);
    for (const abort_handle& one : self.others) one.abort();
    self.jobs = current_metrics().blocking_queued;
    ++self.count;
  }

  std::vector<abort_handle> others;
  std::uint64_t jobs = 1;
  int count = 0;
};

template <class Refused>
task<> stubborn_over(Refused again) {
  for (int refused = 0; refused < enough_on_any_worker;) {
    const auto outcome = co_await as_result(again());
    if (!outcome) ++refused;
  }
}

/// A task that is refused `again` on and on, beside sleepers on every worker.
template <class Refused>
task<> takes_measures(Refused again, ignored_measures& taken) {
  auto sleeps = []() -> task<> { co_await sleep_for(24h); };
  std::vector<join_handle<void>> sleepers;
  for (std::size_t i = 0; i < 4 * current_workers(); ++i) {
    sleepers.push_back(spawn(sleeps()));
    taken.others.push_back(sleepers.back().abort_handle());
  }
  co_await sleep_for(1ms);  // they sleep
  auto stubborn = spawn(stubborn_over(again));
  stubborn.abort();
  [[maybe_unused]] const auto ended = co_await stubborn.join();
  for (auto& sleeper : sleepers) EXPECT_EQ(error_of(co_await sleeper.join()), errc::aborted);
}

template <class Refused>
void expect_measures(Refused again) {
  ignored_measures taken;
  options chosen = cell_options();
  chosen.watchdog.context = &taken;
  chosen.watchdog.ignores = &ignored_measures::take;
  EXPECT_TRUE(run_on(chosen, takes_measures(again, taken)));
  EXPECT_EQ(taken.count, 1);
  EXPECT_EQ(taken.jobs, 0U);
}

// An operation is refused under the lock of what it would wait on.
TEST(watchdog, who_hears_of_an_ignored_sleep_may_end_other_sleeps) {
  MAGPIE_NEED_CELL();
  expect_measures([] { return sleep_for(24h); });
}

TEST(watchdog, who_hears_of_an_ignored_call_may_look_at_the_pool) {
  MAGPIE_NEED_CELL();
  expect_measures([] { return run_blocking([] {}); });
}

}  // namespace
}  // namespace magpie::tests::watchdog_test
