// Form `oneshot`: the plain way to use io_uring: RECV into a buffer of the connection, then
// SEND, then RECV again, one operation in flight per connection. It needs a buffer for each
// connection, idle ones too, which is what the other forms avoid.
#pragma once

#include <magpie/bench/bare/uring_ring.hpp>

#include <memory>

namespace bare {

class oneshot_worker {
 public:
  static constexpr int socket_flags = 0;

  oneshot_worker(const server_options& options, descriptor_table<backlog*>&)
      : options_(options),
        ring_(4096, 16384, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG) {}

  [[noreturn]] void run(inbox& connections) {
    connections.arm(ring_, 0);
    ring_.run(
        [&](std::uint64_t user_data, int result, unsigned) {
          if (user_data != 0) [[likely]] {
            return on_completion(*reinterpret_cast<connection*>(user_data), result);
          }
          for (const int fd : connections.arrived(result)) {
            receive(*new connection{
                .fd = fd,
                .buffer = std::make_unique_for_overwrite<std::byte[]>(options_.buffer_size)});
          }
          connections.arm(ring_, 0);
        },
        [] {});
  }

 private:
  struct connection {
    int fd;
    std::size_t size = 0;  // bytes to send; 0 while receiving
    std::size_t sent = 0;
    std::unique_ptr<std::byte[]> buffer;
  };

  void receive(connection& peer) {
    peer.size = 0;
    auto* sqe = ring_.entry();
    io_uring_prep_recv(sqe, peer.fd, peer.buffer.get(), options_.buffer_size, 0);
    sqe->user_data = reinterpret_cast<std::uint64_t>(&peer);
  }

  void send_rest(connection& peer) {
    auto* sqe = ring_.entry();
    io_uring_prep_send(sqe, peer.fd, peer.buffer.get() + peer.sent, peer.size - peer.sent,
                       MSG_WAITALL | MSG_NOSIGNAL);
    sqe->user_data = reinterpret_cast<std::uint64_t>(&peer);
  }

  void on_completion(connection& peer, int result) {
    const bool again = result == -EINTR || result == -EAGAIN;
    if (result <= 0 && !again) [[unlikely]] {
      close(peer.fd);
      delete &peer;
    } else if (peer.size == 0) {
      if (again) return receive(peer);
      compute_if_asked(options_, peer.buffer.get());
      peer.size = static_cast<std::size_t>(result);
      peer.sent = 0;
      send_rest(peer);
    } else {
      if (!again) peer.sent += static_cast<std::size_t>(result);
      if (peer.sent < peer.size) [[unlikely]]
        return send_rest(peer);
      receive(peer);
    }
  }

  const server_options& options_;
  ring ring_;
};

}  // namespace bare
