/// The list of live tasks: who is on it, in which state, and on which stack it waits.
#include <magpie/runtime/live_tasks.hpp>

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/cleanup.hpp>
#include <magpie/runtime/current_task.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/join.hpp>
#include <magpie/runtime/join_all.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/stop_token.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/task_local.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/util/atomic.hpp>

#include <algorithm>
#include <string_view>
#include <vector>

namespace magpie::tests::live_tasks_test {
namespace {

const live_task* find(const std::vector<live_task>& all, std::string_view name) {
  const auto at = std::ranges::find(all, name, &live_task::name);
  return at == all.end() ? nullptr : &*at;
}

bool stands_in(const std::source_location& place, std::string_view function) {
  return std::string_view(place.function_name()).find(function) != std::string_view::npos;
}

/// Whether `stack` is, innermost first, in these functions.
testing::AssertionResult runs_through(const task_stack& stack,
                                      const std::vector<std::string_view>& functions) {
  auto failed = testing::AssertionFailure();
  for (const auto& place : stack.places) failed << place.function_name() << '\n';
  if (stack.places.size() != functions.size()) return failed;
  for (std::size_t i = 0; i < functions.size(); ++i)
    if (!stands_in(stack.places[i], functions[i])) return failed << "not in " << functions[i];
  return testing::AssertionSuccess();
}

task<> innermost() { co_await sleep_for(1h); }
task<> middle() { co_await innermost(); }
task<> outermost() { co_await middle(); }

/// Lists until the list is as `holds` wants it.
template <class P>
task<std::vector<live_task>> list_until(P holds) {
  for (;;) {
    auto all = current_live_tasks();
    if (holds(all)) co_return all;
    co_await sleep_for(100us);
  }
}

/// Lists until every task with a name waits, and there are `count`.
task<std::vector<live_task>> list_named(std::ptrdiff_t count) {
  return list_until([count](const std::vector<live_task>& all) {
    return count == std::ranges::count_if(all, [](const live_task& task) {
             return !task.name.empty() && task.state == task_state::waiting;
           });
  });
}

task<> ends(std::vector<join_handle<void>>& handles) {
  for (auto& handle : handles) handle.abort();
  for (auto& handle : handles) static_cast<void>(co_await handle.join());
}

task<> lists_a_waiting_task() {
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(named("sleeper"), outermost()));
  const auto all = co_await list_named(1);
  const live_task& sleeper = *find(all, "sleeper");
  EXPECT_EQ(sleeper.id, handles[0].id());
  EXPECT_EQ(sleeper.parent, 0U);
  EXPECT_FALSE(sleeper.age);
  EXPECT_TRUE(stands_in(sleeper.spawned, "lists_a_waiting_task"));
  EXPECT_EQ(sleeper.stacks.size(), 1U);
  EXPECT_TRUE(runs_through(sleeper.stacks.at(0), {"innermost", "middle", "outermost"}));
  EXPECT_FALSE(sleeper.stacks[0].cut || sleeper.stacks[0].group || sleeper.error);
  co_await ends(handles);
  const auto later = current_live_tasks();
  EXPECT_EQ(find(later, "sleeper"), nullptr);
}

TEST(live_tasks, a_waiting_task_and_its_stack) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(lists_a_waiting_task()));
}

// ---- boundaries ---------------------------------------------------------------------------------

task<> through_a_timeout() { static_cast<void>(co_await as_result(timeout(2h, middle()))); }
task<> until_let_go(const atomic<bool>& go) {
  while (!go.load(order::acquire)) co_await sleep_for(100us);
}
task<> lingers(const atomic<bool>& go) { co_await until_let_go(go); }
task<> under_a_shield(const atomic<bool>& go) { co_await shielded(lingers(go)); }
task<> cleans_up(const atomic<bool>& go) { co_await finally(sleep_for(1us), lingers(go)); }
task<> with_token() {
  auto listens = [](std::stop_token) { return middle(); };
  co_await with_stop_token(listens);
}
task<> with_value() {
  static task_local<int> number;
  co_await number.scope(7, innermost());
}
task<> in_a_body() {
  co_await with_task_group([](task_group&) -> task<> { co_await innermost(); });
}

