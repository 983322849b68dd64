/// The runtimes of the process, for those who look at all of them: dumps, and debuggers.
///
/// A list through the root groups, under one mutex.  Who holds the mutex is the one *onlooker* of
/// the process: runtimes neither come nor go meanwhile, and nobody else pins or holds scopes to
/// look at them.  Private header.
#pragma once

#include <mutex>
#include <vector>

namespace magpie {

class root_group;
struct live_task;

namespace detail {

class runtime_list {
 public:
  static void add(root_group& made) noexcept;
  static void remove(root_group& ending) noexcept;

  /// Keeps everybody else from looking, and the runtimes as they are.
  static std::mutex& looking() noexcept;
  /// The first runtime and the one after `before`, or null; while looking.
  static root_group* first() noexcept;
  static root_group* after(const root_group& before) noexcept;
};

/// The tasks of one runtime, by id; while looking.  In live_tasks.cpp.
std::vector<live_task> list_tasks(root_group& of);

}  // namespace detail
}  // namespace magpie
