/// Permits, and those who wait for them in line: what semaphores and mutexes are made of.
///
/// Idea: one word holds the permits that nobody has.  As long as nobody waits, taking and giving
/// back are one exchange each.  Whoever has to wait says so in the word, under the lock of the wait
/// list, and from then on everybody comes by the lock, which gives permits to the first in line and
/// to nobody else:
///
///     word = permits | WAITERS | CLOSED
///
///     word          take n                       release n              the lock's holder
///     p             p >= n: -> p-n  (A)          -> p+n  (B)            lists one: -> WAITERS
///                   else waits
///     p | WAITERS   by the lock: alone there,    by the lock: p+n  (C)  serves the first while
///                   p >= n: -> p-n, no WAITERS   and serves             it has enough
///                   else waits
///     … | CLOSED    refused                      as without             refuses who waited
///
/// Head of line: a big request at the front is not passed by a small one behind it, or it would
/// wait for ever.  Nor does `try_take` pass anybody.
///
/// WAITERS stays when the last waiter has gone; whoever takes next finds the list empty, under the
/// lock, and clears it.  If a release cleared it, a taker beside it could come by the word alone
/// and destroy the queue as its last user, and the release would unlock what is no more.  For the
/// same reason a release that comes by the lock and finds the mark cleared meanwhile, by one who
/// tried, leaves it anew before it adds anything.  So:
/// *the queue may be destroyed by whoever has got the last permit*, also while the one that
/// released it is still on its way out of `release`.
///
/// (A) acquires and (B), (C) release: who has a permit sees what was done by those who had it
/// before.  Each change of the word is a read-modify-write: all of them are one release sequence.
/// Who is served by the lock sees it by the lock, and by the (A) of whoever left the mark.
///
/// Threads: any, for everything.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace magpie::sync::detail {

/// Waits for so many permits.
struct permit_entry : magpie::detail::grant_entry {
  explicit permit_entry(std::size_t wanted_permits) noexcept : count(wanted_permits) {}
  std::size_t wanted() const noexcept { return count; }

  std::size_t count;
};

class permit_queue : public magpie::detail::wait_list {
 public:
  static constexpr std::size_t permits_max = ~std::size_t{0} >> 3;

  explicit permit_queue(std::size_t permits) noexcept : word_(word_of(permits)) {}
  ~permit_queue() = default;

  // ---- what the waiting awaitable asks for; see grant_operation.hpp ----

  /// Takes without the lock, if nobody waits.
  bool try_take(permit_entry& one) noexcept {
    std::uint64_t now = word_.load(order::relaxed);  // the exchange decides
    for (;;) {
      if ((now & closed) != 0) {
        one.is = magpie::detail::grant::closed;
        return true;
      }
      if (((now & waiters) != 0 && one.count != 0) || permits_in(now) < one.count) return false;
      // (A) with (B) and (C): what was done under the permits is visible.
      if (word_.compare_exchange_weak(now, now - one.count * one_permit, order::acquire,
                                      order::relaxed))
        break;
    }
    one.is = magpie::detail::grant::granted;
    return true;
  }
  void offer(permit_entry& one, magpie::detail::wake_chain& woken) noexcept;
  void left(permit_entry&, magpie::detail::wake_chain& woken) noexcept { serve(woken); }
  bool give_back(permit_entry& one) noexcept {
    release(one.count);
    return true;
  }

  // ---- without waiting ----

  /// What `try_take` cannot decide without the lock, this does.  False: there is not enough now,
  /// or somebody waits.
  bool take(permit_entry& one) noexcept;

  /// Gives back, or adds, `count` permits, and serves who waits.
  void release(std::size_t count) noexcept {
    if (!release_at_once(count)) release_and_post(count);
  }
  /// The same for who is inside of another list: whom it serves goes into `woken`, to be posted
  /// when that is left.
  void release(std::size_t count, magpie::detail::wake_chain& woken) noexcept {
    if (!release_at_once(count)) release_in_line(count, woken);
  }

  /// Takes at most `count` of those that nobody has away for good; how many.
  std::size_t forget(std::size_t count) noexcept;

  /// Refuses who waits and whoever comes.  Permits may still be released.  Idempotent.
  void close() noexcept;
  /// The same for who has others to wake as well: they are posted with `woken`.
  void close(magpie::detail::wake_chain& woken) noexcept;
  bool is_closed() const noexcept { return (word_.load(order::relaxed) & closed) != 0; }

