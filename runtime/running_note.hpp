/// What a worker runs, for watchers on other threads.
///
/// Idea: a watcher must not follow a pointer into a task that may end at any moment, and to keep
/// tasks alive for watchers would cost each of them a read-modify-write.  So a run of a task notes
/// *copies* of what tells who it is, in memory of the worker: two stores for a task without a name.
///
/// The note belongs to the worker's thread, which changes it when a run of a task begins and clears
/// it when the worker is back in its loop.  A reader on another thread may see parts of two notes
/// if it comes at that moment; it looks only at runs that have lasted for milliseconds, and what it
/// says is for people.  All orders are relaxed: nothing is published.
#pragma once

#include <magpie/runtime/task_name.hpp>
#include <magpie/util/atomic.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <source_location>

namespace magpie {

struct task_root;

namespace detail {

class running_note {
 public:
  /// What a reader copies out.
  struct reading {
    reading() noexcept = default;
    std::uint64_t task = 0;      ///< The id; 0: no task.
    std::source_location place;  ///< See `set`.
    char name[task_name::size_max + 1] = {};
  };

  running_note() noexcept = default;

  /// A run of `root` begins: it goes on after the await at `where`, or begins at all, spawned
  /// there. Inline in task_root.hpp.
  void set(const task_root& root, std::source_location where) noexcept;
  /// The same for a task that is started: its place counts if it is not under way already.
  void begin(const task_root& root) noexcept;
  void clear() noexcept { tag_.store(0, order::relaxed); }
  bool is_clear() const noexcept { return tag_.load(order::relaxed) == 0; }

  /// Any thread.
  reading read() const noexcept;

 private:
  static constexpr std::size_t words = (task_name::size_max + sizeof(std::uint64_t)) / 8;
  static_assert(sizeof(std::source_location) == sizeof(std::uintptr_t));

  void copy_name(const task_root& root) noexcept;

  atomic<std::uint64_t> tag_{0};
  atomic<std::uintptr_t> place_{0};
  atomic<std::uint64_t> name_[words] = {};  ///< Valid if the tag says so.
};

}  // namespace detail
}  // namespace magpie
