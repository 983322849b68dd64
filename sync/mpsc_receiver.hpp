/// The receiver's end of a channel from many senders, bounded or not; see mpsc.hpp.
///
/// Threads: one task or thread at a time; it may be moved from one to another.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/sync/mpsc_state.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <expected>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {
namespace detail {

/// `mpsc_receiver::receive`.
template <class T>
class receive_message final : public magpie::detail::grant_operation<mpsc_core, inbox_entry> {
 public:
  using value_type = T;

  explicit receive_message(mpsc_core& from) noexcept
      : grant_operation(from, inbox_entry::wish{1, true}) {}
  receive_message(receive_message&&) noexcept = default;

  result<T> take() noexcept(std::is_nothrow_move_constructible_v<T>) {
    return static_cast<mpsc_state<T>&>(source()).take_value();
  }
};

/// `mpsc_receiver::receive_many`.
template <class T, class Into>
class receive_messages final : public magpie::detail::grant_operation<mpsc_core, inbox_entry> {
 public:
  using value_type = std::size_t;

  receive_messages(mpsc_core& from, Into& into, std::size_t most) noexcept
      : grant_operation(from, inbox_entry::wish{most, false}), into_(&into) {}
  receive_messages(receive_messages&&) noexcept = default;

  result<std::size_t> take() {
    if (!entry().wants.found) return 0;
    return static_cast<mpsc_state<T>&>(source()).take_some(*into_, entry().wants.most);
  }

 private:
  Into* into_;
};

}  // namespace detail

/// Receives what is sent, in the order in which it came.  Destroyed, it closes the channel and
/// destroys what is in it.
template <class T>
class [[nodiscard]] mpsc_receiver {
 public:
  using value_type = T;

  mpsc_receiver() noexcept = default;
  mpsc_receiver(mpsc_receiver&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  mpsc_receiver& operator=(mpsc_receiver other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  /// Not while a receive is being awaited.
  ~mpsc_receiver() {
    if (state_ == nullptr) return;
    state_->close();
    state_->drain();
    if (state_->drop_receiver()) detail::mpsc_state<T>::free(state_);
  }

  /// For the library.
  explicit mpsc_receiver(detail::mpsc_state<T>* state) noexcept : state_(state) {}

  /// Waits for a message.  The receiver must stay where it is meanwhile.
  /// Errors: closed, when there is none and none will come; stopped.  Stop: takes no message.
  /// Threads: one task at a time.  Cost: an exchange when there is a message, none if the channel
  /// is unbounded; no allocation.
  detail::receive_message<T> receive() noexcept { return detail::receive_message<T>(core()); }

  /// Waits for messages, and puts those that are there, at most `most`, at the end of `into`, which
  /// stays untouched until then and has `push_back`.  Gives their number: 0 when there is none and
  /// none will come, or when `most` is 0.  If `push_back` throws, the message that it was about
  /// stays, and those before are in `into`.
  /// Errors: stopped.  Stop: takes no message.
  /// Threads: one task at a time.  Cost: two exchanges for all of them.
  template <class Into>
  detail::receive_messages<T, Into> receive_many(Into& into, std::size_t most) noexcept {
    return detail::receive_messages<T, Into>(core(), into, most);
  }

  /// A message if one is there.  One whose send has not returned yet may hold up those behind it.
  /// Errors: resource_unavailable_try_again, when one may still come; closed.
  result<T> try_receive() {
    if (state_ == nullptr) return std::unexpected(errc::closed);
    detail::inbox_entry wanted(detail::inbox_entry::wish(1, true));
    const auto had = magpie::detail::tried(state_->try_take(wanted), wanted);
    if (!had) return std::unexpected(had.error());
    return state_->take_value();
  }

  /// As `receive`, for a thread that is no worker (asserted).
  /// Errors: closed.  Cost: blocks the thread.
  result<T> blocking_receive() {
    detail::inbox_entry wanted(detail::inbox_entry::wish(1, true));
    magpie::detail::blocking_grant(core(), wanted);
    if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
    return state_->take_value();
  }
  /// As `receive_many`, in the same way.
  template <class Into>
  std::size_t blocking_receive_many(Into& into, std::size_t most) {
    detail::inbox_entry wanted(detail::inbox_entry::wish(most, false));
    magpie::detail::blocking_grant(core(), wanted);
    return wanted.wants.found ? state_->take_some(into, most) : 0;
  }

  /// From now on nothing can be sent, and whoever waits to do so is told; but by permits that are
  /// out.  What was sent before, or is sent by them, can still be received.  Idempotent.
  void close() noexcept {
    if (state_ != nullptr) state_->close();
  }
  /// Nothing new will be sent, by whatever end's doing.
  bool is_closed() const noexcept {
    return state_ == nullptr || state_->is_closed() || state_->senders() == 0;
  }

  /// How many messages there are: a guess while others send.
  std::size_t size() const noexcept {
    if (state_ == nullptr) return 0;
    const std::size_t known = state_->length();
    return known != 0 ? known : state_->has_message() ? 1 : 0;
  }
  /// Whether `try_receive` would find none.
  bool empty() const noexcept { return state_ == nullptr || !state_->has_message(); }

  /// How many senders there are, permits among them, and how many weak ones: guesses.
  std::size_t sender_count() const noexcept { return state_ != nullptr ? state_->senders() : 0; }
  std::size_t weak_sender_count() const noexcept {
    return state_ != nullptr ? state_->weak_senders() : 0;
  }

 private:
  detail::mpsc_core& core() const noexcept {
    return state_ != nullptr ? *state_ : detail::mpsc_core::none();
  }

  detail::mpsc_state<T>* state_ = nullptr;
};

}  // namespace magpie::sync
