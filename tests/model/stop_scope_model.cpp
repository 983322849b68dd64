/// Model: an operation resolves exactly once, however its completion, a stop, an onlooker and the
/// end of its scope meet. The real scope under the checker; the operation is armed, completed
/// and cancelled as a join or a sleep is.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/scope_walk.hpp>
#include <magpie/runtime/stop_scope.cpp>
#include <magpie/runtime/task_root.hpp>

#include <optional>

namespace magpie {

void task_root::let_go() noexcept {}
void detail::run_routed_operation(runnable&) noexcept {}
void detail::note_refusal(const task_root&, continuation) noexcept {}

namespace stops {

using model::bed;
using model::logic;

struct world;
inline world* current = nullptr;

enum meeting : int { idle, armed, completed, cancelled };

class waiting : public magpie::operation {
 public:
  waiting() noexcept : operation([](runnable&) noexcept {}, &cancel_it) {}

  using operation::begin;
  using operation::end;
  void place_in(stop_scope& scope) noexcept { prepare({}, scope); }

  /// Written before it begins and after it ended; read by its canceller and by onlookers.
  plain<int> described{0};
  plain<int> was_cancelled{0};  ///< Written by its canceller, read when it has ended.
  plain<int> link{0};           ///< Written by whoever posts it, and by the queue's owner.

 private:
  static void cancel_it(magpie::operation& op) noexcept;
};

/// The task on thread 0, what completes its operation, and what stops its scope.
struct world {
  task_root root{*static_cast<scheduler*>(nullptr)};
  stop_scope top{nullptr, root};
  std::optional<stop_scope> scope;
  std::optional<waiting> op;
  atomic<int> word{idle};  // between completer and canceller, as a joined task's
  plain<int> value{0};     // written by the completer
  atomic<int> inbox{0};
  bed worker;
  plain<int> ended{0};
  int lonely = 0;        // 1: there is one stopper
  plain<int> reason{0};  // written by a stopper who is alone, before it stops

  void before() {
    current = this;
    scope.emplace(&top, root);
    op.emplace();
  }

  void post() {
    op->link = 1;
    MAGPIE_ASSERT(inbox.fetch_add(1, order::acq_rel) == 0);  // in one queue at a time
    worker.wake();
  }

  /// Awaits the operation on the task's own thread.
  void await() {
    op->described = 1;
    op->place_in(*scope);
    if (op->begin()) {
      int now = idle;
      if (!word.compare_exchange_strong(now, armed, order::acq_rel, order::acquire)) post();
      do {
        worker.sleep();
        MAGPIE_ASSERT(inbox.exchange(0, order::acq_rel) == 1);
        op->link = 0;
      } while (!op->end());
      if (word.load(order::relaxed) == completed) {
        MAGPIE_ASSERT(value == 1);
      } else {
        MAGPIE_ASSERT(word.load(order::relaxed) == cancelled && op->was_cancelled == 1);
        op->was_cancelled = 2;  // nobody else touches it any more
      }
    } else {
      MAGPIE_ASSERT(reason == lonely);
    }
    op->described = 2;  // nobody looks any more
    op.reset();
    ended = ended + 1;
  }

  void await_and_close() {
    await();
    scope.reset();
  }

  void complete() {
    value = 1;
    int now = idle;
    if (word.compare_exchange_strong(now, completed, order::acq_rel, order::acquire)) return;
    if (now == armed &&
        word.compare_exchange_strong(now, completed, order::acq_rel, order::acquire))
      post();
  }

  void stop_with_reason(stop_scope& at) {
    reason = 1;
    at.request_stop();
  }

  /// Goes over the tree and reads what waits.
  void look() {
    detail::scope_walk walk(top);
    while (stop_scope* const at = walk.next()) {
      operation* const held = at->hold();
      if (held == nullptr) continue;
      MAGPIE_ASSERT(static_cast<waiting*>(held)->described == 1);
      at->release(*held);
    }
  }

  void after() {
    MAGPIE_ASSERT(ended == 1);
    scope.reset();
  }
};

inline void waiting::cancel_it(magpie::operation& op) noexcept {
  auto& self = static_cast<waiting&>(op);
  MAGPIE_ASSERT(self.described == 1);
  int now = current->word.load(order::relaxed);
  while (now != completed) {
    self.was_cancelled = 1;
    if (!current->word.compare_exchange_strong(now, cancelled, order::acq_rel, order::acquire))
      continue;
    if (now == armed && !logic("cancel_posts_nothing")) current->post();
    MAGPIE_ASSERT(self.was_cancelled == 1);  // BUSY: still the canceller's
    return;
  }
}

}  // namespace stops

void task_root::post(runnable&) noexcept {
  if (!model::logic("busy_canceller_posts_nothing")) stops::current->post();
}

}  // namespace magpie

