/// What streams and listeners share: a non-blocking socket, its readiness hints, its options.
///
/// A socket remembers for each direction whether the next system call will *likely* succeed, and
/// who waits.  The hint saves system calls: an operation whose direction is likely ready is tried
/// inline, any other goes straight to the wait.  On edge-triggered epoll the hint is more than an
/// economy: a wait may follow only upon an attempt that found the socket drained (EAGAIN, or a
/// transfer shorter than asked for).  So a hint is cleared by exactly these, and set by everything
/// that leaves the state open.
///
/// Invariants: at most one operation per direction is pending; it holds a reference to the socket,
/// which therefore neither moves nor closes meanwhile (asserted).  The reading and the writing
/// half touch disjoint members, so that two tasks may use them at the same time.
///
/// Threads: one reader and one writer at a time, each from any task; everything else needs the
/// socket for itself, except the addresses and `native_handle`.
#pragma once

#include <magpie/net/address.hpp>
#include <magpie/runtime/io_operation.hpp>
#include <magpie/runtime/reactor.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/result.hpp>

#include <cerrno>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace magpie::net {

namespace detail {
template <class Derived, class T>
class socket_operation;
}  // namespace detail

class socket {
 public:
  socket(const socket&) = delete;
  socket& operator=(const socket&) = delete;

  bool is_open() const noexcept { return io_.fd >= 0; }

  /// The descriptor, which the socket goes on owning; -1 when closed.
  int native_handle() const noexcept { return io_.fd; }

  /// Errors: bad_file_descriptor when closed.
  result<socket_address> local_address() const noexcept;

  /// Errors: bad_file_descriptor when closed, not_connected.
  result<socket_address> peer_address() const noexcept;

  // Linux keeps twice of what is set, for its own overhead, and that is what is read back.

  /// Errors: bad_file_descriptor, invalid_argument.
  result<void> set_send_buffer_size(int bytes) noexcept;
  result<void> set_receive_buffer_size(int bytes) noexcept;
  result<int> send_buffer_size() const noexcept;
  result<int> receive_buffer_size() const noexcept;

  /// Closes the descriptor; nothing when it is closed.  No operation may be pending.
  /// The connection or listener itself ends when nobody else has it: a duplicate, a child process.
  /// Threads: alone.  Cost: one system call, up to three right after a stopped wait.
  void close() noexcept;

 protected:
  socket() noexcept = default;
  explicit socket(int fd) noexcept { io_.fd = fd; }

  socket(socket&& other) noexcept { take(other); }
  socket& operator=(socket&& other) noexcept {
    if (this != &other) {
      close();
      take(other);
    }
    return *this;
  }
  ~socket() { close(); }

  /// An integer option of the kernel.
  /// Errors: bad_file_descriptor and what setsockopt gives.
  result<void> set_option(int level, int name, int value) noexcept;
  result<int> option(int level, int name) const noexcept;

  struct half {
    readiness_operation* pending = nullptr;
    bool likely = false;  ///< The next system call will likely succeed.

    /// True when no operation waits.  One that was cancelled has ended although it is still there.
    bool idle() const noexcept { return pending == nullptr || pending->cancelled; }
  };

  half& half_of(direction way) noexcept { return way == direction::read ? read_ : write_; }

  descriptor io_;
  half read_;
  half write_;

 private:
  template <class, class>
  friend class detail::socket_operation;

  void take(socket& other) noexcept {
    MAGPIE_ASSERT(other.read_.idle() && other.write_.idle() &&
                  "a socket was moved while an operation is pending on it");
    io_ = std::exchange(other.io_, descriptor());
    read_.likely = std::exchange(other.read_.likely, false);
    write_.likely = std::exchange(other.write_.likely, false);
  }
};

namespace detail {

/// The base of a socket's operations: keeps the hint and notes who waits.
///
/// A derived class gives `int transfer() noexcept`, the system call: 0 when it is done, or an
/// errno; and sets the hint where a success tells something about it.
template <class Derived, class T>
class socket_operation : public io_operation<Derived, T> {
  using base = io_operation<Derived, T>;

 public:
  ~socket_operation() {
    // Only one that was stopped is still noted; any other may outlive the socket.
    if (noted_ && half().pending == this) half().pending = nullptr;
  }

  /// A closed socket is tried too: the system call tells.
  bool hint() const noexcept { return half().likely || fd() < 0; }

  int attempt() noexcept {
    check_alone();
    const int error = static_cast<Derived&>(*this).transfer();
    if (error == EAGAIN) {
      half().likely = false;
    } else if (noted_) {
      half().pending = nullptr;
      noted_ = false;
    }
    return error;
  }

  std::coroutine_handle<> start(magpie::detail::continuation to, stop_scope& scope) noexcept {
    check_alone();
    half().pending = this;
    noted_ = true;
    return base::start(to, scope);  // from here on it may end on another worker
  }

 protected:
  int fd() const noexcept { return socket_->io_.fd; }
  socket::half& half() const noexcept { return socket_->half_of(this->dir); }

  /// For an operation that owns its socket and was moved with it.
  void follow(socket& moved) noexcept {
    socket_ = &moved;
    this->io = &moved.io_;
  }

 private:
  friend Derived;

  socket_operation(socket& on, direction way) noexcept : base(on.io_, way), socket_(&on) {}
  socket_operation(socket_operation&&) noexcept = default;

  void check_alone() const noexcept {
    MAGPIE_ASSERT((half().pending == this || half().idle()) &&
                  "two tasks use one direction of a socket at the same time");
  }

  socket* socket_;
  bool noted_ = false;  ///< The socket knows that this operation is pending.
};

}  // namespace detail
}  // namespace magpie::net
