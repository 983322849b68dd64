/// Model: a bounded group. No slot is lost or doubled however spawns that wait, ends of children
/// and stops meet; who waits is woken once, in order; the last of body and children ends the group,
/// sees what the others did, and nobody touches the group afterwards; one failure is the group's.
/// All of the group is the real source; tasks.hpp says what stands for frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/bounded_group.cpp>
#include <magpie/runtime/task_group.cpp>

namespace magpie {
namespace detail {

/// A friend of the group, for a mutant.
template <>
struct bounded_child<void> {
  static void give_back(bounded_group& in) noexcept { in.slots_.release(); }
};

}  // namespace detail

namespace groups {

using model::body;
using model::logic;
using model::party;
using model::probe;

/// The body of `with_task_group`, whose frame is `frame`.
struct group_body {
  task<probe> operator()(bounded_group& in) {
    *made = &in;
    return task<probe>(*frame);
  }
  bounded_group** made;
  body* frame;
};

/// A group of at most `limit` children at once; its awaiting task; up to three who spawn.
struct world : model::stage {
  using operation = decltype(with_task_group(at_most(1), std::declval<group_body>()));

  party outer;
  bounded_group* group = nullptr;
  body root_body;
  std::optional<operation> whole;
  std::array<std::optional<party>, 3> spawners;
  std::array<body, 4> children;
  atomic<int> running{0};
  int limit = 1;
  std::array<plain<int>, 4> done{0, 0, 0, 0};  ///< What a child did.
  plain<int> in_slot{0};                       ///< Of the children of a group of one slot.
  plain<int> order{0};                         ///< How many were in it.
  std::array<int, 4> turn{};
  plain<int> ended{0};
  std::error_code result;

  void before(int slots) {
    limit = slots;
    whole.emplace(
        with_task_group(at_most(static_cast<std::size_t>(slots)), group_body{&group, &root_body}));
    outer.begin(*whole);
    MAGPIE_ASSERT(root_body.begun());
    for (auto& one : spawners) one.emplace(&group->scope());
  }

  /// In `before`: a child that has a slot.
  void occupy(std::size_t i) {
    task<probe> t(children[i]);
    MAGPIE_ASSERT(group->try_spawn(t));
    enter(i);
  }
  void enter(std::size_t i) {
    MAGPIE_ASSERT(running.fetch_add(1, order::relaxed) < limit);
    if (limit == 1) {
      in_slot = in_slot + 1;
      order = order + 1;
      turn[i] = order;
    }
  }
  /// The child ends, on whichever worker.
  void leave(std::size_t i, std::error_code error = no_error) {
    done[i] = 1;
    if (limit == 1) in_slot = in_slot + 1;
    running.fetch_sub(1, order::relaxed);
    if (logic("a_child_does_not_end")) return;
    children[i].end(error);
  }

  auto wait_for_slot(std::size_t i) {
    return group->spawn_isolated_when_free(task<probe>(children[i]));
  }
  /// After the wait: the child is there, and ends; or it has not begun.  True when it was.
  bool live(std::size_t i, std::error_code waited) {
    if (waited) {
      MAGPIE_ASSERT(waited == errc::stopped && !children[i].begun());
      if (logic("a_stopped_wait_gives_a_slot_back")) detail::bounded_child<void>::give_back(*group);
      return false;
    }
    MAGPIE_ASSERT(children[i].begun());
    enter(i);
    leave(i);
    return true;
  }
  bool spawn(std::size_t i) {
    std::error_code waited;
    {
      auto op = wait_for_slot(i);
      waited = spawners[i]->await(op);
    }
    spawners[i]->scope.close();  // its task is over: it counts no more
    return live(i, waited);
  }

  void end_body() { root_body.end(); }
  /// All slots are there, no more.
  void end_group() {
    MAGPIE_ASSERT(running.load(order::relaxed) == 0);
    std::array<body, 3> last;
    for (int i = 0; i != limit; ++i) {
      task<probe> t(last[static_cast<std::size_t>(i)]);
      MAGPIE_ASSERT(group->try_spawn(t));
    }
    body none;
    {
      task<probe> t(none);
      MAGPIE_ASSERT(!group->try_spawn(t));
    }
    for (int i = 0; i != limit; ++i) last[static_cast<std::size_t>(i)].end();
    for (auto& one : spawners) one.reset();
    end_body();
    MAGPIE_ASSERT(!outer.finish());
    whole.reset();
    MAGPIE_ASSERT(blocks == 0);
  }
};

}  // namespace groups
}  // namespace magpie

