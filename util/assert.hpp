/// Assertions: a broken invariant is an abort, never an error value.
///
/// Two levels.  `MAGPIE_ASSERT` stays on in release builds: it guards what would otherwise corrupt
/// memory or lose a wake-up, and costs one predictable branch.  `MAGPIE_DEBUG_ASSERT` is compiled
/// in when `MAGPIE_DEBUG_ASSERTS` is 1 and may cost more.  Both print the expression and the place
/// to standard error and abort; they allocate nothing and may be used from any thread.
#pragma once

namespace magpie::detail {

[[noreturn, gnu::cold]] void assertion_failed(const char* expression, const char* file,
                                              int line) noexcept;

}  // namespace magpie::detail

#define MAGPIE_ASSERT(expression) \
  (static_cast<bool>(expression)  \
       ? static_cast<void>(0)     \
       : ::magpie::detail::assertion_failed(#expression, __FILE__, __LINE__))

#ifndef MAGPIE_DEBUG_ASSERTS
#define MAGPIE_DEBUG_ASSERTS 0
#endif

#if MAGPIE_DEBUG_ASSERTS
#define MAGPIE_DEBUG_ASSERT(expression) MAGPIE_ASSERT(expression)
#else
#define MAGPIE_DEBUG_ASSERT(expression) static_cast<void>(sizeof(!(expression)))
#endif
