/// A dump: what `live_tasks` gives as text, in the manner of a stack dump of threads.
///
///     magpie: 1002 live tasks; 2 workers on uring, 1 parked
///     1 task, waiting: 1 (main)
///       spawned at server.cpp:80
///       waits for the children of a group at
///         server.cpp:71 in task<> serve(net::tcp_listener)
///     1000 tasks, waiting: 3, 4, 5, 6, 7, 8, 9, 10 and 992 more
///       spawned at server.cpp:64
///       waits at
///         server.cpp:31 in task<> read_request(…)
///         server.cpp:52 in task<> session(net::tcp_stream)
///
/// Tasks that are in the same state at the same places are one paragraph, so the dump of a server
/// with a hundred thousand connections is still read in a minute.  With `options::dump_signal` a
/// signal prints it, from a thread of its own: also when every worker is stuck.
#pragma once

#include <magpie/runtime/live_tasks.hpp>

#include <cstddef>
#include <source_location>
#include <span>
#include <string>

namespace magpie {

/// `tasks` as text, those that are alike in one paragraph, in the order of their lowest ids.
std::string format_tasks(std::span<const live_task> tasks);

/// A stack as text, one place a line, each begun by `indent`.
std::string format_stack(const task_stack& stack, const char* indent = "  ");

/// Writes the live tasks of every runtime of the process to the descriptor `fd`.
/// Errors: none; what cannot be written is left out.
/// Threads: any, also in a debugger: `call magpie::dump_tasks(2)`.  Cost: see live_tasks.hpp; waits
/// for who reads from `fd`.
void dump_tasks(int fd) noexcept;

namespace detail {

/// The function's name without what compilers add to that of a coroutine.
std::string function_of(const std::source_location& place);

}  // namespace detail
}  // namespace magpie
