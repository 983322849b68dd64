/// Model: a channel from many to many. A message is received, once and whole, or is where it was,
/// or destroyed with the channel, whoever sends, waits, is stopped, closes and goes meanwhile; a
/// message that was given back reaches who waits beside; nobody hears of the end before it, and
/// everybody at it. All of it is the real source; tasks.hpp says what stands for frames.
#include <magpie/tests/model/item.hpp>
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/sync/event.cpp>
#include <magpie/sync/mpmc.hpp>
#include <magpie/sync/mpmc_core.cpp>
#include <magpie/sync/mpsc_core.cpp>
#include <magpie/sync/permit_queue.cpp>

#include <cstdlib>
#include <utility>

namespace magpie::detail {

// No value of a model throws.
void rethrow_exception(void*) { std::abort(); }

}  // namespace magpie::detail

namespace {

using namespace magpie;
using channels::item;
using model::party;
using model::scenario;

struct world : model::stage {
  using state = sync::detail::mpmc_state<item>;

  /// One for each thread that has it.
  std::array<std::optional<sync::mpmc_sender<item>>, 4> senders;
  std::array<std::optional<sync::mpmc_receiver<item>>, 4> receivers;
  std::array<std::optional<party>, 4> who;
  std::array<std::optional<sync::detail::mpmc_receive<item>>, 4> receiving;
  std::optional<sync::detail::send_operation<state>> sending;
  std::optional<item> value;
  std::optional<sync::mpmc_permit<item>> permit;
  /// Of each message, before it is sent; and how often it was received, by number.
  std::array<plain<int>, 3> before_send;
  std::array<int, 3> received{0, 0, 0};
  int alive = 0;

  /// With a sender for one thread, and receivers for others.
  void before(std::size_t capacity, unsigned sends, std::initializer_list<unsigned> receive) {
    sync::mpmc_ends<item> ends(state::make(capacity));
    senders[sends].emplace(std::move(ends.sender));
    for (const unsigned i : receive) receivers[i].emplace(ends.receiver);
    for (auto& one : who) one.emplace();
  }

  bool try_send(unsigned i, int number) {
    before_send[static_cast<std::size_t>(number)] = 1;
    item one(number, alive);
    return senders[i]->try_send(std::move(one)).has_value();
  }
  void begin_send(unsigned i, int number) {
    before_send[static_cast<std::size_t>(number)] = 1;
    value.emplace(number, alive);
    sending.emplace(senders[i]->send(std::move(*value)));
    who[i]->begin(*sending);
  }
  std::error_code finish_send(unsigned i) {
    std::error_code error = who[i]->finish();
    if (!error) error = sending->failed();
    if (!error) static_cast<void>(sending->take());
    sending.reset();
    value.reset();
    return error;
  }

  void begin_receive(unsigned i) {
    receiving[i].emplace(receivers[i]->receive());
    who[i]->begin(*receiving[i]);
  }
  std::error_code finish_receive(unsigned i) {
    std::error_code error = who[i]->finish();
    if (!error) error = receiving[i]->failed();  // it may have ended at once
    if (!error) note(receiving[i]->take());
    receiving[i].reset();
    return error;
  }
  void receive_until_closed(unsigned i, bool begun = false) {
    for (;; begun = false) {
      if (!begun) begin_receive(i);
      const std::error_code error = finish_receive(i);
      if (!error) continue;
      MAGPIE_ASSERT(error == errc::closed);
      return;
    }
  }
  /// True: there was one.
  bool try_receive(unsigned i) {
    auto got = receivers[i]->try_receive();
    if (got) note(std::move(got));
    return got.has_value();
  }
  void note(result<item>&& got) {
    const auto number = static_cast<std::size_t>(got->number());
    MAGPIE_ASSERT(before_send[number] == 1);
    ++received[number];
  }

