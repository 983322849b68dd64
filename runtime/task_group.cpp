#include <magpie/runtime/task_group.hpp>

#include <magpie/runtime/failure_log.hpp>
#include <magpie/runtime/scheduler.hpp>

#include <cstdio>
#include <utility>

namespace magpie {

detail::group_child_base::group_child_base(run_function begin, task_group& in, bool alone,
                                           std::source_location where) noexcept
    : runnable(begin),
      group(&in),
      isolated(alone),
      root(*in.scope().root().home, next_task_id(*in.scope().root().home)),
      scope(&in.scope(), root) {
  root.spawned = where;
  inherit_locals(root);
}

task_group::~task_group() {
  MAGPIE_ASSERT(pending_.load(order::relaxed) == 0);  // no child outlives the group
  if (exception_ != nullptr) detail::drop_exception(exception_);
  if (trace_ != nullptr) frame_free(trace_, sizeof(error_trace));
}

void task_group::out_of_memory() noexcept {
  child_ended(std::make_error_code(std::errc::not_enough_memory), nullptr, false, scope_.root());
}

/// A child or the body failed.
void task_group::child_ended(std::error_code error, void* exception, bool isolated,
                             task_root& root) noexcept {
  const bool just_stopped = error == errc::stopped && exception == nullptr;
  if (just_stopped && (isolated || stopped_.load(order::relaxed))) return;
  if (!isolated) {
    lock_.lock();
    const bool first = !error_ && exception_ == nullptr;
    if (first) {
      error_ = error;
      exception_ = std::exchange(exception, nullptr);
      trace_ = std::exchange(root.trace, nullptr);
    }
    lock_.unlock();
    if (first) {
      stop();
      return;
    }
  }
  if (just_stopped) return;
  if (scope_.root().home->settings().log && detail::may_log_failure())
    std::fprintf(stderr, "magpie: a group's task %s, spawned at %s:%u, failed%s: %s\n%s",
                 detail::task_label(root).text, root.spawned.file_name(),
                 static_cast<unsigned>(root.spawned.line()), isolated ? "" : " too",
                 exception != nullptr ? "exception" : error.message().c_str(),
                 format_trace(root.trace).c_str());
  if (exception != nullptr) detail::drop_exception(exception);
}

std::coroutine_handle<> task_group::ended(detail::step& next) noexcept {
  const detail::continuation& last = scope_.ended();
  return last.hook(last.target, next);
}

}  // namespace magpie
