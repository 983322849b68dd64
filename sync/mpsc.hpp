/// `mpsc`: a channel from many senders to one receiver, with room for so many messages.
///
///     auto [to, from] = sync::mpsc<job>(64);
///     spawn(works(std::move(from)));      // while (true) do(co_await from.receive());
///     co_await to.send(std::move(one));   // waits while 64 are on their way
///
/// Whoever sends waits for room in the order of coming, so a consumer that is slow slows its
/// producers down.  `send` moves from the caller's variable when there is room, and not before: if
/// it is stopped, or the channel is closed, the value is where it was.  What has to be made or
/// taken from elsewhere is better made when the room for it is there: `reserve` gives a permit.
///
/// Senders are copied.  When the last of them has gone, and the last permit, the receiver gets what
/// is there and then `errc::closed`.  The receiver may close, and go on receiving what was sent;
/// when it goes, what is in the channel is destroyed.  A weak sender keeps nobody waiting.
///
/// The slots, and all states, are in mpsc_core.hpp.
/// A channel whose memory could not be had, or an end that was moved from, is closed.
/// Threads: senders any, also one of them by many at a time; the receiver by one at a time.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/outcome.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/sync/mpsc_receiver.hpp>
#include <magpie/sync/mpsc_state.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <expected>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {
namespace detail {

/// Waits for room for its message, and sends it.
template <class T>
struct send_entry : permit_entry {
  struct wish {
    mpsc_state<T>* to;
    message<T> what;
  };

  explicit send_entry(wish one) noexcept : permit_entry(1), wants(one) {}
  wish wanted() const noexcept { return wants; }

