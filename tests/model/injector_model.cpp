/// Model: every task that the injector accepted comes out once, a refused one never, and a push and
/// a look from outside never miss each other.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/injector.hpp>
#include <magpie/tests/model/work.hpp>

namespace {

using magpie::model::scenario;
using magpie::model::take;
using magpie::model::task;

/// A single task and a chain go in; two takers, one with a queue of its own.
struct in_and_out : scenario<in_and_out, 3> {
  magpie::injector global;
  magpie::basic_local_queue<4> mine{true};
  task all[4];

  void thread(unsigned index) {
    if (index == 0) {
      for (task& t : all) {
        t.prepare();
      }
      all[1].next = &all[2];
      all[2].next = &all[3];
      MAGPIE_ASSERT(global.push(all[0]));
      MAGPIE_ASSERT(global.push(&all[1], &all[3], 3));
    } else if (index == 1) {
      if (magpie::runnable* t = global.pop()) {
        take(t);
      }
    } else {
      if (magpie::runnable* t = global.pop_into(mine, 3)) {
        take(t);
      }
      while (magpie::runnable* t = mine.pop()) {
        take(t);
      }
    }
  }
  void after() {
    global.check_invariants();
    magpie::runnable* rest[4];
    const std::size_t count = global.pop_batch(rest, 4);
    for (std::size_t i = 0; i != count; ++i) {
      take(rest[i]);
    }
    MAGPIE_ASSERT(global.empty());
    for (const task& t : all) {
      MAGPIE_ASSERT(t.ran_once());
    }
  }
};

/// A push against a close: accepted means that whoever closed finds it.
struct closing : scenario<closing, 2> {
  magpie::injector global;
  task work;
  magpie::plain<bool> accepted{false};
  magpie::plain<bool> found{false};

  void thread(unsigned index) {
    if (index == 0) {
      work.prepare();
      accepted = global.push(work);
    } else {
      global.close();
      if (magpie::runnable* t = global.pop()) {
        take(t);
        found = true;
      }
      MAGPIE_ASSERT(global.is_closed());
    }
  }
  void after() { MAGPIE_ASSERT(accepted == found && global.empty()); }
};

/// Of a push followed by a look at a word, and a change of that word followed by a look at the
/// injector, one sees the other; and what is seen can be taken.
struct handshake : scenario<handshake, 2> {
  magpie::injector global;
  magpie::atomic<int> word{0};
  task work[2];
  magpie::plain<bool> pusher_saw{false};
  magpie::plain<bool> looker_saw{false};

  void before() {
    MAGPIE_ASSERT(global.push(work[0]) && global.pop() == &work[0] && global.empty());
  }
  void thread(unsigned index) {
    if (index == 0) {
      work[1].prepare();
      MAGPIE_ASSERT(global.push(work[1]));
      pusher_saw = word.load(magpie::order::seq_cst) != 0;
    } else {
      word.exchange(1, magpie::order::seq_cst);
      if (!global.empty()) {
        looker_saw = true;
        magpie::runnable* t = global.pop();
        MAGPIE_ASSERT(t == &work[1]);
        take(t);
      }
    }
  }
  void after() {
    MAGPIE_ASSERT(pusher_saw || looker_saw);
    if (magpie::runnable* t = global.pop()) {
      take(t);
    }
    MAGPIE_ASSERT(work[1].ran_once());
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "injector",
       .scenarios = {entry<closing>("closing", 3), entry<handshake>("handshake", 3),
                     entry<in_and_out>("in_and_out", 3)},
       .files = {"runtime/injector.hpp", "util/spin_lock.hpp"}},
      argc, argv);
}
