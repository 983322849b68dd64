// Form `poll`: Magpie's ring flags and Magpie's way of doing I/O without Magpie: a one-shot
// POLL_ADD tells that a socket is readable, then recv() into the one hot buffer of the worker,
// send() at once, and the poll again. The ring is shareable (no SINGLE_ISSUER), completions are
// posted when the worker enters the kernel (COOP_TASKRUN).
#pragma once

#include <magpie/bench/bare/uring_ring.hpp>

#include <poll.h>

#include <utility>
#include <vector>

namespace bare {

class poll_worker {
 public:
  static constexpr int socket_flags = SOCK_NONBLOCK;

  poll_worker(const server_options& options, descriptor_table<backlog*>& backlogs)
      : options_(options),
        ring_(256, 2048,
              IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
                  IORING_SETUP_CLAMP),
        buffer_(options.buffer_size),
        backlogs_(backlogs) {}

  [[noreturn]] void run(inbox& connections) {
    connections.arm(ring_, accepted);
    ring_.run(
        [&](std::uint64_t user_data, int result, unsigned) {
          const int fd = static_cast<int>(user_data & 0xffff'ffffU);
          if (user_data < writable) [[likely]]
            return on_readable(fd);
          if (user_data < accepted) return on_writable(fd);
          for (const int added : connections.arrived(result)) arm_read(added);
          connections.arm(ring_, accepted);
        },
        [] {});
  }

 private:
  // The kind of an operation lies above the descriptor in `user_data`.
  static constexpr std::uint64_t readable = 0;
  static constexpr std::uint64_t writable = 1ULL << 32;
  static constexpr std::uint64_t accepted = 2ULL << 32;

  void arm_read(int fd) { arm(fd, readable, POLLIN | POLLRDHUP); }

  void arm(int fd, std::uint64_t kind, unsigned events) {
    auto* sqe = ring_.entry();
    io_uring_prep_poll_add(sqe, fd, events);
    sqe->user_data = kind | static_cast<std::uint32_t>(fd);
  }

  void on_readable(int fd) {
    for (;;) {
      const auto count = recv(fd, buffer_.data(), buffer_.size(), 0);
      if (count <= 0) [[unlikely]] {
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) break;
        return close_connection(fd);
      }
      const auto size = static_cast<std::size_t>(count);
      compute_if_asked(options_, buffer_.data());
      const auto sent = send(fd, buffer_.data(), size, MSG_NOSIGNAL);
      if (sent != count) [[unlikely]]
        return keep_rest(fd, size, sent);
      if (size < buffer_.size()) [[likely]]
        break;  // a short read: the socket is empty
    }
    arm_read(fd);
  }

  void keep_rest(int fd, std::size_t size, ssize_t sent) {
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return close_connection(fd);
    const auto taken = static_cast<std::size_t>(sent < 0 ? 0 : sent);
    backlogs_[fd] = new backlog{.bytes = {buffer_.data() + taken, buffer_.data() + size}};
    on_writable(fd);
  }

  // No read is armed while replies wait, so that a slow reader holds back its own requests.
  void on_writable(int fd) {
    auto& waiting = *backlogs_[fd];
    while (waiting.sent < waiting.bytes.size()) {
      const auto sent = send(fd, waiting.bytes.data() + waiting.sent,
                             waiting.bytes.size() - waiting.sent, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      // Not RDHUP: a peer that has shut down its side would fire it at once, again and again.
      if (sent < 0 && errno == EAGAIN) return arm(fd, writable, POLLOUT);
      if (sent < 0) return close_connection(fd);
      waiting.sent += static_cast<std::size_t>(sent);
    }
    delete std::exchange(backlogs_[fd], nullptr);
    arm_read(fd);
  }

  void close_connection(int fd) {
    delete std::exchange(backlogs_[fd], nullptr);
    close(fd);
  }

  const server_options& options_;
  ring ring_;
  std::vector<std::byte> buffer_;
  descriptor_table<backlog*>& backlogs_;
};

}  // namespace bare
