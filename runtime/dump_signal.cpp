#include <magpie/runtime/dump_signal.hpp>

#include <magpie/runtime/signal_table.hpp>
#include <magpie/runtime/task_dump.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/errc.hpp>

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <mutex>

namespace magpie::detail {
namespace {

constinit std::mutex install_mutex;
// Guarded by the mutex.
constinit int users = 0;
constinit signal_registration installed;
/// Written once, before the reader and the registration exist.
constinit atomic<int> events{-1};

void* print_dumps(void*) noexcept {
  ::pthread_setname_np(::pthread_self(), "magpie-dump");
  for (;;) {
    std::uint64_t asked;
    if (::read(events.load(order::relaxed), &asked, sizeof asked) == sizeof asked)
      dump_tasks(STDERR_FILENO);
  }
}

/// The eventfd and its reader, which takes no signals of the process.
std::error_code make_reader() noexcept {
  if (events.load(order::relaxed) >= 0) return {};
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  if (fd < 0) return errno_code(errno);
  events.store(fd, order::relaxed);  // published by the thread's creation
  sigset_t all;
  sigset_t own;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &own);
  pthread_t reader;
  const int error = ::pthread_create(&reader, nullptr, &print_dumps, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &own, nullptr);
  if (error == 0) {
    ::pthread_detach(reader);
    return {};
  }
  ::close(fd);
  events.store(-1, order::relaxed);
  return errno_code(error);
}

}  // namespace

dump_signal::dump_signal(int number, bool log) noexcept {
  if (number == 0) return;
  const std::lock_guard guard(install_mutex);
  std::error_code error;
  if (users == 0) {
    error = make_reader();
    if (!error) error = installed.begin(number, events.load(order::relaxed), signal_use::listens);
  } else if (installed.number() != number) {
    error = std::make_error_code(std::errc::device_or_resource_busy);
  }
  counted_ = !error;
  if (counted_) {
    ++users;
  } else if (log) {
    std::fprintf(stderr, "magpie: no dump on signal %d: %s\n", number,
                 users != 0 ? "another runtime has chosen another one" : error.message().c_str());
  }
}

dump_signal::~dump_signal() {
  if (!counted_) return;
  const std::lock_guard guard(install_mutex);
  if (--users == 0) installed.end();
}

}  // namespace magpie::detail
