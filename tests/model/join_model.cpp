/// Model: the word between a spawned task, its joiner, the joiner's canceller and the handle.
///
/// The word is transcribed in join_protocol.hpp, the joiner's stop scope is the real one.  Deferred
/// joins are left out: they touch one worker alone.
#include <magpie/tests/model/join_protocol.hpp>

#include <magpie/runtime/stop_scope.cpp>
#include <magpie/runtime/task_root.hpp>

#include <optional>

namespace magpie {

void task_root::let_go() noexcept {}
void detail::run_routed_operation(runnable&) noexcept {}

namespace joins {

using model::bed;

struct world;
inline world* current = nullptr;

/// The task's state: freed once, by the task or by its handle.
struct state : join_word {
  plain<int> outcome{0};
};

class join final : public magpie::operation {
 public:
  join() noexcept : operation([](runnable&) noexcept {}, &cancel_join) {}

  using operation::begin;
  using operation::end;
  void place_in(stop_scope& scope) noexcept { prepare({}, scope); }

  plain<int> cancelled{0};
  plain<int> link{0};  ///< Written by whoever posts it, and by the queue's owner.

 private:
  static void cancel_join(magpie::operation& op) noexcept;
};

struct world {
  task_root root{*static_cast<scheduler*>(nullptr)};
  stop_scope scope{nullptr, root};
  std::optional<state> task;
  std::optional<join> op;
  atomic<int> inbox{0};
  atomic<int> freed{0};
  bed joiner;
  plain<int> joined_value{0};
  plain<int> stopped{0};

  void before() {
    current = this;
    task.emplace();
  }

  void post() {
    op->link = 1;
    MAGPIE_ASSERT(inbox.fetch_add(1, order::acq_rel) == 0);  // in one queue at a time
    joiner.wake();
  }

  void free() {
    MAGPIE_ASSERT(task->outcome == 7);
    MAGPIE_ASSERT(freed.fetch_add(1, order::relaxed) == 0);
    task.reset();
  }

  /// The task ends.
  void finish() {
    task->outcome = 7;
    const std::uintptr_t before = task->end_task();
    if (before == dropped) free();
    if (before != running && before != dropped && before != refused &&
        !logic("the_end_wakes_no_joiner"))
      post();
  }

  /// The joiner's turn; true when it got the outcome.
  bool await_join() {
    op.emplace();
    op->place_in(scope);
    if (!op->begin()) {
      op.reset();
      stopped = stopped + 1;
      return false;
    }
    enlist();
    do {
      joiner.sleep();
      MAGPIE_ASSERT(inbox.exchange(0, order::acq_rel) == 1);
      op->link = 0;
    } while (!op->end());
    const bool ended = op->cancelled == 0;
    op.reset();
    if (ended) {
      joined_value = task->outcome;
      MAGPIE_ASSERT(joined_value == 7);
    } else {
      stopped = stopped + 1;
    }
    return ended;
  }

  void enlist() {
    op->link = 0;
    const auto how = task->enlist(reinterpret_cast<std::uintptr_t>(&*op));
    if (how == join_word::enlisted::waits) return;
    if (how == join_word::enlisted::stopped) op->cancelled = 1;
    post();
  }

  void detach() {
    if (task->drop()) free();
  }

  void after() { MAGPIE_ASSERT(freed.load(order::relaxed) == 1); }
};

inline void join::cancel_join(magpie::operation& op) noexcept {
  auto& self = static_cast<join&>(op);
  if (!current->task->cancel(reinterpret_cast<std::uintptr_t>(&self))) return;
  self.cancelled = 1;
  current->post();
}

}  // namespace joins

void task_root::post(runnable&) noexcept { joins::current->post(); }

}  // namespace magpie

namespace {

using magpie::joins::world;
using magpie::model::scenario;

/// The handle is dropped while the task ends.
struct end_and_drop : scenario<end_and_drop, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) { index == 0 ? finish() : detach(); }
  void after() { world::after(); }
};

/// A join, then the handle goes.
struct end_and_join : scenario<end_and_join, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) {
      finish();
    } else {
      MAGPIE_ASSERT(await_join());
      detach();
    }
  }
  void after() { world::after(); }
};

/// The joiner is stopped meanwhile; stopped or not, the handle is usable and dropped in the end.
struct end_join_and_stop : scenario<end_join_and_stop, 3>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) {
      finish();
    } else if (index == 1) {
      await_join();
      detach();
    } else {
      scope.request_stop();
    }
  }
  void after() { world::after(); }
};

/// The task does not end by itself: the stop has to reach the joiner.
struct stop_of_a_join : scenario<stop_of_a_join, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 1) {
      scope.request_stop();
      return;
    }
    MAGPIE_ASSERT(!await_join());
    finish();
    detach();
  }
  void after() { world::after(); }
};

/// A stopped joiner leaves the handle to a second, unstopped join.
struct stop_and_join_again : scenario<stop_and_join_again, 3>, world {
  std::optional<magpie::stop_scope> second;
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) {
      finish();
    } else if (index == 1) {
      if (!await_join()) {
        magpie::stop_scope unstopped(nullptr, root);
        op.emplace();
        op->place_in(unstopped);
        MAGPIE_ASSERT(op->begin());
        enlist();
        joiner.sleep();
        MAGPIE_ASSERT(inbox.exchange(0, magpie::order::acq_rel) == 1);
        MAGPIE_ASSERT(op->end() && op->cancelled == 0 && task->outcome == 7);
        op.reset();
      }
      detach();
    } else {
      scope.request_stop();
    }
  }
  void after() { world::after(); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "join",
       .scenarios = {entry<end_and_drop>("end_and_drop", 4), entry<end_and_join>("end_and_join", 4),
                     entry<stop_of_a_join>("stop_of_a_join", 3),
                     entry<end_join_and_stop>("end_join_and_stop", 2),
                     entry<stop_and_join_again>("stop_and_join_again", 2)},
       .files = {"tests/model/join_protocol.hpp"},
       .logic_mutants = {"the_end_wakes_no_joiner", "refusal_stays", "cancel_overrides_the_end",
                         "canceller_leaves_no_refusal"},
       .equivalents = {{"join_word::enlist.cas#2 acq_rel->acquire",
                        "a joiner that found `refused` goes on as stopped: it hands nothing on"},
                       {"join_word::enlist.cas#2 acq_rel->release", "and reads nothing"},
                       {"join_word::enlist.cas-failure#2 acquire->relaxed", "and reads nothing"},
                       {"join_word::cancel.cas acq_rel->acquire",
                        "BUSY of the stop scope orders canceller and joiner"},
                       {"join_word::cancel.cas-failure acquire->relaxed",
                        "a canceller that finds the end reads nothing"},
                       {"join_word::drop.rmw acq_rel->acquire",
                        "a handle that was never joined has written nothing"}}},
      argc, argv);
}