namespace {

using magpie::groups::world;
using magpie::model::scenario;

/// The only slot: its child ends while one waits for it.
struct end_and_wait : scenario<end_and_wait, 2>, world {
  void before() {
    world::before(1);
    occupy(2);
  }
  void thread(unsigned index) { index == 0 ? leave(2) : static_cast<void>(spawn(1)); }
  void after() { end_group(); }
};

/// The one who waits is stopped, and the child does not end before.
struct stop_of_a_wait : scenario<stop_of_a_wait, 2>, world {
  magpie::plain<int> reason{0};
  void before() {
    world::before(1);
    occupy(2);
  }
  void thread(unsigned index) {
    if (index == 1) {
      reason = 1;
      spawners[0]->scope.request_stop();
      return;
    }
    MAGPIE_ASSERT(!spawn(0) && reason == 1);
  }
  void after() {
    leave(2);
    end_group();
  }
};

/// An end, a wait and its stop.
struct end_wait_and_stop : scenario<end_wait_and_stop, 3>, world {
  void before() {
    world::before(1);
    occupy(2);
  }
  void thread(unsigned index) {
    if (index == 0) leave(2);
    if (index == 1) spawn(0);
    if (index == 2) spawners[0]->scope.request_stop();
  }
  void after() { end_group(); }
};

/// Two wait, the first since before; a child ends.
struct in_order : scenario<in_order, 3>, world {
  std::optional<decltype(std::declval<world&>().wait_for_slot(0))> first;
  void before() {
    world::before(1);
    occupy(2);
    first.emplace(wait_for_slot(0));
    spawners[0]->begin(*first);
  }
  void thread(unsigned index) {
    if (index == 0) {
      live(0, spawners[0]->finish());
      first.reset();
    }
    if (index == 1) spawn(1);
    if (index == 2) leave(2);
  }
  void after() {
    MAGPIE_ASSERT(turn[0] == 2 && turn[1] == 3);
    end_group();
  }
};

/// The first of two that wait is stopped while a child ends: the second gets a slot all the same.
struct stop_of_the_first : scenario<stop_of_the_first, 4>, world {
  std::optional<decltype(std::declval<world&>().wait_for_slot(0))> waits[2];
  void before() {
    world::before(1);
    occupy(2);
    for (std::size_t i = 0; i != 2; ++i) {
      waits[i].emplace(wait_for_slot(i));
      spawners[i]->begin(*waits[i]);
    }
  }
  void thread(unsigned index) {
    if (index < 2) {
      const bool lived = live(index, spawners[index]->finish());
      MAGPIE_ASSERT(lived || index == 0);
      waits[index].reset();
    }
    if (index == 2) leave(2);
    if (index == 3) spawners[0]->scope.request_stop();
  }
  void after() { end_group(); }
};

/// Two slots and three who want one.
struct two_slots : scenario<two_slots, 3>, world {
  void before() { world::before(2); }
  void thread(unsigned index) { MAGPIE_ASSERT(spawn(index)); }
  void after() { end_group(); }
};

/// The body and two children end at once; who is last goes on with the awaiting task.
struct last_of_three : scenario<last_of_three, 3>, world {
  void before() {
    world::before(3);
    occupy(1);
    occupy(2);
    for (auto& one : spawners) one.reset();
    outer.when_ended = &all_has_been_done;
  }
  static void all_has_been_done(magpie::model::stage& on) {
    auto& self = static_cast<last_of_three&>(on);
    for (int i = 0; i != 3; ++i) MAGPIE_ASSERT(self.done[i] == 1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      done[0] = 1;
      end_body();
    } else {
      leave(index);
    }
  }
  void after() {
    MAGPIE_ASSERT(!outer.finish() && blocks == 0);
    whole.reset();
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "bounded_group",
       .scenarios = {entry<end_and_wait>("end_and_wait", 3),
                     entry<stop_of_a_wait>("stop_of_a_wait", 3),
                     entry<last_of_three>("last_of_three", 2),
                     entry<end_wait_and_stop>("end_wait_and_stop", 2),
                     entry<in_order>("in_order", 2), entry<two_slots>("two_slots", 1),
                     entry<stop_of_the_first>("stop_of_the_first", 1)},
       .files = {"runtime/task_group.hpp", "util/spin_lock.hpp"},
       .logic_mutants = {"a_post_is_lost", "a_child_does_not_end",
                         "a_stopped_wait_gives_a_slot_back"}},
      argc, argv);
}
