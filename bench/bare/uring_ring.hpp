// What the three io_uring forms share: a ring, its loop, and the pipe on which the acceptor
// hands connections over. A ring made with SINGLE_ISSUER may be used by one thread alone, hence
// the pipe; it is idle during the measured window.
#pragma once

#include <magpie/bench/bare/server.hpp>

#include <fcntl.h>
#include <liburing.h>

#include <array>
#include <span>

namespace bare {

class ring {
 public:
  ring(unsigned entries, unsigned completions, unsigned flags) {
    io_uring_params params{};
    params.flags = flags | IORING_SETUP_CQSIZE;
    params.cq_entries = completions;
    const int status = io_uring_queue_init_params(entries, &raw_, &params);
    if (status < 0) die("io_uring_setup", -status);
    io_uring_register_ring_fd(&raw_);  // saves a descriptor look-up per entry; may fail harmlessly
  }
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;

  io_uring* raw() noexcept { return &raw_; }

  io_uring_sqe* entry() {
    auto* sqe = io_uring_get_sqe(&raw_);
    while (sqe == nullptr) [[unlikely]] {
      check(io_uring_submit(&raw_));
      sqe = io_uring_get_sqe(&raw_);
    }
    return sqe;
  }

  /// Calls `on_completion(user_data, result, flags)` for ever and `after_batch()` before each
  /// wait.
  template <class OnCompletion, class AfterBatch>
  [[noreturn]] void run(OnCompletion on_completion, AfterBatch after_batch) {
    for (;;) {
      after_batch();
      check(io_uring_submit_and_wait(&raw_, 1));
      io_uring_cqe* cqe;
      unsigned head;
      unsigned count = 0;
      io_uring_for_each_cqe(&raw_, head, cqe) {
        on_completion(cqe->user_data, cqe->res, cqe->flags);
        ++count;
      }
      io_uring_cq_advance(&raw_, count);
    }
  }

 private:
  // EBUSY and EAGAIN ask to reap first, which the caller does next.
  static void check(int status) {
    if (status < 0 && status != -EINTR && status != -EBUSY && status != -EAGAIN) {
      die("io_uring_enter", -status);
    }
  }

  io_uring raw_{};
};

/// New connections on their way from the acceptor to one worker.
class inbox {
 public:
  inbox() {
    if (pipe2(ends_.data(), O_CLOEXEC) != 0) die("pipe2");
  }

  /// Called by the acceptor.
  void push(int fd) {
    if (write(ends_[1], &fd, sizeof fd) != sizeof fd) die("write");
  }

  /// Called by the worker: asks for the next connections.
  void arm(ring& from, std::uint64_t user_data) {
    auto* sqe = from.entry();
    io_uring_prep_read(sqe, ends_[0], arrived_.data(), sizeof arrived_, 0);
    sqe->user_data = user_data;
  }

  /// The connections that a completed read of `result` bytes brought.
  std::span<const int> arrived(int result) const {
    if (result <= 0) die("read", -result);
    return std::span(arrived_).first(static_cast<std::size_t>(result) / sizeof(int));
  }

 private:
  std::array<int, 2> ends_{};
  std::array<int, 64> arrived_{};
};

}  // namespace bare
