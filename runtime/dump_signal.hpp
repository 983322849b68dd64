/// The signal of `options::dump_signal`: prints every live task of the process to standard error.
///
/// The handler may only write to an eventfd.  A thread of its own reads it and prints: it is no
/// worker, so that the dump also comes when all of them are stuck.  The handler is installed while
/// there is a runtime that wants it, and the first one says which signal; thread and eventfd are
/// made once and stay to the end of the process, since a handler may still be on its way, and the
/// thread in a write that nobody reads.
///
/// Threads: any.  Private header.
#pragma once

namespace magpie::detail {

class dump_signal {
 public:
  /// 0: nothing happens.  Prints a line to standard error, if `log`, when it cannot be had.
  dump_signal(int number, bool log) noexcept;
  dump_signal(const dump_signal&) = delete;
  dump_signal& operator=(const dump_signal&) = delete;
  ~dump_signal();

 private:
  bool counted_ = false;
};

}  // namespace magpie::detail
