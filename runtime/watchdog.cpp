#include <magpie/runtime/watchdog.hpp>

#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/worker.hpp>

#include <cstdio>
#include <string_view>

namespace magpie {
namespace detail {
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
  ignored_report& report = here.ignored();
  if (report.under_way || !here.home->may_report_ignored(here.home->now_ns())) return;
  const std::string_view name = root.name();
  report.under_way = true;
  report.task = root.id();
  report.place = place_of(to, root);
  report.name_size = static_cast<std::uint8_t>(name.copy(report.name, task_name::size_max));
  here.post_inbox(report);  // said from the loop: the caller may hold locks
}

}  // namespace detail

void ignored_report::say(runnable& work) noexcept {
  auto& self = static_cast<ignored_report&>(work);
  const options& settings = detail::this_context().home->settings();
  const watchdog& dog = settings.watchdog;
  ignored_stop seen;
  seen.task = self.task;
  seen.name = {self.name, self.name_size};
  seen.place = self.place;
  if (dog.ignores != nullptr) {
    dog.ignores(dog.context, seen);
  } else if (settings.log) {
    std::fprintf(stderr,
                 "magpie: task %s goes on although it was stopped: %u awaits since, at %s:%u\n",
                 detail::task_label(seen.task, seen.name).text,
                 static_cast<unsigned>(watchdog::refusals_max), seen.place.file_name(),
                 static_cast<unsigned>(seen.place.line()));
  }
  self.under_way = false;
}

}  // namespace magpie
