/// Model: a broadcast channel. Each receiver has each message, in order, or hears how many it has
/// missed, whoever is stopped, subscribes and goes meanwhile; what was not had comes before the
/// end; a message is whole as long as it is looked at, and is destroyed once. All of it is the
/// real source; tasks.hpp says what stands for frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/runtime/wait_operation.cpp>
#include <magpie/sync/broadcast.cpp>
#include <magpie/sync/broadcast_core.cpp>
#include <magpie/sync/fanout_core.cpp>

#include <utility>

namespace magpie::broadcasts {

using model::party;

/// A message whose memory is watched.
class item {
 public:
  explicit item(int number) : number_(number) {}
  item(item&& other) noexcept : number_(other.number_ + 0) {}
  ~item() { number_ = -1; }
  int number() const { return number_ + 0; }

 private:
  mutable plain<int> number_;
};

struct world : model::stage {
  std::optional<sync::broadcast_sender<item>> sender;
  std::array<std::optional<sync::broadcast_receiver<item>>, 3> receivers;
  std::array<std::optional<party>, 2> who;
  std::array<std::optional<sync::detail::broadcast_operation<item>>, 2> waits;
  std::array<int, 3> reached{0, 0, 0};  ///< The number of the last message that each had.
  plain<int> before_send{0};
  plain<int> before_end{0};

  void before(std::size_t capacity) {
    auto ends = sync::broadcast<item>(capacity);
    sender.emplace(std::move(ends.sender));
    receivers[0].emplace(std::move(ends.receiver));
    for (auto& one : who) one.emplace();
  }
  /// Messages have numbers from 1 on.
  void send(int number) {
    before_send = number;
    static_cast<void>(sender->send(item(number)));
  }
  void note(std::size_t i, sync::broadcast_message<item>&& got) {
    MAGPIE_ASSERT(got->number() == reached[i] + static_cast<int>(got.missed()) + 1);
    reached[i] = got->number();
  }
  std::error_code receive(std::size_t i) {
    begin(i);
    return finish(i);
  }
  void begin(std::size_t i) {
    waits[i].emplace(receivers[i]->receive());
    who[i]->begin(*waits[i]);
  }
  std::error_code finish(std::size_t i) {
    std::error_code error = who[i]->finish();
    if (!error) error = waits[i]->failed();  // it may have ended at once
    if (!error) note(i, *waits[i]->take());
    waits[i].reset();
    return error;
  }
  void receive_rest(std::size_t i) {
    while (auto got = receivers[i]->try_receive()) note(i, *std::move(got));
  }
  /// All ends have gone, and with them everything.
  void end() {
    sender.reset();
    for (auto& one : receivers) one.reset();
    for (auto& one : who) one.reset();
    MAGPIE_ASSERT(blocks == 0);
  }
};

}  // namespace magpie::broadcasts

namespace {

using magpie::broadcasts::world;
using magpie::model::scenario;

/// Two messages and the end, beside one who receives; with room for both, or for one.
template <std::size_t Capacity>
struct send_and_receive : scenario<send_and_receive<Capacity>, 2>, world {
  void before() { world::before(Capacity); }
  void thread(unsigned index) {
    if (index == 1) {
      send(1);
      send(2);
      before_end = 1;
      sender.reset();
      return;
    }
    while (reached[0] != 2) MAGPIE_ASSERT(!receive(0));
    MAGPIE_ASSERT(before_send == 2);
    MAGPIE_ASSERT(receive(0) == magpie::errc::closed && before_end == 1);
  }
  void after() { end(); }
};

/// Two wait for one message, and the last to have had it destroys it.
struct two_receive : scenario<two_receive, 3>, world {
  void before() {
    world::before(1);
    receivers[1].emplace(sender->subscribe());
    begin(0);
    begin(1);
  }
  void thread(unsigned index) {
    if (index == 2) {
      send(1);
      return;
    }
    MAGPIE_ASSERT(!finish(index) && before_send == 1);
  }
  void after() { end(); }
};

/// A message and a stop at once: it was had, or is there.
struct send_and_stop : scenario<send_and_stop, 3>, world {
  void before() {
    world::before(1);
    begin(0);
  }
  void thread(unsigned index) {
    if (index == 1) send(1);
    if (index == 2) who[0]->scope.request_stop();
    if (index != 0) return;
    const std::error_code error = finish(0);
    MAGPIE_ASSERT(!error || error == magpie::errc::stopped);
  }
  void after() {
    receive_rest(0);
    MAGPIE_ASSERT(reached[0] == 1);
    end();
  }
};

/// A receiver goes, and another comes, beside two messages: the one that stays has both, and what
/// the one that went would have had is gone when all are.
struct come_and_go : scenario<come_and_go, 3>, world {
  void before() {
    world::before(2);
    receivers[1].emplace(sender->subscribe());
    send(1);
  }
  void thread(unsigned index) {
    if (index == 0) receivers[1].reset();
    if (index == 1) send(2);
    if (index == 2) {
      auto late = receivers[0]->resubscribe();
      if (auto got = late.try_receive()) MAGPIE_ASSERT((*got)->number() == 2);
    }
  }
  void after() {
    receive_rest(0);
    MAGPIE_ASSERT(reached[0] == 2);
    MAGPIE_ASSERT(blocks == 2);  // no message is left
    end();
  }
};

/// The last receiver goes beside a message: that is had by nobody, or comes back.
struct send_and_go : scenario<send_and_go, 2>, world {
  void before() { world::before(1); }
  void thread(unsigned index) { index == 0 ? receivers[0].reset() : send(1); }
  void after() {
    MAGPIE_ASSERT(blocks == 2);
    end();
  }
};

/// One looks in passing whether there is something, and whether it is the end.
struct looks : scenario<looks, 2>, world {
  void before() { world::before(1); }
  void thread(unsigned index) {
    if (index == 1) {
      send(1);
      before_end = 1;
      sender.reset();
      return;
    }
    if (receivers[0]->size() != 0) MAGPIE_ASSERT(before_send == 1);
    if (receivers[0]->is_closed()) MAGPIE_ASSERT(before_end == 1);
  }
  void after() { end(); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "broadcast",
       .scenarios = {entry<send_and_receive<2>>("send_and_receive", 2),
                     entry<send_and_receive<1>>("send_too_fast", 2), entry<looks>("looks", 3),
                     entry<send_and_go>("send_and_go", 3), entry<two_receive>("two_receive", 2),
                     entry<send_and_stop>("send_and_stop", 2),
                     entry<come_and_go>("come_and_go", 1)},
       .files = {"sync/broadcast_core.hpp", "sync/broadcast_core.cpp", "util/spin_lock.hpp"},
       .logic_mutants = {"a_post_is_lost"}},
      argc, argv);
}
