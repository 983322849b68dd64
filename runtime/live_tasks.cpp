#include <magpie/runtime/live_tasks.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/runtime_core.hpp>
#include <magpie/runtime/runtime_list.hpp>
#include <magpie/runtime/scope_walk.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/worker.hpp>

#include <algorithm>
#include <utility>

namespace magpie {

const char* to_string(task_state state) noexcept {
  switch (state) {
    case task_state::running:
      return "running";
    case task_state::waiting:
      return "waiting";
    default:
      return "ready";
  }
}

namespace detail {

stack_copy::stack_copy(const continuation& from) noexcept {
  std::size_t steps = 0;
  for (continuation to = from; to.target != nullptr; ++steps) {
    if (to.hook == nullptr) {
      const auto& frame = *static_cast<promise_base*>(to.target);
      if (count_ == task_stack::frames_max || steps == steps_max) {
        cut_ = true;
        return;
      }
      places_[count_++] = frame.place;
      to = frame.owner->to;
    } else if (continuation::is_end(to)) {
      return;
    } else {
      to = static_cast<boundary*>(to.target)->destination();
    }
  }
}

task_stack stack_copy::taken(bool group) const {
  task_stack made;
  made.places.assign(places_, places_ + count_);
  made.cut = cut_;
  made.group = group;
  return made;
}

namespace {

/// A task's last error; read while the task cannot raise another.
struct trace_copy {
  explicit trace_copy(const error_trace* trace) noexcept {
    if (trace == nullptr) return;
    error = trace->error;
    count = std::min<std::size_t>(trace->count, error_trace::places_max);
    std::copy_n(trace->places, count, places);
  }

  std::error_code error;
  std::size_t count = 0;
  std::source_location places[error_trace::places_max];
};

/// Makes the list of one runtime's tasks.
class task_lister {
 public:
  explicit task_lister(root_group& of) noexcept : of_(&of), now_ns_(of.owner().now_ns()) {}

  std::vector<live_task> list();

 private:
  live_task begin_task(stop_scope& scope) const;
  void look_at(stop_scope& scope, live_task& task);
  void add_what_lies_around();
  bool is_run(const stop_scope& scope, live_task& task) const noexcept;

  root_group* of_;
  std::uint64_t now_ns_;
  std::vector<live_task> tasks_;
  /// What lies around groups whose body goes on, and of which task.
  std::vector<std::pair<std::uint64_t, task_stack>> around_;
  /// For each level of the walk: which task the scope there belongs to, or `no_task`.
  std::vector<std::size_t> path_;
  static constexpr std::size_t no_task = ~std::size_t{0};
};

live_task task_lister::begin_task(stop_scope& scope) const {
  const task_root& root = scope.root();
  live_task made;
  made.id = root.id();
  if (const stop_scope* const outer = scope.parent()) made.parent = outer->root().id();
  made.name = root.name();
  made.spawned = root.spawned;
  if (const std::uint64_t born = root.born_ns())
    made.age = std::chrono::nanoseconds(now_ns_ > born ? now_ns_ - born : 0);
  return made;
}

/// Whether a worker runs something in `scope` now.  Relaxed: it may have changed by now anyway, and
/// the scope is alive, so it is compared with nothing that could have been it before.
bool task_lister::is_run(const stop_scope& scope, live_task& task) const noexcept {
  scheduler& home = of_->owner();
  for (std::size_t i = 0; i < home.size(); ++i) {
    if (home.at(i).running.load(order::relaxed) != &scope) continue;
    task.state = task_state::running;
    task.worker = i;
    return true;
  }
  return false;
}

void task_lister::look_at(stop_scope& scope, live_task& task) {
  if (scope.what() == stop_scope::kind::aside) return;
  if (scope.what() == stop_scope::kind::group) {
    const auto& group = static_cast<const group_scope&>(scope);
    const bool waits = group.waits_for_children();
    if (waits && task.state == task_state::ready) task.state = task_state::waiting;
    task_stack around = stack_copy(group.ended()).taken(waits);
    if (waits) {
      task.stacks.push_back(std::move(around));
    } else {
      around_.emplace_back(task.id, std::move(around));
    }
    return;
  }
  if (operation* const held = scope.hold()) {
    const stack_copy stack(held->destination());
    // Without a gate the task has one chain of awaits, which waits.
    const trace_copy error(scope.root().gate() == nullptr ? scope.root().trace : nullptr);
    scope.release(*held);
    if (task.state == task_state::ready) task.state = task_state::waiting;
    task.stacks.push_back(stack.taken());
    task.error = error.error;
    task.trace.assign(error.places, error.places + error.count);
    return;
  }
  is_run(scope, task);
}

/// Whether `outer` is the outer part of `stack`.
bool is_part(const task_stack& outer, const task_stack& stack) {
  const auto same = [](const std::source_location& a, const std::source_location& b) {
    return a.file_name() == b.file_name() && a.line() == b.line() && a.column() == b.column();
  };
  return stack.places.size() > outer.places.size() &&
         std::equal(outer.places.rbegin(), outer.places.rend(), stack.places.rbegin(), same);
}

/// A body that waits has a stack which includes what lies around its group; of one that is run this
/// is all that can be told.
void task_lister::add_what_lies_around() {
  for (auto& [id, outer] : around_) {
    live_task& task = *std::ranges::lower_bound(tasks_, id, {}, &live_task::id);
    if (std::ranges::none_of(task.stacks,
                             [&](const task_stack& stack) { return is_part(outer, stack); }))
      task.stacks.push_back(std::move(outer));
  }
}

std::vector<live_task> task_lister::list() {
  scope_walk walk(of_->top());
  path_.push_back(no_task);
  while (stop_scope* const scope = walk.next()) {
    const std::size_t depth = walk.depth();
    path_.resize(depth);  // those above
    std::size_t task = path_.back();
    if (scope->root().id() == 0) {
      task = no_task;  // a shard
    } else if (task == no_task || tasks_[task].id != scope->root().id()) {
      if (tasks_.size() == live_tasks_max) break;
      task = tasks_.size();
      tasks_.push_back(begin_task(*scope));
    }
    path_.push_back(task);
    if (task != no_task) look_at(*scope, tasks_[task]);
  }
  std::ranges::sort(tasks_, {}, &live_task::id);
  add_what_lies_around();
  return std::move(tasks_);
}

}  // namespace

std::vector<live_task> list_tasks(root_group& of) { return task_lister(of).list(); }

}  // namespace detail

std::vector<live_task> runtime::live_tasks() const {
  if (core_ == nullptr) return {};
  const std::lock_guard alone(detail::runtime_list::looking());
  return detail::list_tasks(core_->roots);
}

std::vector<live_task> current_live_tasks() {
  const std::lock_guard alone(detail::runtime_list::looking());
  return detail::list_tasks(*detail::current_scheduler().roots);
}

}  // namespace magpie
