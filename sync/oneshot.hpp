/// `oneshot`: one value, from one who sends it once to one who receives it.
///
///     auto [reply, answer] = sync::oneshot<int>();
///     spawn(answers(request, std::move(reply)));     // reply.send(42)
///     const int got = co_await answer.receive();
///
/// `send` never waits.  It uses the sender up, and gives the value back if nobody is going to
/// receive it any more.  A sender that is destroyed without having sent ends the wait with
/// `errc::closed`.  A receiver that is closed, or destroyed, tells the sender, who may wait for it
/// (`closed`) so as to give up work that nobody wants.
///
/// The value stays in the channel until it is taken: a receive that is stopped leaves it there, and
/// another receive, in whichever task, gets it.  What nobody takes is destroyed with the channel.
///
/// The word and its table are in oneshot_core.hpp.
/// A channel whose memory could not be had, or an end that was moved from, is closed.
/// Threads: each end by one task or thread at a time; the two independently.
#pragma once

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/sync/oneshot_core.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <expected>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {
namespace detail {

/// The block that both ends share, and the value.
template <class T>
class oneshot_state final : public oneshot_core {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                "send a pointer instead of a reference");
  static_assert(std::is_nothrow_destructible_v<T>);

 public:
  oneshot_state() noexcept {}
  ~oneshot_state() {
    if (holds_value()) value.~T();
  }

  static oneshot_state* make() noexcept {
    void* const memory = frame_allocate(sizeof(oneshot_state));
    return memory != nullptr ? ::new (memory) oneshot_state : nullptr;
  }
  static void free(oneshot_state* state) noexcept {
    state->~oneshot_state();  // the value's destructor may do anything: no lock is held
    frame_free(state, sizeof(oneshot_state));
  }

  /// For the receiver, once the value is there.  If moving it throws it stays.
  T take_value() noexcept(std::is_nothrow_move_constructible_v<T>) {
    T taken(std::move(value));
    value.~T();
    note_taken();
    return taken;
  }
  /// For the sender: the value that nobody wants.
  std::expected<void, T> take_back() noexcept(std::is_nothrow_move_constructible_v<T>) {
    struct destroys {
      ~destroys() { that->~T(); }
      T* that;
    } const after{__builtin_addressof(value)};
    return std::unexpected<T>(std::move(value));
  }

  union {
    T value;
  };

 private:
  static_assert(alignof(T) <= alignof(std::max_align_t));
};

/// `oneshot_receiver::receive`.
template <class T>
class receive_operation final
    : public magpie::detail::grant_operation<oneshot_core, oneshot_entry> {
  using base = magpie::detail::grant_operation<oneshot_core, oneshot_entry>;

 public:
  using value_type = T;

  explicit receive_operation(oneshot_core& from) noexcept : base(from, oneshot_end::receiver) {}
  receive_operation(receive_operation&&) noexcept = default;

  result<T> take() noexcept(std::is_nothrow_move_constructible_v<T>) {
    this->taken();
    return static_cast<oneshot_state<T>&>(this->source()).take_value();
  }
};

/// `oneshot_sender::closed`.
class oneshot_closed_operation final
    : public magpie::detail::grant_operation<oneshot_core, oneshot_entry> {
 public:
  using value_type = void;

  explicit oneshot_closed_operation(oneshot_core& of) noexcept
      : grant_operation(of, oneshot_end::sender) {}
  oneshot_closed_operation(oneshot_closed_operation&&) noexcept = default;

  result<void> take() noexcept {
    taken();
    return {};
  }
};

}  // namespace detail

