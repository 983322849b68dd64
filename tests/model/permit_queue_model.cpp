/// Model: the line for permits, through semaphores. No permit is lost or doubled however requests,
/// releases, stops and closings meet; who has one sees what was done by those who had it before;
/// who waits is told once; whoever got the last permit may destroy the semaphore while its releaser
/// is on its way out. All of it is the real source; tasks.hpp says what stands for frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/sync/event.cpp>
#include <magpie/sync/permit_queue.cpp>
#include <magpie/sync/semaphore.cpp>

#include <cstring>
#include <utility>

namespace magpie::permits {

using model::party;
using sync::semaphore;
using sync::semaphore_permit;
using operation = sync::detail::acquire_operation;

/// A semaphore whose end is seen by whoever comes too late, and up to three who acquire.
struct world : model::stage {
  alignas(semaphore) unsigned char memory[sizeof(semaphore)];
  semaphore* some = nullptr;
  std::array<std::optional<party>, 3> who;
  std::array<std::optional<operation>, 3> waits;
  std::array<plain<int>, 3> done{0, 0, 0};  ///< What was done before a release.
  plain<int> inside{0};                     ///< By who holds the only permit.

  ~world() { destroy(); }

  void before(std::size_t count) {
    some = ::new (static_cast<void*>(memory)) semaphore(count);
    for (auto& one : who) one.emplace();
  }
  void destroy() {
    for (auto& one : waits) one.reset();
    for (auto& one : who) one.reset();
    end_semaphore();
  }
  void end_semaphore() {
    if (some == nullptr) return;
    std::exchange(some, nullptr)->~semaphore();
    std::memset(memory, 0xdd, sizeof memory);
  }

  /// In `before`: one who waits.
  void begin(std::size_t i, std::size_t count) {
    waits[i].emplace(some->acquire(count));
    who[i]->begin(*waits[i]);
  }
  /// What became of it.
  std::error_code finish(std::size_t i, semaphore_permit& got) {
    std::error_code error = who[i]->finish();
    if (!error) error = waits[i]->failed();  // it may have ended at once
    if (!error) got = *waits[i]->take();
    waits[i].reset();
    return error;
  }
  std::error_code acquire(std::size_t i, std::size_t count, semaphore_permit& got) {
    begin(i, count);
    return finish(i, got);
  }
  /// In `before`: somebody has waited and has gone; the mark is left.
  void leave_a_mark() {
    semaphore_permit none;
    begin(2, some->available() + 1);
    who[2]->scope.request_stop();
    MAGPIE_ASSERT(finish(2, none) == errc::stopped);
  }
};

}  // namespace magpie::permits

