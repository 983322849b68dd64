/// Setting a ring up: the ladder of what a kernel may refuse, and a self-test of what it granted.
///
/// Features are found by feature bits and by trying.  ENOSYS, EPERM and EACCES mean no io_uring at
/// all; EINVAL an old kernel; ENOMEM a small memlock limit.
#include <magpie/runtime/uring_abi.hpp>
#include <magpie/runtime/uring_entry.hpp>
#include <magpie/runtime/uring_reactor.hpp>
#include <magpie/util/errc.hpp>

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>
#include <new>

namespace magpie {

using namespace uring_entry;

uring_reactor* uring_reactor::make(ring_flavour flavour, std::error_code& error) noexcept {
  auto* made = new (std::nothrow) uring_reactor;
  error =
      made == nullptr ? std::make_error_code(std::errc::not_enough_memory) : made->set_up(flavour);
  if (error) {
    delete made;
    return nullptr;
  }
  return made;
}

std::error_code uring_reactor::set_up(ring_flavour flavour) noexcept {
  shared_ = flavour == ring_flavour::shared;
  wake_fd_ = unique_fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake_fd_) return errno_code(errno);

  static_assert(sizeof(io_uring) <= sizeof(ring_memory_));
  auto* ring = ::new (static_cast<void*>(ring_memory_)) io_uring{};
  // The ladder: an old kernel refuses flags with EINVAL, a small memlock limit with ENOMEM.
  unsigned flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL |
                   IORING_SETUP_TASKRUN_FLAG;
  flags |= shared_ ? unsigned{IORING_SETUP_COOP_TASKRUN}
                   : unsigned{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
  unsigned entries = submission_entries;
  unsigned completions = completion_entries;
  int code = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {
    io_uring_params params;
    std::memset(&params, 0, sizeof params);
    params.flags = flags;
    params.cq_entries = completions;
    code = ::io_uring_queue_init_params(entries, ring, &params);
    if (code == 0) break;
    if (code == -ENOMEM) {
      entries = 64;
      completions = 128;
    } else if (code == -EINVAL && !shared_) {
      flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL |
              IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN;
      shared_ = true;  // entered by its thread alone all the same
    } else {
      break;
    }
  }
  if (code != 0) return errno_code(-code);
  static_cast<void>(rings_ended.load(order::acquire));  // (U2)
  ring_ = ring;
  ::io_uring_ring_dontfork(ring_);
  if ((ring_->features & uring_abi::feat_no_iowait) != 0) enter_flags_ = uring_abi::enter_no_iowait;
  if ((ring_->features & IORING_FEAT_EXT_ARG) == 0 || (ring_->features & IORING_FEAT_NODROP) == 0)
    return errc::unsupported;
  for (unsigned i = 0; i < ring_->sq.ring_entries; ++i) ring_->sq.array[i] = i;
  if (std::error_code failed = self_test()) return failed;
  if (shared_) uring_abi::register_kicks();  // unregistered ones are refused
  arm_wake();
  return {};
}

/// A NOP and a poll cancelled by its tag, there and back: a filter may let setup pass and refuse
/// to enter, and an old kernel may lack an opcode.
std::error_code uring_reactor::self_test() noexcept {
  io_uring_sqe* entry = next_entry();
  ::io_uring_prep_nop(entry);
  entry->user_data = tag(0, 0, entry_kind::test);
  publish();
  entry = next_entry();
  ::io_uring_prep_poll_add(entry, wake_fd_.get(), POLLIN);
  entry->user_data = tag(1, 0, entry_kind::test);
  publish();
  entry = next_entry();
  ::io_uring_prep_cancel64(entry, tag(1, 0, entry_kind::test), 0);
  entry->user_data = tag(2, 0, entry_kind::test);
  publish();
  const int code = ::io_uring_enter2(static_cast<unsigned>(ring_->ring_fd), 3, 3,
                                     IORING_ENTER_GETEVENTS, nullptr, 0);
  if (code < 0) return errno_code(-code);
  unsigned head = *ring_->cq.khead;
  const unsigned tail = load_acquire(ring_->cq.ktail);
  if (tail - head != 3) return errc::unsupported;
  for (; head != tail; ++head) {
    const io_uring_cqe& done = ring_->cq.cqes[head & ring_->cq.ring_mask];
    const std::int32_t wanted = done.user_data == tag(1, 0, entry_kind::test) ? -ECANCELED : 0;
    if (done.res != wanted) return errc::unsupported;
  }
  __atomic_store_n(ring_->cq.khead, head, __ATOMIC_RELEASE);
  return {};
}

}  // namespace magpie
