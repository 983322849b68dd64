/// The values of a channel from many to many, in the slots of its core; and how its ends hold it.
///
/// A value is moved into its slot by its sender, when the send is done, and out of it by the
/// receiver when it is taken, both without the lock.  If the first throws, nothing is sent; if the
/// second does, the message is in front again, and the next one's.
///
/// Threads: as mpmc_core.hpp says.
#pragma once

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/sync/channel_message.hpp>
#include <magpie/sync/mpmc_core.hpp>
#include <magpie/sync/mpsc_core.hpp>
#include <magpie/util/cache_line.hpp>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace magpie::sync::detail {

template <class T>
class mpmc_state final : public mpmc_core {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                "send a pointer instead of a reference");
  static_assert(std::is_move_constructible_v<T>);
  static_assert(std::is_nothrow_destructible_v<T>);
  static_assert(alignof(T) <= cache_line_size);

  struct slot : mpmc_slot {
    alignas(T) std::byte value[sizeof(T)];
  };

 public:
  using core_type = mpmc_core;
  using value_type = T;

  static constexpr bool may_throw = message<T>::may_throw;

  /// Null: there was no memory.
  static mpmc_state* make(std::size_t capacity) noexcept {
    void* const memory = allocate_lines(bytes_for(capacity));
    if (memory == nullptr) return nullptr;
    auto* const made = ::new (memory) mpmc_state(capacity);
    std::byte* at = static_cast<std::byte*>(memory) + slots_at;
    for (std::size_t i = 0; i != capacity; ++i, at += sizeof(slot))
      made->add_slot(*::new (static_cast<void*>(at)) slot);
    return made;
  }
  static void free(mpmc_state* state) noexcept {
    const std::size_t bytes = bytes_for(state->capacity());
    state->~mpmc_state();
    free_lines(state, bytes);
  }

  /// By a sender that has a permit.
  void push(const message<T>& one) noexcept(!may_throw) {
    mpmc_slot& free = take_free();
    if constexpr (may_throw) {
      struct gives_up {
        ~gives_up() {
          if (state != nullptr) state->recycle(*at);
        }
        mpmc_state* state;
        mpmc_slot* at;
      } unless{this, &free};
      one.construct(place_in(free));
      unless.state = nullptr;
    } else {
      one.construct(place_in(free));
    }
    if (!publish(free)) [[unlikely]]
      destroy(free);
  }

  /// By a receiver that was given a message.
  T take_value() noexcept(std::is_nothrow_move_constructible_v<T>) {
    struct settles {
      ~settles() {
        if (moved) {
          state->destroy(*at);
        } else {
          state->put_back(*at);
        }
      }
      mpmc_state* state;
      mpmc_slot* at;
      bool moved;
    } of{this, &pop(), std::is_nothrow_move_constructible_v<T>};
    T taken(std::move(value_in(*of.at)));
    of.moved = true;
    return taken;
  }

  /// By the last receiver, when it goes: destroys what is there.
  void drain() noexcept {
    while (mpmc_slot* const one = pop_any()) destroy(*one);
  }

 private:
  static constexpr std::size_t slots_at =
      (sizeof(mpmc_core) + alignof(slot) - 1) / alignof(slot) * alignof(slot);
  static std::size_t bytes_for(std::size_t capacity) noexcept {
    return slots_at + capacity * sizeof(slot);
  }

  explicit mpmc_state(std::size_t capacity) noexcept : mpmc_core(capacity) {}

  static void* place_in(mpmc_slot& one) noexcept { return static_cast<slot&>(one).value; }
  static T& value_in(mpmc_slot& one) noexcept {
    return *std::launder(reinterpret_cast<T*>(static_cast<slot&>(one).value));
  }
  void destroy(mpmc_slot& one) noexcept {
    value_in(one).~T();  // may do anything: no lock is held, and the slot is still ours
    recycle(one);
  }
};

/// What a sender, or with `Receives` a receiver, holds of a channel; null when it has none.
template <class T, bool Receives>
class mpmc_share {
 public:
  using value_type = T;
  using state_type = mpmc_state<T>;

  mpmc_share() noexcept = default;
  /// One that is counted already.
  explicit mpmc_share(mpmc_state<T>* state) noexcept : state_(state) {}
  mpmc_share(const mpmc_share& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) Receives ? state_->add_receiver() : state_->add_sender();
  }
  mpmc_share(mpmc_share&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  mpmc_share& operator=(mpmc_share other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~mpmc_share() {
    if (state_ == nullptr) return;
    if (!(Receives ? state_->leave_receiver() : state_->leave_sender())) return;
    state_->close();
    if constexpr (Receives) state_->drain();
    if (state_->drop()) mpmc_state<T>::free(state_);
  }

  mpmc_state<T>* get() const noexcept { return state_; }
  mpmc_state<T>* operator->() const noexcept { return state_; }
  mpmc_core& core() const noexcept { return state_ != nullptr ? *state_ : mpmc_core::none(); }

 private:
  mpmc_state<T>* state_ = nullptr;
};

template <class T>
using mpmc_sending = mpmc_share<T, false>;
template <class T>
using mpmc_receiving = mpmc_share<T, true>;

}  // namespace magpie::sync::detail
