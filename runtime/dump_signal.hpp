/// The signal of `options::dump_signal`: prints every live task of the process to standard error.
///
/// A listener of the signal table like any other (signal_table.hpp), but for its reader: a
/// thread of its own, that prints.  It is no worker, so that the dump also comes when all of them
/// are stuck.  The process listens while there is a runtime that wants it, and the first one says
/// for which signal; thread and eventfd are made once and stay to the end of the process, because
/// the thread may be in a write that nobody reads.
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
