#include <magpie/runtime/watchdog.hpp>

#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/worker.hpp>

#include <cstdio>

namespace magpie::detail {
namespace {

/// The innermost frame that waits; where the task was spawned when none does.
std::source_location place_of(continuation to, const task_root& root) noexcept {
  while (to.target != nullptr && to.hook != nullptr && !continuation::is_end(to))
    to = static_cast<boundary*>(to.target)->destination();
  if (to.target == nullptr || to.hook != nullptr) return root.spawned;
  return static_cast<promise_base*>(to.target)->place;
}

}  // namespace

void note_refusal(const task_root& root, continuation to) noexcept {
  if (current_context == nullptr) return;  // a reactor alone, driven by a test
  auto& here = static_cast<worker&>(*current_context);
  if (here.refusals().count(root.id()) != watchdog::refusals_max) return;
  if (!here.home->remember_ignored(root.id())) return;  // said by another worker
  worker_counters::add(here.counters().ignored_stops);
  if (!here.home->may_report_ignored(here.home->now_ns())) return;
  const magpie::options& settings = here.home->settings();
  ignored_stop seen;
  seen.task = root.id();
  seen.name = root.name();
  seen.place = place_of(to, root);
  if (settings.watchdog.ignores != nullptr) {
    settings.watchdog.ignores(settings.watchdog.context, seen);
  } else if (settings.log) {
    std::fprintf(stderr,
                 "magpie: task %s goes on although it was stopped: %u awaits since, at %s:%u\n",
                 task_label(root).text, static_cast<unsigned>(watchdog::refusals_max),
                 seen.place.file_name(), static_cast<unsigned>(seen.place.line()));
  }
}

}  // namespace magpie::detail
