/// The process's table of signal listeners, and the one handler behind it.
///
/// The handler writes to the eventfd of every listener of its signal: an async-signal-safe call
/// that does not block, wakes whoever waits in whichever runtime, and adds up when nobody reads, so
/// that signals coalesce and none is lost.  A signalfd would need the signal to be blocked in every
/// thread, those of other libraries too, and what the process starts would inherit the mask; one
/// pipe for all would need somebody to distribute what it carries, in a runtime that may end
/// before the others.
///
/// While a signal has listeners its action is the handler; with the last of them the action from
/// before is put back, unless somebody has installed another one meanwhile.
///
/// Signals that are to end the program are counted (`signal_use`): the second one exits at once,
/// from the handler, so also when every worker is stuck.
///
/// Threads: any.
#pragma once

#include <magpie/runtime/signal_slot.hpp>

#include <cstddef>
#include <system_error>
#include <utility>

namespace magpie::detail {

/// Registrations in the process at the same time.
inline constexpr std::size_t signal_listeners_max = 1024;

/// One listener's place in the table, for its lifetime.  Does not own the eventfd.
class signal_registration {
 public:
  signal_registration() noexcept = default;
  signal_registration(signal_registration&& other) noexcept
      : slot_(std::exchange(other.slot_, nullptr)), number_(other.number_), ends_(other.ends_) {}
  signal_registration& operator=(signal_registration&& other) noexcept {
    if (this != &other) {
      end();
      slot_ = std::exchange(other.slot_, nullptr);
      number_ = other.number_;
      ends_ = other.ends_;
    }
    return *this;
  }
  ~signal_registration() { end(); }

  /// From now on each signal of this number adds the number to the eventfd `fd`.
  /// Errors: invalid_argument for a number that cannot be handled;
  /// resource_unavailable_try_again when the table is full.
  std::error_code begin(int number, int fd, signal_use use) noexcept;

  /// Afterwards no handler uses the eventfd any more.
  void end() noexcept;

  int number() const noexcept { return number_; }

 private:
  signal_slot* slot_ = nullptr;
  int number_ = 0;
  bool ends_ = false;  ///< Counted among those that end the program.
};

/// How many signals have come that end the program, since the first of those who listen for them.
int ending_signals_seen() noexcept;

/// A non-blocking eventfd that children do not inherit; -1 and errno when there is none.
int make_eventfd() noexcept;

}  // namespace magpie::detail
