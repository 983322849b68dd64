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
  const task_root* root = &from.root();
  for (const stop_scope* scope = &from; scope != nullptr; scope = scope->parent()) {
    if (&scope->root() != root) {
      // Out of the task: what it took along goes before what is around it.
      if (local_node* taken = root->locals()) return taken;
      root = &scope->root();
    }
    if (scope->has_local()) return static_cast<const local_scope*>(scope)->first();
  }
  return root->locals();
}

local_node* visible_locals() noexcept {
  const context* const here = current_context;
  return here == nullptr || here->running == nullptr ? nullptr : visible_locals(*here->running);
}

void take_locals(task_root& root, const stop_scope* around) noexcept {
  local_node* const seen = visible_locals();
  if (seen == nullptr || (around != nullptr && visible_locals(*around) == seen)) return;
  root.set_locals(seen->hold());
}

}  // namespace magpie::detail
