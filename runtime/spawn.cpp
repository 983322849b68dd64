#include <magpie/runtime/spawn.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/scheduler.hpp>

#include <cstdio>

namespace magpie::detail {

scheduler& current_scheduler() noexcept { return *this_context().home; }

stop_scope& spawn_parent(scheduler& on) noexcept { return on.roots->parent_scope(); }

void count_spawn(scheduler& on) noexcept { on.roots->count_spawn(); }

spawned_base::spawned_base(run_function begin, scheduler& home, stop_scope& parent,
                           std::source_location where) noexcept
    : runnable(begin), root(home), scope(&parent, root) {
  root.spawned = where;
}

bool spawned_base::finish(std::error_code with, bool exception) noexcept {
  error = with == errc::stopped && aborted.load(order::relaxed) ? errc::aborted : with;
  scope.close();
  scheduler& home = *root.home;
  // (J1) acq_rel with (J2), (J3), (J4).
  const std::uintptr_t before = word.exchange(done, order::acq_rel);
  if (before == dropped && (exception || (error && error != errc::stopped &&
                                          error != errc::aborted))) {
    if (home.settings().log)
      std::fprintf(stderr, "magpie: a detached task (spawned at %s:%u) failed: %s\n%s",
                   root.spawned.file_name(), static_cast<unsigned>(root.spawned.line()),
                   exception ? "exception" : error.message().c_str(),
                   format_trace(root.trace).c_str());
  }
  // `this` belongs to the handle now, unless the handle is gone.
  if (before != running && before != dropped && before != refused)
    home.post(*reinterpret_cast<operation*>(before));
  home.roots->count_end();
  return before == dropped;
}

}  // namespace magpie::detail
