#include <magpie/sync/rwlock.hpp>

#include <magpie/runtime/thread_wait.hpp>

namespace magpie::sync {

using detail::held_permits;
using detail::permit_entry;

rwlock_read_guard rwlock::blocking_read() noexcept {
  permit_entry wanted(1);
  magpie::detail::blocking_grant(queue_, wanted);
  return rwlock_read_guard(held_permits(&queue_, 1));
}

rwlock_write_guard rwlock::blocking_write() noexcept {
  permit_entry wanted(all_);
  magpie::detail::blocking_grant(queue_, wanted);
  return rwlock_write_guard(held_permits(&queue_, all_));
}

std::optional<rwlock_read_guard> rwlock::try_read() noexcept {
  permit_entry wanted(1);
  if (!queue_.take(wanted)) return std::nullopt;
  return rwlock_read_guard(held_permits(&queue_, 1));
}

std::optional<rwlock_write_guard> rwlock::try_write() noexcept {
  permit_entry wanted(all_);
  if (!queue_.take(wanted)) return std::nullopt;
  return rwlock_write_guard(held_permits(&queue_, all_));
}

}  // namespace magpie::sync
