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

#include <magpie/sync/channel_sender.hpp>
#include <magpie/sync/mpsc_receiver.hpp>
#include <magpie/sync/mpsc_state.hpp>
#include <magpie/util/assert.hpp>

#include <cstddef>
#include <optional>
#include <utility>

namespace magpie::sync {

/// Room for messages of an `mpsc`.
template <class T>
using mpsc_permit = detail::channel_permit<detail::mpsc_share<T>>;

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

/// Sends to a channel that has a bound; see channel_sender.hpp.
template <class T>
class mpsc_sender : public detail::channel_sender<detail::mpsc_share<T>> {
  using base = detail::channel_sender<detail::mpsc_share<T>>;

 public:
  using base::base;
  mpsc_sender() noexcept = default;

  /// One that does not keep the channel open.
  weak_sender<mpsc_sender> downgrade() const noexcept {
    return weak_sender<mpsc_sender>(this->channel().weak());
  }
  bool same_channel(const mpsc_sender& other) const noexcept {
    return this->channel().get() == other.channel().get();
  }
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
