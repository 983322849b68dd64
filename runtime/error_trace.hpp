/// The error return trace: the chain of `co_await` places that an error came through.
///
/// A task's root takes a bounded record at its first raise; a new error starts it afresh, passing
/// through a boundary goes on with it.  `run`, a group's log and tests read it.  If there is no
/// memory for the record there is no trace, and nothing else changes.
///
/// Written by the worker that delivers the error; read once the task has ended or by the task.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <system_error>

namespace magpie {

struct task_root;

struct error_trace {
  static constexpr std::size_t places_max = 28;

  std::error_code error;
  std::uint32_t count = 0;  ///< Places passed in all; the first `places_max` are kept.
  std::source_location places[places_max];
};

/// The trace as text, one place a line, innermost first; empty when there is none.
std::string format_trace(const error_trace* trace);

namespace detail {

/// The trace that the places which `error` passes now are added to; `first` starts it afresh.  Null
/// when there is no memory for one.
error_trace* trace_for(task_root& root, std::error_code error, bool first) noexcept;

}  // namespace detail
}  // namespace magpie
