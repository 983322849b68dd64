/// `delay_queue<T>`: items that come out when their time has come.
///
///     delay_queue<session_id> expiry;
///     auto key = expiry.insert(session, 30s);          // result<delay_key>
///     expiry.reset(*key, 30s);                         // there was life
///     auto due = co_await expiry.next();               // optional<session_id>
///
/// `next` gives the items in the order of their deadlines, those of the same tick (1 µs) in the
/// order of insertion, never early; nothing, when the queue is empty.  It sees what others do to
/// the queue while it waits: an item that is due earlier, one that is moved, the last one taken
/// away.  The wait is a `timer_wait`; see there for the protocol.
///
/// Items live in a slab that grows by chunks and keeps them until the queue is cleared or dies:
/// an item costs no allocation of its own.  `size_max` bounds it.
///
/// Threads: any; one task at a time in `next` (asserted).  No code of T runs under the lock but its
/// move constructor, and the destructor of what was moved from.
#pragma once

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/delay_slots.hpp>
#include <magpie/runtime/timer_wait.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>
#include <magpie/util/spin_lock.hpp>

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

namespace magpie {

template <class T>
class delay_queue {
 public:
  class next_operation;

  static constexpr std::size_t size_max_default = 65'536;
  static constexpr std::size_t size_max_most = detail::delay_slots<T>::slots_max;

  explicit delay_queue(std::size_t size_max = size_max_default) noexcept
      : size_max_(std::min(size_max, size_max_most)) {}
  delay_queue(const delay_queue&) = delete;
  delay_queue& operator=(const delay_queue&) = delete;
  ~delay_queue() { MAGPIE_ASSERT(waiter_ == nullptr); }

  /// Puts an item in that is due at `at`, or after `d`; what is due already comes next.
  /// Errors: resource_unavailable_try_again when the queue has `size_max` items; not_enough_memory.
  /// The item is then not moved from.  Cost: O(log n), and an allocation when the slab grows.
  result<delay_key> insert_at(T&& item, clock::time_point at) noexcept;
  template <class Rep, class Period>
  result<delay_key> insert(T&& item, std::chrono::duration<Rep, Period> d) noexcept {
    return insert_at(std::move(item), time_after(d));
  }

  /// Takes an item out; none when it has been taken out before.
  std::optional<T> try_remove(const delay_key& key) noexcept;
  /// Takes an item out that is known to be there (asserted).
  T remove(const delay_key& key) noexcept {
    std::optional<T> item = try_remove(key);
    MAGPIE_ASSERT(item.has_value() && "the item has come out already");
    return *std::move(item);
  }

  /// Moves an item's deadline, as if it were inserted now; false when the item is gone.
  bool reset_at(const delay_key& key, clock::time_point at) noexcept;
  template <class Rep, class Period>
  bool reset(const delay_key& key, std::chrono::duration<Rep, Period> d) noexcept {
    return reset_at(key, time_after(d));
  }

  /// Destroys all items and gives their memory back; their keys find nothing any more.
  void clear() noexcept;

  /// Waits for the next item; gives none when the queue is empty, at once or as soon as it is.
  /// Errors: stopped.  Stop: takes nothing out.  Cost: that of a sleep.
  next_operation next() & noexcept { return next_operation(*this); }

  /// Takes the next item if it is due.
  std::optional<T> try_next() noexcept {
    lock_scope guard(lock_);
    return take_due();
  }

  /// When the next item is due, rounded up to a tick; none when the queue is empty.
  std::optional<clock::time_point> next_deadline() const noexcept {
    lock_scope guard(lock_);
    if (slots_.size() == 0) return std::nullopt;
    return clock::time_point(clock::duration(static_cast<clock::rep>(first_ns())));
  }

  bool contains(const delay_key& key) const noexcept {
    lock_scope guard(lock_);
    return slots_.holds(key);
  }
  std::size_t size() const noexcept {
    lock_scope guard(lock_);
    return slots_.size();
  }
  bool empty() const noexcept { return size() == 0; }
  /// How many items fit without another allocation.
  std::size_t capacity() const noexcept {
    lock_scope guard(lock_);
    return std::min(slots_.capacity(), size_max_);
  }
  std::size_t size_max() const noexcept { return size_max_; }

  void check_invariants() const noexcept {
    lock_scope guard(lock_);
    slots_.check_invariants();
    MAGPIE_ASSERT(slots_.size() <= size_max_);
  }

 private:
  using slots = detail::delay_slots<T>;

  static std::uint64_t tick_of(clock::time_point at) noexcept {
    const std::uint64_t ns = detail::to_wheel_ns(at);
    return ns / timer_wheel::tick_ns + (ns % timer_wheel::tick_ns != 0 ? 1 : 0);
  }

  // ---- under the lock

