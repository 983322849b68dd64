/// Owns a file descriptor and closes it.
///
/// Invariant: `get()` is -1 or a descriptor that nobody else closes.  Not synchronised.
/// The close is a bare close(2): a descriptor with operations in flight must be cancelled first.
#pragma once

#include <unistd.h>

#include <magpie/util/assert.hpp>

#include <utility>

namespace magpie {

class unique_fd {
 public:
  unique_fd() noexcept = default;
  explicit unique_fd(int fd) noexcept : fd_(fd) { MAGPIE_ASSERT(fd >= -1); }
  unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~unique_fd() { reset(); }

  int get() const noexcept { return fd_; }
  bool valid() const noexcept { return fd_ >= 0; }
  explicit operator bool() const noexcept { return valid(); }

  /// Gives the descriptor up without closing it.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

  /// Closes what it holds and takes `fd`.
  void reset(int fd = -1) noexcept {
    MAGPIE_ASSERT(fd >= -1 && (fd == -1 || fd != fd_));
    const int old = std::exchange(fd_, fd);
    if (old >= 0) {
      // The result is of no use: Linux frees the number even when close reports EINTR or EIO, and
      // a second close could hit somebody else's descriptor.
      static_cast<void>(::close(old));
    }
  }

 private:
  int fd_ = -1;
};

}  // namespace magpie
