/// Model: the results of a group. Each outcome is taken once or dropped once, whoever else ends,
/// waits, is stopped, aborts or replaces a child meanwhile; who takes it sees what the child did;
/// the one who waits is woken once; no block is left when the group has ended, and nobody touches
/// one that is gone.  All of the groups is the real source; tasks.hpp says what stands for frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/bounded_group.cpp>
#include <magpie/runtime/keyed_group.hpp>
#include <magpie/runtime/result_group.cpp>
#include <magpie/runtime/task_group.cpp>

namespace magpie::results {

using model::body;
using model::party;
using model::probe;

/// The body of `with_task_group`, whose frame is `frame`.
template <class Group>
struct group_body {
  task<probe> operator()(Group& in) {
    *made = &in;
    return task<probe>(*frame);
  }
  Group** made;
  body* frame;
};

/// A group, its awaiting task, its children and the one who takes their outcomes: `value(i)` is
/// that of child i.
template <class Group>
struct world : model::stage {
  using operation = decltype(with_task_group(std::declval<group_body<Group>>()));

  party outer;
  Group* group = nullptr;
  body root_body;
  std::optional<operation> whole;
  std::optional<party> consumer;
  std::array<body, 3> children;
  std::array<int, 3> taken{};
  int aborted = 0;

  static int value(std::size_t i) { return 10 + static_cast<int>(i); }

  void before() {
    whole.emplace(with_task_group(group_body<Group>{&group, &root_body}));
    outer.begin(*whole);
    consumer.emplace(&group->scope());
  }

  auto child(std::size_t i) { return task<probe>(children[i]); }
  /// The child ends, as a stop wants it if there was one.
  void end(std::size_t i) {
    if (children[i].stop_requested()) {
      children[i].end(errc::stopped);
    } else {
      children[i].end_with(value(i));
    }
  }

  enum class next { outcome, nothing, stopped };
  next note(const result<probe>& outcome) {
    if (outcome) {
      MAGPIE_ASSERT(++taken[static_cast<std::size_t>(outcome->value - 10)] == 1);
    } else {
      MAGPIE_ASSERT(outcome.error() == errc::aborted);
      ++aborted;
    }
    return next::outcome;
  }
  next take(bool in_order = false) {
    if constexpr (requires { group->next_in_order(); }) {
      auto op = in_order ? group->next_in_order() : group->next();
      return take_from(op, [](const result<probe>& one) -> auto& { return one; });
    } else {
      auto op = group->next();
      return take_from(op, [](const auto& one) -> auto& {
        MAGPIE_ASSERT(one.key == 1);
        return one.outcome;
      });
    }
  }
  template <class Op, class Outcome>
  next take_from(Op& op, Outcome outcome_of) {
    const std::error_code waited = consumer->await(op);
    if (waited) {
      MAGPIE_ASSERT(waited == errc::stopped);
      return next::stopped;
    }
    auto got = op.take();
    if (!*got) return next::nothing;
    return note(outcome_of(**got));
  }
  int take_all() {
    int count = 0;
    while (take() == next::outcome) ++count;
    return count;
  }

  /// The group has two children from the beginning.
  void before_with_two() {
    before();
    group->spawn(child(0));
    group->spawn(child(1));
  }

  /// The body is over.
  void end_body() {
    consumer.reset();
    root_body.end();
  }
  void end_group() {
    MAGPIE_ASSERT(!outer.finish() && blocks == 0);
    for (const body& one : children) MAGPIE_ASSERT(!one.begun() || one.gone());
    whole.reset();
  }
};

}  // namespace magpie::results

