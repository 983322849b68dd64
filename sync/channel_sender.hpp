/// The senders of channels that have a bound, and their permits: the same for one receiver and for
/// many.
///
/// `Share` is what an end holds of the channel; its state has the room (channel_room.hpp) and takes
/// messages (`push`) from whoever has a permit.  A message may hold ends of its own channel, so
/// nothing of the state is looked at before something is sent.
/// Threads: any number of tasks and threads, also one of them by many at a time.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/outcome.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/runtime/wait_operation.hpp>
#include <magpie/sync/channel_message.hpp>
#include <magpie/sync/channel_room.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <expected>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync::detail {

/// Waits for room for its message, and sends it.
template <class State>
struct send_entry : permit_entry {
  struct wish {
    State* to;
    message<typename State::value_type> what;
  };

  explicit send_entry(wish one) noexcept : permit_entry(1), wants(one) {}
  wish wanted() const noexcept { return wants; }

  /// There is room: the message goes.
  void settle() noexcept {
#if defined(__cpp_exceptions)
    if constexpr (State::may_throw) {
      try {
        wants.to->push(wants.what);
      } catch (...) {
        thrown = magpie::detail::capture_exception();
      }
      return;
    }
#endif
    wants.to->push(wants.what);
  }

  wish wants;
  void* thrown = nullptr;
};

/// `channel_sender::send`.
template <class State>
class send_operation final
    : public magpie::detail::grant_operation<channel_room<typename State::core_type>,
                                             send_entry<State>> {
  using base =
      magpie::detail::grant_operation<channel_room<typename State::core_type>, send_entry<State>>;

 public:
  using value_type = void;

  send_operation(typename State::core_type& to,
                 const message<typename State::value_type>& what) noexcept
      : base(to.room, typename send_entry<State>::wish{static_cast<State*>(&to), what}) {}
  send_operation(send_operation&& other) noexcept : base(std::move(other)) {
    MAGPIE_ASSERT(!other.has_exception());  // it has not begun
  }
  ~send_operation() {
    if (has_exception()) magpie::detail::drop_exception(this->entry().thrown);
  }

  /// For forks: moving the message has thrown, which `take` rethrows.
  bool has_exception() const noexcept { return this->entry().thrown != nullptr; }

  result<void> take() {
    if (has_exception()) [[unlikely]]
      magpie::detail::rethrow_exception(std::exchange(this->entry().thrown, nullptr));
    return {};
  }
};

/// Room for messages, each of which is sent by it without waiting.  What is not used is given back
/// at its end.  It counts as a sender, and may outlive the one it is from.
template <class Share>
class [[nodiscard("without a name the room is given back at once")]] channel_permit {
 public:
  using value_type = typename Share::value_type;

