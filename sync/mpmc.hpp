/// `mpmc`: a channel from many senders to many receivers, of which one gets each message.
///
///     auto [to, from] = sync::mpmc<job>(64);
///     for (int i = 0; i < 8; ++i) group.spawn(works(from));   // each takes jobs as it can
///     co_await to.send(std::move(one));                       // waits while 64 are on their way
///
/// It is `mpsc` (mpsc.hpp) with receivers that are copied as well.  Senders wait for room and
/// receivers for messages, each in the order of coming.  `send` moves from the caller's variable
/// when there is room, and not before.  A message that was given to a receiver which is stopped
/// before it runs goes to the next in line.
///
/// When the last sender has gone, and the last permit, the receivers get what is there and then
/// `errc::closed`: each hears of it when there is no message any more that another one might give
/// back.  A receiver may close, for all of them; when the last has gone, what is in the channel is
/// destroyed.
///
/// Messages are taken from the front.  Two receivers that run at the same time may finish with them
/// in either order; those of one sender come to one receiver in their order.
///
/// The slots, and all states, are in mpmc_core.hpp.  Where there is one receiver `mpsc` costs less:
/// here each message takes a lock five times.
/// A channel whose memory could not be had, or an end that was moved from, is closed.
/// Threads: any number of tasks and threads at both ends, also at one of them.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/outcome.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/sync/mpmc_state.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <expected>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {
namespace detail {

/// Waits for room for its message, and sends it.
template <class T>
struct mpmc_send_entry : permit_entry {
  struct wish {
    mpmc_state<T>* to;
    message<T> what;
  };

  explicit mpmc_send_entry(wish one) noexcept : permit_entry(1), wants(one) {}
  wish wanted() const noexcept { return wants; }

