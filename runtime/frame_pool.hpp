/// Memory for coroutine frames and small objects of the runtime, recycled per thread.
///
/// Idea: every thread keeps free lists by size class (multiples of 64 bytes up to 2048); larger
/// blocks go to malloc.  A list is bounded: when it is full, half of it goes as one chain to a
/// depot for all threads, and an empty list takes a chain from there before it asks malloc.  So
/// frames that are always made on one thread and destroyed on another still come round, at the
/// price of one lock for many frames.
///
/// Invariants: for each class, blocks in the list + room = the class's bound, or both are 0 (the
/// thread has not used the class yet, or is ending: then every call takes the slow path); the depot
/// holds at most `depot_chains_max` chains of each class.
///
/// Any thread may free what any thread allocated, with the size it asked for.  A thread's lists go
/// to the depot when it ends.  Under AddressSanitizer every call goes to malloc and free, so that a
/// use after free is seen.
/// Source: Bonwick and Adams, "Magazines and vmem", 2001.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define MAGPIE_FRAME_POOL_BYPASS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MAGPIE_FRAME_POOL_BYPASS 1
#endif
#endif
#ifndef MAGPIE_FRAME_POOL_BYPASS
#define MAGPIE_FRAME_POOL_BYPASS 0
#endif

namespace magpie {

/// Counts since the program started, summed over all threads, but for the last few events of
/// threads that still run (the caller's own are complete).  The fast path counts nothing.
struct frame_pool_counts {
  std::uint64_t mallocs = 0;     ///< blocks taken from malloc
  std::uint64_t frees = 0;       ///< blocks given back to free
  std::uint64_t depot_puts = 0;  ///< chains moved to the depot
  std::uint64_t depot_gets = 0;  ///< chains taken from the depot
};

frame_pool_counts frame_pool_stats() noexcept;

/// Frees what the depot and the calling thread's lists hold; other threads' lists stay.
void frame_pool_trim() noexcept;

/// For tests: the n-th allocation of the calling thread from now on returns null, once; 0 disarms.
/// While it is armed every call takes the slow path.
void frame_pool_fail_nth(std::uint64_t n) noexcept;

namespace detail {

inline constexpr std::size_t frame_class_bytes = 64;
inline constexpr std::size_t frame_bytes_max = 2048;  ///< what is larger is not pooled
inline constexpr std::size_t frame_classes = frame_bytes_max / frame_class_bytes + 1;

struct free_frame {
  free_frame* next;
  free_frame* next_chain;    // in the depot, for the first block of a chain
  std::uint32_t chain_size;  // the same
};

struct frame_class_list {
  free_frame* first;
  std::uint32_t room;  // how many more blocks it may hold
};

struct frame_cache {
  frame_class_list lists[frame_classes];
};

// __thread, not thread_local: no dynamic initialisation, so no wrapper call.  Initial-exec: one
// load from the thread pointer, even in a shared library (which then must not be loaded late).
extern __thread frame_cache frame_cache_of_thread [[gnu::tls_model("initial-exec")]];

void* frame_allocate_slowly(std::size_t size) noexcept;
void frame_free_slowly(void* memory, std::size_t size) noexcept;

inline std::size_t frame_class_of(std::size_t size) noexcept {
  return (size + frame_class_bytes - 1) / frame_class_bytes;
}

}  // namespace detail

/// Memory of `size` bytes, aligned as malloc's; null when there is none.
/// Cost: a load, a compare and three stores when the thread's list has a block.
[[nodiscard]] inline void* frame_allocate(std::size_t size) noexcept {
#if !MAGPIE_FRAME_POOL_BYPASS
  if (size <= detail::frame_bytes_max) [[likely]] {
    detail::frame_class_list& list =
        detail::frame_cache_of_thread.lists[detail::frame_class_of(size)];
    detail::free_frame* frame = list.first;
    if (frame != nullptr) [[likely]] {
      list.first = frame->next;
      ++list.room;
      return frame;
    }
  }
#endif
  return detail::frame_allocate_slowly(size);
}

/// Gives back what `frame_allocate(size)` returned; null is allowed.
inline void frame_free(void* memory, std::size_t size) noexcept {
#if !MAGPIE_FRAME_POOL_BYPASS
  if (size <= detail::frame_bytes_max && memory != nullptr) [[likely]] {
    detail::frame_class_list& list =
        detail::frame_cache_of_thread.lists[detail::frame_class_of(size)];
    if (list.room != 0) [[likely]] {
      auto* frame = static_cast<detail::free_frame*>(memory);
      frame->next = list.first;
      list.first = frame;
      --list.room;
      return;
    }
  }
#endif
  detail::frame_free_slowly(memory, size);
}

}  // namespace magpie
