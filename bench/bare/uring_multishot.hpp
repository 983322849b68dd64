// Form `multishot`: the best that io_uring does for this purpose: a multishot receive per
// connection, buffers from a ring that the kernel picks from only when data is there, and
// SINGLE_ISSUER|DEFER_TASKRUN. The reply goes out with SEND, or with an inline send() (form
// `multishot-inline`, which gives the buffer back at once).
//
// A connection has one SEND in flight at most, or replies would overtake each other. What the
// socket does not take at once is copied to the heap, so that slow readers never hold the shared
// buffers, and a connection with much to send gets its receive cancelled until that is out.
#pragma once

#include <magpie/bench/bare/uring_ring.hpp>

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

namespace bare {

class multishot_worker {
 public:
  static constexpr int socket_flags = 0;

  multishot_worker(const server_options& options, descriptor_table<backlog*>&)
      : options_(options),
        inline_send_(options.form == "multishot-inline"),
        ring_(4096, 16384,
              IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG) {
    make_buffers();
  }

  [[noreturn]] void run(inbox& connections) {
    connections.arm(ring_, 0);
    ring_.run(
        [&](std::uint64_t user_data, int result, unsigned flags) {
          auto* peer = reinterpret_cast<connection*>(user_data & ~kind_mask);
          switch (user_data & kind_mask) {
            [[likely]] case received:
              if (peer != nullptr) return on_received(*peer, result, flags);
              for (const int fd : connections.arrived(result)) {
                receive(*new connection{.fd = fd});
              }
              return connections.arm(ring_, 0);
            case sent:
              return on_sent(*peer, result);
            default:
              return;  // a cancel; what happened shows in the receive's own completion
          }
        },
        [&] { give_buffers_back(); });
  }

 private:
  static constexpr std::uint64_t kind_mask = 3;
  enum kind : std::uint64_t { received, sent, cancelled };
  static constexpr std::size_t waiting_max = 64U << 10;
  static constexpr int buffer_group = 0;

  enum class sending : std::uint8_t { nothing, buffer, heap };

  struct alignas(16) connection {
    int fd;
    sending source = sending::nothing;
    bool receiving = false;
    bool throttled = false;
    bool starved = false;  // waits for a buffer to come back
    bool ended = false;    // the peer has shut down its side: send what we have, then close
    bool failed = false;   // nothing can be sent any more
    std::uint16_t buffer = 0;
    std::size_t size = 0;              // of what is being sent
    std::vector<std::byte> heap{};     // being sent
    std::vector<std::byte> waiting{};  // to be sent after it

    bool idle() const noexcept { return source == sending::nothing; }
    void wait(const std::byte* data, std::size_t size_more) {
      waiting.insert(waiting.end(), data, data + size_more);
    }
  };

  void make_buffers() {
    count_ = std::bit_floor(std::clamp<std::size_t>((4U << 20) / options_.buffer_size, 256, 1024));
    memory_.resize(count_ * options_.buffer_size);
    void* shared = nullptr;
    if (posix_memalign(&shared, 4096, count_ * sizeof(io_uring_buf)) != 0) die("posix_memalign");
    buffers_ = static_cast<io_uring_buf_ring*>(shared);
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uint64_t>(shared);
    registration.ring_entries = static_cast<unsigned>(count_);
    registration.bgid = buffer_group;
    const int status = io_uring_register_buf_ring(ring_.raw(), &registration, 0);
    if (status < 0) die("io_uring_register_buf_ring", -status);
    io_uring_buf_ring_init(buffers_);
    for (std::size_t index = 0; index < count_; ++index) {
      recycle(static_cast<std::uint16_t>(index));
    }
  }

  std::byte* buffer(std::uint16_t id) { return memory_.data() + id * options_.buffer_size; }

  void recycle(std::uint16_t id) {
    io_uring_buf_ring_add(buffers_, buffer(id), static_cast<unsigned>(options_.buffer_size), id,
                          io_uring_buf_ring_mask(static_cast<unsigned>(count_)), returned_++);
  }

  void give_buffers_back() {
    io_uring_buf_ring_advance(buffers_, std::exchange(returned_, 0));
    if (starved_.empty()) [[likely]]
      return;
    // Try again even when none came back in this turn: the kernel may have run dry before the last
    // ones did. This does not spin, because no buffer is held for longer than a turn.
    for (auto* peer : std::exchange(starved_, {})) {
      peer->starved = false;
      settle(*peer);
    }
  }

