/// What a sender has until it is sent.
#pragma once

#include <new>
#include <type_traits>
#include <utility>

namespace magpie::sync::detail {

/// A message that waits to be sent: the caller's, who keeps it until it is.
template <class T>
struct message {
  static constexpr bool may_throw =
      !std::is_nothrow_move_constructible_v<T> ||
      (std::is_copy_constructible_v<T> && !std::is_nothrow_copy_constructible_v<T>);

  explicit message(T&& one) noexcept : value(__builtin_addressof(one)), copied(false) {}
  explicit message(const T& one) noexcept
      : value(const_cast<T*>(__builtin_addressof(one))), copied(true) {}

  /// As it says, by copy or by move.
  void construct(void* at) const {
    if constexpr (std::is_copy_constructible_v<T>) {
      if (copied) {
        ::new (at) T(std::as_const(*value));
        return;
      }
    }
    ::new (at) T(std::move(*value));
  }

  T* value;
  bool copied;
};

}  // namespace magpie::sync::detail
