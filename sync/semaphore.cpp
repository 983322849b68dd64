#include <magpie/sync/semaphore.hpp>

#include <magpie/runtime/thread_wait.hpp>
#include <magpie/util/errc.hpp>

namespace magpie::sync {

void semaphore::close() noexcept {
  magpie::detail::wake_chain woken;  // whoever is told may destroy the semaphore
  queue_.close(woken);
  closing_.set(woken);
  woken.post();
}

result<semaphore_permit> semaphore::try_acquire(std::size_t count) noexcept {
  MAGPIE_ASSERT(count <= permits_max);
  detail::permit_entry wanted(count);
  const auto had = magpie::detail::tried(queue_.take(wanted), wanted);
  if (!had) return std::unexpected(had.error());
  return semaphore_permit(detail::held_permits(&queue_, count));
}

result<semaphore_permit> semaphore::blocking_acquire(std::size_t count) noexcept {
  MAGPIE_ASSERT(count <= permits_max);
  detail::permit_entry wanted(count);
  magpie::detail::blocking_grant(queue_, wanted);
  if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
  return semaphore_permit(detail::held_permits(&queue_, count));
}

}  // namespace magpie::sync