namespace {

using magpie::model::scenario;
using magpie::permits::semaphore_permit;
using magpie::permits::world;

/// One permit: those who have it one after the other see each other's work.
template <int Threads, bool Marked>
struct exclusion : scenario<exclusion<Threads, Marked>, Threads>, world {
  void before() {
    world::before(1);
    if (Marked) leave_a_mark();
  }
  void thread(unsigned index) {
    semaphore_permit permit;
    MAGPIE_ASSERT(!acquire(index, 1, permit));
    inside = inside + 1;
  }
  void after() { MAGPIE_ASSERT(inside == Threads && some->available() == 1); }
};

/// One waits for two permits that come from two others, and sees what both did.
struct two_give : scenario<two_give, 3>, world {
  void before() { world::before(0); }
  void thread(unsigned index) {
    if (index != 0) {
      done[index] = 1;
      some->add(1);
      return;
    }
    semaphore_permit permit;
    MAGPIE_ASSERT(!acquire(0, 2, permit));
    MAGPIE_ASSERT(done[1] == 1 && done[2] == 1);
    permit.forget();
  }
  void after() { MAGPIE_ASSERT(some->available() == 0); }
};

/// The same for one who has been in line since before.
struct two_give_to_one_in_line : scenario<two_give_to_one_in_line, 3>, world {
  void before() {
    world::before(0);
    begin(0, 2);
  }
  void thread(unsigned index) {
    if (index != 0) {
      done[index] = 1;
      some->add(1);
      return;
    }
    semaphore_permit permit;
    MAGPIE_ASSERT(!finish(0, permit));
    MAGPIE_ASSERT(done[1] == 1 && done[2] == 1);
    permit.forget();
  }
  void after() { MAGPIE_ASSERT(some->available() == 0); }
};

/// A permit comes and the one who waits is stopped: it has the permit, or that is there.
template <bool InLine>
struct stop_of_a_wait : scenario<stop_of_a_wait<InLine>, 3>, world {
  bool had = false;
  void before() {
    world::before(0);
    had = false;
    if (InLine) begin(0, 1);
  }
  void thread(unsigned index) {
    if (index == 1) some->add(1);
    if (index == 2) who[0]->scope.request_stop();
    if (index != 0) return;
    semaphore_permit permit;
    if (!InLine) begin(0, 1);
    const std::error_code error = finish(0, permit);
    MAGPIE_ASSERT(!error || error == magpie::errc::stopped);
    had = !error;
    permit.forget();
  }
  void after() {
    MAGPIE_ASSERT(some->available() == (had ? 0 : 1));
    some->check_invariants();
  }
};

/// A large request in front is stopped while a permit comes: the small one behind it gets that.
struct stop_of_the_first : scenario<stop_of_the_first, 4>, world {
  void before() {
    world::before(0);
    begin(0, 2);
    begin(1, 1);
  }
  void thread(unsigned index) {
    semaphore_permit permit;
    if (index == 0) MAGPIE_ASSERT(finish(0, permit) == magpie::errc::stopped);
    if (index == 1) MAGPIE_ASSERT(!finish(1, permit));
    if (index == 2) some->add(1);
    if (index == 3) who[0]->scope.request_stop();
    permit.forget();
  }
  void after() {
    MAGPIE_ASSERT(some->available() == 0);
    some->check_invariants();
  }
};

/// It is closed while one waits and a permit comes.
struct closing : scenario<closing, 3>, world {
  bool had = false;
  void before() {
    world::before(0);
    had = false;
  }
  void thread(unsigned index) {
    if (index == 1) some->close();
    if (index == 2) some->add(1);
    if (index != 0) return;
    semaphore_permit permit;
    const std::error_code error = acquire(0, 1, permit);
    MAGPIE_ASSERT(!error || error == magpie::errc::closed);
    had = !error;
    permit.forget();
  }
  void after() { MAGPIE_ASSERT(some->is_closed() && some->available() == (had ? 0 : 1)); }
};

/// It is closed while permits come and go, and nobody waits: none is lost.
struct closing_alone : scenario<closing_alone, 2>, world {
  void before() { world::before(1); }
  void thread(unsigned index) {
    if (index == 0) {
      some->close();
    } else {
      some->add(1);
      static_cast<void>(some->try_acquire());
    }
  }
  void after() { MAGPIE_ASSERT(some->is_closed() && some->available() == 2); }
};

/// `try_acquire` beside a release, where somebody has waited before: it may find nothing, but what
/// it finds it sees.
struct trying : scenario<trying, 3>, world {
  void before() {
    world::before(0);
    leave_a_mark();
  }
  void thread(unsigned index) {
    if (index == 0) {
      done[0] = 1;
      some->add(1);
    } else if (auto permit = some->try_acquire()) {
      MAGPIE_ASSERT(done[0] == 1);
      inside = inside + 1;
    }
  }
  void after() { MAGPIE_ASSERT(some->available() == 1); }
};

/// Permits are taken away for good while others take them.
struct forgetting : scenario<forgetting, 3>, world {
  std::size_t gone = 0;
  bool had = false;
  void before() {
    world::before(0);
    gone = 0;
    had = false;
  }
  void thread(unsigned index) {
    if (index == 0) {
      done[0] = 1;
      some->add(1);
    } else if (index == 1) {
      gone = some->forget(1);
      if (gone == 1) MAGPIE_ASSERT(done[0] == 1);
    } else if (auto permit = some->try_acquire()) {
      had = true;
      permit->forget();
    }
  }
  void after() { MAGPIE_ASSERT(some->available() + gone + (had ? 1 : 0) == 1); }
};

/// Whoever gets the permit destroys the semaphore; its releaser is not inside any more.
template <bool Marked>
struct destroying : scenario<destroying<Marked>, 2>, world {
  void before() {
    world::before(0);
    if (Marked) leave_a_mark();
  }
  void thread(unsigned index) {
    if (index == 1) {
      done[1] = 1;
      some->add(1);
      return;
    }
    semaphore_permit permit;
    MAGPIE_ASSERT(!acquire(0, 1, permit));
    MAGPIE_ASSERT(done[1] == 1);
    permit.forget();
    end_semaphore();
  }
};

/// The same for one who tries until the permit is there: a try that finds nothing clears the mark
/// while the release is on its way to the lock.
struct destroying_by_trying : scenario<destroying_by_trying, 2>, world {
  void before() {
    world::before(0);
    leave_a_mark();
  }
  void thread(unsigned index) {
    if (index == 1) {
      some->add(1);
      return;
    }
    for (int tries = 0; tries < 2; ++tries) {
      auto permit = some->try_acquire();
      if (!permit) continue;
      permit->forget();
      end_semaphore();
      return;
    }
  }
};

/// One who tries clears the mark while a release is on its way to the lock, which leaves it anew:
/// whoever then waits under it sees what was done before a release that came by the word alone.
struct marked_anew : scenario<marked_anew, 3>, world {
  void before() {
    world::before(0);
    leave_a_mark();
  }
  void thread(unsigned index) {
    if (index == 1) {
      done[1] = 1;
      some->add(1);
    } else if (index == 2) {
      some->add(1);
      some->add(1);
    } else {
      if (auto permit = some->try_acquire()) permit->release();
      semaphore_permit all;
      MAGPIE_ASSERT(!acquire(0, 3, all));
      MAGPIE_ASSERT(done[1] == 1);
      all.forget();
    }
  }
  void after() { MAGPIE_ASSERT(some->available() == 0); }
};

constexpr const char* in_line_only = "with the mark there the word changes under the lock alone";

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "permit_queue",
       .scenarios = {entry<destroying<false>>("destroying", 3),
                     entry<destroying<true>>("destroying_marked", 3),
                     entry<destroying_by_trying>("destroying_by_trying", 3),
                     entry<marked_anew>("marked_anew", 1),
                     entry<exclusion<2, false>>("exclusion", 3),
                     entry<exclusion<2, true>>("exclusion_marked", 3),
                     entry<closing_alone>("closing_alone", 3), entry<trying>("trying", 2),
                     entry<forgetting>("forgetting", 2), entry<two_give>("two_give", 2),
                     entry<two_give_to_one_in_line>("two_give_to_one_in_line", 2),
                     entry<closing>("closing", 2), entry<stop_of_a_wait<true>>("stop_of_a_wait", 2),
                     entry<stop_of_a_wait<false>>("stop_beside_a_wait", 1),
                     entry<exclusion<3, false>>("exclusion_of_three", 1),
                     entry<stop_of_the_first>("stop_of_the_first", 1)},
       .files = {"sync/permit_queue.hpp", "sync/permit_queue.cpp"},
       .logic_mutants = {"a_post_is_lost"},
       .equivalents = {{"permit_queue::release_in_line.rmw#2 torn", in_line_only},
                       {"permit_queue::serve.rmw torn", in_line_only}}},
      argc, argv);
}
