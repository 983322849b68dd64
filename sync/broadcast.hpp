/// `broadcast`: every message to every receiver.
///
///     auto [news, reader] = sync::broadcast<event>(64);
///     …
///     news.send(event("started"));                       // never waits
///     …
///     for (;;) {
///       const auto next = co_await reader.receive();
///       if (next.missed() != 0) resynchronise();         // we were too slow
///       handle(*next);
///     }
///
/// The channel keeps the last `capacity` messages, rounded up to a power of two.  A sender never
/// waits for receivers: one that is farther behind loses the oldest, is told with the next message
/// how many it has missed, and goes on with the oldest that is there.  Who subscribes sees what is
/// sent from then on.  When the last sender has gone the rest is received, then it is `closed`.
///
/// A message is shared, not copied: see shared_value.hpp.  It goes when all who were there when it
/// was sent have had it, or when it is overwritten.
///
/// The ring and its table are in broadcast_core.hpp.
/// A channel whose memory could not be had, or an end that was moved from, is closed.
/// Threads: senders by any number at once and copied; a receiver by one task or thread at a time.
#pragma once

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/sync/broadcast_core.hpp>
#include <magpie/sync/fanout_core.hpp>
#include <magpie/sync/shared_value.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

namespace magpie::sync {

/// What was received, and how many messages before it were missed.
template <class T>
class broadcast_message : public shared_value<T> {
 public:
  broadcast_message() noexcept = default;
  broadcast_message(shared_value<T> value, std::uint64_t missed) noexcept
      : shared_value<T>(std::move(value)), missed_(missed) {}

  std::uint64_t missed() const noexcept { return missed_; }

 private:
  std::uint64_t missed_ = 0;
};

namespace detail {

/// The block that all ends share.
template <class T>
class broadcast_state final : public broadcast_core {
 public:
  /// Takes the ring over.
  broadcast_state(broadcast_slot* ring, std::size_t size) noexcept : broadcast_core(ring, size) {}
  ~broadcast_state() {
    for (std::size_t i = 0; i < size(); ++i) const shared_value<T> goes(ring()[i].block);
    frame_free(ring(), size() * sizeof(broadcast_slot));
  }

  static broadcast_state* make(std::size_t capacity) noexcept {
    const std::size_t size = std::bit_ceil(capacity);
    void* const memory = frame_allocate(size * sizeof(broadcast_slot));
    if (memory == nullptr) return nullptr;
    auto* const ring = static_cast<broadcast_slot*>(memory);
    for (std::size_t i = 0; i < size; ++i) ::new (ring + i) broadcast_slot;
    auto* const made = make_pooled<broadcast_state>(ring, size);
    if (made == nullptr) frame_free(memory, size * sizeof(broadcast_slot));
    return made;
  }

  /// What is next from `position` on, if there is something.
  std::optional<broadcast_message<T>> next(std::uint64_t& position) noexcept {
    std::uint64_t missed;
    value_block* const block = take(position, missed);
    if (block == nullptr) return std::nullopt;
    return broadcast_message<T>(shared_value<T>(block), missed);
  }
};

/// For ends that have no channel: nobody ever waits in it.
fanout_core& no_broadcast() noexcept;

/// `broadcast_receiver::receive`.
template <class T>
class broadcast_operation final
    : public magpie::detail::grant_operation<fanout_core, fanout_entry> {
  using base = magpie::detail::grant_operation<fanout_core, fanout_entry>;

 public:
  using value_type = broadcast_message<T>;

  broadcast_operation(fanout_core& from, std::uint64_t& position) noexcept
      : base(from, position), position_(&position) {}
  broadcast_operation(broadcast_operation&&) noexcept = default;

  result<value_type> take() noexcept {
    this->taken();
    return *static_cast<broadcast_state<T>&>(this->source()).next(*position_);
  }

 private:
  std::uint64_t* position_;  ///< The receiver's.
};

}  // namespace detail

/// Receives every message that is sent while it is there.
template <class T>
class [[nodiscard]] broadcast_receiver {
 public:
  broadcast_receiver() noexcept = default;
  broadcast_receiver(broadcast_receiver&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)),
        position_(std::exchange(other.position_, 0)) {}
  broadcast_receiver& operator=(broadcast_receiver other) noexcept {
    std::swap(state_, other.state_);
    std::swap(position_, other.position_);
    return *this;
  }
  /// Lets go of what it has not received.  Not while `receive` is being awaited.
  ~broadcast_receiver() {
    if (state_ == nullptr) return;
    do {
      while (state_->next(position_)) {
      }
    } while (!state_->end_receiver(position_));
    if (state_->drop_receiver()) detail::free_pooled(state_);
  }

