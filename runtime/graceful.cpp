#include <magpie/runtime/graceful.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/timeout.hpp>

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <new>

namespace magpie {

using namespace std::chrono_literals;

/// What the tasks share with the group: the count of them, and the scope that they hang below.
struct graceful_group::state : detail::tracker_state {
  state(scheduler& home, std::source_location where) noexcept
      : tracker_state([](detail::tracker_state& base) noexcept {
          auto* const self = static_cast<state*>(&base);
          self->~state();
          frame_free(self, sizeof(state));
        }),
        root(home),
        scope(&detail::spawn_parent(home), root) {
    root.spawned = where;
    // What a shutdown of the runtime finds in its tree if tasks are stuck.
    root.set_name(named("of a graceful group; its report has names"));
    scope.link();  // before tasks of other threads can see it
  }

  task_root root;
  stop_scope scope;
};

// ---- the phases ---------------------------------------------------------------------------------

std::error_code graceful_group::begin() noexcept {
  void* const memory = frame_allocate(sizeof(state));
  if (memory == nullptr) return std::make_error_code(std::errc::not_enough_memory);
  auto* const made = ::new (memory) state(detail::current_scheduler(), where_);
  state_ = made;
  scope_ = &made->scope;
  if (!wanted_.signals || detail::this_context().virtual_now != nullptr) return {};
  return signals_.begin(detail::signal_use::ends);
}

task<> graceful_group::asked() {
  if (!signals_.listening()) {
    co_await stopping_.cancelled();
    report_.why = shutdown_report::cause::requested;
    co_return;
  }
  auto first = co_await select(signals_.next(), stopping_.cancelled());
  report_.why = shutdown_report::cause::requested;
  if (first.index() != 0) co_return;
  report_.why = shutdown_report::cause::signalled;
  report_.signal = first.value<0>();
}

task<> graceful_group::drain() {
  const auto began = clock::now();
  report_.running = size();
  stopping_.cancel();
  state_->close();
  if (!co_await ends_within(wanted_.drain)) {
    report_.aborted = running();
    scope_->request_stop();
    if (!co_await ends_within(wanted_.abort)) report_.stuck = running();
  }
  report_.took = clock::now() - began;
}

/// Whether the last task ends in time.
task<bool> graceful_group::ends_within(clock::duration time) {
  const auto ended = co_await as_result(timeout(time, detail::wait_operation(state_)));
  co_return ended.has_value();
}

clock::duration graceful_group::patience() const noexcept {
  constexpr clock::duration longest = std::chrono::hours(24 * 365);  // so that the sum is in range
  return std::clamp(wanted_.drain, clock::duration::zero(), longest) +
         std::clamp(wanted_.abort, clock::duration::zero(), longest) + 1s;
}

// ---- what is left -------------------------------------------------------------------------------

task_left::task_left(const task_root& root) noexcept
    : id_(root.id()), spawned_(root.spawned), name_size_(root.name().copy(name_, sizeof name_)) {}

tasks_left graceful_group::running() const {
  tasks_left found;
  found.named.reserve(tasks_left::named_max);  // not under the lock of the scope
  scope_->visit_children(
      [](void* context, task_root& root) {
        auto& into = *static_cast<tasks_left*>(context);
        ++into.count;
        if (into.named.size() != tasks_left::named_max) into.named.emplace_back(root);
      },
      &found);
  return found;
}

namespace {

void add_tasks(std::string& text, const char* what, const tasks_left& left) {
  for (const task_left& one : left.named) {
    text.append("  ").append(what).append(": task ").append(std::to_string(one.id()));
    if (!one.name().empty()) text.append(" (").append(one.name()).append(")");
    text.append(", spawned at ").append(one.spawned().file_name()).append(":");
    text.append(std::to_string(one.spawned().line())).append("\n");
  }
  if (left.count > left.named.size())
    text.append("  ")
        .append(what)
        .append(": ")
        .append(std::to_string(left.count - left.named.size()))
        .append(" more\n");
}

std::string cause_of(const shutdown_report& report) {
  switch (report.why) {
    case shutdown_report::cause::body_ended:
      return "the body ended";
    case shutdown_report::cause::requested:
      return "requested";
    default:
      return report.signal == SIGINT ? "SIGINT" : report.signal == SIGTERM ? "SIGTERM" : "signals";
  }
}

}  // namespace

std::string to_string(const shutdown_report& report) {
  char line[160];
  std::snprintf(line, sizeof line,
                "shutdown (%s): %zu tasks were running, %zu had to be stopped, %zu are stuck; "
                "%.3f s\n",
                cause_of(report).c_str(), report.running, report.aborted.count, report.stuck.count,
                std::chrono::duration<double>(report.took).count());
  std::string text = line;
  add_tasks(text, "stopped", report.aborted);
  add_tasks(text, "stuck", report.stuck);
  return text;
}

void graceful_group::tell() const {
  if (!detail::current_scheduler().settings().log) return;
  std::fprintf(stderr, "magpie: %s", to_string(report_).c_str());
}

}  // namespace magpie
