#include <magpie/runtime/task_local.hpp>

namespace magpie::detail {

constinit atomic<bool> task_locals_used{false};

void local_node::release(local_node* first) noexcept {
  while (first != nullptr) {
    // (V1) acq_rel with itself: the last one destroys what the others have read.
    if (first->count.fetch_sub(1, order::acq_rel) != 1) return;
    local_node* const next = first->next;
    first->drop(*first);
    first = next;
  }
}

local_node* visible_locals(const stop_scope& from) noexcept {
  const task_root& root = from.root();
  for (const stop_scope* scope = &from; scope != nullptr; scope = scope->parent()) {
    if (&scope->root() != &root) break;  // what is farther out the task took along, if anything
    if (scope->has_local()) return static_cast<const local_scope*>(scope)->first();
  }
  return root.locals();
}

local_node* visible_locals() noexcept {
  const context* const here = current_context;
  return here == nullptr || here->running_here() == nullptr ? nullptr
                                                            : visible_locals(*here->running_here());
}

void take_locals(task_root& root) noexcept {
  if (local_node* const seen = visible_locals()) root.set_locals(seen->hold());
}

}  // namespace magpie::detail
