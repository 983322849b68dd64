/// The shapes of coroutine code that GCC 12 miscompiles, each in the form to write instead, and
/// each checked to destroy what it makes exactly once. docs/gcc12.md shows the same to users.
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/run_blocking.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace magpie::tests::gcc12_shapes_test {
namespace {

/// Owns memory: destroyed twice it is a fault, destroyed never it is a leak.
struct owner {
  owner() : owner(0) {}
  explicit owner(int value) : held(std::make_unique<int>(value)) {}
  std::unique_ptr<int> held;
};

task<bool> says(bool what) {
  co_await yield();
  co_return what;
}

task<int> number(int i) {
  co_await yield();
  co_return i;
}

task<std::string> text(int i) {
  co_await yield();
  co_return std::string("a text that needs memory of its own, number ") + std::to_string(i);
}

task<int> value_of(owner o) {
  co_await yield();
  co_return *o.held;
}

// ---- row 1: an await in a condition -------------------------------------------------------------

task<int> conditions() {
  int count = 0;  // a local of the enclosing scope alone would do; a named value is clearer
  const bool first = co_await says(true);
  if (first) ++count;
  for (int i = 0;; ++i) {
    const bool go_on = co_await says(i < 3);
    if (!go_on) break;
    ++count;
  }
  const int chosen = co_await number(2);
  switch (chosen) {
    case 2:
      ++count;
      break;
    default:
      break;
  }
  co_return count;
}

TEST(gcc12_shapes, an_await_is_named_before_it_decides) {
  EXPECT_EQ(run_in_simulation(conditions()).value(), 5);
}

// ---- row 2: owning closures ---------------------------------------------------------------------

template <class F>
task<int> calls(F function) {
  const int value = co_await function();
  co_return value;
}

task<int> owning_closures() {
  auto closure = [o = owner(7)]() -> task<int> {
    co_await yield();
    co_return *o.held;
  };
  const int through_a_parameter = co_await calls(std::move(closure));
  auto second = [o = owner(5)] { return *o.held; };
  auto call = run_blocking(std::move(second));
  const int blocking = co_await std::move(call);
  auto third = [o = owner(3)]() -> task<int> {
    co_await yield();
    co_return *o.held;
  };
  auto handle = spawn(std::move(third));
  const auto joined = co_await handle.join();
  const int in_a_group = co_await with_task_group([&](task_group& group) -> task<int> {
    auto child = [o = owner(1)]() -> task<> {
      co_await yield();
      EXPECT_EQ(*o.held, 1);
    };
    group.spawn(std::move(child));
    co_return 1;
  });
  co_return through_a_parameter + blocking + joined.value() + in_a_group;
}

TEST(gcc12_shapes, an_owning_closure_is_named_and_moved) {
  EXPECT_EQ(run_in_cell(owning_closures()).value(), 16);
}

// ---- rows 3 and 6: aggregates and braced lists --------------------------------------------------

struct settings {
  settings() = default;
  settings(int count_, std::string name_) : count(count_), name(std::move(name_)) {}
  int count = 0;
  std::string name;
};

task<int> uses_settings(settings chosen) {
  co_await yield();
  co_return chosen.count + static_cast<int>(chosen.name.size());
}

task<int> sums(std::vector<int> values) {
  co_await yield();
  int sum = 0;
  for (const int value : values) sum += value;
  co_return sum;
}

task<int> sums_of(std::span<const int> values) {
  co_await yield();
  int sum = 0;
  for (const int value : values) sum += value;
  co_return sum;
}

task<int> aggregates_and_lists() {
  const int constructed =
      co_await uses_settings(settings(4, "a name that needs memory of its own"));
  settings chosen;
  chosen.count = 1;
  const int named = co_await uses_settings(std::move(chosen));
  std::vector<int> values = {1, 2, 3};
  const int moved = co_await sums(std::move(values));
  const std::array<int, 3> fixed = {4, 5, 6};
  const int viewed = co_await sums_of(fixed);
  co_return constructed + named + moved + viewed;
}

TEST(gcc12_shapes, options_have_constructors_and_lists_have_names) {
  EXPECT_EQ(run_in_cell(aggregates_and_lists()).value(), 39 + 1 + 6 + 15);
}

// ---- row 4: the ternary -------------------------------------------------------------------------

task<std::string> chooses(bool which) {
  std::string chosen;
  if (which) {
    chosen = co_await text(1);
  } else {
    chosen = "another text that needs memory of its own";
  }
  co_return chosen;
}

TEST(gcc12_shapes, if_and_else_in_place_of_the_ternary) {
  EXPECT_EQ(run_in_cell(chooses(true)).value().size(), 45U);
  EXPECT_EQ(run_in_cell(chooses(false)).value().size(), 41U);
}

// ---- row 5: awaits inside initialisers ----------------------------------------------------------

struct pair_of_texts {
  std::string first;
  std::string second;
};

task<pair_of_texts> fills() {
  auto first = co_await text(1);
  auto second = co_await text(2);
  pair_of_texts both{std::move(first), std::move(second)};
  co_return both;
}

task<std::size_t> fills_arrays() {
  auto first = co_await text(1);
  auto second = co_await text(2);
  const std::string both[] = {std::move(first), std::move(second)};
  auto third = co_await text(3);
  const auto made = std::make_unique<std::string>(std::move(third));
  co_return both[0].size() + both[1].size() + made->size();
}

TEST(gcc12_shapes, awaits_are_hoisted_out_of_initialisers) {
  EXPECT_EQ(run_in_cell(fills()).value().second.size(), 45U);
  EXPECT_EQ(run_in_cell(fills_arrays()).value(), 135U);
}

// ---- plain shapes that are fine -----------------------------------------------------------------

task<int> temporaries_with_constructors() {
  const int direct = co_await value_of(owner(4));
  const int sum = co_await number(1) + co_await number(2);
  const std::string words = co_await text(9);
  co_return direct + sum + static_cast<int>(words.size());
}

TEST(gcc12_shapes, class_temporaries_with_constructors_are_fine) {
  EXPECT_EQ(run_in_cell(temporaries_with_constructors()).value(), 52);
}

// ---- row 8: no tail call where there is no optimisation -----------------------------------------

task<int> value_of_inline(int i) { co_return i; }

task<int> alternates(int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) {
    const int one = co_await value_of_inline(i % 2);
    sum += one;
  }
  co_return sum;
}

TEST(gcc12_shapes, a_million_synchronous_awaits_need_no_stack) {
  MAGPIE_NEED_SIMULATION();
  EXPECT_EQ(run_in_simulation(alternates(1'000'000)).value(), 500'000);
}

}  // namespace
}  // namespace magpie::tests::gcc12_shapes_test
