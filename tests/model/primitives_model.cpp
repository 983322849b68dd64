/// Model: notifications, barriers, events and latches. No notification is lost, whoever is stopped
/// meanwhile, and `notify_all` covers what was made before; a round of a barrier is over for all
/// who arrived or for none; whoever goes on sees what the others did before, and may destroy what
/// it waited for. All of it is the real source; tasks.hpp says what stands for frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/runtime/wait_operation.cpp>
#include <magpie/sync/barrier.cpp>
#include <magpie/sync/event.cpp>
#include <magpie/sync/latch.cpp>
#include <magpie/sync/notify.cpp>

#include <cstring>
#include <utility>

namespace magpie::primitives {

using model::party;

/// A `T` whose end is seen by whoever comes too late; and up to three who wait for it.
template <class T, class Operation>
struct world : model::stage {
  alignas(T) unsigned char memory[sizeof(T)];
  T* it = nullptr;
  std::array<std::optional<party>, 3> who;
  std::array<std::optional<Operation>, 3> waits;
  std::array<plain<int>, 3> done{0, 0, 0};

  ~world() {
    for (auto& one : waits) one.reset();
    for (auto& one : who) one.reset();
    destroy();
  }
  template <class... Args>
  void make(Args... args) {
    it = ::new (static_cast<void*>(memory)) T(args...);
    for (auto& one : who) one.emplace();
  }
  void destroy() {
    if (it == nullptr) return;
    std::exchange(it, nullptr)->~T();
    std::memset(memory, 0xdd, sizeof memory);
  }

  void begin(std::size_t i, Operation&& wait) {
    waits[i].emplace(std::move(wait));
    begin(i);
  }
  void begin(std::size_t i) { who[i]->begin(*waits[i]); }
  std::error_code finish(std::size_t i) {
    const std::error_code error = who[i]->finish();
    if (!error) static_cast<void>(waits[i]->take());
    return error;
  }
};

using notifications = world<sync::notify, sync::detail::notified_operation>;
using meetings = world<sync::barrier, sync::detail::barrier_operation>;
using events = world<sync::event, sync::detail::source_wait>;
using latches = world<sync::latch, sync::detail::source_wait>;

}  // namespace magpie::primitives

