#include <magpie/runtime/budget.hpp>

namespace magpie::detail {

bool runs_unconstrained(const context& here) noexcept {
  if (here.running == nullptr) return false;
  const task_root& root = here.running->root();
  for (const stop_scope* scope = here.running; scope != nullptr; scope = scope->parent()) {
    if (&scope->root() != &root) return false;  // whatever spawned this task
    if (scope->is_unconstrained()) return true;
  }
  return false;
}

}  // namespace magpie::detail