  void receive(connection& peer) {
    auto* sqe = ring_.entry();
    io_uring_prep_recv_multishot(sqe, peer.fd, nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffer_group;
    sqe->user_data = reinterpret_cast<std::uint64_t>(&peer) | received;
    peer.receiving = true;
  }

  void on_received(connection& peer, int result, unsigned flags) {
    if ((flags & IORING_CQE_F_MORE) == 0) [[unlikely]]
      peer.receiving = false;
    if (result > 0) [[likely]] {
      const auto id = static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT);
      answer(peer, id, static_cast<unsigned>(result));
    } else if (result == 0) {
      peer.ended = true;
    } else if (result == -ENOBUFS) {
      peer.starved = true;
      starved_.push_back(&peer);
    } else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
      peer.failed = true;
    }
    if (!peer.receiving) [[unlikely]]
      settle(peer);
  }

  void answer(connection& peer, std::uint16_t id, unsigned size) {
    if (peer.failed) [[unlikely]]
      return recycle(id);
    compute_if_asked(options_, buffer(id));
    if (!peer.idle()) [[unlikely]] {
      peer.wait(buffer(id), size);
      if (peer.waiting.size() > waiting_max && peer.receiving && !peer.throttled) throttle(peer);
      return recycle(id);
    }
    peer.buffer = id;
    peer.size = size;
    peer.source = sending::buffer;
    if (!inline_send_) return submit_send(peer, buffer(id), size, MSG_DONTWAIT);
    const auto count = send(peer.fd, buffer(id), size, MSG_DONTWAIT | MSG_NOSIGNAL);
    finish_send(peer, count >= 0 ? static_cast<int>(count) : -errno);
  }

  void submit_send(connection& peer, const std::byte* data, std::size_t size, int flags) {
    auto* sqe = ring_.entry();
    io_uring_prep_send(sqe, peer.fd, data, size, flags | MSG_NOSIGNAL);
    sqe->user_data = reinterpret_cast<std::uint64_t>(&peer) | sent;
  }

  void throttle(connection& peer) {
    peer.throttled = true;
    auto* sqe = ring_.entry();
    io_uring_prep_cancel64(sqe, reinterpret_cast<std::uint64_t>(&peer) | received, 0);
    sqe->user_data = cancelled;
  }

  void on_sent(connection& peer, int result) {
    finish_send(peer, result);
    if (!peer.receiving) [[unlikely]]
      settle(peer);
  }

  void finish_send(connection& peer, int result) {
    const auto count = static_cast<std::size_t>(std::max(result, 0));
    const auto source = std::exchange(peer.source, sending::nothing);
    if (result <= 0 && result != -EINTR && result != -EAGAIN) [[unlikely]] {
      peer.failed = true;
      peer.waiting.clear();
      shutdown(peer.fd, SHUT_RDWR);  // ends the receive, whose completion closes
    } else if (count < peer.size) [[unlikely]] {
      const auto* data = source == sending::buffer ? buffer(peer.buffer) : peer.heap.data();
      peer.waiting.insert(peer.waiting.begin(), data + count, data + peer.size);
    }
    if (source == sending::buffer) recycle(peer.buffer);
    if (!peer.waiting.empty()) [[unlikely]] {
      peer.heap = std::exchange(peer.waiting, {});
      peer.size = peer.heap.size();
      peer.source = sending::heap;
      submit_send(peer, peer.heap.data(), peer.size, MSG_WAITALL);
    }
  }

  // The receive is over: receive again, or close, once the replies are out.
  void settle(connection& peer) {
    if (peer.receiving || peer.starved || !peer.idle()) return;
    if (peer.ended || peer.failed) {
      close(peer.fd);
      delete &peer;
    } else {
      peer.throttled = false;
      receive(peer);
    }
  }

  const server_options& options_;
  const bool inline_send_;
  ring ring_;
  std::vector<std::byte> memory_;
  std::size_t count_ = 0;
  io_uring_buf_ring* buffers_ = nullptr;
  int returned_ = 0;
  std::vector<connection*> starved_;
};

}  // namespace bare
