/// The values of a channel, in the blocks of its core; and how its ends hold it.
///
/// A value is moved into its slot by its sender, at the moment at which the send is done; and out
/// of it by the receiver when it is taken.  So a send that was stopped or refused has not touched
/// the caller's variable, and a message that a receiver was given and has not taken is still there.
/// A slot whose value throws when it is moved there is published as void, and the receiver passes
/// it.
///
/// Threads: as mpsc_core.hpp says.
#pragma once

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/sync/channel_message.hpp>
#include <magpie/sync/mpsc_core.hpp>
#include <magpie/util/cache_line.hpp>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace magpie::sync::detail {

template <class T>
class mpsc_state final : public mpsc_core {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                "send a pointer instead of a reference");
  static_assert(std::is_move_constructible_v<T>);
  static_assert(std::is_nothrow_destructible_v<T>);
  static_assert(alignof(T) <= cache_line_size);

  static constexpr std::size_t values_at =
      (sizeof(mpsc_block) + alignof(T) - 1) / alignof(T) * alignof(T);

  /// As many as the pool has blocks for.
  static constexpr unsigned fitting_slots() noexcept {
    constexpr std::size_t room = magpie::detail::frame_bytes_max - cache_line_size;
    if (values_at + sizeof(T) > room) return 1;
    const std::size_t fit = (room - values_at) / sizeof(T);
    return fit < mpsc_block::slots_max ? static_cast<unsigned>(fit) : mpsc_block::slots_max;
  }

 public:
  static constexpr unsigned slots = fitting_slots();
  using core_type = mpsc_core;
  using value_type = T;

  static constexpr bool may_throw = message<T>::may_throw;

  /// Null: there was no memory.
  static mpsc_state* make(std::size_t capacity, unsigned slots_of_a_block = slots) noexcept {
    void* const memory = allocate_lines(sizeof(mpsc_state));
    if (memory == nullptr) return nullptr;
    auto* const made = ::new (memory) mpsc_state(capacity, slots_of_a_block);
    if (made->make_blocks()) return made;
    free(made);
    return nullptr;
  }
  static void free(mpsc_state* state) noexcept {
    state->~mpsc_state();
    free_lines(state, sizeof(mpsc_state));
  }

  /// By a sender that has a permit, or has claimed `at`.
  void push(const message<T>& one) noexcept(!may_throw) {
    place at;
    [[maybe_unused]] const claimed got = claim(at);
    MAGPIE_DEBUG_ASSERT(got == claimed::yes);
    push_at(at, one);
  }
  void push_at(place at, const message<T>& one) noexcept(!may_throw) {
    if constexpr (may_throw) {
      struct gives_up {
        ~gives_up() {
          if (state != nullptr && state->publish(at, as::nothing)) state->drain();
        }
        mpsc_state* state;
        place at;
      } unless{this, at};
      one.construct(value_at(at));
      unless.state = nullptr;
    } else {
      one.construct(value_at(at));
    }
    if (publish(at, as::value)) [[unlikely]]
      drain();
  }

  /// By the receiver, once there is a message.  If moving it throws it stays.
  T take_value() noexcept(std::is_nothrow_move_constructible_v<T>) {
    pay();
    T& value = *value_at(head());
    T taken(std::move(value));
    value.~T();
    static_cast<void>(pass());  // it was paid for
    free_passed();
    return taken;
  }

  /// By the receiver: what is there, at most `most`.
  template <class Into>
  std::size_t take_some(Into& into, std::size_t most) {
    struct settles {
      ~settles() {
        if (owed != 0) state->room.release(owed);
        state->free_passed();
      }
      mpsc_state* state;
      std::size_t owed = 0;
    } all{this};
    std::size_t count = 0;
    for (; count != most && find(); ++count) {
      T& value = *value_at(head());
      into.push_back(std::move(value));
      value.~T();
      all.owed += pass();
    }
    return count;
  }

  /// By a receiver that goes, or by whoever publishes after that: destroys what is there.
  void drain() noexcept {
    do {
      while (find()) {
        value_at(head())->~T();  // may do anything: no lock is held, and the slot is still ours
        static_cast<void>(pass());
        free_passed();
      }
    } while (!leave_head());
  }

 private:
  mpsc_state(std::size_t capacity, unsigned slots_of_a_block) noexcept
      : mpsc_core(capacity, slots_of_a_block, values_at + slots_of_a_block * sizeof(T)) {}

  static T* value_at(place at) noexcept {
    void* const values = reinterpret_cast<std::byte*>(at.block) + values_at;
    return static_cast<T*>(values) + at.index;
  }
};

/// What an end holds of a channel; null when it has none.  Copies count.
template <class T, bool Weak = false>
class mpsc_share {
 public:
  using value_type = T;
  using state_type = mpsc_state<T>;

  mpsc_share() noexcept = default;
  /// One that is counted already.
  explicit mpsc_share(mpsc_state<T>* state) noexcept : state_(state) {}
  mpsc_share(const mpsc_share& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) Weak ? state_->add_weak() : state_->add_sender();
  }
  mpsc_share(mpsc_share&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  mpsc_share& operator=(mpsc_share other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~mpsc_share() {
    if (state_ != nullptr && (Weak ? state_->drop_weak() : state_->drop_sender()))
      mpsc_state<T>::free(state_);
  }

  mpsc_state<T>* get() const noexcept { return state_; }
  mpsc_state<T>* operator->() const noexcept { return state_; }
  mpsc_core& core() const noexcept { return state_ != nullptr ? *state_ : mpsc_core::none(); }

  mpsc_share<T, true> weak() const noexcept {
    if (state_ != nullptr) state_->add_weak();
    return mpsc_share<T, true>(state_);
  }
  /// Null when there is no sender any more.
  mpsc_share<T> strong() const noexcept {
    return mpsc_share<T>(state_ != nullptr && state_->upgrade() ? state_ : nullptr);
  }

 private:
  mpsc_state<T>* state_ = nullptr;
};

}  // namespace magpie::sync::detail
