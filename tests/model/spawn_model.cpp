/// Model: a spawned task, its join handle and its abort handles. Who joins gets the outcome or is
/// stopped, once, and sees what the task did; an aborted task says so; the state is freed once, by
/// the last of task, join handle and abort handles, who sees what the others did.
/// All of it is the real source, but for deferred joins, which touch one worker alone; tasks.hpp
/// says what stands for frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/abort_handle.cpp>

namespace magpie::spawns {

using model::body;
using model::party;
using model::probe;

struct world : model::stage {
  task_root top_root{model::no_scheduler()};
  stop_scope top{nullptr, top_root};
  body frame;
  party joiner;
  std::optional<join_handle<probe>> handle;
  std::array<std::optional<abort_handle>, 2> aborters;
  plain<int> work{0};  ///< What the task did.

  void before(std::size_t abort_handles = 0) {
    here.spawn_scope = &top;
    handle.emplace(detail::spawn_here(task<probe>(frame), std::source_location::current()));
    for (std::size_t i = 0; i != abort_handles; ++i) aborters[i].emplace(handle->abort_handle());
  }

  void end() {
    work = 1;
    if (frame.stop_requested()) {
      frame.end(errc::stopped);
    } else {
      frame.end_with(7);
    }
  }

  /// True when it got the outcome, a value or `aborted`.
  bool join(party& by) {
    auto op = handle->join();
    const std::error_code waited = by.await(op);
    if (waited) {
      MAGPIE_ASSERT(waited == errc::stopped);
      return false;
    }
    const auto outcome = *op.take();
    MAGPIE_ASSERT(work == 1 && frame.gone());
    MAGPIE_ASSERT(outcome ? outcome->value == 7 : outcome.error() == errc::aborted);
    return true;
  }

  /// By thread `index`.
  void detach(unsigned index) {
    frame.used[index] = 1;
    handle.reset();
  }
  void drop(std::size_t aborter, unsigned index) {
    frame.used[index] = 1;
    aborters[aborter].reset();
  }

  void after() { MAGPIE_ASSERT(blocks == 0 && frame.gone()); }
};

}  // namespace magpie::spawns

namespace {

using magpie::model::scenario;
using magpie::spawns::world;

/// The handle is dropped while the task ends.
struct end_and_drop : scenario<end_and_drop, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) { index == 0 ? end() : detach(1); }
  void after() { world::after(); }
};

/// A join, then the handle goes.
struct end_and_join : scenario<end_and_join, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) return end();
    MAGPIE_ASSERT(join(joiner));
    detach(1);
  }
  void after() { world::after(); }
};

/// The joiner is stopped meanwhile; stopped or not, the handle is usable and dropped in the end.
struct end_join_and_stop : scenario<end_join_and_stop, 3>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) return end();
    if (index == 2) return joiner.scope.request_stop();
    join(joiner);
    detach(1);
  }
  void after() { world::after(); }
};

/// The task does not end by itself: the stop has to reach the joiner.
struct stop_of_a_join : scenario<stop_of_a_join, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 1) return joiner.scope.request_stop();
    MAGPIE_ASSERT(!join(joiner));
    end();
    detach(0);
  }
  void after() { world::after(); }
};

/// A stopped joiner leaves the handle to a second, unstopped join.
struct stop_and_join_again : scenario<stop_and_join_again, 3>, world {
  magpie::model::party again;
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) return end();
    if (index == 2) return joiner.scope.request_stop();
    if (!join(joiner)) MAGPIE_ASSERT(join(again));
    detach(1);
  }
  void after() { world::after(); }
};

/// The task ends while its join handle and an abort handle are dropped.
struct three_drops : scenario<three_drops, 3>, world {
  void before() { world::before(1); }
  void thread(unsigned index) {
    if (index == 0) end();
    if (index == 1) detach(1);
    if (index == 2) drop(0, 2);
  }
  void after() { world::after(); }
};

