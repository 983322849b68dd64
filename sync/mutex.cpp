#include <magpie/sync/mutex.hpp>

#include <magpie/runtime/thread_wait.hpp>

namespace magpie::sync {

std::optional<mutex_guard> mutex::try_lock() noexcept {
  detail::permit_entry wanted(1);
  if (!queue_.take(wanted)) return std::nullopt;
  return mutex_guard(detail::held_permits(&queue_, 1));
}

mutex_guard mutex::blocking_lock() noexcept {
  detail::permit_entry wanted(1);
  magpie::detail::blocking_grant(queue_, wanted);
  return mutex_guard(detail::held_permits(&queue_, 1));
}

}  // namespace magpie::sync
