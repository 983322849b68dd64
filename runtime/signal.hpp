/// Signals as awaitables: `signal_stream` and `ctrl_c()`.
///
///     auto hangups = co_await signal_stream::open(SIGHUP);
///     for (;;) {
///       co_await hangups.next();
///       reload();
///     }
///
/// Each stream is told of every signal of its number that comes while it lives, whoever else
/// listens, in this runtime or in another one.  Signals coalesce, as they do in the kernel: of
/// several that came since the last `next` one remains, and none is lost between two calls.
///
/// While a signal has a listener its default action is off; when the last one goes it is as it was.
/// So a loop keeps its stream, rather than making one for each turn: a signal between two of them
/// would end the program.
///
/// A program under `run` that listens for SIGINT or SIGTERM itself takes that signal over: `run`
/// stops nothing then, and has no second signal that exits at once.  `with_graceful_shutdown`
/// (graceful.hpp) does both properly.
///
/// Signals are a matter of processes: a child that was forked without exec shares the streams.
/// Only in runtimes over the kernel: in a simulation `next` fails with operation_not_supported.
///
/// How a handler tells the streams is in signal_table.hpp.
#pragma once

#include <magpie/runtime/async_fd.hpp>
#include <magpie/runtime/signal_table.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/result.hpp>

namespace magpie {
namespace detail {

/// Waits for an eventfd that signal handlers write to; gives the sum of the signals' numbers.
class signal_operation final : public async_fd_operation<signal_operation, int> {
 public:
  explicit signal_operation(async_fd& on) noexcept : async_fd_operation(on, direction::read) {}
  int transfer() noexcept;
  int value() const noexcept { return numbers_; }

 private:
  int numbers_ = 0;
};

/// SIGINT and SIGTERM as what ends the program: for `run` and `with_graceful_shutdown`.
class ending_signals {
 public:
  ending_signals() noexcept = default;

  /// Errors: as `signal_stream::open`; then it listens to nothing.
  std::error_code begin(signal_use use) noexcept;
  bool listening() const noexcept { return events_.is_open(); }

  /// Waits for the first of them, and gives its number (asserted: it listens).
  signal_operation next() & noexcept { return signal_operation(events_); }

 private:
  async_fd events_;
  signal_registration interrupt_;  // after the eventfd: they end before it closes
  signal_registration terminate_;
};

}  // namespace detail

class signal_stream {
 public:
  /// Listens for a signal from now on.
  /// Errors: invalid_argument for what cannot be handled (SIGKILL, SIGSTOP, the C library's own)
  /// or not later (SIGSEGV, SIGBUS, SIGILL, SIGFPE); too_many_files_open;
  /// resource_unavailable_try_again beyond 1024 listeners in the process.
  /// Threads: any, also without a runtime.  Cost: a descriptor, and three system calls at most.
  static result<signal_stream> open(int number) noexcept;

  /// Waits for a signal that came since the last call; completes at once if there was one.  Gives
  /// the signal's number or, for several that coalesced, a multiple of it.
  /// Errors: stopped; operation_not_supported in a simulation.  Stop: the signal, if one came, is
  /// the next call's.
  /// Threads: one task at a time.  Cost: one system call, and a wait and a second one if none came.
  detail::signal_operation next() & noexcept { return detail::signal_operation(events_); }

  /// Whether a signal came since the last call.  Not while a `next` is pending.
  bool try_next() noexcept;

  int number() const noexcept { return registration_.number(); }

 private:
  explicit signal_stream(int fd) noexcept : events_(fd) {}

  detail::async_fd events_;
  detail::signal_registration registration_;  // after the eventfd: it ends before that closes
};

/// Waits for one SIGINT.  Listens from the moment at which it is awaited until it ends; the next
/// Ctrl+C then does what it did before, which is to end the program as a rule.
/// Errors: those of `signal_stream`.  Stop: the signal, if one came, is lost.
task<> ctrl_c() noexcept;

}  // namespace magpie