  /// For the library: takes over one of the receivers that are counted.
  broadcast_receiver(detail::broadcast_state<T>* state, std::uint64_t position) noexcept
      : state_(state), position_(position) {}

  /// Waits for the next message.  The receiver must stay where it is meanwhile.
  /// Errors: closed, when none will come; stopped.  Stop: a message that has come stays.
  /// Threads: one task at a time.  Cost: no allocation; a lock.
  detail::broadcast_operation<T> receive() noexcept {
    return detail::broadcast_operation<T>(core(), position_);
  }

  /// The same for a thread that is no worker (asserted).
  /// Errors: closed.  Cost: blocks the thread.
  result<broadcast_message<T>> blocking_receive() noexcept {
    detail::fanout_entry wanted(position_);
    magpie::detail::blocking_grant(core(), wanted);
    if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
    return *state_->next(position_);
  }

  /// The next message if it is there.
  /// Errors: resource_unavailable_try_again, when one may still come; closed.
  result<broadcast_message<T>> try_receive() noexcept {
    detail::fanout_entry wanted(position_);
    const auto had = magpie::detail::tried(core().try_take(wanted), wanted);
    if (!had) return std::unexpected(had.error());
    return *state_->next(position_);
  }

  /// A new receiver, for what is sent from now on.
  broadcast_receiver resubscribe() const noexcept {
    if (state_ == nullptr) return {};
    return broadcast_receiver(state_, state_->add_receiver());
  }

  /// How many messages it is behind; more than the channel keeps, if some are missed.
  std::uint64_t size() const noexcept { return core().position() - position_; }

  /// No sender is there any more; there may be something to receive.
  bool is_closed() const noexcept { return core().is_closed(); }

 private:
  detail::fanout_core& core() const noexcept {
    return state_ != nullptr ? *state_ : detail::no_broadcast();
  }

  detail::broadcast_state<T>* state_ = nullptr;
  std::uint64_t position_ = 0;
};

/// Sends to all receivers.  When the last one goes, the channel is closed.
template <class T>
class [[nodiscard]] broadcast_sender : public detail::fanout_sender<detail::broadcast_state<T>> {
 public:
  broadcast_sender() noexcept = default;

  /// For the library: takes over one of the senders that are counted.
  explicit broadcast_sender(detail::broadcast_state<T>* state) noexcept
      : detail::fanout_sender<detail::broadcast_state<T>>(state) {}

  /// Sends `value` to so many receivers; gives it back if there is none, or no memory.
  /// Threads: any.  Cost: a pooled block, a lock, a post for each who waits.
  std::expected<std::size_t, T> send(T value) {
    if (this->is_closed()) return std::unexpected<T>(std::move(value));
    shared_value<T> made(detail::make_pooled<detail::pooled_value<T>>(std::move(value)));
    if (!made) return std::unexpected<T>(std::move(value));
    detail::value_block* before = nullptr;
    const std::size_t count = this->state_->publish(made.block(), before);
    if (count == 0) return std::unexpected<T>(std::move(made.block()->value));  // the last one went
    made.release();
    const shared_value<T> goes(before);
    return count;
  }

  /// A new receiver, for what is sent from now on.
  broadcast_receiver<T> subscribe() const noexcept {
    if (this->state_ == nullptr) return {};
    return broadcast_receiver<T>(this->state_, this->state_->add_receiver());
  }

  /// How many messages the channel keeps.
  std::size_t capacity() const noexcept {
    return this->state_ != nullptr ? this->state_->size() : 0;
  }
};

/// Both ends of a channel; see `broadcast`.
template <class T>
struct broadcast_ends {
  broadcast_sender<T> sender;
  broadcast_receiver<T> receiver;
};

inline constexpr std::size_t broadcast_capacity_max = ~std::size_t{0} >> 8;

/// A new channel that keeps at least `capacity` messages, of which there must be one and no more
/// than `broadcast_capacity_max` (asserted).  Cost: two blocks.
template <class T>
broadcast_ends<T> broadcast(std::size_t capacity) noexcept {
  MAGPIE_ASSERT(capacity != 0 && capacity <= broadcast_capacity_max);
  auto* const state = detail::broadcast_state<T>::make(capacity);
  if (state == nullptr) return {};
  return {broadcast_sender<T>(state), broadcast_receiver<T>(state, 0)};
}

}  // namespace magpie::sync
