/// Model: a watch channel. Nobody who waits misses a change, whoever is stopped meanwhile; what was
/// not seen comes before the end; a value is whole as long as it is looked at, and is destroyed
/// once; no modification is lost; the channel is freed once, by the last of its ends. All of it is
/// the real source; tasks.hpp says what stands for frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/runtime/wait_operation.cpp>
#include <magpie/sync/fanout_core.cpp>
#include <magpie/sync/watch.hpp>
#include <magpie/sync/watch_core.cpp>

#include <utility>

namespace magpie::watches {

using model::party;

/// A value whose memory is watched.
class item {
 public:
  explicit item(int number) : number_(number) {}
  item(const item& other) : number_(other.number_ + 0) {}
  item(item&& other) noexcept : number_(other.number_ + 0) {}
  ~item() { number_ = -1; }
  int number() const { return number_ + 0; }
  void add_one() { number_ = number_ + 1; }

 private:
  mutable plain<int> number_;
};

struct world : model::stage {
  std::array<std::optional<sync::watch_sender<item>>, 3> senders;
  std::array<std::optional<sync::watch_receiver<item>>, 3> receivers;
  std::array<sync::shared_value<item>, 3> looks;
  std::array<std::optional<party>, 2> who;
  std::array<std::optional<sync::detail::changed_operation>, 2> waits;
  std::optional<detail::wait_operation> hearing;
  std::array<plain<int>, 3> done{0, 0, 0};     ///< Before a send, or an end.
  std::array<plain<int>, 3> touched{0, 0, 0};  ///< By each end, before it goes.

  void before() {
    auto ends = sync::watch(item(0));
    senders[1].emplace(std::move(ends.sender));
    receivers[0].emplace(std::move(ends.receiver));
    for (auto& one : who) one.emplace();
  }

  void send(std::size_t i, int number) {
    done[i] = number;
    static_cast<void>(senders[i]->send_replace(item(number)));
  }
  void begin(std::size_t i) {
    waits[i].emplace(receivers[i]->changed());
    who[i]->begin(*waits[i]);
  }
  std::error_code finish(std::size_t i) {
    std::error_code error = who[i]->finish();
    if (!error) error = waits[i]->failed();  // it may have ended at once
    if (!error) static_cast<void>(waits[i]->take());
    waits[i].reset();
    return error;
  }
  std::error_code changed(std::size_t i) {
    begin(i);
    return finish(i);
  }
  int seen(std::size_t i) { return receivers[i]->borrow_and_update()->number(); }

  /// All ends have gone, and with them everything.
  void end() {
    for (auto& one : looks) one = sync::shared_value<item>();
    for (auto& one : senders) one.reset();
    for (auto& one : receivers) one.reset();
    for (auto& one : who) one.reset();
    MAGPIE_ASSERT(blocks == 0);
  }
};

}  // namespace magpie::watches

namespace {

using magpie::model::scenario;
using magpie::watches::item;
using magpie::watches::world;

/// A send while a receiver begins to wait, or waits.
template <bool InLine>
struct send_and_wait : scenario<send_and_wait<InLine>, 2>, world {
  void before() {
    world::before();
    if (InLine) begin(0);
  }
  void thread(unsigned index) {
    if (index == 1) {
      send(1, 1);
      return;
    }
    if (!InLine) begin(0);
    MAGPIE_ASSERT(!finish(0));
    MAGPIE_ASSERT(done[1] == 1 && seen(0) == 1);
  }
  void after() { end(); }
};

/// The last value, and then the end; both are looked at in passing, or waited for.
template <bool Waits>
struct send_and_go : scenario<send_and_go<Waits>, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 1) {
      send(1, 1);
      done[2] = 1;
      senders[1].reset();
      return;
    }
    if (Waits) {
      MAGPIE_ASSERT(!changed(0) && seen(0) == 1);
      MAGPIE_ASSERT(changed(0) == magpie::errc::closed);
      MAGPIE_ASSERT(done[2] == 1);
    } else {
      if (receivers[0]->has_changed()) MAGPIE_ASSERT(done[1] == 1);
      if (receivers[0]->is_closed()) MAGPIE_ASSERT(done[2] == 1);
    }
  }
  void after() { end(); }
};

/// Two senders go; who hears of the end sees what both did.
struct both_senders_go : scenario<both_senders_go, 3>, world {
  void before() {
    world::before();
    senders[2].emplace(*senders[1]);
  }
  void thread(unsigned index) {
    if (index == 0) {
      MAGPIE_ASSERT(changed(0) == magpie::errc::closed);
      MAGPIE_ASSERT(done[1] == 1 && done[2] == 1);
    } else {
      done[index] = 1;
      senders[index].reset();
    }
  }
  void after() { end(); }
};

/// A change and a stop at once: it was seen, or is to be seen.
struct send_and_stop : scenario<send_and_stop, 3>, world {
  bool had = false;
  void before() {
    world::before();
    had = false;
    begin(0);
  }
  void thread(unsigned index) {
    if (index == 1) send(1, 1);
    if (index == 2) who[0]->scope.request_stop();
    if (index != 0) return;
    const std::error_code error = finish(0);
    MAGPIE_ASSERT(!error || error == magpie::errc::stopped);
    had = !error;
  }
  void after() {
    MAGPIE_ASSERT(receivers[0]->has_changed() == !had);
    end();
  }
};

