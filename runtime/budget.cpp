#include <magpie/runtime/budget.hpp>

namespace magpie::detail {

bool runs_unconstrained(const context& here) noexcept {
  const stop_scope* const running = here.running_here();
  if (running == nullptr) return false;
  const task_root& root = running->root();
  for (const stop_scope* scope = running; scope != nullptr; scope = scope->parent()) {
    if (&scope->root() != &root) return false;  // whatever spawned this task
    if (scope->is_unconstrained()) return true;
  }
  return false;
}

}  // namespace magpie::detail
