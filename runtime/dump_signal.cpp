#include <magpie/runtime/dump_signal.hpp>

#include <magpie/runtime/task_dump.hpp>
#include <magpie/util/atomic.hpp>

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
constinit int installed = 0;
struct sigaction before = {};
/// Written once, before a handler is installed.
constinit atomic<int> events{-1};

extern "C" void ask_for_dump(int) noexcept {
  const int saved = errno;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(events.load(order::relaxed), &one, sizeof one);
  errno = saved;
}

void* print_dumps(void*) noexcept {
  ::pthread_setname_np(::pthread_self(), "magpie-dump");
  for (;;) {
    std::uint64_t asked;
    if (::read(events.load(order::relaxed), &asked, sizeof asked) == sizeof asked)
      dump_tasks(STDERR_FILENO);
  }
}

/// The eventfd and its reader, which takes no signals of the process.
bool make_reader() noexcept {
  if (events.load(order::relaxed) >= 0) return true;
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  if (fd < 0) return false;
  events.store(fd, order::relaxed);  // published by the thread's creation and the installation
  sigset_t all;
  sigset_t own;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &own);
  pthread_t reader;
  const int error = ::pthread_create(&reader, nullptr, &print_dumps, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &own, nullptr);
  if (error == 0) {
    ::pthread_detach(reader);
    return true;
  }
  ::close(fd);
  events.store(-1, order::relaxed);
  return false;
}

}  // namespace

dump_signal::dump_signal(int number, bool log) noexcept {
  if (number == 0) return;
  const std::lock_guard guard(install_mutex);
  if (users == 0) {
    struct sigaction action = {};
    action.sa_handler = &ask_for_dump;
    action.sa_flags = SA_RESTART;
    if (make_reader() && ::sigaction(number, &action, &before) == 0) installed = number;
  }
  counted_ = installed == number;
  if (counted_) {
    ++users;
  } else if (log) {
    std::fprintf(stderr, "magpie: no dump on signal %d: %s\n", number,
                 installed != 0 ? "another one is installed" : "it cannot be installed");
  }
}

dump_signal::~dump_signal() {
  if (!counted_) return;
  const std::lock_guard guard(install_mutex);
  if (--users != 0) return;
  ::sigaction(installed, &before, nullptr);
  installed = 0;
}

}  // namespace magpie::detail
