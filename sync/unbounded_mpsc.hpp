/// `unbounded_mpsc`: as `mpsc`, without a bound: sending never waits.
///
///     auto [to, from] = sync::unbounded_mpsc<event>();
///     if (!to.send(one)) …                  // a plain function: from destructors, from threads
///
/// Nothing slows the senders down.  It is for messages whose number is bounded by something else
/// (one for each connection, for each request under a semaphore), and for senders that cannot wait.
/// For anything that comes from outside take `mpsc`: a consumer that falls behind once then holds
/// up its producers, where this one eats the memory.
///
/// The receiver is the same, and so are closing and weak senders; see mpsc.hpp.
/// Threads: senders any, also one of them by many at a time; the receiver by one at a time.
#pragma once

#include <magpie/runtime/thread_wait.hpp>
#include <magpie/runtime/wait_operation.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/mpsc_receiver.hpp>
#include <magpie/sync/mpsc_state.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <expected>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {

/// Sends to a channel without a bound.  Copies send to the same one.
template <class T>
class unbounded_sender {
 public:
  using value_type = T;

  unbounded_sender() noexcept = default;
  /// For the library.
  explicit unbounded_sender(detail::mpsc_share<T> channel) noexcept
      : channel_(std::move(channel)) {}

  /// Sends `value`; if it cannot be sent it is left as it is.
  /// Errors: closed, when the receiver has closed or gone; not_enough_memory.
  /// Threads: any.  Cost: two exchanges, and a lock and a post if the receiver waits; a pooled
  /// block for each 32 messages.
  result<void> send(T&& value) const { return send_as(detail::message<T>(std::move(value))); }
  result<void> send(const T& value) const
    requires std::is_copy_constructible_v<T>
  {
    return send_as(detail::message<T>(value));
  }

  /// The receiver has closed, or gone.
  bool is_closed() const noexcept { return channel_.core().is_closed(); }

  /// Waits until that is so; see channel_sender.hpp.
  magpie::detail::wait_operation closed() const noexcept {
    return magpie::detail::wait_operation(&channel_.core().room.closing());
  }
  void blocking_closed() const noexcept {
    magpie::detail::blocking_wait(channel_.core().room.closing());
  }

  /// One that does not keep the channel open.
  weak_sender<unbounded_sender> downgrade() const noexcept {
    return weak_sender<unbounded_sender>(channel_.weak());
  }
  bool same_channel(const unbounded_sender& other) const noexcept {
    return channel_.get() == other.channel_.get();
  }

 private:
  result<void> send_as(const detail::message<T>& what) const {
    using claimed = detail::mpsc_core::claimed;
    if (channel_.get() == nullptr) return std::unexpected(errc::closed);
    detail::mpsc_core::place at;
    const claimed got = channel_->claim(at);
    if (got == claimed::closed) return std::unexpected(errc::closed);
    if (got == claimed::no_memory)
      return std::unexpected(std::make_error_code(std::errc::not_enough_memory));
    channel_->push_at(at, what);
    return {};
  }

  detail::mpsc_share<T> channel_;
};

template <class T>
using unbounded_weak_sender = weak_sender<unbounded_sender<T>>;

/// Both ends of a channel; see `unbounded_mpsc`.
template <class T>
struct unbounded_mpsc_ends {
  explicit unbounded_mpsc_ends(detail::mpsc_state<T>* state) noexcept
      : sender(detail::mpsc_share<T>(state)), receiver(state) {}

  unbounded_sender<T> sender;
  mpsc_receiver<T> receiver;
};

/// A new channel without a bound.  Cost: two pooled blocks.
template <class T>
unbounded_mpsc_ends<T> unbounded_mpsc() noexcept {
  return unbounded_mpsc_ends<T>(detail::mpsc_state<T>::make(detail::mpsc_core::unbounded));
}

}  // namespace magpie::sync
