#include <magpie/sync/notify.hpp>

#include <magpie/runtime/thread_wait.hpp>

namespace magpie::sync {

using magpie::detail::grant;
using magpie::detail::wake_chain;

/// Gives to one that waits nowhere, if there is something for it.  Under the lock, under which the
/// word changes: relaxed.
bool detail::notify_list::give(notify_entry& one) noexcept {
  const std::uint64_t now = word_.load(order::relaxed);
  if (now / one_all != one.since) {
    one.by = notified_by::all;  // and the permit stays for somebody who needs it
  } else if ((now & permit) != 0) {
    word_.store(now & ~permit, order::relaxed);
    one.by = notified_by::one;
  } else {
    return false;
  }
  one.is = grant::granted;
  return true;
}

bool detail::notify_list::try_take(notify_entry& one) noexcept {
  // Relaxed: who finds nothing looks again under the lock before it waits.
  if (word_.load(order::relaxed) == one.since * one_all) return false;
  // By the lock, so that whoever notified has left it when we go on and perhaps destroy it.
  lock_scope guard(*this);
  return give(one);
}

bool detail::notify_list::take_permit() noexcept {
  // Relaxed, as above.
  if ((word_.load(order::relaxed) & permit) == 0) return false;
  lock_scope guard(*this);
  const std::uint64_t now = word_.load(order::relaxed);
  word_.store(now & ~permit, order::relaxed);
  return (now & permit) != 0;
}

void detail::notify_list::wake_one(notified_by which) noexcept {
  wake_chain woken;
  {
    lock_scope guard(*this);
    auto* const one = static_cast<notify_entry*>(which == notified_by::last ? last() : first());
    if (one != nullptr) {
      one->is = grant::granted;
      one->by = which;
      take_out(*one, woken);
    } else {
      word_.store(word_.load(order::relaxed) | permit, order::relaxed);  // the lock publishes it
    }
  }
  woken.post();
}

void detail::notify_list::wake_all() noexcept {
  wake_chain woken;
  {
    lock_scope guard(*this);
    word_.store(word_.load(order::relaxed) + one_all, order::relaxed);  // the lock publishes it
    while (auto* const one = static_cast<notify_entry*>(first())) {
      one->is = grant::granted;
      one->by = notified_by::all;
      take_out(*one, woken);
    }
  }
  woken.post();
}

void notify::blocking_notified() noexcept {
  detail::notify_entry one(list_.count());
  magpie::detail::blocking_grant(list_, one);
}

bool notify::try_notified() noexcept { return list_.take_permit(); }

}  // namespace magpie::sync