task<> lists_through_boundaries() {
  atomic<bool> go{false};
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(named("timeout"), through_a_timeout()));
  handles.push_back(spawn(named("shield"), under_a_shield(go)));
  handles.push_back(spawn(named("clean-up"), cleans_up(go)));
  handles.push_back(spawn(named("token"), with_token()));
  handles.push_back(spawn(named("local"), with_value()));
  handles.push_back(spawn(named("body"), in_a_body()));
  const auto all = co_await list_until([](const std::vector<live_task>& now) {
    const live_task* const late = find(now, "clean-up");
    return late != nullptr && !late->stacks.empty() && late->stacks[0].places.size() == 3 &&
           6 == std::ranges::count_if(now, [](const live_task& task) {
             return !task.name.empty() && task.state == task_state::waiting;
           });
  });
  const auto expect_one = [&](std::string_view name,
                              const std::vector<std::string_view>& functions) {
    const auto& found = find(all, name)->stacks;
    EXPECT_EQ(found.size(), 1U) << name;
    if (!found.empty()) {
      EXPECT_TRUE(runs_through(found[0], functions)) << name;
    }
  };
  expect_one("timeout", {"innermost", "middle", "through_a_timeout"});
  expect_one("shield", {"until_let_go", "lingers", "under_a_shield"});
  expect_one("clean-up", {"until_let_go", "lingers", "cleans_up"});
  expect_one("token", {"innermost", "middle", "with_token"});
  expect_one("local", {"innermost", "with_value"});
  expect_one("body", {"innermost", "in_a_body", "in_a_body"});
  go.store(true, order::release);
  co_await ends(handles);
}

TEST(live_tasks, stacks_go_on_beyond_every_boundary) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(lists_through_boundaries()));
}

task<> hangs_in_its_clean_up() { co_await finally(sleep_for(1h), middle()); }

task<> lists_a_hanging_clean_up() {
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(named("stubborn"), hangs_in_its_clean_up()));
  co_await list_named(1);
  handles[0].abort();
  const auto all = co_await list_until([](const std::vector<live_task>& now) {
    const live_task* const task = find(now, "stubborn");
    return task->stacks.size() == 1 && task->stacks[0].places.size() > 1;
  });
  EXPECT_TRUE(runs_through(find(all, "stubborn")->stacks[0],
                           {"innermost", "middle", "hangs_in_its_clean_up"}));
}

// A shield is out of reach of the stop, and not out of sight.
TEST(live_tasks, a_clean_up_that_hangs_is_seen) {
  EXPECT_TRUE(run_in_simulation(lists_a_hanging_clean_up()));
}

task<> branches() { co_await join(middle(), innermost(), sleep_for(2h)); }

task<> many_branches() {
  std::vector<task<>> all;
  for (int i = 0; i < 10; ++i) all.push_back(innermost());
  static_cast<void>(co_await join_all(std::move(all)));
}

task<> lists_branches() {
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(named("three"), branches()));
  handles.push_back(spawn(named("ten"), many_branches()));
  const auto all = co_await list_until([](const std::vector<live_task>& now) {
    const live_task* const three = find(now, "three");
    const live_task* const ten = find(now, "ten");
    return three != nullptr && three->stacks.size() == 3 && ten != nullptr &&
           ten->stacks.size() == 10;
  });
  auto three = find(all, "three")->stacks;
  std::ranges::sort(three, {}, [](const task_stack& stack) { return stack.places.size(); });
  EXPECT_TRUE(runs_through(three[0], {"branches"}));
  EXPECT_TRUE(runs_through(three[1], {"innermost", "branches"}));
  EXPECT_TRUE(runs_through(three[2], {"innermost", "middle", "branches"}));
  for (const task_stack& stack : find(all, "ten")->stacks)
    EXPECT_TRUE(runs_through(stack, {"innermost", "many_branches"}));
  co_await ends(handles);
}

// What a dump by polling cannot see: the parts of a combinator.
TEST(live_tasks, w8_every_branch_has_its_stack) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(lists_branches()));
}

// ---- groups -------------------------------------------------------------------------------------

task<> has_a_child(std::string_view of) {
  auto opens = [of](task_group& group) -> task<> {
    group.spawn(named(of), middle());
    co_return;
  };
  co_await with_task_group(opens);
}

task<> has_children() {
  co_await with_task_group([](task_group& group) -> task<> {
    group.spawn(named("child"), has_a_child("grandchild"));
    co_return;
  });
}

task<> lists_a_family() {
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(named("parent"), has_children()));
  const auto all = co_await list_named(3);
  const live_task& parent = *find(all, "parent");
  const live_task& child = *find(all, "child");
  const live_task& grandchild = *find(all, "grandchild");
  EXPECT_EQ(parent.parent, 0U);
  EXPECT_EQ(child.parent, parent.id);
  EXPECT_EQ(grandchild.parent, child.id);
  EXPECT_EQ(parent.stacks.size(), 1U);
  EXPECT_TRUE(parent.stacks.at(0).group);
  EXPECT_TRUE(runs_through(parent.stacks[0], {"has_children"}));
  EXPECT_TRUE(child.stacks.at(0).group);
  EXPECT_TRUE(runs_through(child.stacks[0], {"has_a_child"}));
  EXPECT_FALSE(grandchild.stacks.at(0).group);
  EXPECT_TRUE(runs_through(grandchild.stacks[0], {"innermost", "middle"}));
  co_await ends(handles);
}

TEST(live_tasks, who_waits_for_a_group_and_whose_child_is_whose) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(lists_a_family()));
}

