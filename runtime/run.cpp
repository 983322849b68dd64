#include <magpie/runtime/run.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/runtime_core.hpp>
#include <magpie/runtime/signal.hpp>

#include <cstdio>
#include <exception>
#include <new>
#include <utility>

namespace magpie {
namespace {

task<> stop_on_signal(detail::ending_signals& signals, root_group& roots) {
  co_await signals.next();
  roots.request_stop();
}

}  // namespace

struct run_frame::signals {
  detail::ending_signals ending;
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
  if (chosen.handle_signals && here.reactor() != reactor_kind::sim)
    signals_ = new (std::nothrow) signals();
  if (signals_ != nullptr) {
    if (const auto error = signals_->ending.begin(detail::signal_use::last_resort)) {
      std::fprintf(stderr, "magpie: cannot handle SIGINT and SIGTERM: %s\n",
                   error.message().c_str());
    } else {
      auto watching = detail::spawn_on(here, stop_on_signal(signals_->ending, core_->roots),
                                       std::source_location::current());
      watching.detach();
    }
  }
  root.will_drive();
  root.post();
  here.run_here(root.done);
}

int run_frame::finish(const detail::blocked_base& root, const char* exception, int value) noexcept {
  const bool signalled =
      signals_ != nullptr && signals_->ending.listening() && detail::ending_signals_seen() != 0;
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
