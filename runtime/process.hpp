/// Child processes: `process::command` describes one, `spawn` starts it, `child` is waited for.
///
///     process::command list("ls");
///     list.arg("-l").output(process::stdio::piped());
///     auto child = co_await list.spawn();
///     … co_await child.output().read(buffer) …
///     const auto status = co_await child.wait();
///
/// A child is known by its pidfd, so nothing here can hit another process whose number is the same,
/// and its end is readiness like any other: no signal handler, no thread.
///
/// A child that is dropped while it runs is killed (`kill_on_drop`, on by default) and reaped: at
/// once if it has ended, else by a task of the runtime; on a thread that is no worker by waiting a
/// moment.  Where even that fails it is reaped at the next spawn or drop.  So a stopped task that
/// owns a child leaves neither a process nor a zombie behind.
///
/// Only in runtimes over the kernel: a simulation refuses with operation_not_supported.
#pragma once

#include <magpie/runtime/async_fd.hpp>
#include <magpie/runtime/pipe.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/result.hpp>

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace magpie::process {

/// How a child has ended.
class exit_status {
 public:
  static exit_status exited(int code) noexcept { return exit_status(code, false); }
  static exit_status killed(int signal) noexcept { return exit_status(signal, true); }

  bool success() const noexcept { return !by_signal_ && number_ == 0; }
  /// What it returned from main or gave to exit; empty if a signal ended it.
  std::optional<int> code() const noexcept {
    return by_signal_ ? std::nullopt : std::optional(number_);
  }
  /// The signal that ended it; empty if it exited.
  std::optional<int> signal() const noexcept {
    return by_signal_ ? std::optional(number_) : std::nullopt;
  }
  friend bool operator==(const exit_status&, const exit_status&) noexcept = default;

 private:
  exit_status(int number, bool by_signal) noexcept : number_(number), by_signal_(by_signal) {}
  int number_;
  bool by_signal_;
};

/// What a child's standard stream is connected to.
class stdio {
 public:
  /// The parent's own.
  static stdio inherit() noexcept { return stdio(kind::inherit, -1); }
  /// /dev/null.
  static stdio null() noexcept { return stdio(kind::null, -1); }
  /// A new pipe, whose other end the child object has.
  static stdio piped() noexcept { return stdio(kind::piped, -1); }
  /// A descriptor of the parent, which must be open at the spawn and stays the parent's.
  static stdio fd(int number) noexcept { return stdio(kind::given, number); }

 private:
  friend class command;
  enum class kind : std::uint8_t { inherit, null, piped, given };
  stdio(kind what, int number) noexcept : what_(what), number_(number) {}
  kind what_;
  int number_;
};

namespace detail {

/// Waits for a process to end, and reaps it.
class wait_operation final
    : public magpie::detail::async_fd_operation<wait_operation, exit_status> {
 public:
  wait_operation(magpie::detail::async_fd& on, std::optional<exit_status>& status) noexcept
      : async_fd_operation(on, direction::read), status_(&status) {}
  int transfer() noexcept;
  exit_status value() const noexcept { return **status_; }

 private:
  std::optional<exit_status>* status_;
};

}  // namespace detail

class child {
 public:
  child(child&& other) noexcept = default;
  child& operator=(child&& other) noexcept;
  /// Kills and reaps a child that still runs; see above.
  ~child() { drop(); }

  /// Waits for the end of the child and reaps it; again and again the same answer.  Closes `input`
  /// first, so that a child which reads to the end gets there.
  /// Errors: stopped; no_child_process when somebody else reaped it (SIGCHLD is ignored).
  /// Stop: ends the wait; the child runs on and can be waited for again.
  /// Threads: one waiter at a time, any worker.  Cost: one system call, and a wait if it runs.
  detail::wait_operation wait() noexcept {
    input_.close();
    return detail::wait_operation(pidfd_, status_);
  }

  /// The same without waiting; empty while it runs.
  result<std::optional<exit_status>> try_wait() noexcept;

  /// Sends `signal`.  Nothing happens when the child has ended.
  /// Errors: invalid_argument, operation_not_permitted.
  result<void> kill(int signal) noexcept;

  /// Asks by SIGTERM, gives the child `grace` to end, then ends it by SIGKILL, and waits.
  /// Errors and stop: as `wait`; after a stop the child may still run.
  task<exit_status> terminate(std::chrono::nanoseconds grace);

  /// Its process id; empty once it was reaped, when the number may be somebody else's.
  std::optional<pid_t> id() const noexcept {
    return status_ || !pidfd_.is_open() ? std::nullopt : std::optional(pid_);
  }

  /// Our ends of the pipes; closed where the stream was not `piped`.  Move out what has to outlive
  /// a `wait` or is used by another task.
  pipe_writer& input() noexcept { return input_; }
  pipe_reader& output() noexcept { return output_; }
  pipe_reader& error() noexcept { return error_; }

 private:
  friend class command;
  child() noexcept = default;
  void drop() noexcept;

  magpie::detail::async_fd pidfd_;
  pid_t pid_ = -1;
  bool kill_on_drop_ = true;
  std::optional<exit_status> status_;
  pipe_writer input_;
  pipe_reader output_;
  pipe_reader error_;
};

/// How to start a program.  A command may be spawned several times.
class command {
 public:
  /// A path, or a name that is looked for in the parent's PATH.
  explicit command(std::string program);

  command& arg(std::string value);
  /// Sets or removes a variable of the child's environment, which begins as the parent's.
  command& env(std::string_view name, std::string_view value);
  command& env_remove(std::string_view name);
  /// Begins with an empty environment; drops what was set before.
  command& env_clear();
  /// The child's working directory.  A relative path of the program is looked up there.
  command& cwd(std::string path);

  /// The standard streams; inherited unless said otherwise.
  command& input(stdio from) noexcept;
  command& output(stdio to) noexcept;
  command& error(stdio to) noexcept;

  /// Off: a dropped child runs on, and is reaped when it ends.
  command& kill_on_drop(bool on) noexcept;

  /// Starts the program.  The child has no signal blocked, SIGPIPE as by default, and no descriptor
  /// but its standard streams and those that were opened without close-on-exec.
  /// Errors: what keeps the program from being executed (no_such_file_or_directory,
  /// permission_denied, …), and what keeps a process or a pipe from being made;
  /// operation_not_supported in a simulation.
  /// Cost: a process; the caller waits until the program was loaded.
  result<child> spawn() const;

 private:
  struct streams;

  std::vector<std::string> environment() const;

  std::string program_;
  std::vector<std::string> args_;
  std::vector<std::pair<std::string, std::optional<std::string>>> env_;
  bool env_cleared_ = false;
  std::string cwd_;
  stdio stdio_[3] = {stdio::inherit(), stdio::inherit(), stdio::inherit()};
  bool kill_on_drop_ = true;
};

}  // namespace magpie::process