  /// There is room: the message goes.
  void settle() noexcept {
#if defined(__cpp_exceptions)
    if constexpr (mpmc_state<T>::may_throw) {
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

/// `mpmc_sender::send`.
template <class T>
class mpmc_send final : public magpie::detail::grant_operation<mpmc_room, mpmc_send_entry<T>> {
  using base = magpie::detail::grant_operation<mpmc_room, mpmc_send_entry<T>>;

 public:
  using value_type = void;

  mpmc_send(mpmc_core& to, const message<T>& what) noexcept
      : base(to.room, typename mpmc_send_entry<T>::wish{static_cast<mpmc_state<T>*>(&to), what}) {}
  mpmc_send(mpmc_send&& other) noexcept : base(std::move(other)) {
    MAGPIE_ASSERT(!other.has_exception());  // it has not begun
  }
  ~mpmc_send() {
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

/// `mpmc_receiver::receive`.
template <class T>
class mpmc_receive final : public magpie::detail::grant_operation<mpmc_core, claim_entry> {
 public:
  using value_type = T;

  explicit mpmc_receive(mpmc_core& from) noexcept : grant_operation(from, claim_entry::wish()) {}
  mpmc_receive(mpmc_receive&&) noexcept = default;

  result<T> take() noexcept(std::is_nothrow_move_constructible_v<T>) {
    taken();
    return static_cast<mpmc_state<T>&>(source()).take_value();
  }
};

}  // namespace detail

/// Room for messages, each of which is sent by it without waiting.  What is not used is given back
/// at its end.  It counts as a sender, and may outlive the one it is from.
template <class T>
class [[nodiscard("without a name the room is given back at once")]] mpmc_permit {
 public:
  mpmc_permit() noexcept = default;
  mpmc_permit(mpmc_permit&& other) noexcept
      : channel_(std::move(other.channel_)), count_(std::exchange(other.count_, 0)) {}
  mpmc_permit& operator=(mpmc_permit other) noexcept {
    std::swap(channel_, other.channel_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~mpmc_permit() { release(); }

  /// For the library.
  mpmc_permit(detail::mpmc_sending<T> channel, std::size_t count) noexcept
      : channel_(std::move(channel)), count_(count) {}

  /// How many messages it has room for.
  std::size_t count() const noexcept { return count_; }

  /// Sends one, of which there must be room (asserted).  Also when the channel was closed; if the
  /// receivers have gone the message is destroyed.  The last one ends the permit.
  /// Threads: any.  Cost: two spin locks, and a post if a receiver waits.
  void send(T&& value) { send_as(detail::message<T>(std::move(value))); }
  void send(const T& value)
    requires std::is_copy_constructible_v<T>
  {
    send_as(detail::message<T>(value));
  }

  /// Gives the room back now.
  void release() noexcept {
    if (count_ != 0) channel_->room.give_back(std::exchange(count_, 0));
    channel_ = detail::mpmc_sending<T>();
  }

 private:
  void send_as(const detail::message<T>& what) {
    MAGPIE_ASSERT(count_ != 0 && "no room is left in this permit");
    --count_;  // also if it throws: then its room is given back
    channel_->push(what);
    if (count_ == 0) channel_ = detail::mpmc_sending<T>();
  }

  detail::mpmc_sending<T> channel_;
  std::size_t count_ = 0;
};

namespace detail {

/// `mpmc_sender::reserve`.
template <class T>
class mpmc_reserve final : public magpie::detail::grant_operation<mpmc_room, permit_entry> {
 public:
  using value_type = mpmc_permit<T>;

  mpmc_reserve(const mpmc_sending<T>& of, std::size_t count) noexcept
      : grant_operation(of.core().room, count), channel_(&of) {}
  mpmc_reserve(mpmc_reserve&&) noexcept = default;

  result<mpmc_permit<T>> take() noexcept {
    taken();
    return mpmc_permit<T>(*channel_, entry().count);
  }

 private:
  const mpmc_sending<T>* channel_;
};

}  // namespace detail

/// Sends to the channel.  Copies send to the same one.
template <class T>
class mpmc_sender {
 public:
  using value_type = T;

  mpmc_sender() noexcept = default;
  /// For the library.
  explicit mpmc_sender(detail::mpmc_sending<T> channel) noexcept : channel_(std::move(channel)) {}

  /// Waits for room and sends `value`, which must stay where it is meanwhile, and so must the
  /// sender.  It is moved from (or copied) when it is sent, and else untouched.
  /// Errors: closed, when the channel was closed or the receivers have gone; stopped; what moving
  /// the value throws, and then nothing is sent.
  /// Stop: nothing is sent, and the place in line is given up.
  /// Threads: any number of tasks.  Cost: an exchange and two spin locks when there is room, and a
  /// post if a receiver waits; no allocation.
  detail::mpmc_send<T> send(T&& value) const noexcept {
    return detail::mpmc_send<T>(channel_.core(), detail::message<T>(std::move(value)));
  }
  detail::mpmc_send<T> send(const T& value) const noexcept
    requires std::is_copy_constructible_v<T>
  {
    return detail::mpmc_send<T>(channel_.core(), detail::message<T>(value));
  }

  /// Sends `value` if there is room and nobody waits for it; else leaves it as it is.
  /// Errors: resource_unavailable_try_again; closed.  Threads: any.
  result<void> try_send(T&& value) const { return try_as(detail::message<T>(std::move(value))); }
  result<void> try_send(const T& value) const
    requires std::is_copy_constructible_v<T>
  {
    return try_as(detail::message<T>(value));
  }

  /// As `send`, for a thread that is no worker (asserted): it waits in the same line.
  /// Errors: closed.  Cost: blocks the thread.
  result<void> blocking_send(T&& value) const {
    return block_for(detail::message<T>(std::move(value)));
  }
  result<void> blocking_send(const T& value) const
    requires std::is_copy_constructible_v<T>
  {
    return block_for(detail::message<T>(value));
  }

  /// Waits for room for `count` messages at once, at most the capacity (asserted).  The sender must
  /// stay where it is meanwhile.
  /// Errors: closed; stopped.  Stop: room that was given and not taken goes to the next in line.
  /// Threads: any number of tasks.  Cost: two exchanges when there is room; no allocation.
  detail::mpmc_reserve<T> reserve(std::size_t count = 1) const noexcept {
    MAGPIE_ASSERT((channel_.get() == nullptr || count <= capacity()) && "more than there ever is");
    return detail::mpmc_reserve<T>(channel_, count);
  }
  /// The same without waiting, if nobody waits.
  /// Errors: resource_unavailable_try_again; closed.  Threads: any.
  result<mpmc_permit<T>> try_reserve(std::size_t count = 1) const noexcept {
    if (const auto room = take_room(count); !room) return std::unexpected(room.error());
    return mpmc_permit<T>(channel_, count);
  }

  /// The channel was closed, or the receivers have gone.
  bool is_closed() const noexcept { return channel_.core().is_closed(); }
  /// How many messages there is room for at most, and now: the latter a guess while others send.
  std::size_t capacity() const noexcept {
    return channel_.get() != nullptr ? channel_->capacity() : 0;
  }
  std::size_t available() const noexcept {
    return channel_.get() != nullptr ? channel_->room.available() : 0;
  }

 private:
  result<void> take_room(std::size_t count) const noexcept {
    detail::permit_entry wanted(count);
    if (!channel_.core().room.take(wanted))
      return std::unexpected(std::make_error_code(std::errc::resource_unavailable_try_again));
    if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
    return {};
  }
  result<void> try_as(const detail::message<T>& what) const {
    auto room = take_room(1);
    if (room) channel_->push(what);
    return room;
  }
  result<void> block_for(const detail::message<T>& what) const {
    detail::permit_entry wanted(1);
    magpie::detail::blocking_grant(channel_.core().room, wanted);
    if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
    channel_->push(what);
    return {};
  }

  detail::mpmc_sending<T> channel_;
};

/// Receives from the channel what no other receiver gets.  Copies receive from the same one.
template <class T>
class mpmc_receiver {
 public:
  using value_type = T;

  mpmc_receiver() noexcept = default;
  /// For the library.
  explicit mpmc_receiver(detail::mpmc_receiving<T> channel) noexcept
      : channel_(std::move(channel)) {}

  /// Waits for a message.  The receiver must stay where it is meanwhile.
  /// Errors: closed, when there is none and none will come; stopped; what moving the value throws,
  /// and then it stays in front.
  /// Stop: takes no message; one that was given goes to the next in line.
  /// Threads: any number of tasks.  Cost: an exchange and three spin locks when there is a message;
  /// no allocation.
  detail::mpmc_receive<T> receive() const noexcept {
    return detail::mpmc_receive<T>(channel_.core());
  }

  /// A message if there is one that nobody has been given.
  /// Errors: resource_unavailable_try_again, when one may still come; closed.  Threads: any.
  result<T> try_receive() const {
    detail::claim_entry wanted;
    if (!channel_.core().try_take(wanted))
      return std::unexpected(std::make_error_code(std::errc::resource_unavailable_try_again));
    if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
    return channel_->take_value();
  }

  /// As `receive`, for a thread that is no worker (asserted).
  /// Errors: closed.  Cost: blocks the thread.
  result<T> blocking_receive() const {
    detail::claim_entry wanted;
    magpie::detail::blocking_grant(channel_.core(), wanted);
    if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
    return channel_->take_value();
  }

  /// From now on nothing can be sent, and whoever waits to do so is told; but by permits that are
  /// out.  What was sent before, or is sent by them, can still be received.  Idempotent.
  void close() const noexcept {
    if (channel_.get() != nullptr) channel_->close();
  }
  /// Nothing new will be sent, by whatever end's doing.
  bool is_closed() const noexcept { return channel_.core().is_closed(); }

  /// How many messages there are that nobody has been given: a guess while others come and go.
  std::size_t size() const noexcept { return channel_.core().size(); }
  bool empty() const noexcept { return size() == 0; }

 private:
  detail::mpmc_receiving<T> channel_;
};

/// Both ends of a channel; see `mpmc`.
template <class T>
struct mpmc_ends {
  explicit mpmc_ends(detail::mpmc_state<T>* state) noexcept
      : sender(detail::mpmc_sending<T>(state)), receiver(detail::mpmc_receiving<T>(state)) {}

  mpmc_sender<T> sender;
  mpmc_receiver<T> receiver;
};

/// What a channel has room for at most: its memory is there from the start.
inline constexpr std::size_t mpmc_capacity_max = std::size_t{1} << 24;

/// A new channel with room for `capacity` messages, from 1 to `mpmc_capacity_max` (asserted).
/// Cost: one block with all of them.
template <class T>
mpmc_ends<T> mpmc(std::size_t capacity) noexcept {
  MAGPIE_ASSERT(capacity != 0 && capacity <= mpmc_capacity_max && "a channel has room for some");
  return mpmc_ends<T>(detail::mpmc_state<T>::make(capacity));
}

}  // namespace magpie::sync
