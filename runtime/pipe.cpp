#include <magpie/runtime/pipe.hpp>

#include <magpie/runtime/scheduler.hpp>
#include <magpie/util/errc.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <ctime>

namespace magpie {
namespace {

/// Keeps the SIGPIPE of one write from its thread.  A write raises it for the writing thread, and
/// before the write returns; if it was not blocked before, none was pending.
class without_sigpipe {
 public:
  without_sigpipe() noexcept {
    ::sigemptyset(&only_);
    ::sigaddset(&only_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &only_, &before_);
  }
  without_sigpipe(const without_sigpipe&) = delete;
  without_sigpipe& operator=(const without_sigpipe&) = delete;
  ~without_sigpipe() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  /// It was raised: takes it back.
  void take_back() const noexcept {
    if (::sigismember(&before_, SIGPIPE) == 1) return;  // somebody else's affair
    constexpr timespec at_once{};
    while (::sigtimedwait(&only_, nullptr, &at_once) < 0 && errno == EINTR) continue;
  }

 private:
  sigset_t only_;
  sigset_t before_;
};

}  // namespace

int detail::pipe_read_operation::transfer() noexcept {
  if (into_.empty()) return 0;
  ssize_t got;
  do {
    got = ::read(fd(), into_.data(), into_.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno;
  count_ = static_cast<std::size_t>(got);
  return 0;
}

int detail::pipe_write_operation::transfer() noexcept {
  if (from_.empty()) return 0;
  const without_sigpipe quiet;
  ssize_t put;
  do {
    put = ::write(fd(), from_.data(), from_.size());
  } while (put < 0 && errno == EINTR);
  if (put < 0) {
    const int error = errno;
    if (error == EPIPE) quiet.take_back();
    return error;
  }
  count_ = static_cast<std::size_t>(put);
  return 0;
}

result<pipe_ends> make_pipe() noexcept {
  const detail::context* const here = detail::current_context;
  if (here != nullptr && here->home->world() != nullptr)
    return std::unexpected(std::make_error_code(std::errc::operation_not_supported));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return std::unexpected(errno_code(errno));
  return pipe_ends{pipe_reader(ends[0]), pipe_writer(ends[1])};
}

}  // namespace magpie
