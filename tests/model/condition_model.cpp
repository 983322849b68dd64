/// Model: conditions. No change is missed between a look and a wait; a notification reaches one who
/// goes on, whoever is stopped meanwhile; who goes on has the mutex, alone, sees what was done
/// under it, and may destroy both. All of it is the real source; tasks.hpp says what stands for
/// frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/sync/condition.cpp>
#include <magpie/sync/mutex.cpp>
#include <magpie/sync/permit_queue.cpp>

#include <cstring>
#include <utility>

namespace magpie::conditions {

using model::party;

/// Both in memory whose end is seen by whoever comes too late.
struct pair {
  sync::mutex lock;
  sync::condition on;
};

struct world : model::stage {
  alignas(pair) unsigned char memory[sizeof(pair)];
  pair* it = nullptr;
  std::array<std::optional<party>, 3> who;
  std::array<sync::mutex_guard, 3> guards;
  std::array<std::optional<sync::detail::lock_operation>, 3> locks;
  std::array<std::optional<sync::detail::condition_operation>, 3> waits;
  plain<int> flag{0};    ///< Under the mutex.
  plain<int> inside{0};  ///< The same.

  ~world() {
    destroy();
    for (auto& one : who) one.reset();
  }
  void before() {
    it = ::new (static_cast<void*>(memory)) pair;
    for (auto& one : who) one.emplace();
  }
  void destroy() {
    if (it == nullptr) return;
    for (auto& one : waits) one.reset();
    for (auto& one : locks) one.reset();
    for (auto& one : guards) one.unlock();
    std::exchange(it, nullptr)->~pair();
    std::memset(memory, 0xdd, sizeof memory);
  }
  void lock(std::size_t i) {
    locks[i].emplace(it->lock.lock());
    MAGPIE_ASSERT(!who[i]->await(*locks[i]));
    guards[i] = *locks[i]->take();
    locks[i].reset();
  }
  void begin_wait(std::size_t i) {
    waits[i].emplace(it->on.wait(guards[i]));
    who[i]->begin(*waits[i]);
  }
  /// In `before`: one who waits.
  void begin(std::size_t i) {
    lock(i);
    begin_wait(i);
  }
  /// Goes on with the mutex, or is stopped and has none.
  bool finish(std::size_t i) {
    const std::error_code error = who[i]->finish();
    MAGPIE_ASSERT(!error || error == errc::stopped);
    if (!error) static_cast<void>(waits[i]->take());
    waits[i].reset();
    MAGPIE_ASSERT(guards[i].owns_lock() == !error);
    if (!error) inside = inside + 1;
    return !error;
  }
};

}  // namespace magpie::conditions

namespace {

using magpie::conditions::world;
using magpie::model::scenario;

/// One looks and waits, the other changes and notifies, with the mutex or after.
template <bool Inside>
struct look_and_wait : scenario<look_and_wait<Inside>, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    lock(index);
    if (index == 1) {
      flag = 1;
      if (Inside) it->on.notify_one();
      guards[1].unlock();
      if (!Inside) it->on.notify_one();
      return;
    }
    if (flag == 0) {
      begin_wait(0);
      MAGPIE_ASSERT(finish(0));
    }
    MAGPIE_ASSERT(flag == 1);
    guards[0].unlock();
  }
  void after() { MAGPIE_ASSERT(!it->lock.is_locked()); }
};

/// Two wait, and one of them is stopped while the other is to be heard of: one of them goes on.
template <bool Held>
struct handed_on : scenario<handed_on<Held>, 3>, world {
  bool first_went_on = false;
  void before() {
    world::before();
    first_went_on = false;
    begin(0);
    begin(1);
    if (Held) lock(2);
  }
  void thread(unsigned index) {
    if (index == 0) {
      first_went_on = finish(0);
      guards[0].unlock();
    }
    if (index == 1) {
      it->on.notify_one();
      if (Held) guards[2].unlock();
    }
    if (index == 2) who[0]->scope.request_stop();
  }
  void after() {
    if (first_went_on) it->on.notify_one();
    MAGPIE_ASSERT(finish(1) && inside == (first_went_on ? 2 : 1));
    guards[1].unlock();
    MAGPIE_ASSERT(!it->lock.is_locked());
    it->lock.check_invariants();
  }
};

/// Both are told, and go on one after the other.
struct all_go_on : scenario<all_go_on, 3>, world {
  void before() {
    world::before();
    begin(0);
    begin(1);
  }
  void thread(unsigned index) {
    if (index == 2) {
      it->on.notify_all();
      return;
    }
    MAGPIE_ASSERT(finish(index));
    guards[index].unlock();
  }
  void after() { MAGPIE_ASSERT(inside == 2 && !it->lock.is_locked()); }
};

/// Whoever goes on destroys both, while the notifier is on its way out; where the mutex is held, it
/// comes by the unlock, on a third thread.
template <int Threads>
struct destroying : scenario<destroying<Threads>, Threads>, world {
  void before() {
    world::before();
    begin(0);
    if (Threads == 3) lock(2);
  }
  void thread(unsigned index) {
    if (index == 1) it->on.notify_one();
    if (index == 2) {
      flag = 1;
      guards[2].unlock();
    }
    if (index != 0) return;
    MAGPIE_ASSERT(finish(0));
    if (Threads == 3) MAGPIE_ASSERT(flag == 1);
    guards[0].unlock();
    destroy();
  }
};

/// A wait lets in who waits for the mutex, which sees what was done before.
struct lets_in : scenario<lets_in, 2>, world {
  void before() {
    world::before();
    lock(0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      flag = 1;
      begin_wait(0);
      MAGPIE_ASSERT(finish(0) && flag == 2);
      guards[0].unlock();
    } else {
      lock(1);
      MAGPIE_ASSERT(flag == 1);
      flag = 2;
      guards[1].unlock();
      it->on.notify_one();
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "condition",
       .scenarios = {entry<look_and_wait<false>>("look_and_wait", 3),
                     entry<look_and_wait<true>>("look_and_wait_inside", 3),
                     entry<lets_in>("lets_in", 3), entry<destroying<2>>("destroying", 3),
                     entry<destroying<3>>("destroying_what_was_held", 2),
                     entry<all_go_on>("all_go_on", 2), entry<handed_on<false>>("handed_on", 1),
                     entry<handed_on<true>>("handed_on_in_line", 1)},
       .files = {"util/spin_lock.hpp"},
       .logic_mutants = {"a_post_is_lost"}},
      argc, argv);
}
