#include <magpie/sync/permit_queue.hpp>

namespace magpie::sync::detail {

using magpie::detail::grant;
using magpie::detail::wake_chain;

void permit_queue::offer(permit_entry& one, wake_chain&) noexcept {
  std::uint64_t now = word_.load(order::relaxed);  // the exchange decides
  for (;;) {
    if ((now & closed) != 0) {
      one.is = grant::closed;
      return;
    }
    const bool enough = one.count == 0 || (first() == nullptr && permits_in(now) >= one.count);
    if (!enough && (now & waiters) != 0) return;
    std::uint64_t next = enough ? now - one.count * one_permit : now | waiters;
    if (first() == nullptr && enough) next &= ~waiters;
    // (A), also when it leaves the mark: who serves it relies on that.
    if (!word_.compare_exchange_weak(now, next, order::acquire, order::relaxed)) continue;
    if (enough) one.is = grant::granted;
    return;
  }
}

bool permit_queue::take(permit_entry& one) noexcept {
  if (try_take(one)) return true;
  // Relaxed: without the mark there are not enough, and nobody else's business is touched.
  if ((word_.load(order::relaxed) & waiters) == 0) return false;
  lock_scope guard(*this);
  if (first() != nullptr) return false;
  word_.fetch_and(~waiters, order::relaxed);  // nobody waits; who takes acquires
  return try_take(one);
}

void permit_queue::release_and_post(std::size_t count) noexcept {
  wake_chain woken;
  release_in_line(count, woken);
  woken.post();
}

void permit_queue::release_in_line(std::size_t count, wake_chain& woken) noexcept {
  lock_scope guard(*this);
  // Somebody who looked in may have cleared the mark before we had the lock.  Without it the word
  // alone would do for whoever takes these permits, who may destroy us beside our unlock.
  // (A), as whoever leaves the mark: who lists itself under it relies on that.
  if ((word_.load(order::relaxed) & waiters) == 0) word_.fetch_or(waiters, order::acquire);
  // (C) with (A)
  const std::uint64_t before = word_.fetch_add(count * one_permit, order::release);
  MAGPIE_ASSERT(count <= permits_max - permits_in(before) && "more permits than there can be");
  serve(woken);
}

/// Gives to the first in line as long as there is enough.  Under the lock; who is there has left
/// the mark, so nobody takes beside us.
void permit_queue::serve(wake_chain& woken) noexcept {
  while (permit_entry* const one = first_in_line()) {
    if (permits_in(word_.load(order::relaxed)) < one->count) return;
    // Relaxed: what was released before the mark was acquired by whoever left it, and the rest came
    // by the lock.
    word_.fetch_sub(one->count * one_permit, order::relaxed);
    one->is = grant::granted;
    take_out(*one, woken);
  }
}

std::size_t permit_queue::forget(std::size_t count) noexcept {
  lock_scope guard(*this);  // it must not take what is being given to somebody
  std::uint64_t now = word_.load(order::relaxed);
  for (;;) {
    const std::size_t fewer = count < permits_in(now) ? count : permits_in(now);
    // (A): the caller may rely on those who released them.
    if (word_.compare_exchange_weak(now, now - fewer * one_permit, order::acquire, order::relaxed))
      return fewer;
  }
}

void permit_queue::close(wake_chain& woken) noexcept {
  lock_scope guard(*this);
  word_.fetch_or(closed, order::relaxed);  // says nothing of what was done before
  while (permit_entry* const one = first_in_line()) {
    one->is = grant::closed;
    take_out(*one, woken);
  }
}

void permit_queue::close() noexcept {
  wake_chain woken;
  close(woken);
  woken.post();
}

void permit_queue::check_invariants() noexcept {
  lock_scope guard(*this);
  const std::uint64_t now = word_.load(order::relaxed);
  const permit_entry* const one = first_in_line();
  if (one == nullptr) return;
  MAGPIE_ASSERT((now & waiters) != 0 && (now & closed) == 0);
  MAGPIE_ASSERT(permits_in(now) < one->count);
}

}  // namespace magpie::sync::detail
