/// The operating system's sockets, or the simulation's.
///
/// Every socket call of the library goes through here.  A descriptor at or above `sim_fd_base`
/// belongs to the simulated network of the current runtime, anything below to the kernel: the
/// price of simulation in production is one compare.  Results are as the kernel's raw calls give
/// them: a count or descriptor, or a negative errno.  Nothing here blocks.  EINTR is retried.
#pragma once

#include <sys/socket.h>

#include <cstddef>

namespace magpie::sys {

inline constexpr int sim_fd_base = 1 << 24;

/// A non-blocking, close-on-exec socket; simulated when the calling thread is inside a simulated
/// runtime.
int socket(int domain, int type, int protocol) noexcept;
int bind(int fd, const sockaddr* address, socklen_t size) noexcept;
int listen(int fd, int backlog) noexcept;
/// A non-blocking, close-on-exec connection.
int accept(int fd, sockaddr* address, socklen_t* size) noexcept;
int connect(int fd, const sockaddr* address, socklen_t size) noexcept;
int shutdown(int fd, int how) noexcept;
int close(int fd) noexcept;
ssize_t recv(int fd, void* into, std::size_t size, int flags) noexcept;
/// Never raises SIGPIPE.
ssize_t send(int fd, const void* from, std::size_t size, int flags) noexcept;
int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept;
int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept;
int setsockopt(int fd, int level, int option, const void* value, socklen_t size) noexcept;
int getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept;

/// What a simulation implements; same contract as the functions above.
class network {
 public:
  virtual int socket(int domain, int type, int protocol) noexcept = 0;
  virtual int bind(int fd, const sockaddr* address, socklen_t size) noexcept = 0;
  virtual int listen(int fd, int backlog) noexcept = 0;
  virtual int accept(int fd, sockaddr* address, socklen_t* size) noexcept = 0;
  virtual int connect(int fd, const sockaddr* address, socklen_t size) noexcept = 0;
  virtual int shutdown(int fd, int how) noexcept = 0;
  virtual int close(int fd) noexcept = 0;
  virtual ssize_t recv(int fd, void* into, std::size_t size, int flags) noexcept = 0;
  virtual ssize_t send(int fd, const void* from, std::size_t size, int flags) noexcept = 0;
  virtual int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept = 0;
  virtual int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept = 0;
  virtual int setsockopt(int fd, int level, int option, const void* value,
                         socklen_t size) noexcept = 0;
  virtual int getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept = 0;

 protected:
  ~network() = default;
};

/// The network of the simulation that runs on this thread, or null.  Returns the previous one.
network* set_current_network(network* simulated) noexcept;

}  // namespace magpie::sys
