/// The root of a runtime's stop tree, and the count of its root tasks.
///
/// Root tasks hang below one of several *shards* (one per worker, one for foreign threads), so that
/// workers do not share a lock when their tasks wait for the first time.  Live tasks are counted
/// without a shared counter: each worker counts what was spawned and what ended on it.
///
/// Ended tasks are summed before spawned ones: a task that is counted as ended had its own spawns
/// counted before, so a sum of zero means that all had ended.
#pragma once

#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/atomic.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie {

class scheduler;

namespace detail {
class runtime_list;
struct runtime_link;
}  // namespace detail

class root_group {
 public:
  root_group(scheduler& owner, std::size_t shards) noexcept;
  root_group(const root_group&) = delete;
  root_group& operator=(const root_group&) = delete;
  ~root_group();

  /// The scope that a task spawned by the calling thread belongs under.
  stop_scope& parent_scope() noexcept;

  void count_spawn() noexcept;
  /// Counts an ended root task; its state must not be touched by the runtime afterwards.
  void count_end() noexcept;

  std::uint64_t live() const noexcept;

  /// The root of the tree, for who walks over it.
  stop_scope& top() noexcept { return scope_; }
  scheduler& owner() noexcept { return *owner_; }

  /// Stops every task of the runtime; later ones are born stopped.
  void request_stop() noexcept { scope_.request_stop(); }
  bool stop_requested() noexcept { return scope_.stop_requested(); }

  /// Visits the tasks that wait or once waited, with the tree locked; returns how many live tasks
  /// there are in all.  `visit(context, root)`.
  std::uint64_t visit(void (*visitor)(void*, task_root&), void* context) noexcept;

  /// What the runtime shares with its handles; set by the runtime.
  detail::runtime_link* link = nullptr;

 private:
  friend class detail::runtime_list;

  scheduler* owner_;
  root_group* next_runtime_ = nullptr;  ///< See runtime_list.hpp.
  task_root root_;
  stop_scope scope_;
  std::size_t shard_count_;
  std::byte* shard_memory_;
  atomic<std::uint64_t> foreign_spawned_{0};

  stop_scope& shard(std::size_t i) noexcept;
};

}  // namespace magpie
