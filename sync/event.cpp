#include <magpie/sync/event.hpp>

namespace magpie::sync {

void detail::event_source::set() noexcept {
  magpie::detail::wake_chain woken;
  {
    lock_scope guard(*this);
    set_.store(true, order::release);  // (A)
    take_all(woken);
  }
  woken.post();
}

}  // namespace magpie::sync
