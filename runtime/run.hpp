/// `run(task)`: the whole of a program's `main`.
///
/// The calling thread becomes worker 0.  SIGINT and SIGTERM stop everything, a second one exits at
/// once with 128 + its number; one that the program listens for itself (signal.hpp) is left to it.
/// When the task ends the rest is stopped and drained for the options' deadline; what is then left
/// is named and leaked.
///
/// Exit codes: the task's value (0 for void); 1 when it ended with an error, whose trace is
/// printed, or an exception; 0 when it was stopped by a signal and drained; 3 when tasks leaked;
/// 4 when the runtime could not start.
#pragma once

#include <magpie/runtime/options.hpp>
#include <magpie/runtime/runtime.hpp>
#include <magpie/runtime/task.hpp>

#include <concepts>
#include <exception>

namespace magpie {

inline constexpr int exit_failed = 1;
inline constexpr int exit_leaked = 3;
inline constexpr int exit_no_runtime = 4;

/// The type-free part of `run`.
class run_frame {
 public:
  explicit run_frame(const options& wanted) noexcept;
  run_frame(const run_frame&) = delete;
  run_frame& operator=(const run_frame&) = delete;
  ~run_frame();

  bool started() const noexcept { return core_ != nullptr; }
  scheduler& home() noexcept;
  stop_scope& parent() noexcept;

  /// Runs the root to its end on this thread.
  void drive(detail::blocked_base& root) noexcept;
  /// Ends the runtime; the program's exit code.  `value` is what the task itself would exit with.
  int finish(const detail::blocked_base& root, const char* exception, int value) noexcept;

 private:
  struct signals;

  runtime::core* core_ = nullptr;
  signals* signals_ = nullptr;
};

namespace detail {

/// What an exception says, for the exit message; null when the task did not end with one.
const char* describe_exception(void* exception) noexcept;

}  // namespace detail

/// Runs `t` on a new runtime and gives the exit code of the program.
template <class T>
  requires std::same_as<T, void> || std::convertible_to<T, int>
[[nodiscard]] int run(task<T> t, const options& wanted = options(),
                      std::source_location where = std::source_location::current()) noexcept {
  run_frame frame(wanted);
  if (!frame.started()) return exit_no_runtime;
  detail::blocked<T> root(std::move(t), frame.home(), frame.parent(), where);
  frame.drive(root);
  void* const exception = root.body.release_exception();
  int value = 0;
  if constexpr (!std::same_as<T, void>) {
    if (!root.error && exception == nullptr) value = static_cast<int>(*root.body.take());
  }
  const int code = frame.finish(root, detail::describe_exception(exception), value);
  if (exception != nullptr) detail::drop_exception(exception);
  return code;
}

}  // namespace magpie
