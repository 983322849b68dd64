/// Model: the word between a spawned task, its joiner, the joiner's canceller and the handle.
///
/// A transcription: `finish` mirrors spawned_base::finish (spawn.cpp), `enlist`, `joined` and
/// `cancel_join` mirror join_base (spawn.cpp), `detach` mirrors join_handle::detach (spawn.hpp).
/// What is left out: deferred joins, which touch one worker alone.  The joiner's stop scope is real.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/stop_scope.cpp>
#include <magpie/runtime/task_root.hpp>

#include <optional>

namespace magpie {

task_root::~task_root() = default;

namespace joins {

using model::bed;
using model::logic;

constexpr std::uintptr_t running = 0;
constexpr std::uintptr_t done = 1;
constexpr std::uintptr_t dropped = 2;
constexpr std::uintptr_t refused = 3;

struct world;
inline world* current = nullptr;

/// The task's state: freed once, by the task or by its handle.
struct state {
  atomic<std::uintptr_t> word{running};
  plain<int> outcome{0};
};

class join final : public magpie::operation {
 public:
  join() noexcept : operation([](runnable&) noexcept {}, &cancel_join) {}

  using operation::begin;
  using operation::end;
  void place_in(stop_scope& scope) noexcept { prepare({}, scope); }

  plain<int> cancelled{0};

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
    // (J1)
    const std::uintptr_t before = task->word.exchange(done, order::acq_rel);
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
    std::uintptr_t now = running;
    // (J3)
    if (task->word.compare_exchange_strong(now, reinterpret_cast<std::uintptr_t>(&*op),
                                           order::acq_rel, order::acquire))
      return;
    if (now == refused) {
      op->cancelled = 1;
      if (!logic("refusal_stays"))
        task->word.compare_exchange_strong(now, running, order::acq_rel, order::acquire);
    } else {
      MAGPIE_ASSERT(now == done);
    }
    post();
  }

  void detach() {
    // (J4)
    if (task->word.exchange(dropped, order::acq_rel) == done) free();
  }

  void after() { MAGPIE_ASSERT(freed.load(order::relaxed) == 1); }
};

inline void join::cancel_join(magpie::operation& op) noexcept {
  auto& self = static_cast<join&>(op);
  atomic<std::uintptr_t>& word = current->task->word;
  const auto joining = reinterpret_cast<std::uintptr_t>(&self);
  std::uintptr_t now = joining;
  for (;;) {
    const std::uintptr_t next = now == joining ? running : refused;
    if (word.compare_exchange_weak(now, next, order::acq_rel, order::acquire)) break;
    if (now == done && !logic("cancel_overrides_the_end")) return;
  }
  if (now != joining) return;
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
                     entry<end_join_and_stop>("end_join_and_stop", 2),
                     entry<stop_and_join_again>("stop_and_join_again", 2)},
       .files = {"tests/model/join_model.cpp"},
       .logic_mutants = {"the_end_wakes_no_joiner", "refusal_stays", "cancel_overrides_the_end"}},
      argc, argv);
}