  /// There is room: the message goes.
  void settle() noexcept {
#if defined(__cpp_exceptions)
    if constexpr (mpsc_state<T>::may_throw) {
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

/// `mpsc_sender::send`.
template <class T>
class send_operation final : public magpie::detail::grant_operation<mpsc_room, send_entry<T>> {
  using base = magpie::detail::grant_operation<mpsc_room, send_entry<T>>;

 public:
  using value_type = void;

  send_operation(mpsc_core& to, const message<T>& what) noexcept
      : base(to.room, typename send_entry<T>::wish{static_cast<mpsc_state<T>*>(&to), what}) {}
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

}  // namespace detail

/// Room for messages, each of which is sent by it without waiting.  What is not used is given back
/// at its end.  It counts as a sender, and may outlive the one it is from.
template <class T>
class [[nodiscard("without a name the room is given back at once")]] mpsc_permit {
 public:
  mpsc_permit() noexcept = default;
  mpsc_permit(mpsc_permit&& other) noexcept
      : channel_(std::move(other.channel_)), count_(std::exchange(other.count_, 0)) {}
  mpsc_permit& operator=(mpsc_permit other) noexcept {
    std::swap(channel_, other.channel_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~mpsc_permit() { release(); }

  /// For the library.
  mpsc_permit(detail::mpsc_share<T> channel, std::size_t count) noexcept
      : channel_(std::move(channel)), count_(count) {}

  /// How many messages it has room for.
  std::size_t count() const noexcept { return count_; }

  /// Sends one, of which there must be room (asserted).  Also when the receiver has closed; if it
  /// has gone the message is destroyed.  The last one ends the permit.
  /// Threads: any.  Cost: two exchanges, and a lock and a post if the receiver waits.
  void send(T&& value) { send_as(detail::message<T>(std::move(value))); }
  void send(const T& value)
    requires std::is_copy_constructible_v<T>
  {
    send_as(detail::message<T>(value));
  }

  /// Gives the room back now.
  void release() noexcept {
    if (count_ != 0) channel_->room.return_unused(std::exchange(count_, 0));
    channel_ = detail::mpsc_share<T>();
  }

 private:
  void send_as(const detail::message<T>& what) {
    MAGPIE_ASSERT(count_ != 0 && "no room is left in this permit");
    --count_;  // also if it throws: then its slot is passed
    channel_->push(what);
    if (count_ == 0) channel_ = detail::mpsc_share<T>();
  }

  detail::mpsc_share<T> channel_;
  std::size_t count_ = 0;
};

namespace detail {

/// `mpsc_sender::reserve`.
template <class T>
class reserve_operation final : public magpie::detail::grant_operation<mpsc_room, permit_entry> {
 public:
  using value_type = mpsc_permit<T>;

  reserve_operation(const mpsc_share<T>& of, std::size_t count) noexcept
      : grant_operation(of.core().room, count), channel_(&of) {}
  reserve_operation(reserve_operation&&) noexcept = default;

  result<mpsc_permit<T>> take() noexcept {
    taken();
    return mpsc_permit<T>(*channel_, entry().count);
  }

 private:
  const mpsc_share<T>* channel_;
};

}  // namespace detail

/// A sender that does not count: the channel ends without it.
template <class Sender>
class weak_sender {
 public:
  using value_type = typename Sender::value_type;

  weak_sender() noexcept = default;
  /// For the library.
  explicit weak_sender(detail::mpsc_share<value_type, true> channel) noexcept
      : channel_(std::move(channel)) {}

  /// A sender, if there is still one.
  std::optional<Sender> upgrade() const noexcept {
    auto strong = channel_.strong();
    if (strong.get() == nullptr) return std::nullopt;
    return Sender(std::move(strong));
  }

 private:
  detail::mpsc_share<value_type, true> channel_;
};

/// Sends to a channel that has a bound.  Copies send to the same one.
template <class T>
class mpsc_sender {
 public:
  using value_type = T;

  mpsc_sender() noexcept = default;
  /// For the library.
  explicit mpsc_sender(detail::mpsc_share<T> channel) noexcept : channel_(std::move(channel)) {}

  /// Waits for room and sends `value`, which must stay where it is meanwhile, and so must the
  /// sender.  It is moved from (or copied) when it is sent, and else untouched.
  /// Errors: closed, when the receiver has closed or gone; stopped; what moving the value throws,
  /// and then its slot takes room until the receiver has passed it.
  /// Stop: nothing is sent, and the place in line is given up.
  /// Threads: any number of tasks.  Cost: three exchanges when there is room, and a lock and a post
  /// if the receiver waits; no allocation.
  detail::send_operation<T> send(T&& value) const noexcept {
    return detail::send_operation<T>(channel_.core(), detail::message<T>(std::move(value)));
  }
  detail::send_operation<T> send(const T& value) const noexcept
    requires std::is_copy_constructible_v<T>
  {
    return detail::send_operation<T>(channel_.core(), detail::message<T>(value));
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
  detail::reserve_operation<T> reserve(std::size_t count = 1) const noexcept {
    MAGPIE_ASSERT((channel_.get() == nullptr || count <= capacity()) && "more than there ever is");
    return detail::reserve_operation<T>(channel_, count);
  }
  /// The same without waiting, if nobody waits.
  /// Errors: resource_unavailable_try_again; closed.  Threads: any.
  result<mpsc_permit<T>> try_reserve(std::size_t count = 1) const noexcept {
    if (const auto room = take_room(count); !room) return std::unexpected(room.error());
    return mpsc_permit<T>(channel_, count);
  }

  /// The receiver has closed, or gone.
  bool is_closed() const noexcept { return channel_.core().is_closed(); }
  /// How many messages there is room for at most, and now: the latter a guess while others send.
  std::size_t capacity() const noexcept {
    return channel_.get() != nullptr ? channel_->capacity() : 0;
  }
  std::size_t available() const noexcept {
    return channel_.get() != nullptr ? channel_->room.available() : 0;
  }

  /// One that does not keep the channel open.
  weak_sender<mpsc_sender> downgrade() const noexcept {
    return weak_sender<mpsc_sender>(channel_.weak());
  }
  bool same_channel(const mpsc_sender& other) const noexcept {
    return channel_.get() == other.channel_.get();
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

  detail::mpsc_share<T> channel_;
};

template <class T>
using mpsc_weak_sender = weak_sender<mpsc_sender<T>>;

/// Both ends of a channel; see `mpsc`.
template <class T>
struct mpsc_ends {
  explicit mpsc_ends(detail::mpsc_state<T>* state) noexcept
      : sender(detail::mpsc_share<T>(state)), receiver(state) {}

  mpsc_sender<T> sender;
  mpsc_receiver<T> receiver;
};

/// What a channel has room for at most: its memory is there from the start.
inline constexpr std::size_t mpsc_capacity_max = std::size_t{1} << 24;

/// A new channel with room for `capacity` messages, from 1 to `mpsc_capacity_max` (asserted).
/// Cost: their memory, in pooled blocks of up to 32.
template <class T>
mpsc_ends<T> mpsc(std::size_t capacity) noexcept {
  MAGPIE_ASSERT(capacity != 0 && capacity <= mpsc_capacity_max && "a channel has room for some");
  return mpsc_ends<T>(detail::mpsc_state<T>::make(capacity));
}

}  // namespace magpie::sync
