#include <magpie/runtime/wait_list.hpp>

#include <magpie/runtime/runnable.hpp>
#include <magpie/runtime/task_root.hpp>

#include <utility>

namespace magpie::detail {

void wake_chain::post() noexcept {
  wait_entry* next = std::exchange(first_, nullptr);
  while (next != nullptr) {
    wait_entry* const one = next;
    next = one->next_woken;  // once it is posted it may be gone
    if (one->root != nullptr) {
      one->root->post(*one->work);
    } else {
      one->work->run(*one->work);  // wakes a thread, no more
    }
  }
}

bool wait_list::remove(wait_entry& one) noexcept {
  lock_scope guard(*this);
  if (!one.linked()) return false;
  one.unlink();
  return true;
}

void wait_source::wake() noexcept {
  wake_chain woken;
  {
    lock_scope guard(*this);
    take_all(woken);
  }
  woken.post();
}

}  // namespace magpie::detail