  /// All ends have gone, and with them everything.
  void end() {
    permit.reset();
    for (auto& one : senders) one.reset();
    for (auto& one : receivers) one.reset();
    for (auto& one : who) one.reset();
    MAGPIE_ASSERT(blocks == 0 && alive == 0);
  }
};

/// Two take what one sends, who has to wait for room; both hear of the end.
struct two_receive : scenario<two_receive, 3>, world {
  void before() { world::before(1, 0, {1, 2}); }
  void thread(unsigned index) {
    if (index != 0) return receive_until_closed(index);
    for (int i = 0; i != 2; ++i) {
      begin_send(0, i);
      MAGPIE_ASSERT(!finish_send(0));
    }
    senders[0].reset();
  }
  void after() {
    MAGPIE_ASSERT(received[0] == 1 && received[1] == 1);
    end();
  }
};

/// A message comes and the one who waits is stopped: it was received, or is there.
struct stop_of_a_receive : scenario<stop_of_a_receive, 3>, world {
  std::error_code error;
  void before() {
    world::before(1, 1, {0});
    begin_receive(0);
  }
  void thread(unsigned index) {
    if (index == 0) error = finish_receive(0);
    if (index == 1) MAGPIE_ASSERT(try_send(1, 0));
    if (index == 2) who[0]->scope.request_stop();
  }
  void after() {
    MAGPIE_ASSERT(!error || error == errc::stopped);
    MAGPIE_ASSERT(try_receive(0) == static_cast<bool>(error));
    MAGPIE_ASSERT(received[0] == 1 && senders[1]->available() == 1);
    end();
  }
};

/// The last message is given to one who is stopped, while another one waits beside: that has it,
/// and not the end alone.
struct given_back_at_the_end : scenario<given_back_at_the_end, 4>, world {
  void before() {
    world::before(1, 2, {0, 1});
    begin_receive(0);
    begin_receive(1);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const std::error_code error = finish_receive(0);
      MAGPIE_ASSERT(!error || error == errc::stopped);
    }
    if (index == 1) receive_until_closed(1, true);
    if (index == 2) {
      MAGPIE_ASSERT(try_send(2, 0));
      senders[2].reset();
    }
    if (index == 3) who[0]->scope.request_stop();
  }
  void after() {
    MAGPIE_ASSERT(received[0] == 1);
    end();
  }
};

/// It is closed while a permit is out, which is used or not: who waits hears of the end after that.
template <bool Used>
struct close_and_permit : scenario<close_and_permit<Used>, 3>, world {
  void before() {
    world::before(2, 2, {0, 1});
    permit.emplace(*senders[2]->try_reserve());
    begin_receive(0);
  }
  void thread(unsigned index) {
    if (index == 0) receive_until_closed(0, true);
    if (index == 1) receivers[1]->close();
    if (index == 2 && Used) {
      before_send[0] = 1;
      permit->send(item(0, alive));
    } else if (index == 2) {
      permit.reset();
    }
  }
  void after() {
    MAGPIE_ASSERT(received[0] == (Used ? 1 : 0));
    end();
  }
};

/// Room comes and the send is stopped: it was sent, or the room is there.
struct stop_of_a_send : scenario<stop_of_a_send, 3>, world {
  std::error_code error;
  void before() {
    world::before(1, 1, {0});
    MAGPIE_ASSERT(try_send(1, 0));
    begin_send(1, 1);
  }
  void thread(unsigned index) {
    if (index == 0) MAGPIE_ASSERT(try_receive(0));
    if (index == 1) error = finish_send(1);
    if (index == 2) who[1]->scope.request_stop();
  }
  void after() {
    MAGPIE_ASSERT(!error || error == errc::stopped);
    MAGPIE_ASSERT(try_receive(0) == !error);
    MAGPIE_ASSERT(senders[1]->available() == 1);
    end();
  }
};

/// The receivers go while somebody sends and goes: all is destroyed, and freed once.
struct all_go : scenario<all_go, 3>, world {
  void before() { world::before(2, 0, {1, 2}); }
  void thread(unsigned index) {
    if (index != 0) {
      receivers[index].reset();
    } else {
      static_cast<void>(try_send(0, 0));
      senders[0].reset();
    }
  }
  void after() { end(); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "mpmc",
       .scenarios = {entry<all_go>("all_go", 1), entry<stop_of_a_receive>("stop_of_a_receive", 1),
                     entry<stop_of_a_send>("stop_of_a_send", 1),
                     entry<close_and_permit<true>>("close_and_used_permit", 1),
                     entry<close_and_permit<false>>("close_and_unused_permit", 1),
                     entry<given_back_at_the_end>("given_back_at_the_end", 1),
                     entry<two_receive>("two_receive", 1)},
       .files = {"sync/mpmc_core.hpp", "sync/mpmc_core.cpp", "util/spin_lock.hpp"},
       .logic_mutants = {"a_post_is_lost"},
       .random_schedules = 10'000},
      argc, argv);
}
