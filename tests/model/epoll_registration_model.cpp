/// Model: no edge is lost between an attempt and a wait, each wait ends once, and what was meant
/// for an earlier registration ends none.
///
/// A task reads one byte: it attempts, waits on EAGAIN and attempts again.  A kernel makes the byte
/// available and delivers the edge.  A canceller stops the task's scope, which is modelled by the
/// word of stop_scope.hpp.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/epoll_registration.hpp>

namespace {

namespace order = magpie::order;
using magpie::model::bed;
using magpie::model::logic;
using magpie::model::scenario;

constexpr unsigned entered = 1;
constexpr unsigned stopped = 2;
constexpr unsigned busy = 4;
constexpr int epoll = 7;

/// A wait in a scope of its own.  Whoever ends it wakes the task.
struct wait_operation {
  bool begin() {
    unsigned idle = 0;
    return scope.compare_exchange_strong(idle, entered, order::acq_rel, order::acquire);
  }

  /// By the task, once for every post; false: the canceller posts once more.
  bool end() { return (scope.fetch_and(stopped | busy, order::acq_rel) & busy) == 0; }

  void post() { task.wake(); }

  magpie::atomic<unsigned> scope{0};
  magpie::plain<bool> cancelled{false};
  magpie::plain<int> ended{0};  // how often somebody took it to end it
  bed task;
};

using registration = magpie::epoll_registration<wait_operation>;
using outcome = registration::outcome;

/// What the three threads share.
struct reading {
  registration state;
  wait_operation op;
  magpie::atomic<int> data{0};
  magpie::plain<int> begun{0};
  magpie::plain<bool> got{false};
  magpie::plain<bool> gave_up{false};

  /// Waits; false when the task is stopped.
  bool wait() {
    switch (state.wait(registration::read_way, op)) {
      case outcome::refused:
        return false;
      case outcome::ready:
        begun = begun + 1;
        op.ended = op.ended + 1;  // the ready chain hands it out
        op.end();
        return true;
      default:
        begun = begun + 1;
        op.task.sleep();
        if (!op.end()) op.task.sleep();
        return !op.cancelled;
    }
  }

  /// The task.
  void read() {
    for (;;) {
      if (data.load(order::acquire) != 0) {
        got = true;
        return;
      }
      if (!wait() || (logic("no attempt after a wait") && !wait())) {
        gave_up = true;
        return;
      }
    }
  }

  void deliver(std::uint32_t generation) {
    const auto event = state.event(generation, registration::read_bit, 0);
    if (wait_operation* done = event.ended[registration::read_way]) {
      done->ended = done->ended + 1;
      done->post();
    }
  }

  void stop() {
    const unsigned before = op.scope.fetch_or(stopped | busy, order::acq_rel);
    if ((before & entered) != 0) {
      if (state.cancel(registration::read_way, op) || logic("cancel without asking")) {
        op.cancelled = true;
        op.ended = op.ended + 1;
        op.post();
      }
      // It left while we were busy.
      if ((op.scope.fetch_and(~busy, order::acq_rel) & entered) == 0) op.post();
    } else {
      op.scope.fetch_and(~busy, order::acq_rel);
    }
  }
};

struct edge_and_attempt : scenario<edge_and_attempt, 2> {
  reading all;

  void before() { all.state.open(epoll); }
  void thread(unsigned index) {
    if (index == 0) {
      all.read();
    } else {
      all.data.store(1, order::release);
      all.deliver(all.state.generation());
    }
  }
  void after() { MAGPIE_ASSERT(all.got && all.begun == all.op.ended); }
};

struct edge_and_cancel : scenario<edge_and_cancel, 3> {
  reading all;

  void before() { all.state.open(epoll); }
  void thread(unsigned index) {
    if (index == 0) {
      all.read();
    } else if (index == 1) {
      all.data.store(1, order::release);
      all.deliver(all.state.generation());
    } else {
      all.stop();
    }
  }
  void after() {
    MAGPIE_ASSERT(all.got != all.gave_up);
    MAGPIE_ASSERT(all.begun == all.op.ended);
  }
};

/// An event was fetched from the kernel; meanwhile its descriptor is closed and the registration
/// serves another one, which only the canceller may end.
struct late_event : scenario<late_event, 2> {
  reading all;
  std::uint32_t fetched = 0;

  void before() {
    all.state.open(epoll);
    fetched = all.state.generation();
  }
  void thread(unsigned index) {
    if (index == 1) {
      all.deliver(fetched);
      return;
    }
    all.state.close();
    all.state.closed();
    if (logic("generation stays")) all.state.set_generation(fetched);
    all.state.open(epoll);
    MAGPIE_ASSERT(all.state.wait(registration::read_way, all.op) == outcome::waiting);
  }
  void after() { MAGPIE_ASSERT(all.state.cancel(registration::read_way, all.op)); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "epoll_registration",
       .scenarios = {entry<edge_and_attempt>("edge_and_attempt", 3),
                     entry<edge_and_cancel>("edge_and_cancel", 2),
                     entry<late_event>("late_event", 3)},
       .files = {"util/spin_lock.hpp"},
       .logic_mutants = {"no attempt after a wait", "cancel without asking", "generation stays"}},
      argc, argv);
}