/// The task has ended: both abort handles and the join handle go at once.
struct handles_alone : scenario<handles_alone, 3>, world {
  void before() {
    world::before(2);
    end();
  }
  void thread(unsigned index) { index == 0 ? detach(0) : drop(index - 1, index); }
  void after() { world::after(); }
};

/// One makes new abort handles of what it holds while another one goes.
struct new_handles : scenario<new_handles, 3>, world {
  void before() { world::before(2); }
  void thread(unsigned index) {
    if (index == 0) {
      end();
    } else if (index == 1) {
      aborters[0] = handle->abort_handle();
      detach(1);
    } else {
      frame.used[2] = 1;
      std::optional<magpie::abort_handle> copy(*aborters[1]);
      aborters[1].reset();
      copy.reset();
    }
  }
  void after() {
    aborters[0].reset();
    world::after();
  }
};

/// A task is aborted while it ends and is joined.
struct abort_and_join : scenario<abort_and_join, 3>, world {
  void before() { world::before(1); }
  void thread(unsigned index) {
    if (index == 0) return end();
    if (index == 1) {
      aborters[0]->abort();
      drop(0, 1);
      return;
    }
    MAGPIE_ASSERT(join(joiner));
    detach(2);
  }
  void after() { world::after(); }
};

/// Whoever sees that a task is done sees what it did.
struct end_and_look : scenario<end_and_look, 3>, world {
  void before() { world::before(1); }
  void thread(unsigned index) {
    if (index == 0) return end();
    if (index == 1 ? aborters[0]->done() : handle->done()) MAGPIE_ASSERT(work == 1 && frame.gone());
  }
  void after() {
    detach(0);
    drop(0, 0);
    world::after();
  }
};

/// The join handle is dropped while the task ends: for an abort handle it is done then, for good.
struct drop_and_look : scenario<drop_and_look, 3>, world {
  void before() { world::before(1); }
  void thread(unsigned index) {
    if (index == 0) return end();
    if (index == 1) return detach(1);
    if (!aborters[0]->done()) return;
    MAGPIE_ASSERT(work == 1 && frame.gone());
    MAGPIE_ASSERT(aborters[0]->done());
  }
  void after() {
    MAGPIE_ASSERT(aborters[0]->done());
    drop(0, 0);
    world::after();
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "spawn",
       .scenarios = {entry<end_and_drop>("end_and_drop", 4), entry<end_and_join>("end_and_join", 3),
                     entry<stop_of_a_join>("stop_of_a_join", 3),
                     entry<end_and_look>("end_and_look", 2), entry<three_drops>("three_drops", 3),
                     entry<handles_alone>("handles_alone", 4), entry<new_handles>("new_handles", 2),
                     entry<end_join_and_stop>("end_join_and_stop", 2),
                     entry<drop_and_look>("drop_and_look", 3),
                     entry<abort_and_join>("abort_and_join", 1),
                     entry<stop_and_join_again>("stop_and_join_again", 2)},
       .files = {"runtime/spawn.cpp", "runtime/spawn.hpp", "runtime/abort_handle.cpp"},
       .logic_mutants = {"a_post_is_lost"},
       .equivalents = {{"join_base::enlist.cas#2 acq_rel->acquire",
                        "a joiner that found `refused` goes on as stopped: it hands nothing on"},
                       {"join_base::enlist.cas#2 acq_rel->release", "and reads nothing"},
                       {"join_base::enlist.cas-failure#2 acquire->relaxed", "and reads nothing"},
                       {"join_base::cancel_join.cas acq_rel->acquire",
                        "BUSY of the stop scope orders canceller and joiner"},
                       {"join_base::cancel_join.cas acq_rel->release", "and so does its mark"},
                       {"join_base::cancel_join.cas-failure acquire->relaxed",
                        "a canceller that finds the end reads nothing"}}},
      argc, argv);
}
