#include <magpie/runtime/run.hpp>

#include <magpie/runtime/descriptor.hpp>
#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/io_operation.hpp>
#include <magpie/runtime/runtime_core.hpp>

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <new>
#include <utility>

namespace magpie {
namespace {

/// The signals that `run` handles go through one process-wide eventfd: the handler may only write.
constinit atomic<int> signals_seen{0};
constinit atomic<int> signal_fd{-1};

extern "C" void on_signal(int number) noexcept {
  const int saved = errno;
  if (signals_seen.fetch_add(1, order::relaxed) != 0) ::_exit(128 + number);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written =
      ::write(signal_fd.load(order::relaxed), &one, sizeof one);
  errno = saved;
}

/// Completes when the eventfd has been written.
class signal_wait final : public io_operation<signal_wait, void> {
 public:
  explicit signal_wait(descriptor& on) noexcept : io_operation(on, direction::read) {}
  static bool hint() noexcept { return true; }
  int attempt() noexcept {
    std::uint64_t count;
    return ::read(io->fd, &count, sizeof count) < 0 ? errno : 0;
  }
  static result<void> value() noexcept { return {}; }
};

task<> stop_on_signal(descriptor& on, root_group& roots) {
  co_await signal_wait(on);
  roots.request_stop();
}

/// Installs the handlers for its lifetime, where nobody else runs with handlers installed.
class signal_handlers {
 public:
  explicit signal_handlers(bool wanted) noexcept {
    if (!wanted) return;
    events_.fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int nobody = -1;
    if (events_.fd < 0 || !signal_fd.compare_exchange_strong(nobody, events_.fd, order::relaxed))
      return;
    installed_ = true;
    signals_seen.store(0, order::relaxed);
    struct sigaction action = {};
    action.sa_handler = &on_signal;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGINT, &action, &before_int_);
    ::sigaction(SIGTERM, &action, &before_term_);
  }
  signal_handlers(const signal_handlers&) = delete;
  signal_handlers& operator=(const signal_handlers&) = delete;
  ~signal_handlers() {
    if (installed_) {
      ::sigaction(SIGINT, &before_int_, nullptr);
      ::sigaction(SIGTERM, &before_term_, nullptr);
      signal_fd.store(-1, order::relaxed);
    }
    if (events_.fd >= 0) {
      detail::forget_descriptor(events_);
      ::close(events_.fd);
    }
  }

  bool installed() const noexcept { return installed_; }
  descriptor& events() noexcept { return events_; }

 private:
  descriptor events_;
  bool installed_ = false;
  struct sigaction before_int_ = {};
  struct sigaction before_term_ = {};
};

}  // namespace

struct run_frame::signals {
  explicit signals(bool wanted) noexcept : handlers(wanted) {}
  signal_handlers handlers;
};

run_frame::run_frame(const options& wanted) noexcept {
  std::error_code error;
  core_ = runtime::make_core(wanted, true, error);
  if (core_ == nullptr) std::fprintf(stderr, "magpie: cannot start: %s\n", error.message().c_str());
}

run_frame::~run_frame() { MAGPIE_ASSERT(core_ == nullptr); }  // finish() was called

scheduler& run_frame::home() noexcept { return *core_->home; }

stop_scope& run_frame::parent() noexcept { return core_->roots.parent_scope(); }

void run_frame::drive(detail::blocked_base& root) noexcept {
  scheduler& here = home();
  const options& chosen = here.settings();
  signals_ =
      new (std::nothrow) signals(chosen.handle_signals && here.reactor() != reactor_kind::sim);
  if (signals_ != nullptr && signals_->handlers.installed()) {
    auto watching =
        detail::spawn_on(here, stop_on_signal(signals_->handlers.events(), core_->roots),
                         std::source_location::current());
    watching.detach();
  }
  core_->roots.count_spawn();
  detail::note_birth(root.root, root.scope);
  here.post(root);
  here.run_here(root.done);
}

int run_frame::finish(const detail::blocked_base& root, const char* exception, int value) noexcept {
  const bool signalled = signals_ != nullptr && signals_->handlers.installed() &&
                         signals_seen.load(order::relaxed) != 0;
  int code = value;
  if (exception != nullptr) {
    std::fprintf(stderr, "magpie: the program ended with an exception: %s\n", exception);
    code = exit_failed;
  } else if (root.error && !(signalled && root.error == errc::stopped)) {
    std::fprintf(stderr, "magpie: the program ended with an error: %s (%s:%d)\n%s",
                 root.error.message().c_str(), root.error.category().name(), root.error.value(),
                 format_trace(root.root.trace).c_str());
    code = exit_failed;
  }
  runtime::core* const ending = std::exchange(core_, nullptr);
  const bool clean = ending->drain(ending->home->settings().drain_deadline);
  if (clean) delete signals_;  // before the reactors go: it forgets its descriptor there
  signals_ = nullptr;
  if (!ending->end(clean)) return exit_leaked;
  return code;
}

const char* detail::describe_exception(void* exception) noexcept {
  if (exception == nullptr) return nullptr;
#if defined(__cpp_exceptions)
  try {
    std::rethrow_exception(*reinterpret_cast<std::exception_ptr*>(&exception));
  } catch (const std::exception& error) {
    return error.what();  // lives in the exception, which the caller holds
  } catch (...) {
  }
#endif
  return "an exception of unknown type";
}

}  // namespace magpie