  /// Those that nobody has; the first in line may be waiting for more.
  std::size_t available() const noexcept { return permits_in(word_.load(order::relaxed)); }

  void check_invariants() noexcept;

 private:
  static constexpr std::uint64_t closed = 1;
  static constexpr std::uint64_t waiters = 2;
  static constexpr std::uint64_t one_permit = 4;

  static constexpr std::uint64_t word_of(std::size_t permits) noexcept {
    MAGPIE_ASSERT(permits <= permits_max);
    return permits * one_permit;
  }
  static constexpr std::size_t permits_in(std::uint64_t word) noexcept {
    return static_cast<std::size_t>(word / one_permit);
  }
  permit_entry* first_in_line() const noexcept { return static_cast<permit_entry*>(first()); }

  /// If nobody waits.
  bool release_at_once(std::size_t count) noexcept {
    std::uint64_t now = word_.load(order::relaxed);  // the exchange decides
    while ((now & waiters) == 0) {
      MAGPIE_ASSERT(count <= permits_max - permits_in(now) && "more permits than there can be");
      // (B) with (A).  The last access: whoever takes them may destroy the queue.
      if (word_.compare_exchange_weak(now, now + count * one_permit, order::release,
                                      order::relaxed))
        return true;
    }
    return false;
  }
  [[gnu::noinline]] void release_and_post(std::size_t count) noexcept;
  void release_in_line(std::size_t count, magpie::detail::wake_chain& woken) noexcept;
  void serve(magpie::detail::wake_chain& woken) noexcept;

  atomic<std::uint64_t> word_;
};

/// Holds permits of a queue, and gives them back at its end.
class held_permits {
 public:
  held_permits() noexcept = default;
  held_permits(permit_queue* of, std::size_t count) noexcept : queue_(of), count_(count) {}
  held_permits(held_permits&& other) noexcept
      : queue_(other.queue_), count_(std::exchange(other.count_, 0)) {}
  held_permits& operator=(held_permits&& other) noexcept {
    if (this != &other) {
      release();
      queue_ = other.queue_;
      count_ = std::exchange(other.count_, 0);
    }
    return *this;
  }
  ~held_permits() { release(); }

  std::size_t count() const noexcept { return count_; }
  permit_queue* queue() const noexcept { return queue_; }
  void release() noexcept {
    if (count_ != 0) queue_->release(std::exchange(count_, 0));
  }
  void release(magpie::detail::wake_chain& woken) noexcept {
    if (count_ != 0) queue_->release(std::exchange(count_, 0), woken);
  }
  void forget() noexcept { count_ = 0; }

  held_permits split(std::size_t count) noexcept {
    MAGPIE_ASSERT(count <= count_ && "fewer permits than that are held");
    count_ -= count;
    return held_permits(queue_, count);
  }
  void merge(held_permits&& other) noexcept {
    MAGPIE_ASSERT(queue_ == other.queue_ && "permits of two semaphores");
    count_ += std::exchange(other.count_, 0);
  }

 private:
  permit_queue* queue_ = nullptr;
  std::size_t count_ = 0;
};

/// What the guards of locks have in common; empty after a move.
class held_lock {
 public:
  bool owns_lock() const noexcept { return held_.count() != 0; }
  explicit operator bool() const noexcept { return owns_lock(); }

  /// Unlocks now.  Threads: any.  Cost: an exchange when nobody waits.
  void unlock() noexcept { held_.release(); }

 protected:
  held_lock() noexcept = default;
  explicit held_lock(held_permits&& held) noexcept : held_(std::move(held)) {}
  held_lock(held_lock&&) noexcept = default;
  held_lock& operator=(held_lock&&) noexcept = default;
  ~held_lock() = default;

  held_permits held_;
};

/// Waits for so many permits at once; `Held`, a permit or a guard, is made of what it gets.
template <class Held>
class permit_operation : public magpie::detail::grant_operation<permit_queue, permit_entry> {
 public:
  using value_type = Held;

  permit_operation(permit_queue& from, std::size_t count) noexcept : grant_operation(from, count) {}
  permit_operation(permit_operation&&) noexcept = default;

  result<Held> take() noexcept {
    taken();
    return Held(held_permits(&source(), entry().count));
  }
};

}  // namespace magpie::sync::detail
