/// Names of tasks, and where they show.
#include <magpie/runtime/task_name.hpp>

#include <magpie/runtime/current_task.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/said.hpp>

#include <string>

namespace magpie::tests::task_name_test {
namespace {

task<std::string> own_name() {
  co_await yield();
  co_return std::string(current_task().name);
}

std::string name_for(int i) { return "reader " + std::to_string(i); }

task<> knows_names() {
  auto literal = spawn(named("a literal"), own_name());
  auto copied = spawn(named(name_for(7)), own_name());
  auto long_one = spawn(named(std::string(100, 'x')), own_name());
  auto none = spawn(own_name());
  auto empty = spawn(named(std::string()), own_name());
  auto closure = spawn(named("called"), [] { return own_name(); });
  char written[] = "session 7";
  auto from_array = spawn(named(written), own_name());
  written[0] = 'x';
  const auto first = co_await literal.join();
  EXPECT_EQ(first.value(), "a literal");
  const auto second = co_await copied.join();
  EXPECT_EQ(second.value(), "reader 7");
  const auto copy = co_await from_array.join();
  EXPECT_EQ(copy.value(), "session 7");
  const auto third = co_await long_one.join();
  EXPECT_EQ(third.value(), std::string(task_name::size_max, 'x'));
  const auto fourth = co_await none.join();
  EXPECT_EQ(fourth.value(), "");
  const auto fifth = co_await empty.join();
  EXPECT_EQ(fifth.value(), "");
  const auto sixth = co_await closure.join();
  EXPECT_EQ(sixth.value(), "called");
  std::string of_child;
  co_await with_task_group([&](task_group& group) -> task<> {
    auto tells = [](std::string& name) -> task<> { name = co_await own_name(); };
    group.spawn(named("child"), tells(of_child));
    co_return;
  });
  EXPECT_EQ(of_child, "child");
}

TEST(task_name, concurrent_literals_and_copies) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(knows_names()));
  runtime on(cell_options());
  EXPECT_EQ(on.block_on(named("blocked"), own_name()).value(), "blocked");
}

task<> fails() { co_await fail(some_error()); }

task<> leaves_failures() {
  spawn(named("reader 7"), fails()).detach();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn_isolated(named("writer 8"), fails());
    co_return;
  });
  co_await sleep_for(1ms);
}

TEST(task_name, the_log_of_failures_uses_names) {
  const std::string said = said_by(leaves_failures());
  EXPECT_NE(said.find("(reader 7)"), std::string::npos) << said;
  EXPECT_NE(said.find("(writer 8)"), std::string::npos) << said;
  EXPECT_NE(said.find("task_name_test.cpp"), std::string::npos) << said;
}

}  // namespace
}  // namespace magpie::tests::task_name_test
