/// `live_tasks`: every task that is alive, with the asynchronous stack on which it waits.
///
/// The asynchronous stack is the chain of awaits: each frame with the place at which it is
/// suspended, innermost first.  Nothing is kept for it.  A promise knows who awaits it and where it
/// awaits anyway, so from the operation that a task waits for one climbs the way that an error
/// would climb.
///
/// Frames die while somebody looks, so each stack is read in the hold of the word that decides
/// about its operation (stop_scope.hpp).  A task waits; the onlooker marks its scope HELD, climbs
/// over at most `frames_max` frames, copies their places, and lets go.  Should the operation be
/// completed meanwhile, whoever runs it finds the mark and goes away, and the onlooker posts it
/// when it is done: the task loses a microsecond, and no worker waits.  A task that waits for the
/// children of a group waits for no operation; there the pin on the group's scope keeps it, since
/// the group is closed before its task goes on.
///
///     the task                         its state   what is read of it
///     waits for an operation           waiting     the stack, in the hold of the operation
///     waits for children of a group    waiting     the stack, under the pin of the group's scope
///     is run by a worker               running     what lies around a group that it is in
///     else: is in a run queue          ready       the same
///
/// So nothing stops the world: tasks and workers go on, the list is no snapshot in time, and it can
/// be made while every worker is stuck.  What can be told from outside is not everything: an
/// operation may have completed and wait for its turn (`waiting`), and a task may run in a scope
/// that has not waited yet (`ready`).
///
/// At most `live_tasks_max` tasks are listed.
///
/// Without `options::track_tasks` those tasks are listed that wait or have waited once: the tree
/// does not know the others.  With it, all are.
///
/// Threads: any, one at a time; others queue up.  In a simulation: the thread that plays it; there
/// the same seed gives the same list.  Cost: for each task two locks of a byte and two atomic
/// operations, besides the list's memory; for tasks that nobody lists, nothing.
#pragma once

#include <magpie/runtime/continuation.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <source_location>
#include <string>
#include <system_error>
#include <vector>

namespace magpie {

/// A list ends with so many tasks: 300 MB or so.
inline constexpr std::size_t live_tasks_max = 1'000'000;

enum class task_state : std::uint8_t { ready, running, waiting };

/// "ready", "running", "waiting".
const char* to_string(task_state state) noexcept;

/// One chain of awaiting frames.
struct task_stack {
  static constexpr std::size_t frames_max = 64;

  std::vector<std::source_location> places;  ///< Innermost first.
  bool cut = false;                          ///< There are more frames further out.
  bool group = false;  ///< The innermost place is that of a group whose children go on.
};

struct live_task {
  std::uint64_t id = 0;
  std::uint64_t parent = 0;  ///< The task in whose group it is; 0: it is in none.
  std::string name;
  std::source_location spawned;
  task_state state = task_state::ready;
  std::size_t worker = 0;                       ///< Which one runs it, when one does.
  std::optional<std::chrono::nanoseconds> age;  ///< With `options::track_tasks`.
  std::vector<task_stack> stacks;  ///< One for each thing that it waits for: branches have several.
  /// The last error that came up in it, if one did and the task waits, and its return trace.
  std::error_code error;
  std::vector<std::source_location> trace;
};

/// The tasks of the runtime that the caller runs on, by id.
std::vector<live_task> current_live_tasks();

namespace detail {

/// Copies the chain of awaits from `from` on, which must not go on meanwhile.
class stack_copy {
 public:
  explicit stack_copy(const continuation& from) noexcept;
  task_stack taken(bool group = false) const;

 private:
  static constexpr std::size_t steps_max = 4 * task_stack::frames_max;

  std::source_location places_[task_stack::frames_max];
  std::size_t count_ = 0;
  bool cut_ = false;
};

class stack_operation {
 public:
  using value_type = task_stack;

  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return no_error; }
  std::coroutine_handle<> start(continuation to, stop_scope&) noexcept {
    copied_.emplace(to);
    return deliver(to);
  }
  result<task_stack> take() const { return copied_->taken(); }

 private:
  std::optional<stack_copy> copied_;
};

}  // namespace detail

/// Gives the asynchronous stack of the frame that awaits it: `co_await current_stack()`.
/// Errors: none.  Stop: not looked at.  Cost: a copy of the places.
inline detail::stack_operation current_stack() noexcept { return {}; }

}  // namespace magpie
