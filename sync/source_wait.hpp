/// Waits for what comes once and is then there for all, and may go with whoever has seen it come:
/// the wait of `event` and `latch`.
///
/// A `wait_operation` that finds the source come goes on without the lock.  The one that made it
/// come may still be inside, on its way to the lock or out of it, and needs the source.  Where a
/// source is counted (a token, a tracker) that does no harm.  An event often is a local of the one
/// that waits for it: so this wait passes the lock once, and nobody is inside when it goes on.
#pragma once

#include <magpie/runtime/wait_operation.hpp>
#include <magpie/util/spin_lock.hpp>

namespace magpie::sync::detail {

/// Waits until whoever is inside of `source` has left it.
inline void let_leave(magpie::detail::wait_list& source) noexcept {
  const lock_scope guard(source);
}

class source_wait final : public magpie::detail::wait_operation {
 public:
  explicit source_wait(magpie::detail::wait_source& in) noexcept
      : wait_operation(&in), source_(&in) {}
  source_wait(source_wait&&) noexcept = default;

  bool try_complete(stop_scope& scope) noexcept {
    if (!wait_operation::try_complete(scope)) return false;
    let_leave(*source_);
    return true;
  }

 private:
  magpie::detail::wait_source* source_;
};

}  // namespace magpie::sync::detail
