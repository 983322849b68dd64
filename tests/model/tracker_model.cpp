/// Model: the word of a task tracker. Who waits is woken once, when the tracker is closed and
/// empty, and sees what the tasks did; one who gives up is taken out or woken; the block is freed
/// once, by the last who held it.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/tracker_state.cpp>
#include <magpie/runtime/wait_list.cpp>

#include <array>
#include <optional>

namespace magpie {

void task_root::let_go() noexcept {}

namespace trackers {

using detail::tracker_state;
using detail::wait_entry;
using model::bed;

struct waiter_work : runnable {
  waiter_work() : runnable(nullptr) {}
  plain<int> link{0};  ///< Written by whoever posts it, and by its owner.
  atomic<int> posts{0};
  bed owner;
};

struct world;
inline world* current = nullptr;
void free_block(tracker_state& state) noexcept;

/// A tracker with one handle, and two who may wait for it.
struct world {
  task_root task{*static_cast<scheduler*>(nullptr)};
  std::optional<tracker_state> state;
  std::array<std::optional<waiter_work>, 2> works;
  std::array<wait_entry, 2> waiters;
  std::array<plain<int>, 3> touched;  ///< By a thread, before it gives up what it holds.
  plain<int> done{0};                 ///< What a task did before it ended.
  int freed = 0;

  void before(int tokens) {
    current = this;
    state.emplace(&magpie::trackers::free_block);
    for (int i = 0; i != tokens; ++i) state->track();
    for (std::size_t i = 0; i != works.size(); ++i) {
      works[i].emplace();
      waiters[i].work = &*works[i];
      waiters[i].root = &task;
    }
    for (auto& one : touched) one = 0;
    done = 0;
  }

  /// True: it is listed.
  bool add(std::size_t i) {
    lock_scope guard(*state);
    if (state->ended()) return false;
    state->insert(waiters[i]);
    return true;
  }

  void wait(std::size_t i) {
    if (!add(i)) return;
    works[i]->owner.sleep();
    works[i]->link = 0;
  }

  void let_go(unsigned thread) {
    touched[thread] = 1;
    tracker_state::release(&*state);
  }
  void end_task(unsigned thread) {
    touched[thread] = 1;
    state->untrack();
  }
};

}  // namespace trackers

void task_root::post(runnable& work) noexcept {
  auto& waiting = static_cast<trackers::waiter_work&>(work);
  waiting.link = 1;
  MAGPIE_ASSERT(waiting.posts.fetch_add(1, order::acq_rel) == 0);  // once
  waiting.owner.wake();
}

void trackers::free_block(tracker_state& state) noexcept {
  trackers::world& in = *trackers::current;
  MAGPIE_ASSERT(&state == &*in.state && ++in.freed == 1);
  for (auto& one : in.touched) static_cast<void>(one + 0);
  in.state.reset();
}

}  // namespace magpie

