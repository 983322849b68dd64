/// The io_uring reactor: one ring per worker, shareable between threads.
///
/// A wait is a one-shot POLL_ADD.  Its `user_data` names a *slot* (index, generation), not a frame:
/// a late completion of an abandoned wait finds a newer generation or an empty slot, is counted and
/// dropped.  Slots live in chunks that are never unmapped while the ring lives.
///
///     slot            owner wait()    canceller            reaper (owner or rescuer)
///     free            -> armed        -                    stale: counted
///     armed(op)       -               -> detached,         -> free, hands op out
///                                        posts op, asks the
///                                        owner to cancel
///     detached        -               -                    -> free, nobody to hand out
///
/// `lock_` (the reap lock) guards the completion queue's head, the slots' operation pointers and
/// the list of freed slots.  The owner publishes without it: it takes a slot from its private list,
/// fills it and the submission entry, enters the stop scope (which makes the slot visible to a
/// canceller), and moves the submission tail by one release store.  From the entering on it does
/// not touch the operation: a canceller may already have resolved it.
///
/// *Shared* rings (COOP_TASKRUN, no SINGLE_ISSUER) may be flushed and reaped by a rescuer while the
/// owner is stuck.  *Private* rings (the current-thread flavour: SINGLE_ISSUER, DEFER_TASKRUN) are
/// entered by their thread alone.
///
/// Private header: liburing.h stays out of it, and users never see it.
#pragma once

#include <magpie/runtime/reactor.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/spin_lock.hpp>
#include <magpie/util/unique_fd.hpp>

#include <cstddef>
#include <cstdint>
#include <system_error>

struct io_uring;
struct io_uring_sqe;
struct io_uring_cqe;

namespace magpie {

enum class ring_flavour : std::uint8_t { shared, single };

class uring_reactor final : public reactor {
 public:
  static constexpr unsigned submission_entries = 256;
  static constexpr unsigned completion_entries = 2048;

  /// Rings that were unmapped.  The kernel may map the next one at the same place, perhaps for a
  /// thread that knows nothing of the old one's, when that ended in the background.  That the
  /// kernel orders the two is said here, where ThreadSanitizer sees it: (U1) a release before the
  /// unmapping, (U2) an acquire after the mapping.
  static atomic<unsigned> rings_ended;

  /// Sets up a ring; null and `error` when the kernel refuses.
  static uring_reactor* make(ring_flavour flavour, std::error_code& error) noexcept;
  ~uring_reactor() override;

  const char* name() const noexcept override { return "uring"; }
  bool wait(readiness_operation& op) noexcept override;
  void cancel(readiness_operation& op) noexcept override;
  void forget(descriptor&) noexcept override {}
  void let_go(int fd) noexcept override;
  void turn(std::uint64_t deadline_ns, std::size_t limit, runnable_chain& out) noexcept override;
  bool ready() const noexcept override;
  std::size_t unflushed() const noexcept override;
  void wake() noexcept override;
  rescue_report rescue(bool on_core, std::size_t limit, runnable_chain& out) noexcept override;
  void set_parked(bool parked) noexcept override;
  std::size_t in_flight() const noexcept override {
    return begun_.load(order::relaxed) - finished_.load(order::relaxed);
  }
  std::uint64_t system_calls() const noexcept override {
    return enters_.load(order::relaxed) + rescue_enters_.load(order::relaxed);
  }

  /// Completions that nobody waited for any more.
  std::uint64_t stale_completions() const noexcept { return stale_.load(order::relaxed); }

 private:
  static constexpr std::size_t chunk_slots = 1024;
  static constexpr std::size_t chunks_max = 1024;
  static constexpr std::uint32_t no_slot = ~std::uint32_t{0};
  static constexpr unsigned retries_max = 16;

  struct slot {
    readiness_operation* op;
    std::uint32_t generation;
    std::uint32_t next;  ///< In the free, freed or cancel list.
    bool cancel_wanted;  ///< In the cancel list; the slot is not freed before it leaves it.
    bool finished;       ///< Its terminal completion came while it was in the cancel list.
    int fd;              ///< Whose poll it is, for `let_go`; set by the canceller.
  };

  uring_reactor() noexcept;
  std::error_code set_up(ring_flavour flavour) noexcept;
  std::error_code self_test() noexcept;

  slot& slot_at(std::uint32_t index) noexcept;
  std::uint32_t take_slot() noexcept;
  bool grow_slots() noexcept;
  void free_slot(std::uint32_t index) noexcept;  // under lock_

  io_uring_sqe* next_entry() noexcept;
  void publish() noexcept;
  void arm_wake() noexcept;
  void submit_cancels() noexcept;
  void enter(unsigned submit, unsigned wait_for, unsigned flags,
             std::uint64_t deadline_ns) noexcept;
  void hand_out(std::size_t limit, runnable_chain& out) noexcept;
  void reap(std::size_t limit, runnable_chain& out) noexcept;         // under lock_
  readiness_operation* complete(const io_uring_cqe& entry) noexcept;  // under lock_
  unsigned kernel_flags() const noexcept;
  bool completions_waiting() const noexcept;

  alignas(8) std::byte ring_memory_[256];
  io_uring* ring_ = nullptr;
  unique_fd wake_fd_;
  bool shared_ = true;
  unsigned enter_flags_ = 0;  ///< NO_IOWAIT where the kernel knows it.

  // The owner's alone.
  std::uint32_t free_ = no_slot;
  std::uint32_t slots_made_ = 0;
  unsigned sq_tail_ = 0;  ///< Our copy of the submission tail.

  // Guarded by lock_.
  spin_lock lock_;
  std::uint32_t freed_ = no_slot;
  std::uint32_t cancels_ = no_slot;
  bool parked_ = false;
  runnable_chain backlog_;  ///< Ended waits that no turn has handed out yet.

  atomic<bool> wake_armed_{false};
  atomic<bool> woken_{false};  ///< A wake was collected that no blocking turn has seen yet.
  atomic<bool> has_cancels_{false};
  atomic<bool> has_backlog_{false};
  atomic<std::size_t> begun_{0};     ///< Written by the owner.
  atomic<std::size_t> finished_{0};  ///< Written under lock_.
  atomic<std::uint64_t> enters_{0};  ///< Written by the owner.
  atomic<std::uint64_t> rescue_enters_{0};
  atomic<std::uint64_t> stale_{0};
  slot* chunks_[chunks_max] = {};
};

}  // namespace magpie
