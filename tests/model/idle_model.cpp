/// Model: no wake-up is lost.  Workers search, steal and park as the scheduler's do, over real
/// local queues and the real injector.  A task waits for others to run at the same time, so a task
/// that lies in a queue while a worker sleeps ends in a deadlock, which the checker reports.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/idle.hpp>
#include <magpie/runtime/injector.hpp>
#include <magpie/runtime/local_queue.hpp>

namespace {

using magpie::model::bed;
using magpie::model::logic;
using magpie::model::scenario;

struct own_queue : magpie::basic_local_queue<2> {
  own_queue() : basic_local_queue(true) {}
};

struct job : magpie::runnable {
  job() : runnable(nullptr) {}
  job* children[2] = {nullptr, nullptr};  // pushed to the runner's own queue before it waits
  bed wait;
};

/// `Workers` workers and `Jobs` jobs, the first `Party` of which wait for each other.
template <int Workers, int Jobs, int Party = Jobs>
struct world {
  magpie::basic_idle<Workers> idle;
  magpie::injector global;
  own_queue local[Workers];
  bed beds[Workers];
  job jobs[Jobs];
  magpie::atomic<int> arrived{0};
  magpie::atomic<int> left{Jobs};

  void wake_one() {
    if (!logic("producer_never_wakes") && idle.should_wake()) {
      pick_and_wake();
    }
  }
  void pick_and_wake() {
    const int sleeper = idle.pick_to_wake();
    if (sleeper >= 0) {
      beds[sleeper].wake();
    }
  }

  void push_global(job& j) {
    MAGPIE_ASSERT(global.push(j));
    wake_one();
  }

  void run(job& j, int worker) {
    for (job* child : j.children) {
      if (child != nullptr) {
        local[worker].push(*child, [](magpie::runnable*, magpie::runnable*, std::size_t) {
          MAGPIE_ASSERT(false);
        });
        wake_one();
      }
    }
    if (&j < jobs + Party) {
      if (arrived.fetch_add(1, magpie::order::acq_rel) + 1 == Party) {
        for (int i = 0; i != Party; ++i) {
          jobs[i].wait.wake();
        }
      }
      j.wait.sleep();
    }
    if (left.fetch_sub(1, magpie::order::acq_rel) == 1) {
      for (bed& b : beds) {
        b.wake();  // the end: everybody leaves
      }
    }
  }

  job* find(int worker, bool& searching) {
    if (magpie::runnable* r = local[worker].pop()) {
      return static_cast<job*>(r);
    }
    if (magpie::runnable* r = global.pop()) {
      return static_cast<job*>(r);
    }
    if (!searching && !idle.begin_search(Workers)) {
      return nullptr;
    }
    searching = true;
    for (int i = 1; i != Workers; ++i) {
      if (magpie::runnable* r = local[(worker + i) % Workers].steal_into(local[worker])) {
        return static_cast<job*>(r);
      }
    }
    return static_cast<job*>(global.pop());
  }

  void stop_searching(bool& searching) {
    if (searching) {
      searching = false;
      if (idle.end_search() && !logic("leaver_wakes_nobody")) {
        wake_one();
      }
    }
  }

  void look_again() {
    bool work = !global.empty();
    for (int i = 0; i != Workers; ++i) {
      work = work || !local[i].empty();
    }
    if (work) {
      pick_and_wake();
    }
  }

  /// `first` is what the worker runs to begin with; a sleeper comes to life parked.
  void work(int worker, job* first, bool searching = false) {
    for (;;) {
      while (job* j = first != nullptr ? first : find(worker, searching)) {
        first = nullptr;
        stop_searching(searching);
        run(*j, worker);
      }
      // A read-modify-write, so that it is the newest value: the bed's wake-ups merge, and a merged
      // one publishes nothing in this model.
      if (left.fetch_add(0, magpie::order::acq_rel) == 0) {
        stop_searching(searching);
        return;
      }
      const bool was_searching = searching;
      const bool nobody_searches = idle.park(static_cast<unsigned>(worker), searching);
      searching = false;
      if (nobody_searches && !logic("nobody_looks_again") &&
          (was_searching || !logic("last_searcher_alone_looks_again"))) {
        look_again();
      }
      beds[worker].sleep();
      searching = !idle.unpark_self(static_cast<unsigned>(worker));
    }
  }

  void check() {
    idle.check_invariants();
    MAGPIE_ASSERT(idle.searching() == 0 && global.empty());
    for (const auto& queue : local) {
      MAGPIE_ASSERT(queue.empty());
    }
  }
};

/// A foreign thread injects two jobs that need each other; two workers.
struct injected_pair : scenario<injected_pair, 3>, world<2, 2> {
  void thread(unsigned index) {
    if (index == 2) {
      push_global(jobs[0]);
      push_global(jobs[1]);
    } else {
      work(static_cast<int>(index), nullptr);
    }
  }
  void after() { check(); }
};

/// A worker's job spawns one on its own queue and needs it to run meanwhile.
struct spawned : scenario<spawned, 2>, world<2, 2> {
  void before() { jobs[0].children[0] = &jobs[1]; }
  void thread(unsigned index) { work(static_cast<int>(index), index == 0 ? &jobs[0] : nullptr); }
  void after() { check(); }
};

/// The same with an injected job in the way, which needs nobody.
struct spawned_and_injected : scenario<spawned_and_injected, 3>, world<2, 3, 2> {
  void before() { jobs[0].children[0] = &jobs[1]; }
  void thread(unsigned index) {
    if (index == 2) {
      push_global(jobs[2]);
    } else {
      work(static_cast<int>(index), index == 0 ? &jobs[0] : nullptr);
    }
  }
  void after() { check(); }
};

/// Three workers for two children and their parent: the chain of wake-ups.
struct chain : scenario<chain, 3>, world<3, 3> {
  void before() {
    jobs[0].children[0] = &jobs[1];
    jobs[0].children[1] = &jobs[2];
  }
  void thread(unsigned index) { work(static_cast<int>(index), index == 0 ? &jobs[0] : nullptr); }
  void after() { check(); }
};

/// A worker is woken from outside, as by its own I/O, while others may pick it.
struct woken_by_io : scenario<woken_by_io, 3>, world<2, 2> {
  void thread(unsigned index) {
    if (index == 2) {
      beds[1].wake();
      push_global(jobs[0]);
      beds[0].wake();
      push_global(jobs[1]);
    } else {
      work(static_cast<int>(index), nullptr);
    }
  }
  void after() { check(); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  using magpie::model::random_only;
  return magpie::model::run(
      {.name = "idle",
       .scenarios = {entry<spawned>("spawned", 2), entry<injected_pair>("injected_pair", 1),
                     entry<spawned_and_injected>("spawned_and_injected", 1),
                     entry<woken_by_io>("woken_by_io", 1), entry<chain>("chain", random_only)},
       .files = {"runtime/idle.hpp", "runtime/injector.hpp"},
       .logic_mutants = {"producer_never_wakes", "leaver_wakes_nobody", "nobody_looks_again",
                         "last_searcher_alone_looks_again"}},
      argc, argv);
}
