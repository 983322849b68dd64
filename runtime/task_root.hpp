/// What the frames of one task have in common: where it runs, who it is, its error trace.
///
/// Every spawned task, group child and `block_on` has a root; each of its stop scopes points to
/// it.  The root is owned by the task's state and outlives its frames.
///
/// Ids are unique among the tasks of all runtimes of the process and are never used twice; a
/// simulated runtime counts for itself, so that the same seed gives the same ids.  A worker takes
/// them in blocks: it comes to the shared counter once for `ids_per_block` tasks.
///
/// What few tasks have takes no room in the others: the lowest bits of `tag_` say what `attached_`
/// is, and to which worker the task is pinned, if it is.  Both are set before the task can be seen
/// and then only read.
///
///     tag_ = id 52 | worker 9 | pinned 1 | what is attached 2
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/task_name.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string_view>

namespace magpie {

class scheduler;
class stop_scope;
struct runnable;
struct error_trace;

namespace detail {
class run_gate;
struct local_node;
}  // namespace detail

struct task_root {
  static constexpr std::uint64_t ids_per_block = 1024;
  static constexpr std::size_t workers_max = 512;  ///< That a task may be pinned to.

  /// `id` 0 is nobody's: it is for what is no task.
  explicit task_root(scheduler& home_scheduler, std::uint64_t id = 0) noexcept
      : home(&home_scheduler), tag_(id << id_shift) {}
  task_root(const task_root&) = delete;
  task_root& operator=(const task_root&) = delete;
  ~task_root() {
    if (trace != nullptr || attached_ != nullptr) [[unlikely]]
      let_go();
  }

  /// Puts a runnable of this task into a run queue of its home scheduler; of a pinned task, into
  /// the inbox of its worker.  Any thread.
  void post(runnable& work) noexcept;

  std::uint64_t id() const noexcept { return tag_ >> id_shift; }

  /// The task runs on one worker alone; see spawn_local.hpp.
  bool pinned() const noexcept { return (tag_ & pinned_bit) != 0; }
  std::size_t pinned_to() const noexcept { return (tag_ >> worker_shift) & worker_mask; }
  /// By the spawner, before anybody else sees the task.
  void pin(std::size_t worker) noexcept {
    tag_ |= worker << worker_shift | pinned_bit;
    route_ = only_pinned;
  }

  /// While a fork is open in the task: what its branches pass through.  Changes only when nothing
  /// but the calling execution is under way in the task, so it is no atomic.
  detail::run_gate* gate() const noexcept {
    return route_ == only_pinned ? nullptr : reinterpret_cast<detail::run_gate*>(route_);
  }
  void set_gate(detail::run_gate* open) noexcept {
    route_ = open == nullptr && pinned() ? only_pinned : reinterpret_cast<std::uintptr_t>(open);
  }
  /// What runs the task must go through `pass_gate`: there is a gate, or the task is pinned.
  bool is_routed() const noexcept { return route_ != 0; }

  /// Empty when there is none.  Lives as long as the root.
  std::string_view name() const noexcept;

  /// The id and all that belongs to it, as one number: a copy for watchers.
  std::uint64_t tag() const noexcept { return tag_; }
  static std::uint64_t id_of(std::uint64_t tag) noexcept { return tag >> id_shift; }
  static bool may_have_name(std::uint64_t tag) noexcept {
    return (tag & kind_mask) == literal || (tag & kind_mask) == details;
  }

  /// By the spawner, before anybody else sees the task.
  void set_name(const task_name& name) noexcept;

  /// The task-local values that the task took along from its spawner, or null.
  detail::local_node* locals() const noexcept;
  /// By the spawner, before anybody else sees the task; takes over the hold.
  void set_locals(detail::local_node* held) noexcept;

  /// When the task was spawned, in the scheduler's time; 0 when nobody noted it.
  std::uint64_t born_ns() const noexcept;
  /// By the spawner, before anybody else sees the task; without memory nothing is noted.
  void set_born(std::uint64_t now_ns) noexcept;

  scheduler* home;
  error_trace* trace = nullptr;  ///< Allocated at the first raise; null until then.
  std::source_location spawned;  ///< Where the task was spawned.

 private:
  enum kind : std::uint64_t { nothing, literal, values, details };
  static constexpr std::uint64_t kind_mask = 3;
  static constexpr std::uint64_t pinned_bit = 4;
  static constexpr unsigned worker_shift = 3;
  static constexpr std::uint64_t worker_mask = workers_max - 1;
  static constexpr unsigned id_shift = 12;
  static constexpr std::uintptr_t only_pinned = 1;  ///< Of `route_`: pinned, and no gate is open.

  struct extra;

  void let_go() noexcept;
  kind attached_kind() const noexcept { return static_cast<kind>(tag_ & kind_mask); }
  void attach(kind what, void* it) noexcept {
    attached_ = it;
    tag_ = (tag_ & ~kind_mask) | what;
  }
  extra* own_extra() noexcept;

  std::uintptr_t route_ = 0;  ///< The gate, `only_pinned`, or 0.
  std::uint64_t tag_;         ///< See above.
  void* attached_ = nullptr;  ///< A literal name, task-local values, or an `extra`.
};

namespace detail {

inline void running_note::set(const task_root& root, std::source_location where) noexcept {
  tag_.store(root.tag(), order::relaxed);
  place_.store(std::bit_cast<std::uintptr_t>(where), order::relaxed);
  if (task_root::may_have_name(root.tag())) [[unlikely]]
    copy_name(root);
}

inline void running_note::begin(const task_root& root) noexcept {
  if (tag_.load(order::relaxed) != root.tag()) set(root, root.spawned);
}

/// Some task-local value was set since the program started.
extern atomic<bool> task_locals_used;

/// Gives a new task what its spawner, who runs here, sees.
void take_locals(task_root& root) noexcept;

inline void inherit_locals(task_root& root) noexcept {
  // Relaxed: whoever sees a value runs after it was set.
  if (task_locals_used.load(order::relaxed)) [[unlikely]]
    take_locals(root);
}

/// Some runtime was set up with `track_tasks`.
extern atomic<bool> tasks_tracked;

/// Lists a new task, whose state is complete and not posted yet, from now on.
void track(task_root& root, stop_scope& scope) noexcept;

inline void note_birth(task_root& root, stop_scope& scope) noexcept {
  // Relaxed: whoever spawns in such a runtime runs after it was made.
  if (tasks_tracked.load(order::relaxed)) [[unlikely]]
    track(root, scope);
}

/// A block of ids for `here`, whose first is returned; or one id for a foreign thread.
std::uint64_t take_ids(context& here) noexcept;
std::uint64_t take_id(scheduler& home) noexcept;

/// The id of a new task that is made on the worker `here`.
inline std::uint64_t next_task_id(context& here) noexcept {
  if (here.next_id == here.ids_end) [[unlikely]]
    return take_ids(here);
  return here.next_id++;
}

/// The same for a task that is made by any thread.
inline std::uint64_t next_task_id(scheduler& home) noexcept {
  context* const here = current_context;
  return here != nullptr && here->home == &home ? next_task_id(*here) : take_id(home);
}

/// "12 (reader 7)", or "12" for a task without a name; at most so many bytes.
struct task_label {
  explicit task_label(const task_root& root) noexcept;
  task_label(std::uint64_t task, std::string_view name) noexcept;
  char text[task_name::size_max + 32];
};

}  // namespace detail
}  // namespace magpie
