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
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/sync/channel_sender.hpp>
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

/// Room for messages of an `mpmc`.
template <class T>
using mpmc_permit = detail::channel_permit<detail::mpmc_sending<T>>;

/// Sends to the channel; see channel_sender.hpp.
template <class T>
using mpmc_sender = detail::channel_sender<detail::mpmc_sending<T>>;

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
    const auto had = magpie::detail::tried(channel_.core().try_take(wanted), wanted);
    if (!had) return std::unexpected(had.error());
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
