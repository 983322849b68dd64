/// A TCP connection.
///
/// Every operation tries its system call inline where the socket's hint says that it will likely
/// succeed, and else waits for readiness first; the kernel holds no pointer into user memory while
/// a task waits, so a stop loses no byte.  A stream has TCP_NODELAY set unless it is switched off:
/// a runtime whose writes are whole messages gains nothing from Nagle's algorithm but delay.
///
/// Reading and writing are independent: one task may read while another writes.  An operation
/// refers to the stream, which must not move, close or die while it is pending (asserted).
/// No operation raises SIGPIPE.
///
/// Threads: one reader and one writer at a time, on any worker.
#pragma once

#include <magpie/net/lease.hpp>
#include <magpie/net/socket.hpp>
#include <magpie/runtime/sys.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>

namespace magpie::net {

class tcp_stream;

/// How a connection is made.
struct connect_options {
  connect_options() noexcept {}

  bool nodelay = true;
  /// Where the connection comes from; the kernel chooses when empty.
  std::optional<socket_address> local;
  /// 0: the system's default.  Set here a receive buffer also sets the window's limit.
  int send_buffer_size = 0;
  int receive_buffer_size = 0;
};

/// When a silent connection is asked whether it still lives, and given up.
struct keepalive_options {
  keepalive_options() noexcept {}
  keepalive_options(std::chrono::seconds after, std::chrono::seconds every, int probes) noexcept
      : idle(after), interval(every), count(probes) {}

  std::chrono::seconds idle{60};      ///< Silence before the first probe.
  std::chrono::seconds interval{10};  ///< Between probes.
  int count = 6;                      ///< Unanswered probes until the connection has failed.
};

namespace detail {

class read_operation : public socket_operation<read_operation, std::size_t> {
 public:
  read_operation(socket& on, std::span<std::byte> into) noexcept
      : socket_operation(on, direction::read), into_(into) {}

  bool hint() const noexcept { return into_.empty() || socket_operation::hint(); }
  int transfer() noexcept {
    if (into_.empty()) return 0;
    const ssize_t got = sys::recv(fd(), into_.data(), into_.size(), 0);
    if (got < 0) return static_cast<int>(-got);
    count_ = static_cast<std::size_t>(got);
    half().likely = count_ == into_.size() || count_ == 0;  // the end stays the end
    return 0;
  }
  std::size_t value() const noexcept { return count_; }

 private:
  std::span<std::byte> into_;
  std::size_t count_ = 0;
};

class write_operation : public socket_operation<write_operation, std::size_t> {
 public:
  write_operation(socket& on, std::span<const std::byte> from) noexcept
      : socket_operation(on, direction::write), from_(from) {}

  bool hint() const noexcept { return from_.empty() || socket_operation::hint(); }
  int transfer() noexcept {
    if (from_.empty()) return 0;
    const ssize_t put = sys::send(fd(), from_.data(), from_.size(), 0);
    if (put == 0) return EAGAIN;
    if (put < 0) return static_cast<int>(-put);
    count_ = static_cast<std::size_t>(put);
    half().likely = count_ == from_.size();
    return 0;
  }
  std::size_t value() const noexcept { return count_; }

 private:
  std::span<const std::byte> from_;
  std::size_t count_ = 0;
};

/// Goes on until everything is sent; a short transfer goes straight to the wait.
class write_all_operation : public socket_operation<write_all_operation, void> {
 public:
  write_all_operation(socket& on, std::span<const std::byte> from) noexcept
      : socket_operation(on, direction::write), rest_(from) {}

  bool hint() const noexcept { return rest_.empty() || socket_operation::hint(); }
  int transfer() noexcept {
    if (rest_.empty()) return 0;
    const ssize_t put = sys::send(fd(), rest_.data(), rest_.size(), 0);
    if (put < 0) return static_cast<int>(-put);
    rest_ = rest_.subspan(static_cast<std::size_t>(put));
    if (!rest_.empty()) return EAGAIN;
    half().likely = true;
    return 0;
  }
  result<void> value() const noexcept { return {}; }

 private:
  std::span<const std::byte> rest_;
};

/// Makes no system call: a wait that ended is the answer, unless it could not be waited at all.
class readable_operation : public socket_operation<readable_operation, void> {
 public:
  explicit readable_operation(socket& on) noexcept : socket_operation(on, direction::read) {}

  int transfer() noexcept {
    if (fd() < 0) return EBADF;
    if (this->wait_error != 0) return EAGAIN;
    half().likely = true;
    return 0;
  }
  result<void> value() const noexcept { return {}; }
};

/// Receives into the worker's hot buffer.  Where the awaiting frame runs at once after the attempt
/// the attempt receives.  A combinator may put the frame into a queue first, and others use the
/// buffer meanwhile: there the attempt only looks whether there is something, and the bytes are
/// fetched when the frame takes the outcome (they cannot go away: there is one reader).
class leased_read_operation : public socket_operation<leased_read_operation, lease> {
  using base = socket_operation<leased_read_operation, lease>;

 public:
  explicit leased_read_operation(socket& on) noexcept : base(on, direction::read) {}

  std::coroutine_handle<> start(magpie::detail::continuation to, stop_scope& scope) noexcept {
    direct_ = to.hook == nullptr;
    return base::start(to, scope);
  }
  int transfer() noexcept { return direct_ ? receive() : look(); }
  lease value() noexcept;

 private:
  int receive() noexcept;
  int look() noexcept;