  /// When the first item is due, held at the end of the clock.
  std::uint64_t first_ns() const noexcept {
    return std::min(slots_.first_tick() * timer_wheel::tick_ns,
                    detail::to_wheel_ns(clock::time_point::max()));
  }
  std::optional<T> take_due() noexcept {
    if (slots_.size() == 0 || first_ns() > clock::detail_now_ns()) return std::nullopt;
    return slots_.take(slots_.first());
  }
  /// The waiter, if what has changed concerns it: the caller posts it.
  next_operation* pull_waiter() noexcept {
    if (waiter_ == nullptr) return nullptr;
    const bool concerned = slots_.size() == 0 || first_ns() < waiter_->armed_until_ns();
    return concerned && waiter_->pull() ? waiter_ : nullptr;
  }

  mutable spin_lock lock_;  ///< Guards what follows.
  slots slots_;
  next_operation* waiter_ = nullptr;
  const std::size_t size_max_;
};

template <class T>
class delay_queue<T>::next_operation final : public detail::timer_wait {
 public:
  using value_type = std::optional<T>;

  explicit next_operation(delay_queue& of) noexcept
      : timer_wait(&timer_wait::ran<next_operation>), of_(&of) {}
  next_operation(next_operation&& other) noexcept
      : timer_wait(std::move(other)), of_(other.of_), item_(std::move(other.item_)) {}

  bool try_complete(stop_scope& scope) noexcept {
    if (scope.stop_requested() || !detail::spend_budget(detail::this_context())) return false;
    lock_scope guard(of_->lock_);
    return settled();
  }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
    prepare(to, scope);
    {
      lock_scope guard(of_->lock_);
      MAGPIE_ASSERT(of_->waiter_ == nullptr && "two tasks wait for one delay queue");
      if (waits()) return std::noop_coroutine();
    }
    this->refuse();
    return std::noop_coroutine();
  }

  result<value_type> take() noexcept { return result<value_type>(std::move(item_)); }

 private:
  friend detail::timer_wait;

  /// Ends the wait, or goes on with it; then nothing may be touched any more.
  bool waits_again() noexcept {
    lock_scope guard(of_->lock_);
    of_->waiter_ = nullptr;
    if (cancelled_ || settled()) return false;
    if (waits()) return true;
    cancelled_ = true;
    return false;
  }

  // ---- under the queue's lock

  /// Whether there is an outcome: an item that is due, or an empty queue.
  bool settled() noexcept {
    if (of_->slots_.size() == 0) return true;
    item_ = of_->take_due();
    return item_.has_value();
  }
  /// Waits for the first item; one that is due, and an empty queue, are seen in the next turn.
  bool waits() noexcept {
    if (!arm(of_->slots_.size() != 0 ? of_->first_ns() : 0)) return false;
    of_->waiter_ = this;
    return true;
  }

  delay_queue* of_;
  std::optional<T> item_;
};

template <class T>
result<delay_key> delay_queue<T>::insert_at(T&& item, clock::time_point at) noexcept {
  const std::uint64_t tick = tick_of(at);
  for (;;) {
    unsigned level = 0;
    {
      next_operation* pulled = nullptr;
      lock_.lock();
      const bool most = slots_.size() == size_max_;
      if (!most && !slots_.full()) {
        const delay_key key = slots_.insert(std::move(item), tick);
        pulled = pull_waiter();
        lock_.unlock();
        if (pulled != nullptr) pulled->post();
        return key;
      }
      level = slots_.chunk_count();
      lock_.unlock();
      if (most)
        return std::unexpected(std::make_error_code(std::errc::resource_unavailable_try_again));
    }
    typename slots::chunk more(level);  // not under the lock
    if (!more) return std::unexpected(std::make_error_code(std::errc::not_enough_memory));
    lock_scope guard(lock_);
    if (slots_.full() && slots_.chunk_count() == level) slots_.grow(std::move(more));
  }
}

template <class T>
std::optional<T> delay_queue<T>::try_remove(const delay_key& key) noexcept {
  std::optional<T> item;
  next_operation* pulled = nullptr;
  {
    lock_scope guard(lock_);
    if (!slots_.holds(key)) return item;
    item.emplace(slots_.take(key));
    pulled = pull_waiter();
  }
  if (pulled != nullptr) pulled->post();
  return item;
}

template <class T>
bool delay_queue<T>::reset_at(const delay_key& key, clock::time_point at) noexcept {
  next_operation* pulled = nullptr;
  {
    lock_scope guard(lock_);
    if (!slots_.holds(key)) return false;
    slots_.move_to(key, tick_of(at));
    pulled = pull_waiter();
  }
  if (pulled != nullptr) pulled->post();
  return true;
}

template <class T>
void delay_queue<T>::clear() noexcept {
  lock_.lock();
  const slots gone(std::move(slots_));
  next_operation* const pulled = pull_waiter();
  lock_.unlock();
  if (pulled != nullptr) pulled->post();
}

}  // namespace magpie
