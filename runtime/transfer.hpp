/// How one coroutine hands the thread to another without growing the stack.
///
/// Normally by symmetric transfer: `await_suspend` returns the next handle and the compiler makes
/// it a tail call.  GCC does so only when it optimises sibling calls and never under a sanitizer;
/// there the build sets `MAGPIE_TRAMPOLINE`, `await_suspend` stores the next handle in a
/// thread-local and returns to `resume`, which loops.  Both forms read the same at the call sites:
///
///     detail::transfer await_suspend(…) noexcept { return detail::transfer_to(next); }
#pragma once

#include <coroutine>

#ifndef MAGPIE_TRAMPOLINE
#define MAGPIE_TRAMPOLINE 0
#endif

namespace magpie::detail {

#if MAGPIE_TRAMPOLINE

extern thread_local std::coroutine_handle<> next_coroutine;

using transfer = void;
inline void transfer_to(std::coroutine_handle<> next) noexcept { next_coroutine = next; }

/// Runs `first` and everything that it transfers to, until something suspends for good.
inline void resume(std::coroutine_handle<> first) noexcept {
  for (std::coroutine_handle<> now = first; now;) {
    next_coroutine = nullptr;
    now.resume();
    now = next_coroutine;
  }
  next_coroutine = nullptr;
}

#else

using transfer = std::coroutine_handle<>;
inline std::coroutine_handle<> transfer_to(std::coroutine_handle<> next) noexcept { return next; }
inline void resume(std::coroutine_handle<> first) noexcept { first.resume(); }

#endif

}  // namespace magpie::detail
