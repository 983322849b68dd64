/// The ends of a pipe as byte streams.
///
/// A read or a write is tried at once and waits for readiness when the pipe is empty or full; the
/// kernel holds no pointer while a task waits.  Writing to a pipe that nobody reads is the error
/// broken_pipe; the signal that the kernel raises for it is taken back before the call returns, so
/// it kills nobody, whatever the process does with SIGPIPE.
///
/// Threads: one operation on an end at a time, from any task.  An operation refers to its end; that
/// must not move, close or die while it is pending (asserted).
#pragma once

#include <magpie/runtime/async_fd.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <span>

namespace magpie {

namespace detail {

class pipe_read_operation final : public async_fd_operation<pipe_read_operation, std::size_t> {
 public:
  pipe_read_operation(async_fd& on, std::span<std::byte> into) noexcept
      : async_fd_operation(on, direction::read), into_(into) {}
  int transfer() noexcept;
  std::size_t value() const noexcept { return count_; }

 private:
  std::span<std::byte> into_;
  std::size_t count_ = 0;
};

class pipe_write_operation final : public async_fd_operation<pipe_write_operation, std::size_t> {
 public:
  pipe_write_operation(async_fd& on, std::span<const std::byte> from) noexcept
      : async_fd_operation(on, direction::write), from_(from) {}
  int transfer() noexcept;
  std::size_t value() const noexcept { return count_; }

 private:
  std::span<const std::byte> from_;
  std::size_t count_ = 0;
};

}  // namespace detail

class pipe_reader {
 public:
  pipe_reader() noexcept = default;
  /// Takes over a non-blocking descriptor.
  explicit pipe_reader(int fd) noexcept : fd_(fd) {}

  /// Reads up to `into.size()` bytes; 0 means that every writer has closed, or `into` is empty.
  /// Errors: stopped, bad_file_descriptor.  Stop: bytes arrived, or none were consumed.
  /// Cost: one system call, and a wait and a second one if nothing was there.
  detail::pipe_read_operation read(std::span<std::byte> into) noexcept {
    return detail::pipe_read_operation(fd_, into);
  }

  bool is_open() const noexcept { return fd_.is_open(); }
  int native_handle() const noexcept { return fd_.get(); }
  void close() noexcept { fd_.close(); }

 private:
  detail::async_fd fd_;
};

class pipe_writer {
 public:
  pipe_writer() noexcept = default;
  /// Takes over a non-blocking descriptor.
  explicit pipe_writer(int fd) noexcept : fd_(fd) {}

  /// Writes at least one byte of `from` and gives how many; 0 only if `from` is empty.
  /// Errors: broken_pipe, stopped, bad_file_descriptor.  Stop: nothing was written.
  /// Cost: three system calls, two of them for SIGPIPE; a wait if there is no room.
  detail::pipe_write_operation write(std::span<const std::byte> from) noexcept {
    return detail::pipe_write_operation(fd_, from);
  }

  bool is_open() const noexcept { return fd_.is_open(); }
  int native_handle() const noexcept { return fd_.get(); }
  /// The reader then reads what is left, and 0.
  void close() noexcept { fd_.close(); }

 private:
  detail::async_fd fd_;
};

/// The two ends of one pipe.
struct pipe_ends {
  pipe_reader reader;
  pipe_writer writer;
};

/// A new pipe, close-on-exec.
/// Errors: too_many_files_open, too_many_files_open_in_system; operation_not_supported in a
/// simulation.
result<pipe_ends> make_pipe() noexcept;

}  // namespace magpie
