/// Model: every fork is run exactly once, whoever takes it, and its runner sees what its spawner
/// wrote; owner and thief agree on the last one.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/fork_deque.hpp>
#include <magpie/tests/model/work.hpp>

namespace {

using magpie::model::scenario;
using magpie::model::take;
using magpie::model::task;

using deque = magpie::basic_fork_deque<2>;

/// The owner pushes and takes; two thieves steal.
struct owner_and_thieves : scenario<owner_and_thieves, 3> {
  deque forks{true};
  task all[3];

  void push(task& t) {
    t.prepare();
    if (!forks.push(t)) take(&t);  // full: it goes elsewhere
  }
  void thread(unsigned index) {
    if (index == 0) {
      push(all[0]);
      push(all[1]);
      if (magpie::runnable* t = forks.take()) take(t);
      push(all[2]);
      while (magpie::runnable* t = forks.take()) take(t);
    } else {
      if (magpie::runnable* t = forks.steal()) take(t);
    }
  }
  void after() {
    while (magpie::runnable* t = forks.take()) take(t);
    MAGPIE_ASSERT(forks.empty());
    for (const task& t : all) MAGPIE_ASSERT(t.ran_once());
  }
};

/// A joiner reaches for its own child while a thief takes the oldest.
struct joining : scenario<joining, 2> {
  deque forks{true};
  task all[2];
  magpie::plain<bool> taken_back{false};

  void thread(unsigned index) {
    if (index == 0) {
      for (task& t : all) {
        t.prepare();
        MAGPIE_ASSERT(forks.push(t));
      }
      if (forks.take_if(all[1])) {
        taken_back = true;
        take(&all[1]);
      }
      MAGPIE_ASSERT(!forks.take_if(all[1]));  // taken, by us or by the thief
    } else {
      for (int i = 0; i < 2; ++i) {
        if (magpie::runnable* t = forks.steal()) take(t);
      }
    }
  }
  void after() {
    while (magpie::runnable* t = forks.take()) take(t);
    for (const task& t : all) MAGPIE_ASSERT(t.ran_once());
  }
};

/// With the handshake: of a push followed by a look at a word, and a change of the word followed by
/// a look at the deque, one sees the other.
struct handshake : scenario<handshake, 2> {
  deque forks{true, true};
  magpie::atomic<int> word{0};
  task work;
  magpie::plain<bool> pusher_saw{false};
  magpie::plain<bool> looker_saw{false};

  void thread(unsigned index) {
    if (index == 0) {
      work.prepare();
      MAGPIE_ASSERT(forks.push(work));
      pusher_saw = word.load(magpie::order::seq_cst) != 0;
    } else {
      word.exchange(1, magpie::order::seq_cst);
      looker_saw = !forks.empty();
    }
  }
  void after() {
    MAGPIE_ASSERT(pusher_saw || looker_saw);
    if (magpie::runnable* t = forks.take()) take(t);
    MAGPIE_ASSERT(work.ran_once());
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "fork_deque",
       .scenarios = {entry<joining>("joining", 3), entry<handshake>("handshake", 3),
                     entry<owner_and_thieves>("owner_and_thieves", 2)},
       .files = {"runtime/fork_deque.hpp"},
       .equivalents = {{"basic_fork_deque::push.load#2 acquire->relaxed",
                        "needs a load that sees a later store, which this checker never shows"},
                       {"basic_fork_deque::steal.load acquire->relaxed",
                        "needs two loads out of program order, which this checker never shows"}}},
      argc, argv);
}
