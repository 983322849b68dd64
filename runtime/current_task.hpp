/// `current_task()`: who runs here.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task_root.hpp>

#include <cstdint>
#include <source_location>
#include <string_view>

namespace magpie {

/// What tells one task from the others.
struct task_identity {
  std::uint64_t id = 0;          ///< 0: no task.
  std::string_view name;         ///< Empty when it was given none.  Lives as long as the task.
  std::source_location spawned;  ///< Where it was spawned.
};

/// The root task that the caller runs in: a spawned one, a child of a group, or that of `block_on`
/// or `run`.  Tasks that it awaits are part of it.
/// Threads: any; on those that are no workers there is none.  Cost: a few loads.
inline task_identity current_task() noexcept {
  const detail::context* const here = detail::current_context;
  if (here == nullptr || here->running_here() == nullptr) return {};
  const task_root& root = here->running_here()->root();
  return {root.id(), root.name(), root.spawned};
}

}  // namespace magpie
