#include <magpie/runtime/uring_reactor.hpp>

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/reactor_factory.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/uring_abi.hpp>
#include <magpie/runtime/uring_entry.hpp>
#include <magpie/util/errc.hpp>

#include <liburing.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

namespace magpie {

using namespace uring_entry;

uring_reactor::uring_reactor() noexcept = default;

constinit atomic<unsigned> uring_reactor::rings_ended{0};

uring_reactor::~uring_reactor() {
  rings_ended.fetch_add(1, order::release);  // (U1)
  if (ring_ != nullptr) ::io_uring_queue_exit(ring_);
  for (slot* chunk : chunks_) delete[] chunk;
}

// ---- slots -------------------------------------------------------------------------------------

uring_reactor::slot& uring_reactor::slot_at(std::uint32_t index) noexcept {
  return chunks_[index / chunk_slots][index % chunk_slots];
}

bool uring_reactor::grow_slots() noexcept {
  const std::size_t chunk = slots_made_ / chunk_slots;
  if (chunk == chunks_max) return false;
  auto* made = new (std::nothrow) slot[chunk_slots];
  if (made == nullptr) return false;
  chunks_[chunk] = made;
  for (std::size_t i = chunk_slots; i-- > 0;) {
    made[i] = {nullptr, 0, free_, false, false, -1};
    free_ = slots_made_ + static_cast<std::uint32_t>(i);
  }
  slots_made_ += chunk_slots;
  return true;
}

std::uint32_t uring_reactor::take_slot() noexcept {
  if (free_ == no_slot) {
    lock_.lock();
    free_ = std::exchange(freed_, no_slot);
    lock_.unlock();
    if (free_ == no_slot && !grow_slots()) return no_slot;
  }
  const std::uint32_t index = free_;
  free_ = slot_at(index).next;
  return index;
}

void uring_reactor::free_slot(std::uint32_t index) noexcept {
  slot& freed = slot_at(index);
  freed.op = nullptr;
  ++freed.generation;
  freed.next = freed_;
  freed_ = index;
}

// ---- submission --------------------------------------------------------------------------------

unsigned uring_reactor::kernel_flags() const noexcept {
  return __atomic_load_n(ring_->sq.kflags, __ATOMIC_RELAXED);
}

std::size_t uring_reactor::unflushed() const noexcept {
  return __atomic_load_n(ring_->sq.ktail, __ATOMIC_RELAXED) - load_acquire(ring_->sq.khead);
}

/// An unused submission entry, zeroed; null when the kernel takes none off our hands.
io_uring_sqe* uring_reactor::next_entry() noexcept {
  for (unsigned tries = 0; sq_tail_ - load_acquire(ring_->sq.khead) >= ring_->sq.ring_entries;
       ++tries) {
    if (tries == retries_max) return nullptr;
    enter(static_cast<unsigned>(unflushed()), 0, IORING_ENTER_GETEVENTS, no_wait);
    lock_scope guard(lock_);  // a full completion queue may be what holds the kernel back
    reap(backlog_.count + completion_entries, backlog_);
    has_backlog_.store(backlog_.count != 0, order::relaxed);
  }
  io_uring_sqe* entry = &ring_->sq.sqes[sq_tail_ & ring_->sq.ring_mask];
  std::memset(entry, 0, sizeof *entry);
  return entry;
}

void uring_reactor::publish() noexcept {
  ++sq_tail_;
  __atomic_store_n(ring_->sq.ktail, sq_tail_, __ATOMIC_RELEASE);  // pairs with the kernel's load
}

bool uring_reactor::wait(readiness_operation& op) noexcept {
  const std::uint32_t index = take_slot();
  io_uring_sqe* entry = index == no_slot ? nullptr : next_entry();
  op.where = this;
  if (entry == nullptr) [[unlikely]] {
    // No room in the kernel or no memory: end the wait at once, the caller will try again.
    op.where = nullptr;
    if (index != no_slot) {
      slot_at(index).next = free_;
      free_ = index;
    }
    if (!op.begin()) return false;
    lock_scope guard(lock_);
    backlog_.push(op);
    has_backlog_.store(true, order::relaxed);
    return true;
  }
  slot& taken = slot_at(index);
  // Relaxed: a canceller that is late looks at the slot of an operation that has ended, by now this
  // one's, and only sees that it is another.  It finds its own by what `begin` orders.
  std::atomic_ref(taken.op).store(&op, order::relaxed);
  op.slot = index;
  op.generation = taken.generation;
  entry->opcode = IORING_OP_POLL_ADD;
  entry->fd = op.io->fd;
  entry->poll32_events = op.dir == direction::read ? POLLIN | POLLRDHUP : POLLOUT;
  entry->user_data = tag(index, taken.generation, entry_kind::wait);
  begun_.store(begun_.load(order::relaxed) + 1, order::relaxed);
  if (!op.begin()) {
    begun_.store(begun_.load(order::relaxed) - 1, order::relaxed);
    std::atomic_ref(taken.op).store(nullptr, order::relaxed);
    taken.next = free_;
    free_ = index;
    return false;
  }
  __tsan_release(ring_);  // after begin(), whose writes a rescuer that reaps this relies on
  publish();              // `op` may be gone already: a canceller knows the slot since begin()
  return true;
}

void uring_reactor::cancel(readiness_operation& op) noexcept {
  lock_.lock();
  slot& held = slot_at(op.slot);
  // Relaxed: see `wait`.
  if (std::atomic_ref(held.op).load(order::relaxed) != &op || held.generation != op.generation) {
    lock_.unlock();  // its completion was reaped: it is on its way to a run queue
    return;
  }
  held.op = nullptr;
  held.cancel_wanted = true;
  held.fd = op.io->fd;
  held.next = cancels_;
  cancels_ = op.slot;
  has_cancels_.store(true, order::relaxed);
  op.cancelled = true;
  // Relaxed: read when the descriptor is closed, after all of its operations.  Two cancellers, of
  // its two directions, may be here at once.
  std::atomic_ref<bool>(op.io->detached).store(true, order::relaxed);
  const bool asleep = parked_;
  lock_.unlock();
  if (asleep) wake();          // the poll pins its file until the owner has cancelled it
  op.scope().root().post(op);  // the last thing: the runtime may end with it
}

/// A poll that was detached and that the owner has not cancelled yet keeps the file open after its
/// descriptor is closed: the peer would see no end before the owner's next turn, which may be far
/// away if the owner is stuck.  So the closing worker cancels such polls itself.
void uring_reactor::let_go(int fd) noexcept {
  if (!has_cancels_.load(order::relaxed)) return;
  if (!shared_) {
    submit_cancels();  // nobody but the owner closes anything here
    enter(static_cast<unsigned>(unflushed()), 0, IORING_ENTER_GETEVENTS, no_wait);
    return;
  }
  std::uint64_t found[2];  // one wait per direction
  std::size_t count = 0;
  {
    lock_scope guard(lock_);
    for (std::uint32_t i = cancels_; i != no_slot && count != 2; i = slot_at(i).next) {
      const slot& each = slot_at(i);
      if (each.fd == fd && !each.finished)
        found[count++] = tag(i, each.generation, entry_kind::wait);
    }
  }
  if (count == 0) return;
  if (const auto pending = static_cast<unsigned>(unflushed()); pending != 0) {
    ::io_uring_enter2(static_cast<unsigned>(ring_->ring_fd), pending, 0, 0, nullptr, 0);
    rescue_enters_.fetch_add(1, order::relaxed);
  }
  for (std::size_t i = 0; i < count; ++i) {
    io_uring_sync_cancel_reg poll = {};  // its timeout of zero: never waits
    poll.addr = found[i];
    poll.fd = -1;
    // Not known before Linux 6.0; not found when it ended meanwhile.  The owner's cancel follows.
    static_cast<void>(::io_uring_register_sync_cancel(ring_, &poll));
    rescue_enters_.fetch_add(1, order::relaxed);
  }
}

/// Enters a cancel for every detached wait; the owner, once a turn.
void uring_reactor::submit_cancels() noexcept {
  lock_.lock();
  std::uint32_t index = std::exchange(cancels_, no_slot);
  has_cancels_.store(false, order::relaxed);
  lock_.unlock();
  while (index != no_slot) {
    io_uring_sqe* entry = next_entry();
    lock_scope guard(lock_);
    slot& detached = slot_at(index);
    const std::uint32_t next = detached.next;
    if (entry == nullptr) {  // no room: once more at the next turn
      detached.next = cancels_;
      cancels_ = index;
      has_cancels_.store(true, order::relaxed);
    } else {
      detached.cancel_wanted = false;
      if (detached.finished) {
        detached.finished = false;
        free_slot(index);
      } else {
        entry->opcode = IORING_OP_ASYNC_CANCEL;
        entry->fd = -1;
        entry->addr = tag(index, detached.generation, entry_kind::wait);
        entry->flags = IOSQE_CQE_SKIP_SUCCESS;
        entry->user_data = tag(index, detached.generation, entry_kind::cancel);
        publish();
      }
    }
    index = next;
  }
}

// ---- completion --------------------------------------------------------------------------------

bool uring_reactor::completions_waiting() const noexcept {
  return __atomic_load_n(ring_->cq.khead, __ATOMIC_RELAXED) != load_acquire(ring_->cq.ktail);
}

bool uring_reactor::ready() const noexcept {
  return completions_waiting() || has_backlog_.load(order::relaxed) ||
         has_cancels_.load(order::relaxed) ||
         (kernel_flags() & (uring_abi::sq_taskrun | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/// Takes one completion; returns the operation that it ends, if somebody still waits.
readiness_operation* uring_reactor::complete(const io_uring_cqe& entry) noexcept {
  const auto kind = static_cast<entry_kind>(entry.user_data & 0xff);
  if (kind == entry_kind::wake) {
    if ((entry.flags & IORING_CQE_F_MORE) == 0) wake_armed_.store(false, order::relaxed);
    woken_.store(true, order::relaxed);
    return nullptr;
  }
  if (kind != entry_kind::wait) return nullptr;  // a cancel that found nothing any more
  const auto index = static_cast<std::uint32_t>(entry.user_data >> 32);
  slot& held = slot_at(index);
  if (entry.user_data != tag(index, held.generation, entry_kind::wait)) {
    stale_.store(stale_.load(order::relaxed) + 1, order::relaxed);
    return nullptr;
  }
  finished_.store(finished_.load(order::relaxed) + 1, order::relaxed);
  readiness_operation* op = held.op;
  if (op == nullptr) stale_.store(stale_.load(order::relaxed) + 1, order::relaxed);
  if (held.cancel_wanted) {
    held.finished = true;
  } else {
    free_slot(index);
  }
  const bool lasting = entry.res < 0 && entry.res != -ECANCELED && entry.res != -EINTR &&
                       entry.res != -EAGAIN && entry.res != -ENOMEM;
  if (op != nullptr && lasting) op->wait_error = -entry.res;
  return op;
}

void uring_reactor::reap(std::size_t limit, runnable_chain& out) noexcept {
  unsigned head = __atomic_load_n(ring_->cq.khead, __ATOMIC_RELAXED);
  const unsigned tail = load_acquire(ring_->cq.ktail);
  const unsigned mask = ring_->cq.ring_mask;
  __tsan_acquire(ring_);
  for (; head != tail && out.count < limit; ++head) {
    if (readiness_operation* op = complete(ring_->cq.cqes[head & mask])) out.push(*op);
  }
  __atomic_store_n(ring_->cq.khead, head, __ATOMIC_RELEASE);  // the kernel may reuse the entries
}

/// One entry into the kernel.  It may time out, be interrupted, or lack memory for now; what will
/// never pass ends the program, which would spin for ever.
void uring_reactor::enter(unsigned submit, unsigned wait_for, unsigned flags,
                          std::uint64_t deadline_ns) noexcept {
  enters_.store(enters_.load(order::relaxed) + 1, order::relaxed);
  io_uring_getevents_arg argument;
  __kernel_timespec limit;
  std::memset(&argument, 0, sizeof argument);
  if (wait_for != 0) flags |= enter_flags_;
  if (wait_for != 0 && deadline_ns != forever) {
    const std::uint64_t now = clock::detail_now_ns();
    const std::uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
    limit.tv_sec = static_cast<long long>(left / 1'000'000'000);
    limit.tv_nsec = static_cast<long long>(left % 1'000'000'000);
    argument.ts = reinterpret_cast<std::uint64_t>(&limit);
  }
  flags |= IORING_ENTER_EXT_ARG;
  const int code = ::io_uring_enter2(static_cast<unsigned>(ring_->ring_fd), submit, wait_for, flags,
                                     reinterpret_cast<sigset_t*>(&argument), sizeof argument);
  const bool passes = code >= 0 || code == -ETIME || code == -EINTR || code == -EAGAIN ||
                      code == -EBUSY || code == -ENOMEM || code == -EBADR;
  MAGPIE_ASSERT(passes && "io_uring_enter is refused for good: closed, forbidden, or other thread");
}

void uring_reactor::arm_wake() noexcept {
  io_uring_sqe* entry = next_entry();
  if (entry == nullptr) return;  // the next turn tries again
  entry->opcode = IORING_OP_POLL_ADD;
  entry->fd = wake_fd_.get();
  entry->poll32_events = POLLIN;
  entry->len = IORING_POLL_ADD_MULTI;
  entry->user_data = tag(0, 0, entry_kind::wake);
  wake_armed_.store(true, order::relaxed);
  publish();
}

void uring_reactor::turn(std::uint64_t deadline_ns, std::size_t limit,
                         runnable_chain& out) noexcept {
  if (has_cancels_.load(order::relaxed)) submit_cancels();
  if (!wake_armed_.load(order::relaxed)) arm_wake();
  const bool at_hand = completions_waiting() || has_backlog_.load(order::relaxed);
  const auto pending = static_cast<unsigned>(unflushed());
  // A wake that a turn without blocking, or a rescuer, has collected still ends the next blocking
  // turn.
  const bool may_block = deadline_ns != no_wait;
  // Nor does one block that a wake could not end, as the kernel takes no submissions for now.
  const bool wakeable = wake_armed_.load(order::relaxed);
  const bool block = may_block && wakeable && !at_hand && !woken_.load(order::relaxed);
  const bool work = (kernel_flags() & (uring_abi::sq_taskrun | IORING_SQ_CQ_OVERFLOW)) != 0;
  if (block || pending != 0 || work || !shared_)
    enter(pending, block ? 1 : 0, IORING_ENTER_GETEVENTS, deadline_ns);
  if (completions_waiting() || has_backlog_.load(order::relaxed)) hand_out(limit, out);
  if (may_block) woken_.store(false, order::relaxed);
}

void uring_reactor::hand_out(std::size_t limit, runnable_chain& out) noexcept {
  lock_scope guard(lock_);
  while (backlog_.first != nullptr && out.count < limit) {
    runnable& ended = *backlog_.first;
    backlog_.first = ended.next;
    if (backlog_.first == nullptr) backlog_.last = nullptr;
    --backlog_.count;
    out.push(ended);
  }
  has_backlog_.store(backlog_.count != 0, order::relaxed);
  reap(limit, out);
}

void uring_reactor::wake() noexcept {
  const std::uint64_t one = 1;
  while (::write(wake_fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void uring_reactor::set_parked(bool parked) noexcept {
  lock_scope guard(lock_);
  parked_ = parked;
}

rescue_report uring_reactor::rescue(bool on_core, std::size_t limit, runnable_chain& out) noexcept {
  rescue_report report;
  if (!shared_ || !lock_.try_lock()) return report;
  const bool stuck = !parked_;
  lock_.unlock();
  if (!stuck) return report;
  // Flushing and kicking need no lock: the kernel serialises submitters, and a kick of an owner
  // that has gone on meanwhile is harmless.
  if (const auto pending = static_cast<unsigned>(unflushed()); pending != 0) {
    ::io_uring_enter2(static_cast<unsigned>(ring_->ring_fd), pending, 0, 0, nullptr, 0);
    rescue_enters_.fetch_add(1, order::relaxed);
    report.flushed = true;
  }
  if (on_core && (kernel_flags() & uring_abi::sq_taskrun) != 0) {
    uring_abi::kick_all_cores();
    report.kicked = true;
    const std::uint64_t until = clock::detail_now_ns() + 50'000;
    while (!completions_waiting() && clock::detail_now_ns() < until) cpu_relax();
  }
  if (!completions_waiting()) return report;
  lock_scope guard(lock_);
  if (parked_) return report;  // thieves never reap a parked worker: its wake is in there
  const std::size_t before = out.count;
  reap(limit, out);
  report.reaped = out.count - before;
  return report;
}

reactor* make_uring_reactor(bool single_thread, std::error_code& error) noexcept {
  return uring_reactor::make(single_thread ? ring_flavour::single : ring_flavour::shared, error);
}

}  // namespace magpie