namespace {

using magpie::model::scenario;
using magpie::stops::world;

/// A sleep: only a stop ends it.  The walk goes over the scope while the task closes it.
struct stop_of_a_wait : scenario<stop_of_a_wait, 2>, world {
  void before() {
    world::before();
    lonely = 1;
  }
  void thread(unsigned index) { index == 0 ? await_and_close() : stop_with_reason(top); }
  void after() { world::after(); }
};

/// The scope is stopped directly, as by a handle, which keeps it alive.
struct stop_at_the_scope : scenario<stop_at_the_scope, 2>, world {
  void before() {
    world::before();
    lonely = 1;
  }
  void thread(unsigned index) { index == 0 ? await() : stop_with_reason(*scope); }
  void after() { world::after(); }
};

/// Two stoppers of the same tree.
struct two_stops : scenario<two_stops, 3>, world {
  void before() { world::before(); }
  void thread(unsigned index) { index == 0 ? await_and_close() : top.request_stop(); }
  void after() { world::after(); }
};

/// A completion and a stop.
struct completion_and_stop : scenario<completion_and_stop, 3>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) await_and_close();
    if (index == 1) top.request_stop();
    if (index == 2) complete();
  }
  void after() { world::after(); }
};

/// A child links itself under an unlinked scope while the walk comes down.
struct linking_and_stop : scenario<linking_and_stop, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 1) {
      top.request_stop();
      return;
    }
    {
      std::optional<magpie::stop_scope> middle(std::in_place, &top, root);
      scope.emplace(&*middle, root);
      await_and_close();
      middle.reset();
    }
  }
  void after() { world::after(); }
};

/// A completion while somebody looks.
struct completion_and_look : scenario<completion_and_look, 3>, world {
  void before() {
    world::before();
    scope->link();  // the onlooker learns of the operation by the word alone
  }
  void thread(unsigned index) {
    if (index == 0) await_and_close();
    if (index == 1) look();
    if (index == 2) complete();
  }
  void after() { world::after(); }
};

/// A stop while somebody looks: the last of canceller and onlooker posts.
struct stop_and_look : scenario<stop_and_look, 3>, world {
  void before() {
    world::before();
    lonely = 1;
  }
  void thread(unsigned index) {
    if (index == 0) await_and_close();
    if (index == 1) look();
    if (index == 2) stop_with_reason(top);
  }
  void after() { world::after(); }
};

/// Everything at once.
struct completion_stop_and_look : scenario<completion_stop_and_look, 4>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) await_and_close();
    if (index == 1) look();
    if (index == 2) top.request_stop();
    if (index == 3) complete();
  }
  void after() { world::after(); }
};

/// Somebody looks while a tree of two levels is closed from below.
struct nested_and_look : scenario<nested_and_look, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 1) {
      look();
      return;
    }
    std::optional<magpie::stop_scope> middle(std::in_place, &top, root);
    scope.emplace(&*middle, root);
    complete();
    await_and_close();
    middle.reset();
  }
  void after() { world::after(); }
};

/// A task that was stopped under one shard spawns another one under the next: that one is born
/// stopped, although the walk may not have come to its shard.
struct spawned_while_stopped : scenario<spawned_while_stopped, 2> {
  magpie::task_root root{*static_cast<magpie::scheduler*>(nullptr)};
  magpie::stop_scope top{nullptr, root};
  magpie::stop_scope shards[2]{{&top, root, magpie::stop_scope::kind::shard},
                               {&top, root, magpie::stop_scope::kind::shard}};

  void before() {
    for (auto& shard : shards) shard.link();
  }
  void thread(unsigned index) {
    if (index == 1) {
      top.request_stop();
      return;
    }
    for (unsigned i = 0; i < 2; ++i) {
      const magpie::stop_scope first(&shards[i], root);
      if (!first.stop_requested()) continue;
      const magpie::stop_scope second(&shards[1 - i], root);
      MAGPIE_ASSERT(second.stop_requested());
    }
  }
  void after() {}
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "stop_scope",
       .scenarios = {entry<stop_of_a_wait>("stop_of_a_wait", 3),
                     entry<stop_at_the_scope>("stop_at_the_scope", 3),
                     entry<completion_and_stop>("completion_and_stop", 2),
                     entry<linking_and_stop>("linking_and_stop", 2),
                     entry<two_stops>("two_stops", 1),
                     entry<completion_and_look>("completion_and_look", 2),
                     entry<stop_and_look>("stop_and_look", 1),
                     entry<nested_and_look>("nested_and_look", 2),
                     entry<spawned_while_stopped>("spawned_while_stopped", 3),
                     entry<completion_stop_and_look>("completion_stop_and_look", 1)},
       .files = {"runtime/scope_walk.hpp", "runtime/stop_scope.hpp", "runtime/stop_scope.cpp"},
       .logic_mutants = {"cancel_posts_nothing", "busy_canceller_posts_nothing"}},
      argc, argv);
}
