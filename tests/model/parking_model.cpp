/// Model: no wake-up of a worker is lost between its parking, a rescuer that reaps its completions,
/// and whoever wakes it; nobody awake is left without a watcher; the LIFO slot and its thief; the
/// meeting of a timeout's two parties.
///
/// The protocols are transcribed in parking_protocol.hpp; the ring here stands for the parts of
/// uring_reactor.cpp that they use (set_parked, turn, wake, rescue): a wake-up is an entry in the
/// completion queue, and blocking returns when there is one.
#include <magpie/tests/model/parking_protocol.hpp>

#include <magpie/runtime/idle.hpp>
#include <magpie/tests/model/work.hpp>
#include <magpie/util/spin_lock.hpp>

namespace magpie::parking {

using model::bed;
using model::scenario;

/// A worker's ring as far as waking goes.
struct ring {
  spin_lock lock;             // the reap lock
  plain<bool> parked{false};  // under the lock
  atomic<int> entries{0};     // wake-ups in the completion queue; the kernel's side is seq_cst
  bed kernel;                 // ends a blocking enter

  void wake() {
    entries.fetch_add(1, order::seq_cst);
    kernel.wake();
  }
  void set_parked(bool to) {
    lock_scope guard(lock);
    parked = to;
  }
  /// Moves the head up to the tail that it sees; what comes meanwhile stays.
  void reap() { entries.fetch_sub(entries.load(order::seq_cst), order::seq_cst); }

  /// Blocks unless a completion is there, then reaps.
  void turn() {
    while (entries.load(order::seq_cst) == 0) kernel.sleep();
    lock_scope guard(lock);
    reap();
  }
  void rescue() {
    lock_scope guard(lock);
    if (parked && !logic("rescuer_reaps_the_parked")) return;
    reap();
  }
};

struct worker {
  ring io;
  notice note;

  void wake() {
    if (note.give()) io.wake();
  }
  void park() {
    io.set_parked(true);
    if (!note.given() || logic("parker_ignores_the_notice")) io.turn();
    io.set_parked(false);
    note.take();
  }
};

/// `done` is set and the worker woken, as wake_first does for the end of block_on.
struct wake_and_rescue : scenario<wake_and_rescue, 3> {
  worker sleeper;
  atomic<bool> done{false};
  plain<int> result{0};
  void thread(unsigned index) {
    if (index == 0) {
      while (!done.load(order::acquire)) sleeper.park();
      MAGPIE_ASSERT(result == 5);
    } else if (index == 1) {
      result = 5;
      done.store(true, order::release);
      sleeper.wake();
    } else {
      sleeper.io.rescue();
    }
  }
};

/// Two wakers, of which the first is for nothing.
struct two_wakers : scenario<two_wakers, 3> {
  worker sleeper;
  atomic<bool> done{false};
  void thread(unsigned index) {
    if (index == 0) {
      while (!done.load(order::acquire)) sleeper.park();
    } else if (index == 1) {
      sleeper.wake();
      sleeper.io.rescue();
    } else {
      done.store(true, order::release);
      sleeper.wake();
    }
  }
};

// ---- the LIFO slot ------------------------------------------------------------------------------

struct lifo_and_thief : scenario<lifo_and_thief, 2> {
  model::task tasks[3];
  lifo_slot slot;

  static void run(runnable* work) {
    if (work != nullptr) model::take(work);
  }
  void thread(unsigned index) {
    if (index == 0) {
      for (model::task& one : tasks) {
        one.prepare();
        run(slot.post(one));
      }
      run(slot.take());
    } else {
      run(slot.take());
      run(slot.take());
    }
  }
  void after() {
    for (model::task& one : tasks) MAGPIE_ASSERT(one.ran_once());
  }
};

// ---- the watcher's leave ------------------------------------------------------------------------

/// Worker 0 watches and is about to sleep untimed, because all seem to sleep; worker 1 wakes up.
/// The list of sleepers is the real one.
struct watchers_leave : scenario<watchers_leave, 2> {
  basic_idle<2> sleepers;
  atomic<int> watcher{0};
  plain<bool> watched{false};  // worker 0 stays its watcher
  plain<bool> woken{false};    // worker 0 was woken to be it again

  void before() { sleepers.park(1, false); }
  void thread(unsigned index) {
    if (index == 0) {
      const bool early = sleepers.parked() < 1;
      watcher.store(-1, order::relaxed);  // (R)
      sleepers.park(0, false);            // (P)
      watched = logic("watcher_looks_before_it_sleeps") ? early : sleepers.parked() < 2;
    } else {
      const bool unseen = watcher.load(order::relaxed) == -1;
      sleepers.unpark_self(1);  // (U)
      const bool nobody = logic("waker_looks_before_it_leaves")
                              ? unseen
                              : watcher.load(order::relaxed) == -1;  // (L)
      if (nobody) woken = sleepers.pick_any() == 0;
    }
  }
  void after() { MAGPIE_ASSERT(watched || woken); }
};

// ---- the meeting of a timeout -------------------------------------------------------------------

/// The timer could not be disarmed any more when x arrived.
struct timeout_meeting : scenario<timeout_meeting, 2> {
  meeting met;
  plain<int> error{0};  // written when x arrives
  plain<int> fired{0};  // written when the timer runs
  plain<int> went_on{0};

  void go_on() {
    MAGPIE_ASSERT(error == 1 && fired == 1);
    went_on = went_on + 1;
  }
  void thread(unsigned index) {
    if (index == 0) {
      error = 1;
      if (met.x_is_second()) go_on();
    } else {
      fired = 1;
      if (met.timer_is_second() || logic("the_timer_never_waits")) go_on();
    }
  }
  void after() { MAGPIE_ASSERT(went_on == 1); }
};

}  // namespace magpie::parking

int main(int argc, char** argv) {
  using namespace magpie::parking;
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "parking",
       .scenarios = {entry<wake_and_rescue>("wake_and_rescue", 3),
                     entry<two_wakers>("two_wakers", 3), entry<lifo_and_thief>("lifo_and_thief", 5),
                     entry<watchers_leave>("watchers_leave", 4),
                     entry<timeout_meeting>("timeout_meeting", 5)},
       .files = {"tests/model/parking_protocol.hpp"},
       .logic_mutants = {"rescuer_reaps_the_parked", "parker_ignores_the_notice",
                         "watcher_looks_before_it_sleeps", "waker_looks_before_it_leaves",
                         "the_timer_never_waits"},
       .equivalents = {{"notice::give.rmw acq_rel->release", "a waker reads nothing after it"},
                       {"notice::given.load acquire->relaxed", "(N2) acquires in its place"},
                       {"notice::take.rmw acq_rel->acquire", "the sleeper hands nothing on by it"},
                       {"lifo_slot::post.rmw acq_rel->release",
                        "what comes out is the owner's own, or nothing"},
                       {"lifo_slot::take.rmw acq_rel->acquire", "a taker leaves nothing there"}}},
      argc, argv);
}
