#include <magpie/runtime/wait_list.hpp>

#include <magpie/runtime/runnable.hpp>
#include <magpie/runtime/task_root.hpp>

namespace magpie::detail {

bool wait_list::remove(wait_entry& one) noexcept {
  lock_scope guard(*this);
  if (!one.linked()) return false;
  one.unlink();
  return true;
}

wait_entry* wait_list::take_all() noexcept {
  wait_entry* first = nullptr;
  while (wait_entry* const last = waiters_.pop_back()) {
    last->next_woken = first;
    first = last;
  }
  return first;
}

void wait_list::post_all(wait_entry* first) noexcept {
  while (first != nullptr) {
    wait_entry* const one = first;
    first = one->next_woken;  // once it is posted it may be gone
    one->root->post(*one->work);
  }
}

}  // namespace magpie::detail