/// Sends one value.  Destroyed without having sent, it closes the channel.
template <class T>
class [[nodiscard]] oneshot_sender {
 public:
  oneshot_sender() noexcept = default;
  oneshot_sender(oneshot_sender&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  oneshot_sender& operator=(oneshot_sender other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~oneshot_sender() {
    if (state_ != nullptr && state_->drop_sender()) detail::oneshot_state<T>::free(state_);
  }

  /// For the library.
  explicit oneshot_sender(detail::oneshot_state<T>* state) noexcept : state_(state) {}

  /// Sends `value`, and is empty then; or gives the value back, as the receiver is closed.  Not
  /// while `closed` is being awaited (asserted).
  /// Threads: any.  Cost: an exchange, and a lock and a post if somebody waits.
  std::expected<void, T> send(T value) noexcept(std::is_nothrow_move_constructible_v<T>) {
    if (is_closed()) {
      *this = oneshot_sender();
      return std::unexpected<T>(std::move(value));
    }
    ::new (static_cast<void*>(__builtin_addressof(state_->value))) T(std::move(value));
    detail::oneshot_state<T>* const state = std::exchange(state_, nullptr);
    switch (state->publish()) {
      case detail::oneshot_sent::yes:
        break;
      case detail::oneshot_sent::yes_and_last:
        detail::oneshot_state<T>::free(state);
        break;
      case detail::oneshot_sent::no: {
        state_ = state;  // goes at the end of this
        const oneshot_sender ends = std::move(*this);
        return state->take_back();
      }
    }
    return {};
  }

  /// Nobody will receive: sending is of no use.
  bool is_closed() const noexcept { return state_ == nullptr || state_->is_closed(); }

  /// Waits until nobody will receive.  The sender must stay where it is, and must not send
  /// meanwhile.
  /// Errors: stopped.  Stop: ends the wait; nothing is consumed.
  /// Threads: one task at a time.  Cost: no allocation.
  detail::oneshot_closed_operation closed() noexcept {
    return detail::oneshot_closed_operation(state_ != nullptr ? *state_
                                                              : detail::oneshot_core::none());
  }

 private:
  detail::oneshot_state<T>* state_ = nullptr;
};

/// Receives one value.  Destroyed or closed, it takes none any more.
template <class T>
class [[nodiscard]] oneshot_receiver {
 public:
  oneshot_receiver() noexcept = default;
  oneshot_receiver(oneshot_receiver&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)) {}
  oneshot_receiver& operator=(oneshot_receiver other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  /// Destroys the value if it is there and was not taken.  Not while `receive` is being awaited.
  ~oneshot_receiver() {
    if (state_ != nullptr && state_->drop_receiver()) detail::oneshot_state<T>::free(state_);
  }

  /// For the library.
  explicit oneshot_receiver(detail::oneshot_state<T>* state) noexcept : state_(state) {}

  /// Waits for the value, which is had once.  The receiver must stay where it is meanwhile.
  /// Errors: closed, when none will come; stopped.  Stop: a value that has come stays.
  /// Threads: one task at a time.  Cost: no allocation.
  detail::receive_operation<T> receive() noexcept { return detail::receive_operation<T>(core()); }

  /// The same for a thread that is no worker (asserted).
  /// Errors: closed.  Cost: blocks the thread.
  result<T> blocking_receive() {
    detail::oneshot_entry wanted(detail::oneshot_end::receiver);
    magpie::detail::blocking_grant(core(), wanted);
    if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
    return state_->take_value();
  }

  /// The value if it is there.
  /// Errors: resource_unavailable_try_again, when it may still come; closed.
  result<T> try_receive() {
    detail::oneshot_entry wanted(detail::oneshot_end::receiver);
    const auto had = magpie::detail::tried(core().try_take(wanted), wanted);
    if (!had) return std::unexpected(had.error());
    return state_->take_value();
  }

  /// From now on nothing can be sent.  A value that was sent before can still be received.
  /// Idempotent.
  void close() noexcept {
    if (state_ != nullptr) state_->close();
  }

 private:
  detail::oneshot_core& core() noexcept {
    return state_ != nullptr ? *state_ : detail::oneshot_core::none();
  }

  detail::oneshot_state<T>* state_ = nullptr;
};

/// Both ends of a channel; see `oneshot`.
template <class T>
struct oneshot_ends {
  explicit oneshot_ends(detail::oneshot_state<T>* state) noexcept
      : sender(state), receiver(state) {}

  oneshot_sender<T> sender;
  oneshot_receiver<T> receiver;
};

/// A new channel for one value.  Cost: one pooled block.
template <class T>
oneshot_ends<T> oneshot() noexcept {
  return oneshot_ends<T>(detail::oneshot_state<T>::make());
}

}  // namespace magpie::sync
