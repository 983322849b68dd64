/// What the contracts of spawned tasks and their handles say in passing: which failures are logged,
/// which error an aborted task ends with, what a spawn through a runtime's handle takes along.
/// Each test is here because a mutant outlived all others.
#include <magpie/runtime/abort_handle.hpp>
#include <magpie/runtime/current_task.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/runtime_handle.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_local.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/said.hpp>

#include <string>
#include <utility>

namespace magpie::tests::spawn_contracts_test {
namespace {

task<> sleeps_long() { co_await sleep_for(1h); }
task<> fails_after(std::chrono::microseconds time) {
  co_await sleep_for(time);
  co_await fail(some_error());
}
/// Its answer to a stop is a failure of its own.
task<> fails_when_stopped() {
  [[maybe_unused]] const auto stopped = co_await as_result(sleep_for(1h));
  co_await fail(some_error());
}

task<> fails_before_and_after_the_detach() {
  auto early = spawn(named("early"), fails_after(1us));
  auto late = spawn(named("late"), fails_after(1ms));
  co_await sleep_for(100us);
  early.detach();
  late.detach();
  co_await sleep_for(2ms);
}

TEST(spawn, a_failure_that_nobody_joins_is_logged_whenever_it_is_detached) {
  const std::string said = said_by(fails_before_and_after_the_detach());
  EXPECT_NE(said.find("(early)"), std::string::npos) << said;
  EXPECT_NE(said.find("(late)"), std::string::npos) << said;
}

task<> fails_and_is_joined() {
  auto handle = spawn(fails_after(1us));
  const auto ended = co_await handle.join();
  EXPECT_EQ(error_of(ended), some_error());
}

TEST(spawn, a_failure_that_was_joined_is_not_logged) {
  EXPECT_EQ(said_by(fails_and_is_joined()), "");
}

task<> aborts_and_detaches() {
  for (const auto wait : {0us, 1us}) {  // ended before the detach, or after it
    auto handle = spawn(sleeps_long());
    co_await yield();
    handle.abort();
    if (wait != 0us) co_await sleep_for(wait);
    handle.detach();
    co_await sleep_for(1ms);
  }
}

TEST(spawn, an_abort_is_no_failure_that_is_logged) {
  EXPECT_EQ(said_by(aborts_and_detaches()), "");
}

task<> aborts_and_joins() {
  auto handle = spawn(fails_when_stopped());
  co_await yield();
  handle.abort();
  const auto ended = co_await handle.join();
  EXPECT_EQ(error_of(ended), some_error());
}

TEST(abort_handle, concurrent_an_abort_hides_no_error) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(aborts_and_joins()));
}

constinit task_local<int> request;

task<> looks(int& seen) {
  const int* const value = request.get();
  seen = value != nullptr ? *value : 0;
  co_return;
}

task<> spawns_through(runtime_handle on, int& seen) {
  auto handle = on.spawn(looks(seen));
  [[maybe_unused]] const auto ended = co_await handle.join();
}

task<> spawns_in_a_scope(runtime_handle on, int& seen) {
  co_await request.scope(7, spawns_through(std::move(on), seen));
}

TEST(task_local, a_spawn_through_the_runtimes_handle_inherits) {
  int seen = 0;
  runtime on(simulation());
  EXPECT_TRUE(on.block_on(spawns_in_a_scope(on.handle(), seen)));
  EXPECT_TRUE(on.shutdown(30s));
  EXPECT_EQ(seen, 7);
}

task<> tells_name(std::string& name, int& seen) {
  name = current_task().name;
  co_await looks(seen);
}

task<> spawns_with_a_name(std::string& name, int& seen) {
  auto handle = spawn(named("reader"), tells_name(name, seen));
  [[maybe_unused]] const auto ended = co_await handle.join();
}

task<> names_in_a_scope(std::string& name, int& seen) {
  co_await request.scope(7, spawns_with_a_name(name, seen));
}

TEST(task_local, a_task_with_a_literal_name_keeps_it_beside_its_values) {
  std::string name;
  int seen = 0;
  EXPECT_TRUE(run_in_simulation(names_in_a_scope(name, seen)));
  EXPECT_EQ(name, "reader");
  EXPECT_EQ(seen, 7);
}

task<> sleeps_a_moment() { co_await sleep_for(1us); }

task<> looks_after_a_scope(int& seen) {
  co_await request.scope(7, sleeps_a_moment());
  seen = request.get() == nullptr ? 0 : 1;
}

TEST(task_local, a_value_is_not_seen_after_its_scope) {
  int seen = -1;
  EXPECT_TRUE(run_in_simulation(looks_after_a_scope(seen)));
  EXPECT_EQ(seen, 0);
}

}  // namespace
}  // namespace magpie::tests::spawn_contracts_test
