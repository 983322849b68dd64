/// Constants of io_uring and membarrier that are newer than Debian 12's headers, the kick,
/// and what TSan cannot see.
///
/// Private header.  Features are detected by the ring's feature bits and by trying, never by the
/// kernel's version.
#pragma once

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define MAGPIE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MAGPIE_TSAN 1
#endif
#endif

#if defined(MAGPIE_TSAN)
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
#else
// The kernel carries what was published to the reaper; TSan cannot see that edge.
inline void __tsan_acquire(void*) {}
inline void __tsan_release(void*) {}
#endif

namespace magpie::uring_abi {

inline constexpr unsigned feat_no_iowait = 1U << 17;  // IORING_FEAT_NO_IOWAIT, Linux 6.15
inline constexpr unsigned enter_no_iowait = 1U << 7;  // IORING_ENTER_NO_IOWAIT
inline constexpr unsigned sq_taskrun = 1U << 2;       // IORING_SQ_TASKRUN, 5.19

/// Tells the kernel, once per process, that `kick_all_cores` will be used.
inline void register_kicks() noexcept {
  ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

/// Interrupts every core that runs this process; on the way back each runs its pending task work
/// and posts completions.  No signal, no EINTR.  About 16 µs in a virtual machine.
inline void kick_all_cores() noexcept {
  ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

}  // namespace magpie::uring_abi