/// Looks beside a send, one of which has been going on for long: each sees one value, whole.
struct looks_and_send : scenario<looks_and_send, 3>, world {
  void before() {
    world::before();
    looks[2] = receivers[0]->borrow();
  }
  void thread(unsigned index) {
    if (index == 1) {
      send(1, 1);
    } else if (index == 2) {
      MAGPIE_ASSERT(looks[2]->number() == 0);
      looks[2] = {};
    } else {
      const auto now = receivers[0]->borrow();
      MAGPIE_ASSERT(now->number() == 0 || now->number() == 1);
    }
  }
  void after() { end(); }
};

/// Two look at what was replaced, and the last of them destroys it.
struct looks_go : scenario<looks_go, 2>, world {
  void before() {
    world::before();
    looks[0] = receivers[0]->borrow();
    looks[1] = looks[0];
    send(1, 1);
  }
  void thread(unsigned index) {
    MAGPIE_ASSERT(looks[index]->number() == 0);
    auto copy = looks[index];
    looks[index] = {};
  }
  void after() { end(); }
};

/// Two modify at once.
struct modifications : scenario<modifications, 2>, world {
  void before() {
    world::before();
    senders[0].emplace(*senders[1]);
  }
  void thread(unsigned index) {
    MAGPIE_ASSERT(senders[index]->send_modify([](item& value) { value.add_one(); }));
  }
  void after() {
    MAGPIE_ASSERT(seen(0) == 2);
    end();
  }
};

/// One hears that there is no receiver, from two of them.
template <bool Looks>
struct receivers_go : scenario<receivers_go<Looks>, 3>, world {
  void before() {
    world::before();
    receivers[2].emplace(*receivers[0]);
  }
  void thread(unsigned index) {
    if (index != 1) {
      done[index] = 1;
      receivers[index].reset();
      return;
    }
    if (Looks) {
      if (!senders[1]->is_closed()) return;
    } else {
      hearing.emplace(senders[1]->closed());
      MAGPIE_ASSERT(!who[1]->await(*hearing));
      hearing.reset();
    }
    MAGPIE_ASSERT(done[0] == 1 && done[2] == 1);
  }
  void after() { end(); }
};

/// Ends are copied and go, all at once.
struct ends_come_and_go : scenario<ends_come_and_go, 3>, world {
  void before() {
    world::before();
    senders[2].emplace(*senders[1]);
  }
  static void look(magpie::model::stage& on) {
    for (auto& each : static_cast<world&>(on).touched) static_cast<void>(each + 0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      touched[0] = 1;
      receivers[0].reset();
    } else if (index == 1) {
      {
        const auto copy = *senders[1];
        const auto more = senders[1]->subscribe();
      }
      touched[1] = 1;
      senders[1].reset();
    } else {
      {
        const auto copy = *senders[2];
        const auto more = senders[2]->subscribe();
      }
      touched[2] = 1;
      senders[2].reset();
    }
  }
  void after() { end(); }
};

/// The same, and each is counted.
struct ends_are_counted : scenario<ends_are_counted, 2>, world {
  void before() {
    world::before();
    senders[0].emplace(*senders[1]);
  }
  void thread(unsigned index) {
    const auto copy = *senders[index];
    const auto more = senders[index]->subscribe();
  }
  void after() {
    MAGPIE_ASSERT(senders[0]->senders() == 2 && senders[0]->receivers() == 1);
    end();
  }
};

/// The last two ends go.
struct both_go : scenario<both_go, 2>, world {
  void before() {
    world::before();
    when_freed = &ends_come_and_go::look;
  }
  void thread(unsigned index) {
    touched[index] = 1;
    index == 0 ? receivers[0].reset() : senders[1].reset();
  }
  void after() { end(); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "watch",
       .scenarios = {entry<send_and_wait<false>>("send_and_wait", 3),
                     entry<send_and_wait<true>>("send_to_who_waits", 3),
                     entry<send_and_go<true>>("send_and_go", 3),
                     entry<send_and_go<false>>("send_and_go_beside_a_look", 3),
                     entry<looks_go>("looks_go", 3), entry<both_go>("both_go", 3),
                     entry<ends_are_counted>("ends_are_counted", 2),
                     entry<modifications>("modifications", 3),
                     entry<send_and_stop>("send_and_stop", 2),
                     entry<looks_and_send>("looks_and_send", 2),
                     entry<both_senders_go>("both_senders_go", 2),
                     entry<receivers_go<false>>("receivers_go", 2),
                     entry<receivers_go<true>>("receivers_go_beside_a_look", 2),
                     entry<ends_come_and_go>("ends_come_and_go", 1)},
       .files = {"sync/watch_core.hpp", "sync/watch_core.cpp", "sync/fanout_core.hpp",
                 "sync/fanout_core.cpp", "sync/shared_value.hpp"},
       .logic_mutants = {"a_post_is_lost"}},
      argc, argv);
}
