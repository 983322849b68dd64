/// A socket of the simulated network: its buffers, its options, and when it is ready.
///
/// A *stream* is one direction of a connection.  Its bytes are, in order: received by the reader
/// but not read; in flight, that is in events of the wire; unsent, at the writer.  Unsent and in
/// flight share the writer's buffer, in flight and received share the reader's: a writer may go on
/// exactly when unsent + in flight < its buffer, and bytes leave it exactly when in flight +
/// received < the reader's.  The end of a stream (FIN) follows its last byte.
///
/// Invariant: a wait is held only while the socket is not ready in its direction.
/// Used by sim_wire and sim_network alone, on the simulation's thread.
#pragma once

#include <magpie/runtime/reactor.hpp>
#include <magpie/runtime/sim_address.hpp>
#include <magpie/runtime/sim_network.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace magpie {

/// A first-in first-out of bytes.
class sim_bytes {
 public:
  std::size_t size() const noexcept { return bytes_.size() - begin_; }
  bool empty() const noexcept { return size() == 0; }
  const std::byte* data() const noexcept { return bytes_.data() + begin_; }

  void append(const std::byte* from, std::size_t count) {
    bytes_.insert(bytes_.end(), from, from + count);
  }
  /// Forgets the first `count` bytes.
  void drop(std::size_t count) noexcept;
  void clear() noexcept { drop(size()); }

 private:
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0;
};

struct sim_socket {
  static constexpr int nobody = -1;

  enum class condition : std::uint8_t { fresh, listening, connecting, connected, closed };
  enum class holder : std::uint8_t { user, accept_queue, none };

  int fd = nobody;
  int family = 0;
  condition now = condition::fresh;
  holder held_by = holder::user;
  sim_address local;  ///< Port 0: not bound.
  sim_address remote;
  int peer = nobody;
  int error = 0;                  ///< SO_ERROR; only of a closed socket.
  bool connect_reported = false;  ///< A second connect has said that the first succeeded.

  // Options.
  std::size_t send_max = 0;
  std::size_t receive_max = 0;
  bool linger_on = false;
  int linger_seconds = 0;
  std::map<std::pair<int, int>, int> kept;  ///< By level and name.

  // The stream to the peer.
  sim_bytes unsent;
  std::size_t in_flight = 0;
  std::uint64_t last_arrival_ns = 0;  ///< Of what was sent last; the next arrives no earlier.
  bool write_shut = false;
  bool fin_sent = false;
  bool fin_arrived = false;

  // The stream from the peer.
  sim_bytes received;
  bool read_shut = false;
  bool fin_received = false;

  // A listener; and of its children, whose they are.
  std::deque<int> accept_queue;
  std::size_t half_open = 0;
  std::size_t backlog = 0;
  int listener = nobody;

  struct held_wait {
    readiness_operation* op = nullptr;
    sim_watcher* by = nullptr;
  };
  held_wait waits[2];  ///< By direction.

  bool is(condition wanted) const noexcept { return now == wanted; }
  /// An option that is only kept; 0 when it was never set.
  int kept_option(int level, int name) const noexcept;
  /// As setsockopt and getsockopt.
  int set_option(int level, int option, const void* value, socklen_t size);
  int get_option(int level, int option, void* value, socklen_t* size) noexcept;
  std::size_t send_room() const noexcept;
  bool backlog_full() const noexcept { return accept_queue.size() + half_open > backlog; }
  bool ready(direction way) const noexcept;
  /// Hands held waits that are ready to their watchers.
  void signal() noexcept;
  /// SO_ERROR, which is told once.
  int take_error() noexcept { return std::exchange(error, 0); }
};

}  // namespace magpie
