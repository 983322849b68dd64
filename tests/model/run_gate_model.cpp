/// Model: the branches of a fork pass its run gate one at a time, each piece of work runs once, one
/// branch is the winner, and the last to end closes the gate, which nobody touches afterwards.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/run_gate.hpp>

#include <optional>

namespace magpie {

detail::run_gate::run_gate() noexcept : runnable(nullptr) {}

namespace gates {

using detail::gated_runnable;
using detail::run_gate;
using model::logic;

/// What a branch waits for.
struct work final : gated_runnable {
  work() noexcept : gated_runnable(nullptr) {}
  plain<int> completion{0};  ///< Written by who completes it, read under the gate.
  bool is_last = true;       ///< Its branch ends with it.
};

template <int Branches>
struct fork {
  std::optional<run_gate> gate;
  plain<int> running{Branches};
  plain<int> winner{0};
  plain<int> runs{0};
  plain<int> closed{0};

  void before() { gate.emplace(); }

  /// A worker has completed `item`: runs it now, or leaves it to the holder.
  void arrive(work& item) {
    item.completion = 1;
    const bool mine = gate->enter(item);
    if (!mine && !logic("the_finder_of_a_held_gate_goes_on")) return;
    if (run(item)) serve();
  }

  /// False when the gate is gone.
  bool run(work& item) {
    MAGPIE_ASSERT(item.completion == 1);
    item.completion = 2;
    runs = runs + 1;
    if (!item.is_last) return true;
    if (winner == 0) winner = 1;
    running = running - 1;
    if (running != 0) return true;
    closed = 1;
    gate.reset();
    return false;
  }

  void serve() {
    for (;;) {
      if (gated_runnable* next = gate->take_first()) {
        if (logic("the_holder_drops_what_waits")) continue;
        if (!run(static_cast<work&>(*next))) return;
      } else if (gate->leave()) {
        return;
      }
    }
  }

  void after(int expected) {
    MAGPIE_ASSERT(runs == expected && winner == 1 && running == 0 && closed == 1);
  }
};

}  // namespace gates
}  // namespace magpie

namespace {

using magpie::gates::fork;
using magpie::gates::work;
using magpie::model::scenario;

/// Two branches end on two workers.
struct two_ends : scenario<two_ends, 2>, fork<2> {
  work ends[2];
  void before() { fork::before(); }
  void thread(unsigned index) { arrive(ends[index]); }
  void after() { fork::after(2); }
};

/// Three branches end: two may wait at once, and run in their order.
struct three_ends : scenario<three_ends, 3>, fork<3> {
  work ends[3];
  void before() { fork::before(); }
  void thread(unsigned index) { arrive(ends[index]); }
  void after() { fork::after(3); }
};

/// Each branch waits twice; the second completion comes at once.
struct waits_in_a_row : scenario<waits_in_a_row, 2>, fork<2> {
  work waits[2];
  work ends[2];
  void before() {
    fork::before();
    for (work& wait : waits) wait.is_last = false;
  }
  void thread(unsigned index) {
    arrive(waits[index]);
    arrive(ends[index]);
  }
  void after() { fork::after(4); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "run_gate",
       .scenarios = {entry<two_ends>("two_ends", 5), entry<three_ends>("three_ends", 3),
                     entry<waits_in_a_row>("waits_in_a_row", 4)},
       .files = {"runtime/run_gate.hpp"},
       .logic_mutants = {"the_finder_of_a_held_gate_goes_on", "the_holder_drops_what_waits"}},
      argc, argv);
}
