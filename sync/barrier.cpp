#include <magpie/sync/barrier.hpp>

#include <magpie/runtime/thread_wait.hpp>

namespace magpie::sync {
namespace detail {

using magpie::detail::grant;
using magpie::detail::wake_chain;

/// If `one` is the last to arrive, the round is over.  Under the lock, under which the count
/// changes: relaxed.
bool barrier_list::complete(barrier_entry& one, wake_chain& woken) noexcept {
  if (arrived_.load(order::relaxed) + 1 < size_) return false;
  arrived_.store(0, order::relaxed);
  while (auto* const other = static_cast<barrier_entry*>(first())) {
    other->is = grant::granted;
    take_out(*other, woken);
  }
  one.is = grant::granted;
  one.leads = true;
  return true;
}

bool barrier_list::try_take(barrier_entry& one) noexcept {
  // Relaxed: who is not the last looks again under the lock before it waits.
  if (arrived_.load(order::relaxed) + 1 < size_) return false;
  wake_chain woken;
  bool last;
  {
    lock_scope guard(*this);
    last = complete(one, woken);
  }
  woken.post();
  return last;
}

void barrier_list::offer(barrier_entry& one, wake_chain& woken) noexcept {
  if (complete(one, woken)) return;
  arrived_.store(arrived_.load(order::relaxed) + 1, order::relaxed);  // the lock publishes it
}

}  // namespace detail

bool barrier::blocking_arrive_and_wait() noexcept {
  detail::barrier_entry one;
  magpie::detail::blocking_grant(list_, one);
  return one.leads;
}

}  // namespace magpie::sync