namespace {

using magpie::keyed_group;
using magpie::result_group;
using magpie::model::probe;
using magpie::model::scenario;
using magpie::results::world;
using plain_world = world<result_group<probe>>;
using keyed_world = world<keyed_group<int, probe>>;

/// Two children end while the body takes what there is, until nothing is left.
struct two_ends : scenario<two_ends, 3>, plain_world {
  void before() { before_with_two(); }
  void thread(unsigned index) {
    if (index != 0) return end(index - 1);
    MAGPIE_ASSERT(take_all() == 2 && taken[0] == 1 && taken[1] == 1);
    end_body();
  }
  void after() { end_group(); }
};

/// The same in the order of the spawns, whoever ends first.
struct two_in_order : scenario<two_in_order, 3>, plain_world {
  void before() { before_with_two(); }
  void thread(unsigned index) {
    if (index != 0) return end(index - 1);
    MAGPIE_ASSERT(take(true) == next::outcome && taken[0] == 1 && taken[1] == 0);
    MAGPIE_ASSERT(take(true) == next::outcome && taken[1] == 1);
    MAGPIE_ASSERT(take(true) == next::nothing);
    end_body();
  }
  void after() { end_group(); }
};

/// The body and its children end at once, and nobody takes anything.
struct nobody_takes : scenario<nobody_takes, 3>, plain_world {
  void before() { before_with_two(); }
  void thread(unsigned index) { index == 0 ? end_body() : end(index - 1); }
  void after() { end_group(); }
};

/// The waiting is stopped while the child ends: the next one gets the outcome.
struct end_and_stop : scenario<end_and_stop, 3>, plain_world {
  std::optional<magpie::model::party> again;
  void before() {
    world::before();
    group->spawn(child(0));
  }
  void thread(unsigned index) {
    if (index == 1) return end(0);
    if (index == 2) return consumer->scope.request_stop();
    const next first = take();
    MAGPIE_ASSERT(first != next::nothing);
    if (first == next::outcome) return;
    auto op = group->next();
    again.emplace(&group->scope());
    MAGPIE_ASSERT(!again->await(op));
    auto got = op.take();
    MAGPIE_ASSERT(*got);
    note(**got);
    again.reset();
  }
  void after() {
    MAGPIE_ASSERT(taken[0] == 1);
    end_body();
    end_group();
  }
};

/// The waiting is stopped, and the child does not end before.
struct stop_of_a_wait : scenario<stop_of_a_wait, 2>, plain_world {
  void before() {
    world::before();
    group->spawn(child(0));
  }
  void thread(unsigned index) {
    if (index == 1) return consumer->scope.request_stop();
    MAGPIE_ASSERT(take() == next::stopped);
  }
  void after() {
    end(0);
    end_body();
    end_group();
  }
};

/// Everything is aborted while children end.
struct ends_and_abort : scenario<ends_and_abort, 3>, plain_world {
  void before() { before_with_two(); }
  void thread(unsigned index) {
    if (index != 0) return end(index - 1);
    group->abort_all();
    MAGPIE_ASSERT(take_all() == 2 && taken[0] + taken[1] + aborted == 2);
    end_body();
  }
  void after() { end_group(); }
};

/// A child is replaced while it ends and while somebody aborts its key.
struct replaced : scenario<replaced, 3>, keyed_world {
  void before() {
    world::before();
    group->spawn(1, child(0));
  }
  void thread(unsigned index) {
    if (index == 1) return end(0);
    if (index == 2) return static_cast<void>(group->abort(1));
    MAGPIE_ASSERT(group->spawn(1, child(1)));
    end(1);
    MAGPIE_ASSERT(take_all() == 1 && taken[0] == 0 && taken[1] + aborted == 1);
  }
  void after() {
    end_body();
    end_group();
  }
};

/// A child is replaced while everything is aborted.
struct replaced_and_abort : scenario<replaced_and_abort, 3>, keyed_world {
  void before() {
    world::before();
    group->spawn(1, child(0));
  }
  void thread(unsigned index) {
    if (index == 1) return end(0);
    if (index == 2) return group->abort_all();
    MAGPIE_ASSERT(group->spawn(1, child(1)));
    end(1);
    MAGPIE_ASSERT(take_all() == 1 && taken[0] == 0 && taken[1] + aborted == 1);
  }
  void after() {
    end_body();
    end_group();
  }
};

/// Two replace the same child.
struct replaced_twice : scenario<replaced_twice, 3>, keyed_world {
  void before() {
    world::before();
    group->spawn(1, child(0));
  }
  void thread(unsigned index) {
    if (index == 2) return end(0);
    MAGPIE_ASSERT(group->spawn(1, child(index + 1)));
    end(index + 1);
  }
  void after() {
    MAGPIE_ASSERT(take_all() == 1 && taken[0] == 0);
    end_body();
    end_group();
  }
};

/// An outcome is handed out and not taken while its key is used again.
struct put_back : scenario<put_back, 2>, keyed_world {
  void before() {
    world::before();
    group->spawn(1, child(0));
    end(0);
  }
  void thread(unsigned index) {
    if (index == 1) {
      group->spawn(1, child(1));
      end(1);
      return;
    }
    {
      auto op = group->next();
      MAGPIE_ASSERT(!consumer->await(op));
    }
    take();
  }
  void after() {
    take_all();
    MAGPIE_ASSERT(taken[1] == 1);
    end_body();
    end_group();
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "result_group",
       .scenarios = {entry<two_ends>("two_ends", 2), entry<two_in_order>("two_in_order", 2),
                     entry<nobody_takes>("nobody_takes", 2),
                     entry<stop_of_a_wait>("stop_of_a_wait", 3),
                     entry<end_and_stop>("end_and_stop", 2),
                     entry<ends_and_abort>("ends_and_abort", 1), entry<replaced>("replaced", 1),
                     entry<replaced_and_abort>("replaced_and_abort", 1),
                     entry<replaced_twice>("replaced_twice", 1), entry<put_back>("put_back", 3)},
       .files = {"util/spin_lock.hpp"},
       .logic_mutants = {"a_post_is_lost"}},
      argc, argv);
}
