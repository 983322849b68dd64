/// What a worker notes about the task that it runs, and what a watcher reads.
#include <magpie/runtime/running_note.hpp>

#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/task_root.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <source_location>
#include <string>

namespace magpie::tests::running_note_test {
namespace {

alignas(scheduler) std::byte no_scheduler[sizeof(scheduler)];  // nobody looks at it

struct root_of_a_test : task_root {
  explicit root_of_a_test(std::uint64_t id) noexcept
      : task_root(*reinterpret_cast<scheduler*>(no_scheduler), id) {
    spawned = std::source_location::current();
  }
};

TEST(running_note, says_who_runs_and_from_where) {
  detail::running_note note;
  EXPECT_TRUE(note.is_clear());
  EXPECT_EQ(note.read().task, 0U);
  const root_of_a_test root(7);
  const auto place = std::source_location::current();
  note.set(root, place);
  EXPECT_FALSE(note.is_clear());
  EXPECT_EQ(note.read().task, 7U);
  EXPECT_EQ(note.read().place.line(), place.line());
  EXPECT_STREQ(note.read().place.file_name(), place.file_name());
  EXPECT_STREQ(note.read().name, "");
  note.clear();
  EXPECT_TRUE(note.is_clear());
  EXPECT_EQ(note.read().task, 0U);
}

TEST(running_note, has_names_of_both_kinds) {
  detail::running_note note;
  root_of_a_test literal(1);
  literal.set_name(named("a literal"));
  note.set(literal, literal.spawned);
  EXPECT_STREQ(note.read().name, "a literal");
  root_of_a_test copied(2);
  const std::string longest(task_name::size_max + 5, 'n');
  copied.set_name(named(std::string_view(longest)));
  note.set(copied, copied.spawned);
  EXPECT_EQ(note.read().name, longest.substr(0, task_name::size_max));
  const root_of_a_test none(3);
  note.set(none, none.spawned);
  EXPECT_STREQ(note.read().name, "");
}

TEST(running_note, a_start_within_a_run_does_not_change_its_place) {
  detail::running_note note;
  const root_of_a_test root(7);
  const root_of_a_test other(8);
  note.begin(root);
  EXPECT_EQ(note.read().place.line(), root.spawned.line());
  const auto place = std::source_location::current();
  note.set(root, place);
  note.begin(root);
  EXPECT_EQ(note.read().place.line(), place.line());
  note.begin(other);
  EXPECT_EQ(note.read().task, 8U);
}

TEST(running_note, a_pinned_task_is_who_it_is) {
  root_of_a_test root(9);
  root.pin(511);
  EXPECT_TRUE(root.pinned());
  EXPECT_EQ(root.pinned_to(), 511U);
  EXPECT_EQ(root.id(), 9U);
  root.set_name(named("pinned"));
  EXPECT_EQ(root.name(), "pinned");
  EXPECT_EQ(root.pinned_to(), 511U);
  detail::running_note note;
  note.set(root, root.spawned);
  EXPECT_EQ(note.read().task, 9U);
  EXPECT_STREQ(note.read().name, "pinned");
}

}  // namespace
}  // namespace magpie::tests::running_note_test
