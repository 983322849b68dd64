/// Model: a timer resolves exactly once, by firing or by a cancel, on whichever thread; who
/// resolves it may touch what it belongs to; and an earlier deadline from another thread reaches a
/// sleeper.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/timer_wheel.cpp>
#include <magpie/runtime/timer_wheel.hpp>

namespace {

using magpie::lock_scope;
using magpie::timer_list;
using magpie::timer_wheel;
using magpie::model::bed;
using magpie::model::logic;
using magpie::model::scenario;

struct alarm : magpie::timer_node {
  magpie::plain<int> fired{0};
  magpie::plain<int> cancelled{0};
  magpie::plain<int> armed_by{0};

  bool resolved_once() const { return fired + cancelled == 1; }
};

void arm(timer_wheel& wheel, alarm& timer, std::uint64_t deadline_us) {
  timer.armed_by = 1;
  timer.deadline_ns = deadline_us * timer_wheel::tick_ns;
  lock_scope guard(wheel);
  wheel.insert(timer);
}

void cancel(timer_wheel& wheel, alarm& timer) {
  bool cancelled = false;
  if (logic("cancel_without_lock")) {
    cancelled = wheel.cancel(timer);
  } else {
    lock_scope guard(wheel);
    cancelled = wheel.cancel(timer);
  }
  if (cancelled) {
    timer.cancelled = timer.cancelled + 1;
  }
}

int expire(timer_wheel& wheel, std::uint64_t now_us, std::size_t handled_max = 10) {
  timer_list fired;
  if (logic("expire_without_lock")) {
    wheel.expire(now_us * timer_wheel::tick_ns, fired, handled_max);
  } else {
    lock_scope guard(wheel);
    wheel.expire(now_us * timer_wheel::tick_ns, fired, handled_max);
  }
  int count = 0;
  for (; auto* timer = static_cast<alarm*>(fired.pop_front()); ++count) {
    MAGPIE_ASSERT(timer->armed_by == 1);
    timer->fired = timer->fired + 1;
  }
  return count;
}

/// The owner fires, another worker cancels, a third fires for the owner.
struct three_ways : scenario<three_ways, 3> {
  timer_wheel wheel;
  alarm timers[2];

  void before() {
    arm(wheel, timers[0], 3);
    arm(wheel, timers[1], 70);  // has to move down first
  }
  void thread(unsigned index) {
    if (index == 0) {
      expire(wheel, 5);
      expire(wheel, 80);
    } else if (index == 1) {
      cancel(wheel, timers[1]);
      cancel(wheel, timers[0]);
    } else {
      expire(wheel, 80, 1);
    }
  }
  void after() {
    wheel.check_invariants();
    expire(wheel, 100);
    MAGPIE_ASSERT(wheel.size() == 0 && wheel.next_deadline_ns() == timer_wheel::no_deadline);
    MAGPIE_ASSERT(timers[0].resolved_once() && timers[1].resolved_once());
  }
};

/// Arming against firing and cancelling of others.
struct arming : scenario<arming, 3> {
  timer_wheel wheel;
  alarm timers[3];

  void before() { arm(wheel, timers[0], 2); }
  void thread(unsigned index) {
    if (index == 0) {
      expire(wheel, 2);
    } else if (index == 1) {
      arm(wheel, timers[1], 1);
      cancel(wheel, timers[0]);
    } else {
      arm(wheel, timers[2], 65);
      cancel(wheel, timers[2]);
    }
  }
  void after() {
    wheel.check_invariants();
    expire(wheel, 100);
    for (const alarm& timer : timers) {
      MAGPIE_ASSERT(timer.resolved_once());
    }
  }
};

/// The owner sleeps until the published deadline; another thread arms an earlier timer and wakes
/// the owner if told to.
struct earlier : scenario<earlier, 2> {
  timer_wheel wheel;
  alarm timers[2];
  bed owner;

  void before() { arm(wheel, timers[0], 1000); }
  void thread(unsigned index) {
    if (index == 1) {
      timers[1].armed_by = 1;
      timers[1].deadline_ns = 5 * timer_wheel::tick_ns;
      bool sooner = false;
      {
        lock_scope guard(wheel);
        sooner = wheel.insert(timers[1]);
      }
      if (sooner && !logic("nobody_is_told")) {
        owner.wake();
      }
      return;
    }
    while (wheel.next_deadline_ns() > 10 * timer_wheel::tick_ns) {
      owner.sleep();
    }
    MAGPIE_ASSERT(expire(wheel, 10) == 1);
  }
  void after() {
    cancel(wheel, timers[0]);
    MAGPIE_ASSERT(timers[0].resolved_once() && timers[1].fired == 1);
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "timer_wheel",
       .scenarios = {entry<earlier>("earlier", 3), entry<three_ways>("three_ways", 3),
                     entry<arming>("arming", 3)},
       .files = {"runtime/timer_wheel.hpp", "util/spin_lock.hpp"},
       .logic_mutants = {"cancel_without_lock", "expire_without_lock", "nobody_is_told"}},
      argc, argv);
}
