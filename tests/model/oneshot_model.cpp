/// Model: a oneshot channel. A value is received or comes back, whole and once, whoever sends,
/// waits, is stopped, closes and goes meanwhile; nobody waits for what cannot come; the block is
/// freed once, by the last of the two ends, and the value in it destroyed. All of it is the real
/// source; tasks.hpp says what stands for frames.
#include <magpie/tests/model/item.hpp>
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/sync/oneshot.hpp>
#include <magpie/sync/oneshot_core.cpp>

#include <utility>

namespace magpie::channels {

using model::party;

struct world : model::stage {
  using receive = sync::detail::receive_operation<item>;
  using closed = sync::detail::oneshot_closed_operation;

  std::optional<sync::oneshot_sender<item>> sender;
  std::optional<sync::oneshot_receiver<item>> receiver;
  std::array<std::optional<party>, 2> who;
  std::optional<receive> receiving;
  std::optional<closed> hearing;
  plain<int> before_send{0};
  /// By each end, before it lets go of the block.
  std::array<plain<int>, 2> touched{0, 0};
  int alive = 0;
  int received = 0;
  int came_back = 0;
  int sends = 0;

  void before() {
    auto ends = sync::oneshot<item>();
    sender.emplace(std::move(ends.sender));
    receiver.emplace(std::move(ends.receiver));
    for (auto& one : who) one.emplace();
    when_freed = &look_at_all;
  }
  static void look_at_all(model::stage& on) {
    for (auto& each : static_cast<world&>(on).touched) static_cast<void>(each + 0);
  }
  void drop_receiver() {
    touched[0] = 1;
    receiver.reset();
  }
  void drop_sender() {
    if (sends == 0) touched[1] = 1;  // else `send` has
    sender.reset();
  }

  void send() {
    touched[1] = 1;
    ++sends;
    before_send = 1;
    auto sent = sender->send(item(7, alive));
    if (sent) return;
    MAGPIE_ASSERT(sent.error().number() == 7);
    ++came_back;
  }
  void begin_receive() {
    receiving.emplace(receiver->receive());
    who[0]->begin(*receiving);
  }
  std::error_code finish_receive() {
    std::error_code error = who[0]->finish();
    if (!error) error = receiving->failed();  // it may have ended at once
    if (!error) take(receiving->take());
    receiving.reset();
    return error;
  }
  void try_receive() {
    auto got = receiver->try_receive();
    if (got) take(std::move(got));
  }
  void take(result<item>&& got) {
    MAGPIE_ASSERT(got->number() == 7 && before_send == 1);
    ++received;
  }
  std::error_code hear() {
    hearing.emplace(sender->closed());
    who[1]->begin(*hearing);
    return finish_hear();
  }
  std::error_code finish_hear() {
    const std::error_code error = who[1]->finish();
    hearing.reset();
    return error;
  }

  /// All ends have gone, and with them everything.
  void end() {
    sender.reset();
    receiver.reset();
    for (auto& one : who) one.reset();
    MAGPIE_ASSERT(blocks == 0 && alive == 0);
  }
};

}  // namespace magpie::channels