namespace {

using magpie::model::scenario;
using magpie::trackers::tracker_state;
using magpie::trackers::world;

/// Closed already: the last task ends while somebody begins to wait.
struct wait_and_end : scenario<wait_and_end, 2>, world {
  void before() {
    world::before(1);
    state->close();
  }
  void thread(unsigned index) {
    if (index == 1) {
      done = 1;
      end_task(1);
      return;
    }
    wait(0);
    MAGPIE_ASSERT(done == 1);
    let_go(0);  // at once: the waker still holds the block
  }
  void after() { MAGPIE_ASSERT(freed == 1); }
};

/// Empty already: closed while somebody begins to wait.
struct wait_and_close : scenario<wait_and_close, 2>, world {
  void before() {
    world::before(0);
    state->hold();
  }
  void thread(unsigned index) {
    if (index == 1) {
      done = 1;
      state->close();
    } else {
      wait(0);
      MAGPIE_ASSERT(done == 1);
    }
    let_go(index);
  }
  void after() { MAGPIE_ASSERT(freed == 1); }
};

/// The last task ends while the tracker is closed: one of the two wakes.
struct end_and_close : scenario<end_and_close, 3>, world {
  void before() { world::before(1); }
  void thread(unsigned index) {
    if (index == 0) wait(0);
    if (index == 1) state->close();
    if (index == 2) {
      done = 1;
      end_task(2);
    }
  }
  void after() {
    MAGPIE_ASSERT(done == 1 && freed == 0 && state->ended());
    tracker_state::release(&*state);
    MAGPIE_ASSERT(freed == 1);
  }
};

/// A waiter that gives up is taken out, or woken.
struct wait_and_remove : scenario<wait_and_remove, 2>, world {
  void before() {
    world::before(1);
    state->close();
  }
  void thread(unsigned index) {
    if (index == 1) {
      end_task(1);
      return;
    }
    if (!add(0)) return;
    if (!state->remove(waiters[0])) works[0]->owner.sleep();
    works[0]->link = 0;
    MAGPIE_ASSERT(!waiters[0].linked());
  }
  void after() { tracker_state::release(&*state); }
};

/// Two tasks end, and two wait.
struct two_and_two : scenario<two_and_two, 4>, world {
  magpie::plain<int> other{0};
  void before() {
    world::before(2);
    other = 0;
    state->close();
  }
  void thread(unsigned index) {
    if (index < 2) {
      wait(index);
      MAGPIE_ASSERT(done == 1 && other == 1);  // whoever was the last
    } else {
      (index == 2 ? done : other) = 1;
      state->untrack();
    }
  }
  void after() { tracker_state::release(&*state); }
};

/// The tracker is reopened meanwhile: one that waited before is woken; nobody is woken twice.
struct reopened : scenario<reopened, 2>, world {
  bool listed = false;
  void before() {
    world::before(0);
    listed = add(0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      state->close();
      state->reopen();
    } else {
      works[0]->owner.sleep();
      works[0]->link = 0;
    }
  }
  void after() {
    MAGPIE_ASSERT(listed && !state->ended());
    tracker_state::release(&*state);
  }
};

/// Copies of a handle and of a token come and go on two threads.
struct copies : scenario<copies, 2>, world {
  void before() {
    world::before(1);
    state->hold();
  }
  void thread(unsigned index) {
    state->track();
    state->hold();
    let_go(index);
    end_task(index);
    let_go(index);
  }
  void after() {
    MAGPIE_ASSERT(freed == 0 && state->tokens() == 1);
    end_task(0);
    MAGPIE_ASSERT(freed == 1);
  }
};

/// It is closed and reopened while a token comes and goes.
struct open_again : scenario<open_again, 2>, world {
  void before() { world::before(1); }
  void thread(unsigned index) {
    if (index == 0) {
      state->close();
      state->reopen();
    } else {
      state->track();
      state->track();
      state->untrack();
    }
  }
  void after() {
    MAGPIE_ASSERT(state->tokens() == 2 && !state->is_closed());
    state->untrack();
    state->untrack();
    tracker_state::release(&*state);
    MAGPIE_ASSERT(freed == 1);
  }
};

/// Handles and tokens go on three threads; nobody waits.
struct free_once : scenario<free_once, 3>, world {
  void before() {
    world::before(2);
    state->close();
  }
  void thread(unsigned index) { index == 0 ? let_go(0) : end_task(index); }
  void after() { MAGPIE_ASSERT(freed == 1); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "tracker",
       .scenarios = {entry<wait_and_end>("wait_and_end", 2),
                     entry<wait_and_close>("wait_and_close", 2),
                     entry<wait_and_remove>("wait_and_remove", 2), entry<reopened>("reopened", 2),
                     entry<free_once>("free_once", 2), entry<copies>("copies", 2),
                     entry<open_again>("open_again", 3), entry<end_and_close>("end_and_close", 1),
                     entry<two_and_two>("two_and_two", 1)},
       .files = {"runtime/tracker_state.hpp", "runtime/tracker_state.cpp"}},
      argc, argv);
}
