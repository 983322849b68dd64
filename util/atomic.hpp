/// The atomics of every concurrent structure here: the standard's, or the model checker's.
///
/// Idea: code that a model check explores spells `magpie::atomic`, `magpie::order::acquire` and so
/// on.  In an ordinary build these are plain aliases and cost nothing.  In a model check
/// `tests/model/model.hpp`, included first, defines `MAGPIE_MODEL` and the same names over relacy,
/// so the very source that ships is the source that is explored.
///
/// `plain<T>` is an ordinary `T` here; under the model it is a variable whose data races are
/// reported.  Use it for what a protocol of atomics is meant to protect.
///
/// The model's `atomic` learns the place of each operation through a defaulted
/// `std::source_location`, so it can weaken an order or tear a read-modify-write apart at one place
/// and see whether the model notices; headers carry no switches for mutants.
#pragma once

#ifdef MAGPIE_MODEL

#ifndef MAGPIE_MODEL_ATOMICS
#error "include tests/model/model.hpp before any header of Magpie"
#endif

#else

#include <sched.h>

#include <atomic>

namespace magpie {

template <typename T>
using atomic = std::atomic<T>;

template <typename T>
using plain = T;

namespace order {
inline constexpr std::memory_order relaxed = std::memory_order_relaxed;
inline constexpr std::memory_order acquire = std::memory_order_acquire;
inline constexpr std::memory_order release = std::memory_order_release;
inline constexpr std::memory_order acq_rel = std::memory_order_acq_rel;
inline constexpr std::memory_order seq_cst = std::memory_order_seq_cst;
}  // namespace order

/// Tells the core that this is a spin loop.
inline void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

/// Lets another thread have this core: for a spin whose partner may have been descheduled.
inline void thread_yield() noexcept { ::sched_yield(); }

}  // namespace magpie

#endif