  channel_permit() noexcept = default;
  channel_permit(channel_permit&& other) noexcept
      : channel_(std::move(other.channel_)), count_(std::exchange(other.count_, 0)) {}
  channel_permit& operator=(channel_permit other) noexcept {
    std::swap(channel_, other.channel_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~channel_permit() { release(); }

  /// For the library.
  channel_permit(Share channel, std::size_t count) noexcept
      : channel_(std::move(channel)), count_(count) {}

  /// How many messages it has room for.
  std::size_t count() const noexcept { return count_; }

  /// Sends one, of which there must be room (asserted).  Also when the channel was closed; if no
  /// receiver is left the message is destroyed.  The last one ends the permit.
  /// Threads: any.  Cost: `mpsc` two exchanges, `mpmc` two spin locks; a lock and a post if a
  /// receiver waits.
  void send(value_type&& value) { send_as(message<value_type>(std::move(value))); }
  void send(const value_type& value)
    requires std::is_copy_constructible_v<value_type>
  {
    send_as(message<value_type>(value));
  }

  /// Gives the room back now.
  void release() noexcept {
    if (count_ != 0) channel_->room.return_unused(std::exchange(count_, 0));
    channel_ = Share();
  }

 private:
  void send_as(const message<value_type>& what) {
    MAGPIE_ASSERT(count_ != 0 && "no room is left in this permit");
    --count_;  // also if it throws: then its room comes back by itself
    channel_->push(what);
    if (count_ == 0) channel_ = Share();
  }

  Share channel_;
  std::size_t count_ = 0;
};

/// `channel_sender::reserve`.
template <class Share>
class reserve_operation final
    : public magpie::detail::grant_operation<channel_room<typename Share::state_type::core_type>,
                                             permit_entry> {
  using base = magpie::detail::grant_operation<channel_room<typename Share::state_type::core_type>,
                                               permit_entry>;

 public:
  using value_type = channel_permit<Share>;

  reserve_operation(const Share& of, std::size_t count) noexcept
      : base(of.core().room, count), channel_(&of) {}
  reserve_operation(reserve_operation&&) noexcept = default;

  result<channel_permit<Share>> take() noexcept {
    this->taken();
    return channel_permit<Share>(*channel_, this->entry().count);
  }

 private:
  const Share* channel_;
};

/// Sends to the channel.  Copies send to the same one.
template <class Share>
class channel_sender {
  using state = typename Share::state_type;

 public:
  using value_type = typename Share::value_type;

  channel_sender() noexcept = default;
  /// For the library.
  explicit channel_sender(Share channel) noexcept : channel_(std::move(channel)) {}

  /// Waits for room and sends `value`, which must stay where it is meanwhile, and so must the
  /// sender.  It is moved from (or copied) when it is sent, and else untouched.
  /// Errors: closed, when the channel was closed or no receiver is left; stopped; what moving the
  /// value throws: then nothing is sent, but in `mpsc` its slot takes room until it is passed.
  /// Stop: nothing is sent, and the place in line is given up.
  /// Threads: any number of tasks.  Cost when there is room: `mpsc` three exchanges, `mpmc` one and
  /// two spin locks; a lock and a post if a receiver waits; no allocation.
  send_operation<state> send(value_type&& value) const noexcept {
    return send_operation<state>(channel_.core(), message<value_type>(std::move(value)));
  }
  send_operation<state> send(const value_type& value) const noexcept
    requires std::is_copy_constructible_v<value_type>
  {
    return send_operation<state>(channel_.core(), message<value_type>(value));
  }

  /// Sends `value` if there is room and nobody waits for it; else leaves it as it is.
  /// Errors: resource_unavailable_try_again; closed.  Threads: any.
  result<void> try_send(value_type&& value) const {
    return try_as(message<value_type>(std::move(value)));
  }
  result<void> try_send(const value_type& value) const
    requires std::is_copy_constructible_v<value_type>
  {
    return try_as(message<value_type>(value));
  }

  /// As `send`, for a thread that is no worker (asserted): it waits in the same line.
  /// Errors: closed.  Cost: blocks the thread.
  result<void> blocking_send(value_type&& value) const {
    return block_for(message<value_type>(std::move(value)));
  }
  result<void> blocking_send(const value_type& value) const
    requires std::is_copy_constructible_v<value_type>
  {
    return block_for(message<value_type>(value));
  }

  /// Waits for room for `count` messages at once, at most the capacity (asserted).  The sender must
  /// stay where it is meanwhile.
  /// Errors: closed; stopped.  Stop: room that was given and not taken goes to the next in line.
  /// Threads: any number of tasks.  Cost: two exchanges when there is room; no allocation.
  reserve_operation<Share> reserve(std::size_t count = 1) const noexcept {
    MAGPIE_ASSERT((channel_.get() == nullptr || count <= capacity()) && "more than there ever is");
    return reserve_operation<Share>(channel_, count);
  }
  /// The same without waiting, if nobody waits.
  /// Errors: resource_unavailable_try_again; closed.  Threads: any.
  result<channel_permit<Share>> try_reserve(std::size_t count = 1) const noexcept {
    if (const auto room = take_room(count); !room) return std::unexpected(room.error());
    return channel_permit<Share>(channel_, count);
  }

  /// The channel was closed, or no receiver is left.
  bool is_closed() const noexcept { return channel_.core().is_closed(); }

  /// Waits until that is so: to give up work whose result nobody will receive.  The sender must
  /// stay where it is meanwhile, and keeps the channel open as it does anyway.
  /// Errors: stopped.  Stop: ends the wait; nothing is consumed.
  /// Threads: any number of tasks.  Cost: no allocation.
  magpie::detail::wait_operation closed() const noexcept {
    return magpie::detail::wait_operation(&channel_.core().room.closing());
  }
  /// The same for a thread that is no worker (asserted).  Cost: blocks the thread.
  void blocking_closed() const noexcept {
    magpie::detail::blocking_wait(channel_.core().room.closing());
  }

  /// How many messages there is room for at most, and now: the latter a guess while others send.
  std::size_t capacity() const noexcept {
    return channel_.get() != nullptr ? channel_->capacity() : 0;
  }
  std::size_t available() const noexcept {
    return channel_.get() != nullptr ? channel_->room.available() : 0;
  }

 private:
  result<void> take_room(std::size_t count) const noexcept {
    permit_entry wanted(count);
    return magpie::detail::tried(channel_.core().room.take(wanted), wanted);
  }
  result<void> try_as(const message<value_type>& what) const {
    auto room = take_room(1);
    if (room) channel_->push(what);
    return room;
  }
  result<void> block_for(const message<value_type>& what) const {
    permit_entry wanted(1);
    magpie::detail::blocking_grant(channel_.core().room, wanted);
    if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
    channel_->push(what);
    return {};
  }

 protected:
  const Share& channel() const noexcept { return channel_; }

 private:
  Share channel_;
};

}  // namespace magpie::sync::detail