namespace {

using magpie::channels::world;
using magpie::model::scenario;

/// A send while the receiver begins to wait, or waits; then both ends go at once.
template <bool InLine>
struct send_and_receive : scenario<send_and_receive<InLine>, 2>, world {
  void before() {
    world::before();
    if (InLine) begin_receive();
  }
  void thread(unsigned index) {
    if (index == 0) {
      if (!InLine) begin_receive();
      MAGPIE_ASSERT(!finish_receive());
      drop_receiver();
    } else {
      send();
      drop_sender();
    }
  }
  void after() {
    MAGPIE_ASSERT(received == 1 && came_back == 0);
    end();
  }
};

/// The sender goes without having sent.
template <bool InLine>
struct go_and_receive : scenario<go_and_receive<InLine>, 2>, world {
  void before() {
    world::before();
    if (InLine) begin_receive();
  }
  void thread(unsigned index) {
    if (index == 0) {
      if (!InLine) begin_receive();
      MAGPIE_ASSERT(finish_receive() == magpie::errc::closed);
      drop_receiver();
    } else {
      drop_sender();
    }
  }
  void after() { end(); }
};

/// The receive is stopped meanwhile: the value is there for the next one.
struct send_receive_and_stop : scenario<send_receive_and_stop, 3>, world {
  void before() {
    world::before();
    begin_receive();
  }
  void thread(unsigned index) {
    if (index == 1) send();
    if (index == 2) who[0]->scope.request_stop();
    if (index != 0) return;
    const std::error_code error = finish_receive();
    MAGPIE_ASSERT(!error || error == magpie::errc::stopped);
  }
  void after() {
    if (received == 0) try_receive();
    MAGPIE_ASSERT(received == 1);
    end();
  }
};

/// A close, and a look, beside a send: received or back.  Also where a receive was given up before,
/// so that there is a mark and both come by the lock.
template <bool Marked>
struct send_and_close : scenario<send_and_close<Marked>, 2>, world {
  void before() {
    world::before();
    if (!Marked) return;
    begin_receive();
    who[0]->scope.request_stop();
    MAGPIE_ASSERT(finish_receive() == magpie::errc::stopped);
  }
  void thread(unsigned index) {
    if (index == 1) {
      send();
      return;
    }
    receiver->close();
    try_receive();
  }
  void after() {
    MAGPIE_ASSERT(received + came_back == 1);
    end();
  }
};

/// The receiver goes beside a send: the value comes back, or is destroyed with the block.
struct send_and_leave : scenario<send_and_leave, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) { index == 1 ? send() : drop_receiver(); }
  void after() {
    MAGPIE_ASSERT(received == 0);
    end();
  }
};

/// A receive was given up, so that there is a mark; then the receiver goes beside a send.
struct send_and_leave_marked : scenario<send_and_leave_marked, 2>, world {
  void before() {
    world::before();
    begin_receive();
    who[0]->scope.request_stop();
    MAGPIE_ASSERT(finish_receive() == magpie::errc::stopped);
  }
  void thread(unsigned index) {
    if (index == 1) {
      send();
    } else {
      try_receive();
      drop_receiver();
    }
  }
  void after() { end(); }
};

/// The sender waits for the end of the receiver.
template <bool Closes>
struct hear_and_leave : scenario<hear_and_leave<Closes>, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) {
      if (Closes) receiver->close();
      drop_receiver();
      return;
    }
    MAGPIE_ASSERT(!hear());
    send();
    drop_sender();
  }
  void after() {
    MAGPIE_ASSERT(came_back == 1);
    end();
  }
};

/// Both ends go at once.
struct both_go : scenario<both_go, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) { index == 0 ? drop_receiver() : drop_sender(); }
  void after() { end(); }
};

/// The same where the sender has waited: each by the lock.
struct both_go_marked : scenario<both_go_marked, 2>, world {
  void before() {
    world::before();
    begin_receive();
    who[0]->scope.request_stop();
    MAGPIE_ASSERT(finish_receive() == magpie::errc::stopped);
  }
  void thread(unsigned index) { index == 0 ? drop_receiver() : drop_sender(); }
  void after() { end(); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "oneshot",
       .scenarios = {entry<send_and_receive<false>>("send_and_receive", 3),
                     entry<send_and_receive<true>>("send_to_who_waits", 3),
                     entry<go_and_receive<false>>("go_and_receive", 3),
                     entry<go_and_receive<true>>("go_from_who_waits", 3),
                     entry<send_and_close<false>>("send_and_close", 3),
                     entry<send_and_close<true>>("send_and_close_marked", 3),
                     entry<send_and_leave>("send_and_leave", 3),
                     entry<send_and_leave_marked>("send_and_leave_marked", 3),
                     entry<hear_and_leave<false>>("hear_and_leave", 3),
                     entry<hear_and_leave<true>>("hear_and_close", 3), entry<both_go>("both_go", 3),
                     entry<both_go_marked>("both_go_marked", 3),
                     entry<send_receive_and_stop>("send_receive_and_stop", 2)},
       .files = {"sync/oneshot_core.hpp", "sync/oneshot_core.cpp"},
       .logic_mutants = {"a_post_is_lost"},
       .equivalents = {{"oneshot_core::let_go.rmw acq_rel->acquire",
                        "it orders the links of the wait list, which are not modelled"}}},
      argc, argv);
}
