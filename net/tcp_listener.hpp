/// A listening TCP socket.
///
/// `accept` gives the next connection and survives everything that is not the listener's own
/// fault: connections that were gone before they were accepted, and a process or system that has no
/// descriptors or memory left.  The latter it waits out, 5 ms at first and twice as long each time
/// up to a second, instead of spinning; the connections stay in the kernel's queue meanwhile.
///
/// Closing resets the connections that nobody has accepted.  A client that connects at this very
/// moment may yet be left connected to nobody, and hear nothing (Linux 6.18; a few in a hundred of
/// such races between plain system calls): who connects bounds the first read by a timeout.
///
/// Stop: a connection that was accepted is delivered; if none was, none is taken from the queue.
///
/// Threads: one accept at a time.  For accepting on several workers give each a listener of its own
/// with `reuse_port`, or spawn a task for each connection: idle workers steal it.
#pragma once

#include <magpie/net/socket.hpp>
#include <magpie/net/tcp_stream.hpp>
#include <magpie/runtime/task.hpp>

#include <chrono>
#include <string_view>

namespace magpie::net {

/// How a listener is set up.
struct listen_options {
  static constexpr int backlog_default = 1024;

  listen_options() noexcept {}

  /// Connections that the kernel completes and keeps for us; it takes less than asked for where
  /// net.core.somaxconn is smaller.
  int backlog = backlog_default;
  /// Binds although connections of an earlier listener are still in TIME_WAIT.
  bool reuse_address = true;
  /// Several listeners share the port, and the kernel spreads the connections over them.
  bool reuse_port = false;
  /// An IPv6 listener takes IPv6 alone; else IPv4 too, with mapped addresses.
  bool v6_only = false;
  /// Accepted connections have TCP_NODELAY set; they inherit it.
  bool nodelay = true;
};

namespace detail {

/// Takes one connection from the queue, or says why there is none.
class accept_operation : public socket_operation<accept_operation, int> {
 public:
  /// Connections already gone that are skipped before others get their turn.
  static constexpr int skipped_max = 16;

  explicit accept_operation(socket& on) noexcept : socket_operation(on, direction::read) {}

  int transfer() noexcept;

  /// What `value` gives when there were only dead connections so far.
  static constexpr int only_dead = -(1 << 20);

  /// The descriptor, or a negative errno: of a shortage.
  int value() const noexcept { return outcome_; }

 private:
  int outcome_ = only_dead;
};

}  // namespace detail

class tcp_listener : public socket {
 public:
  /// How long `accept` waits when descriptors or memory have run out.
  static constexpr std::chrono::milliseconds backoff_min{5};
  static constexpr std::chrono::milliseconds backoff_max{1000};

  /// A closed listener.
  tcp_listener() noexcept = default;

  /// Binds and listens; port 0 lets the kernel choose, see `local_address`.
  /// Errors: address_in_use, address_not_available, permission_denied, too_many_files_open.
  static result<tcp_listener> bind(const socket_address& at,
                                   const listen_options& options = listen_options()) noexcept;

  /// The same for "127.0.0.1:80" or "[::1]:80".
  /// Errors: invalid_argument for what is no address, and those above.
  static result<tcp_listener> bind(std::string_view at,
                                   const listen_options& options = listen_options()) noexcept;

  /// The next connection.  The listener must stay where it is until the task has ended.
  /// Errors: stopped; bad_file_descriptor, invalid_argument when it is not listening.
  /// Stop: a connection is delivered, or stays in the queue for the next accept.
  /// Threads: one accept at a time.  Cost: a pooled frame, one system call, and a wait when no
  /// connection is there.
  task<tcp_stream> accept();

 private:
  explicit tcp_listener(int fd) noexcept : socket(fd) {}
};

}  // namespace magpie::net