namespace {

using magpie::model::scenario;
using namespace magpie::primitives;  // NOLINT(google-build-using-namespace)

// ---- notify -------------------------------------------------------------------------------------

/// Comes before the wait, or after; and whoever was notified destroys it.
struct notify_and_wait : scenario<notify_and_wait, 2>, notifications {
  void before() { make(); }
  void thread(unsigned index) {
    if (index == 1) {
      done[1] = 1;
      it->notify_one();
      return;
    }
    begin(0, it->notified());
    MAGPIE_ASSERT(!finish(0) && done[1] == 1);
    waits[0].reset();
    destroy();
  }
};

/// One waits, is notified and stopped: it has heard, or the permit is there.
struct notify_and_stop : scenario<notify_and_stop, 3>, notifications {
  bool heard = false;
  void before() {
    make();
    begin(0, it->notified());
  }
  void thread(unsigned index) {
    if (index == 0) heard = !finish(0);
    if (index == 1) it->notify_one();
    if (index == 2) who[0]->scope.request_stop();
  }
  void after() { MAGPIE_ASSERT(it->try_notified() == !heard); }
};

/// Two wait, and one of them is stopped while the other is to be heard of: one of them hears.
struct handed_on : scenario<handed_on, 3>, notifications {
  bool first_heard = false;
  void before() {
    make();
    begin(0, it->notified());
    begin(1, it->notified());
  }
  void thread(unsigned index) {
    if (index == 0) first_heard = !finish(0);
    if (index == 1) it->notify_one();
    if (index == 2) who[0]->scope.request_stop();
  }
  void after() {
    if (first_heard) it->notify_one();
    MAGPIE_ASSERT(!finish(1) && !it->try_notified());
  }
};

/// A wait was made before `notify_all`, and begins beside it.
struct all_covers : scenario<all_covers, 2>, notifications {
  void before() {
    make();
    waits[0].emplace(it->notified());
    begin(1, it->notified());
  }
  void thread(unsigned index) {
    if (index == 1) {
      it->notify_all();
      return;
    }
    begin(0);
    MAGPIE_ASSERT(!finish(0) && !finish(1));
  }
  void after() { MAGPIE_ASSERT(!it->try_notified()); }
};

// ---- barrier ------------------------------------------------------------------------------------

/// All arrive at once, each sees what the others did, and one leads.
template <int Parties>
struct meeting : scenario<meeting<Parties>, Parties>, meetings {
  std::array<bool, 3> leads{};
  void before() { make(static_cast<std::size_t>(Parties)); }
  void thread(unsigned index) {
    done[index] = 1;
    begin(index, it->arrive_and_wait());
    MAGPIE_ASSERT(!who[index]->finish());
    leads[index] = *waits[index]->take();
    for (int i = 0; i != Parties; ++i) MAGPIE_ASSERT(done[static_cast<std::size_t>(i)] == 1);
  }
  void after() { MAGPIE_ASSERT(leads[0] + leads[1] + leads[2] == 1); }
};

/// One waits and is stopped while another arrives: both are through, or the other waits for more.
struct meeting_and_stop : scenario<meeting_and_stop, 3>, meetings {
  bool through = false;
  void before() {
    make(std::size_t{2});
    begin(0, it->arrive_and_wait());
  }
  void thread(unsigned index) {
    if (index == 0) through = !finish(0);
    if (index == 1) begin(1, it->arrive_and_wait());
    if (index == 2) who[0]->scope.request_stop();
  }
  void after() {
    if (!through) begin(2, it->arrive_and_wait());
    MAGPIE_ASSERT(!finish(1));
  }
};

// ---- event and latch ----------------------------------------------------------------------------

/// Set while somebody begins to wait, who then destroys it.
struct set_and_wait : scenario<set_and_wait, 2>, events {
  void before() { make(false); }
  void thread(unsigned index) {
    if (index == 1) {
      done[1] = 1;
      it->set();
      return;
    }
    begin(0, it->wait());
    MAGPIE_ASSERT(!finish(0) && done[1] == 1);
    waits[0].reset();
    destroy();
  }
};

/// Who only looks sees the same.
struct set_and_look : scenario<set_and_look, 2>, events {
  void before() { make(false); }
  void thread(unsigned index) {
    if (index == 1) {
      done[1] = 1;
      it->set();
    } else if (it->is_set()) {
      MAGPIE_ASSERT(done[1] == 1);
    }
  }
};

/// It is reset beside a set, and one waits: it is let go, or waits for the next.
struct set_and_reset : scenario<set_and_reset, 2>, events {
  void before() {
    make(false);
    begin(0, it->wait());
  }
  void thread(unsigned index) { index == 0 ? it->set() : it->reset(); }
  void after() { MAGPIE_ASSERT(!finish(0)); }
};

/// Two count, and one who begins to wait sees what both did, and destroys it.
struct count_and_wait : scenario<count_and_wait, 3>, latches {
  void before() { make(std::size_t{2}); }
  void thread(unsigned index) {
    if (index != 0) {
      done[index] = 1;
      it->count_down();
      return;
    }
    begin(0, it->wait());
    MAGPIE_ASSERT(!finish(0) && done[1] == 1 && done[2] == 1);
    waits[0].reset();
    destroy();
  }
};

/// The same for one who has waited since before, and is posted.
struct count_and_wake : scenario<count_and_wake, 3>, latches {
  void before() {
    make(std::size_t{2});
    begin(0, it->wait());
  }
  void thread(unsigned index) {
    if (index != 0) {
      done[index] = 1;
      it->count_down();
      return;
    }
    MAGPIE_ASSERT(!finish(0) && done[1] == 1 && done[2] == 1);
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "primitives",
       .scenarios = {entry<notify_and_wait>("notify_and_wait", 3),
                     entry<all_covers>("all_covers", 3), entry<set_and_wait>("set_and_wait", 3),
                     entry<set_and_look>("set_and_look", 3),
                     entry<set_and_reset>("set_and_reset", 3), entry<meeting<2>>("meeting", 3),
                     entry<count_and_wait>("count_and_wait", 2),
                     entry<count_and_wake>("count_and_wake", 2),
                     entry<notify_and_stop>("notify_and_stop", 2), entry<handed_on>("handed_on", 2),
                     entry<meeting_and_stop>("meeting_and_stop", 2),
                     entry<meeting<3>>("meeting_of_three", 1)},
       .files = {"sync/notify.hpp", "sync/notify.cpp", "sync/barrier.hpp", "sync/barrier.cpp",
                 "sync/event.hpp", "sync/event.cpp", "sync/latch.hpp", "sync/latch.cpp",
                 "util/spin_lock.hpp"},
       .logic_mutants = {"a_post_is_lost"}},
      argc, argv);
}
