/// Model: a channel from many senders, bounded and not. A message is received, once and whole and
/// after those that its sender sent before, or is where it was, or destroyed with the channel,
/// whoever sends, waits, is stopped, closes and goes meanwhile; nobody waits for what cannot come;
/// each block is freed once. Blocks have one slot or two, so that every edge is near. All of it is
/// the real source; tasks.hpp says what stands for frames, channel.hpp what is watched.
#include <magpie/tests/model/channel.hpp>

#include <optional>
#include <utility>

namespace {

using magpie::channels::world;
using magpie::model::scenario;

/// Some messages and the end, of one who sends while the other begins to wait, or waits.
template <std::size_t Capacity, unsigned Slots, int Messages, bool InLine>
struct send_and_receive : scenario<send_and_receive<Capacity, Slots, Messages, InLine>, 2>, world {
  void before() {
    world::before(Capacity, Slots, 1);
    if (InLine) begin_receive();
  }
  void thread(unsigned index) {
    if (index == 0) {
      if (InLine) MAGPIE_ASSERT(!finish_receive());
      receive_until_closed();
    } else {
      for (int i = 0; i != Messages; ++i) MAGPIE_ASSERT(try_send(1));
      drop_sender(1);
    }
  }
  void after() {
    MAGPIE_ASSERT(sent[1] == Messages && all_received());
    end();
  }
};

/// Two send at once, and go.
template <std::size_t Capacity, unsigned Slots>
struct two_send : scenario<two_send<Capacity, Slots>, 3>, world {
  void before() { world::before(Capacity, Slots, 2); }
  void thread(unsigned index) {
    if (index == 0) {
      receive_until_closed();
    } else {
      MAGPIE_ASSERT(try_send(index));
      drop_sender(index);
    }
  }
  void after() {
    MAGPIE_ASSERT(sent[1] == 1 && sent[2] == 1 && all_received());
    end();
  }
};

/// Two send at once, and what is there is counted.
template <unsigned Slots, int Messages>
struct two_are_counted : scenario<two_are_counted<Slots, Messages>, 2>, world {
  void before() { world::before(0, Slots, 2); }
  void thread(unsigned index) {
    for (int i = 0; i != Messages; ++i) MAGPIE_ASSERT(try_send(index + 1));
  }
  void after() {
    for (std::size_t left = 2 * Messages; left != 0; --left)
      MAGPIE_ASSERT(receiver->size() == left && !try_receive());
    MAGPIE_ASSERT(receiver->size() == 0 && all_received());
    end();
  }
};

/// Senders are copied and go: the last of them all ends it.
struct copies_go : scenario<copies_go, 3>, world {
  void before() {
    world::before(1, 1, 2);
    begin_receive();
  }
  void thread(unsigned index) {
    if (index == 0) {
      MAGPIE_ASSERT(finish_receive() == magpie::errc::closed);
    } else {
      const auto other = *senders[index];
      drop_sender(index);
    }
  }
  void after() { end(); }
};

/// Who sends waits for room, and uses slots again that were used before.
struct send_when_full : scenario<send_when_full, 2>, world {
  void before() {
    world::before(1, 2, 1);
    MAGPIE_ASSERT(try_send(1));
  }
  void thread(unsigned index) {
    if (index == 0) {
      receive_until_closed();
      return;
    }
    for (int i = 0; i != 2; ++i) {
      begin_send(1);
      MAGPIE_ASSERT(!finish_send(1));
    }
    drop_sender(1);
  }
  void after() {
    MAGPIE_ASSERT(sent[1] == 3 && all_received());
    end();
  }
};

/// A message comes and the receive is stopped: it was received, or is there.
template <std::size_t Capacity>
struct stop_of_a_receive : scenario<stop_of_a_receive<Capacity>, 3>, world {
  void before() {
    world::before(Capacity, 1, 1);
    begin_receive();
  }
  void thread(unsigned index) {
    if (index == 1) MAGPIE_ASSERT(try_send(1));
    if (index == 2) who[0]->scope.request_stop();
    if (index != 0) return;
    const std::error_code error = finish_receive();
    MAGPIE_ASSERT(!error || error == magpie::errc::stopped);
  }
  void after() {
    if (received[1] == 0) MAGPIE_ASSERT(!try_receive());
    MAGPIE_ASSERT(all_received());
    MAGPIE_ASSERT(Capacity == 0 || senders[1]->available() == Capacity);
    end();
  }
};

/// Room comes and the send is stopped: it was sent, or the room is there.
struct stop_of_a_send : scenario<stop_of_a_send, 3>, world {
  void before() {
    world::before(1, 1, 1);
    MAGPIE_ASSERT(try_send(1));
    begin_send(1);
  }
  void thread(unsigned index) {
    if (index == 0) MAGPIE_ASSERT(!try_receive());
    if (index == 2) who[1]->scope.request_stop();
    if (index != 1) return;
    const std::error_code error = finish_send(1);
    MAGPIE_ASSERT(!error || error == magpie::errc::stopped);
  }
  void after() {
    if (sent[1] == 2) MAGPIE_ASSERT(!try_receive());
    MAGPIE_ASSERT(all_received() && senders[1]->available() == 1);
    end();
  }
};

/// The receiver closes while a permit is out, which is used or comes back.
template <bool Used>
struct close_and_permit : scenario<close_and_permit<Used>, 2>, world {
  void before() {
    world::before(1, 1, 2);
    begin_reserve(1);
    MAGPIE_ASSERT(!finish_reserve(1));
  }
  void thread(unsigned index) {
    if (index == 0) {
      receiver->close();
      receive_until_closed();
    } else {
      if (Used) use_permit(1);
      permits[1].reset();  // a sender stays
    }
  }
  void after() {
    MAGPIE_ASSERT(sent[1] == (Used ? 1 : 0) && all_received());
    end();
  }
};

/// Two permits come back while the receiver, which has closed, waits.
struct permits_come_back : scenario<permits_come_back, 3>, world {
  void before() {
    world::before(2, 1, 2);
    for (unsigned i = 1; i != 3; ++i) {
      begin_reserve(i);
      MAGPIE_ASSERT(!finish_reserve(i));
    }
    receiver->close();
    begin_receive();
  }
  void thread(unsigned index) {
    if (index == 0) {
      MAGPIE_ASSERT(finish_receive() == magpie::errc::closed);
    } else {
      permits[index]->release();
    }
  }
  void after() { end(); }
};

/// C47: a reserve is stopped with its slot on the way, and the channel is closed.
struct stop_of_a_reserve : scenario<stop_of_a_reserve, 3>, world {
  void before() {
    world::before(1, 1, 2);
    MAGPIE_ASSERT(try_send(1));
    begin_reserve(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      MAGPIE_ASSERT(!try_receive());
      receiver->close();
      receive_until_closed();
    } else if (index == 2) {
      who[1]->scope.request_stop();
    } else {
      const std::error_code error = finish_reserve(1);
      MAGPIE_ASSERT(!error || error == magpie::errc::stopped || error == magpie::errc::closed);
      permits[1].reset();
    }
  }
  void after() { end(); }
};

/// A close beside a send: what is sent is received.
template <std::size_t Capacity>
struct send_and_close : scenario<send_and_close<Capacity>, 2>, world {
  void before() { world::before(Capacity, 1, 2); }
  void thread(unsigned index) {
    if (index == 1) {
      if (try_send(1)) static_cast<void>(try_send(1));
      return;
    }
    receiver->close();
    receive_until_closed();
    MAGPIE_ASSERT(try_receive() == magpie::errc::closed);
  }
  void after() {
    MAGPIE_ASSERT(all_received());
    end();
  }
};

/// The receiver goes beside those who send: everything is destroyed, at once.
template <std::size_t Capacity, int Senders>
struct send_and_leave : scenario<send_and_leave<Capacity, Senders>, 1 + Senders>, world {
  void before() { world::before(Capacity, 1, Senders); }
  void thread(unsigned index) {
    if (index == 0) {
      drop_receiver();
    } else {
      if (try_send(index)) static_cast<void>(try_send(index));
    }
  }
  void after() {
    MAGPIE_ASSERT(alive == 0);
    end();
  }
};

/// The last who hold it go at once, a weak one among them: it is freed once.
struct all_go : scenario<all_go, 3>, world {
  std::optional<magpie::sync::mpsc_weak_sender<magpie::channels::item>> weak;
  void before() {
    world::before(1, 1, 1);
    weak.emplace(senders[1]->downgrade());
    watch();
  }
  void thread(unsigned index) {
    if (index == 0) drop_receiver();
    if (index == 1) drop_sender(1);
    if (index != 2) return;
    touched[2] = 1;
    weak.reset();
  }
  void after() { end(); }
};

/// A weak sender is upgraded while the last one goes.
struct upgrade_and_end : scenario<upgrade_and_end, 3>, world {
  std::optional<magpie::sync::mpsc_weak_sender<magpie::channels::item>> weak;
  void before() {
    world::before(1, 1, 1);
    weak.emplace(senders[1]->downgrade());
  }
  void thread(unsigned index) {
    if (index == 0) receive_until_closed();
    if (index == 1) drop_sender(1);
    if (index != 2) return;
    if (auto strong = weak->upgrade()) {
      senders[2].emplace(std::move(*strong));
      MAGPIE_ASSERT(try_send(2));
      drop_sender(2);
    }
    weak.reset();
  }
  void after() {
    MAGPIE_ASSERT(all_received());
    end();
  }
};

/// A value throws where the receiver waits for it, and another one comes.
template <std::size_t Capacity>
struct nothing_and_something : scenario<nothing_and_something<Capacity>, 3>, world {
  void before() {
    world::before(Capacity, 1, 2);
    begin_receive();
  }
  void thread(unsigned index) {
    if (index == 0) {
      if (!finish_receive()) receive_until_closed();
    } else {
      if (index == 1) {
        send_nothing(1);
      } else {
        MAGPIE_ASSERT(try_send(2));
      }
      drop_sender(index);
    }
  }
  void after() {
    MAGPIE_ASSERT(sent[2] == 1 && all_received());
    end();
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "mpsc",
       .scenarios = {entry<send_and_receive<2, 1, 1, false>>("send_and_receive", 2),
                     entry<send_and_receive<0, 1, 1, false>>("unbounded_send_and_receive", 2),
                     entry<send_and_receive<2, 2, 2, true>>("send_to_who_waits", 1),
                     entry<send_and_receive<0, 2, 3, true>>("unbounded_send_to_who_waits", 1),
                     entry<send_and_close<0>>("unbounded_send_and_close", 3),
                     entry<send_and_close<2>>("send_and_close", 2),
                     entry<send_and_leave<0, 1>>("unbounded_send_and_leave", 3),
                     entry<send_and_leave<2, 1>>("send_and_leave", 2),
                     entry<close_and_permit<true>>("close_and_used_permit", 2),
                     entry<close_and_permit<false>>("close_and_unused_permit", 2),
                     entry<all_go>("all_go", 2),
                     entry<two_are_counted<1, 1>>("two_are_counted", 3),
                     entry<two_are_counted<2, 2>>("four_are_counted", 2),
                     entry<copies_go>("copies_go", 1),
                     entry<send_when_full>("send_when_full", 1),
                     entry<two_send<2, 1>>("two_send", 0),
                     entry<two_send<0, 1>>("unbounded_two_send", 0),
                     entry<send_and_leave<0, 2>>("unbounded_two_send_and_leave", 0),
                     entry<stop_of_a_receive<1>>("stop_of_a_receive", 1),
                     entry<stop_of_a_receive<0>>("unbounded_stop_of_a_receive", 1),
                     entry<stop_of_a_send>("stop_of_a_send", 1),
                     entry<permits_come_back>("permits_come_back", 1),
                     entry<stop_of_a_reserve>("stop_of_a_reserve", 1),
                     entry<upgrade_and_end>("upgrade_and_end", 1),
                     entry<nothing_and_something<2>>("nothing_and_something", 0),
                     entry<nothing_and_something<0>>("unbounded_nothing_and_something", 1)},
       .files = {"sync/mpsc_core.hpp", "sync/mpsc_core.cpp"},
       .logic_mutants = {"a_post_is_lost"},
       .equivalents =
           {{"mpsc_core::claim.cas acq_rel->release",
             "it acquires the making of a block, and an exchange of a slot that is being "
             "made is not explored"},
            {"mpsc_core::claim.cas acq_rel->acquire",
             "needs a slot that comes back to an older permit, five messages deep; TSan shows it: "
             "mpsc_receiver.concurrent_threads_send_to_a_task"}},
       .random_schedules = 10'000},
      argc, argv);
}