  std::size_t count_ = 0;
  bool direct_ = false;
  bool fetch_ = false;  ///< The bytes are still in the socket.
};

class connect_operation;

}  // namespace detail

class tcp_stream : public socket {
 public:
  /// A closed stream.
  tcp_stream() noexcept = default;

  /// Connects to `peer`; the outcome is a tcp_stream.
  /// Errors: connection_refused, timed_out, network_unreachable, host_unreachable, address_in_use,
  /// too_many_files_open, stopped.  No time limit of its own: put `timeout` around it.
  /// Stop: the socket is closed.  Cost: five system calls and a wait.
  static detail::connect_operation connect(const socket_address& peer,
                                           connect_options options = connect_options()) noexcept;

  /// Reads up to `into.size()` bytes; 0 means the peer closed its side, or `into` is empty.
  /// Errors: connection_reset, timed_out, stopped.  Stop: bytes arrived, or none were consumed.
  /// Threads: one reader at a time.  Cost: one system call, and a wait if nothing is there.
  detail::read_operation read(std::span<std::byte> into) noexcept {
    return detail::read_operation(*this, into);
  }

  /// Writes at least one byte of `from` and gives how many; 0 only if `from` is empty.
  /// Errors: broken_pipe, connection_reset, timed_out, stopped.  Stop: nothing was written.
  /// Threads: one writer at a time.  Cost: one system call, and a wait if there is no room.
  detail::write_operation write(std::span<const std::byte> from) noexcept {
    return detail::write_operation(*this, from);
  }

  /// Writes all of `from`.
  /// Errors: as `write`.  Stop: an unknown part was written.
  /// Threads: one writer at a time.  Cost: one system call when there is room; no frame.
  detail::write_all_operation write_all(std::span<const std::byte> from) noexcept {
    return detail::write_all_operation(*this, from);
  }

  /// Waits until a read will most likely not block, and consumes nothing.  May be mistaken: follow
  /// it by `try_read`, or by a `read`, which waits again.
  /// Errors: stopped, bad_file_descriptor.  Stop: the wait ends; nothing was consumed.
  /// Threads: as a reader.  Cost: a wait; no buffer and no system call.
  detail::readable_operation readable() noexcept { return detail::readable_operation(*this); }

  /// Reads into the worker's hot buffer (64 KiB) and lends it out; an empty lease means that the
  /// peer closed its side.  The lease must be gone before the next suspension; see lease.hpp.
  /// Errors: connection_reset, timed_out, stopped.  Stop: bytes arrived, or none were consumed.
  /// Threads: one reader at a time.  Cost: one system call, and a wait if nothing is there; a
  /// second system call under a combinator.
  detail::leased_read_operation read_leased() noexcept {
    return detail::leased_read_operation(*this);
  }

  /// `read` that does not wait.
  /// Errors: as `read`; resource_unavailable_try_again when nothing is there.
  /// Threads: as a reader.
  result<std::size_t> try_read(std::span<std::byte> into) noexcept;

  /// `write` that does not wait.
  /// Errors: as `write`; resource_unavailable_try_again when there is no room.
  /// Threads: as a writer.
  result<std::size_t> try_write(std::span<const std::byte> from) noexcept;

  /// Ends our side: the peer reads 0 after what was written.  Reading goes on.
  /// Errors: not_connected, bad_file_descriptor.  Threads: any, also while operations are pending.
  result<void> shutdown_write() noexcept;

  /// Ends both sides; a pending read ends with 0, a pending write fails.
  /// Errors and threads: as `shutdown_write`.
  result<void> shutdown() noexcept;

  /// Errors: bad_file_descriptor.
  result<void> set_nodelay(bool on) noexcept;
  result<bool> nodelay() const noexcept;

  /// Errors: bad_file_descriptor, invalid_argument.
  result<void> set_keepalive(bool on) noexcept;
  result<void> set_keepalive(const keepalive_options& when) noexcept;
  result<bool> keepalive() const noexcept;

  /// On: `close` resets the connection and throws away what was not sent.  A linger *time* is not
  /// offered: with one, closing would block the worker.
  /// Errors: bad_file_descriptor.
  result<void> set_zero_linger(bool on) noexcept;
  result<bool> zero_linger() const noexcept;

 private:
  friend class tcp_listener;
  friend class detail::connect_operation;

  /// Takes a connected, non-blocking socket.
  explicit tcp_stream(int fd) noexcept : socket(fd) { write_.likely = true; }
};

namespace detail {

/// A base, so that it exists before the operation that refers to it.
class connecting_stream {
 protected:
  tcp_stream stream_;
};

class connect_operation : connecting_stream,
                          public socket_operation<connect_operation, tcp_stream> {
 public:
  connect_operation(const socket_address& peer, const connect_options& options) noexcept;
  connect_operation(connect_operation&& other) noexcept
      : connecting_stream(static_cast<connecting_stream&&>(other)),
        socket_operation(static_cast<socket_operation&&>(other)),
        peer_(other.peer_),
        error_(other.error_) {
    follow(stream_);
  }
  ~connect_operation() = default;

  bool hint() const noexcept { return true; }
  int transfer() noexcept;
  tcp_stream value() noexcept { return std::move(stream_); }

 private:
  int prepare_socket(const connect_options& options) noexcept;
  int begin_connect() noexcept;
  int finish_connect() noexcept;

  socket_address peer_;
  int error_ = 0;  ///< Why there is no socket.
  bool begun_ = false;
};

}  // namespace detail

inline detail::connect_operation tcp_stream::connect(const socket_address& peer,
                                                     connect_options options) noexcept {
  return detail::connect_operation(peer, options);
}

}  // namespace magpie::net