// ---- states and ages ----------------------------------------------------------------------------

options tracked(options chosen) {
  chosen.track_tasks = true;
  return chosen;
}

task<> sees_itself() {
  const auto all = current_live_tasks();
  const auto me = std::ranges::find(all, current_task().id, &live_task::id);
  EXPECT_NE(me, all.end());
  EXPECT_EQ(me->state, task_state::running);
  EXPECT_EQ(me->worker, detail::this_context().index);
  EXPECT_TRUE(me->stacks.empty());
  co_return;
}

TEST(live_tasks, the_one_that_asks_is_running) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_on(tracked(cell_options()), sees_itself()));
}

task<> is_empty() { co_return; }

task<> spawns_and_lists(bool listed) {
  auto unstarted = spawn(named("unstarted"), is_empty());
  const auto all = current_live_tasks();
  const live_task* const found = find(all, "unstarted");
  EXPECT_EQ(found != nullptr, listed);
  if (found != nullptr) {
    EXPECT_EQ(found->state, task_state::ready);
    EXPECT_TRUE(found->stacks.empty());
    EXPECT_EQ(found->age, 0ns);
  }
  static_cast<void>(co_await unstarted.join());
}

TEST(live_tasks, a_task_that_has_not_begun_is_listed_when_tasks_are_tracked) {
  EXPECT_TRUE(run_on(tracked(simulation()), spawns_and_lists(true)));
  EXPECT_TRUE(run_on(simulation(), spawns_and_lists(false)));
}

task<> measures_ages() {
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(named("old"), innermost()));
  co_await sleep_for(5ms);
  handles.push_back(spawn(innermost));
  co_await sleep_for(2ms);
  const auto all = current_live_tasks();
  EXPECT_EQ(all.size(), 3U);
  EXPECT_TRUE(std::ranges::is_sorted(all, {}, &live_task::id));
  const auto age = [&](const join_handle<void>& handle) {
    return *std::ranges::find(all, handle.id(), &live_task::id)->age;
  };
  EXPECT_GE(age(handles[0]), 7ms);
  EXPECT_LT(age(handles[0]), 8ms);
  EXPECT_GE(age(handles[1]), 2ms);
  EXPECT_LT(age(handles[1]), 3ms);
  co_await ends(handles);
}

TEST(live_tasks, ages_count_from_the_spawn) {
  EXPECT_TRUE(run_on(tracked(simulation()), measures_ages()));
}

// ---- traces, depth ------------------------------------------------------------------------------

task<> fails() { co_await fail(some_error()); }
task<> recovers() {
  static_cast<void>(co_await as_result(fails()));
  co_await sleep_for(1h);
}

task<> lists_an_error() {
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(named("burnt"), recovers()));
  const auto all = co_await list_named(1);
  const live_task& burnt = *find(all, "burnt");
  EXPECT_EQ(burnt.error, some_error());
  EXPECT_EQ(burnt.trace.size(), 1U);
  EXPECT_TRUE(stands_in(burnt.trace.at(0), "fails"));
  co_await ends(handles);
}

TEST(live_tasks, the_trace_of_the_last_error) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(lists_an_error()));
}

task<> deep(int levels) {
  if (levels == 0) {
    co_await sleep_for(1h);
  } else {
    co_await deep(levels - 1);
  }
}

task<> lists_the_deep() {
  constexpr auto frames_max = static_cast<int>(task_stack::frames_max);
  std::vector<join_handle<void>> handles;
  handles.push_back(spawn(named("fits"), deep(frames_max - 1)));
  handles.push_back(spawn(named("does not"), deep(frames_max)));
  handles.push_back(spawn(named("deep"), deep(20000)));
  const auto all = co_await list_named(3);
  for (const char* name : {"fits", "does not", "deep"})
    EXPECT_EQ(find(all, name)->stacks.at(0).places.size(), task_stack::frames_max);
  EXPECT_FALSE(find(all, "fits")->stacks[0].cut);
  EXPECT_TRUE(find(all, "does not")->stacks[0].cut);
  EXPECT_TRUE(find(all, "deep")->stacks[0].cut);
  co_await ends(handles);
}

TEST(live_tasks, long_stacks_are_cut) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(lists_the_deep()));
}

task<task_stack> asks_for_its_stack() { co_return co_await current_stack(); }
task<> looks_at_its_stack() {
  const auto stack = co_await timeout(1h, asks_for_its_stack());
  EXPECT_TRUE(runs_through(stack, {"asks_for_its_stack", "looks_at_its_stack"}));
}

TEST(live_tasks, a_task_may_ask_for_its_own_stack) {
  MAGPIE_NEED_CELL();
  EXPECT_TRUE(run_in_cell(looks_at_its_stack()));
}

}  // namespace
}  // namespace magpie::tests::live_tasks_test
