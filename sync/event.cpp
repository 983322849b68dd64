#include <magpie/sync/event.hpp>

namespace magpie::sync {

void detail::event_source::set(magpie::detail::wake_chain& woken) noexcept {
  lock_scope guard(*this);
  set_.store(true, order::release);  // (A)
  take_all(woken);
}

void detail::event_source::set() noexcept {
  magpie::detail::wake_chain woken;
  set(woken);
  woken.post();
}

}  // namespace magpie::sync
