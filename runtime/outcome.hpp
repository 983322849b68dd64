/// The outcome of a task, kept by whoever awaits it: a value, an error or a user's exception.
///
/// The child writes into the awaiter that lives in the parent's frame, so the promise needs no
/// room for results and is the same size for every type.  The exception is an opaque pointer: the
/// layout does not depend on compiler flags, and a library built with exceptions fits a user who
/// builds without.
#pragma once

#include <magpie/runtime/continuation.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/result.hpp>

#include <cstdint>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

namespace magpie::detail {

/// The exception being handled, as an opaque owned pointer; released by `rethrow_exception` or
/// `drop_exception`.  In builds without exceptions these are never reached.
void* capture_exception() noexcept;
void drop_exception(void* exception) noexcept;
[[noreturn]] void rethrow_exception(void* exception);

struct unit {};

/// void is kept as `unit`, references as pointers.
template <class T>
using stored = std::conditional_t<
    std::is_void_v<T>, unit,
    std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<T>, std::remove_cv_t<T>>>;

template <class T>
struct outcome : frame_owner {
  enum class kind : std::uint8_t { empty, value, error, exception };

  outcome() noexcept {}
  outcome(const outcome&) = delete;
  outcome& operator=(const outcome&) = delete;
  ~outcome() {
    if (child) std::exchange(child, nullptr).destroy();
    clear();
  }

  template <class... Args>
  void set_value(Args&&... args) noexcept(std::is_nothrow_constructible_v<stored<T>, Args...>) {
    ::new (static_cast<void*>(__builtin_addressof(value))) stored<T>(std::forward<Args>(args)...);
    is = kind::value;
  }
  void set_error(std::error_code code) noexcept {
    ::new (static_cast<void*>(&error)) std::error_code(code);
    is = kind::error;
  }
  void set_exception(void* captured) noexcept {
    exception = captured;
    is = kind::exception;
  }

  /// Moves the value out; rethrows an exception.
  T take_value() {
    if (is == kind::exception) [[unlikely]] {
      is = kind::empty;
      rethrow_exception(exception);
    }
    MAGPIE_DEBUG_ASSERT(is == kind::value);
    if constexpr (std::is_reference_v<T>) {
      return static_cast<T>(*value);
    } else if constexpr (!std::is_void_v<T>) {
      return std::move(value);
    }
  }

  result<T> take() {
    if (is == kind::error) return std::unexpected(error);
    if constexpr (std::is_void_v<T>) {
      take_value();
      return {};
    } else {
      return result<T>(take_value());
    }
  }

  void clear() noexcept {
    switch (std::exchange(is, kind::empty)) {
      case kind::value:
        destroy_value();
        break;
      case kind::exception:
        drop_exception(exception);
        break;
      default:
        break;
    }
  }

  void destroy_value() noexcept {
    using kept = stored<T>;
    value.~kept();
  }

  union {
    stored<T> value;
    std::error_code error;
    void* exception;
  };
  kind is = kind::empty;
};

}  // namespace magpie::detail
