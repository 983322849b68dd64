/// A channel from many senders, its ends in the hands of the threads of a scenario, and messages
/// that are watched: each is received once, after those that its sender sent before, or is where it
/// was, or destroyed.  A model includes this once, and first.
#pragma once

#include <magpie/tests/model/item.hpp>
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/sync/event.cpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/mpsc_core.cpp>
#include <magpie/sync/permit_queue.cpp>
#include <magpie/sync/unbounded_mpsc.hpp>

#include <cstdlib>
#include <utility>

namespace magpie::detail {

// No value of a model throws.
void rethrow_exception(void*) { std::abort(); }

}  // namespace magpie::detail

namespace magpie::channels {

using model::party;

struct world : model::stage {
  using state = sync::detail::mpsc_state<item>;
  using receive = sync::detail::receive_message<item>;
  using send = sync::detail::send_operation<state>;
  using reserve = sync::detail::reserve_operation<sync::detail::mpsc_share<item>>;

  /// One for each thread that sends.
  std::array<std::optional<sync::mpsc_sender<item>>, 3> senders;
  std::array<std::optional<sync::unbounded_sender<item>>, 3> loose;
  std::optional<sync::mpsc_receiver<item>> receiver;
  std::array<std::optional<party>, 3> who;
  std::optional<receive> receiving;
  std::array<std::optional<send>, 3> sending;
  std::array<std::optional<item>, 3> values;
  std::array<std::optional<reserve>, 3> reserving;
  std::array<std::optional<sync::mpsc_permit<item>>, 3> permits;
  /// Of each sender, before its n-th message.
  std::array<std::array<plain<int>, 4>, 3> before_send;
  /// By each end, before it lets go.
  std::array<plain<int>, 3> touched{0, 0, 0};
  state* channel = nullptr;
  int alive = 0;
  std::array<int, 3> sent{0, 0, 0};
  std::array<int, 3> received{0, 0, 0};

  /// With senders of the threads from 1 to `last`.
  void before(std::size_t capacity, unsigned slots, unsigned last) {
    channel = state::make(capacity, slots);
    receiver.emplace(channel);
    sync::detail::mpsc_share<item> share(channel);
    for (unsigned i = 1; i <= last; ++i) {
      if (capacity == 0) {
        loose[i].emplace(share);
      } else {
        senders[i].emplace(share);
      }
    }
    for (auto& one : who) one.emplace();
  }
  /// At the end of a block, which is looked at by who frees the last.
  void watch() { when_freed = &look_at_all; }
  static void look_at_all(model::stage& on) {
    auto& self = static_cast<world&>(on);
    if (self.blocks == 0)
      for (auto& each : self.touched) static_cast<void>(each + 0);
  }

  item make(unsigned i) { return item(static_cast<int>(i) * 10 + sent[i], alive); }

  /// True: it is sent.
  bool try_send(unsigned i) {
    before_send[i][static_cast<std::size_t>(sent[i])] = 1;
    item one = make(i);
    const auto ended =
        senders[i] ? senders[i]->try_send(std::move(one)) : loose[i]->send(std::move(one));
    if (ended) ++sent[i];
    return ended.has_value();
  }
  void begin_send(unsigned i) {
    before_send[i][static_cast<std::size_t>(sent[i])] = 1;
    values[i].emplace(make(i));
    sending[i].emplace(senders[i]->send(std::move(*values[i])));
    who[i]->begin(*sending[i]);
  }
  std::error_code finish_send(unsigned i) {
    std::error_code error = who[i]->finish();
    if (!error) error = sending[i]->failed();
    if (!error) {
      static_cast<void>(sending[i]->take());
      ++sent[i];
    }
    MAGPIE_ASSERT(values[i]->number() >= 10);
    sending[i].reset();
    values[i].reset();
    return error;
  }
  void begin_reserve(unsigned i) {
    reserving[i].emplace(senders[i]->reserve());
    who[i]->begin(*reserving[i]);
  }
  std::error_code finish_reserve(unsigned i) {
    std::error_code error = who[i]->finish();
    if (!error) error = reserving[i]->failed();
    if (!error) permits[i].emplace(*reserving[i]->take());
    reserving[i].reset();
    return error;
  }
  void use_permit(unsigned i) {
    before_send[i][static_cast<std::size_t>(sent[i])] = 1;
    permits[i]->send(make(i));
    ++sent[i];
  }
  /// What a value does that throws when it is moved into its slot.
  void send_nothing(unsigned i) {
    state::place at;
    if (senders[i]) {
      sync::detail::permit_entry room(1);
      MAGPIE_ASSERT(channel->room.take(room));
    }
    MAGPIE_ASSERT(channel->claim(at) == state::claimed::yes);
    MAGPIE_ASSERT(!channel->publish(at, state::as::nothing));
  }
  void drop_sender(unsigned i) {
    touched[i] = 1;
    permits[i].reset();
    senders[i].reset();
    loose[i].reset();
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
  std::error_code await_receive() {
    begin_receive();
    return finish_receive();
  }
  void receive_until_closed() {
    for (;;) {
      const std::error_code error = await_receive();
      if (!error) continue;
      MAGPIE_ASSERT(error == errc::closed);
      return;
    }
  }
  std::error_code try_receive() {
    auto got = receiver->try_receive();
    if (!got) return got.error();
    take(std::move(got));
    return no_error;
  }
  void take(result<item>&& got) {
    const auto from = static_cast<std::size_t>(got->number() / 10);
    const auto nth = static_cast<std::size_t>(received[from]++);
    MAGPIE_ASSERT(static_cast<std::size_t>(got->number() % 10) == nth);
    MAGPIE_ASSERT(before_send[from][nth] == 1);
  }
  void drop_receiver() {
    touched[0] = 1;
    receiver.reset();
  }
  bool all_received() const { return sent == received; }

  /// All ends have gone, and with them everything.
  void end() {
    for (unsigned i = 0; i != 3; ++i) drop_sender(i);
    receiver.reset();
    for (auto& one : who) one.reset();
    MAGPIE_ASSERT(blocks == 0 && alive == 0);
  }
};

}  // namespace magpie::channels
