/// The queue that all workers share: tasks from foreign threads and overflow from full workers.
///
/// Idea: an intrusive list under a lock of one byte.  Everything that touches it in bulk does so
/// once per batch (a chain in, a batch out), so the lock is not where time goes; the size stands in
/// an atomic, so that an empty queue is left alone without the lock.
///
/// Invariants, under the lock: `size` is the length of the list; first is null exactly when it is
/// 0; closed never goes back.  After close every push is refused and its tasks stay the caller's;
/// what is inside can still be popped.
///
/// Any thread may call anything.  A push takes part in the parking handshake (idle.hpp) through
/// `size`, as the local queue does through its tail.
#pragma once

#include <magpie/runtime/local_queue.hpp>
#include <magpie/runtime/runnable.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstddef>

namespace magpie {

class injector {
 public:
  injector() noexcept = default;
  injector(const injector&) = delete;
  injector& operator=(const injector&) = delete;
  ~injector() { MAGPIE_DEBUG_ASSERT(empty()); }

  /// False after close: the task was not taken.
  [[nodiscard]] bool push(runnable& task) noexcept {
    task.next = nullptr;
    return push(&task, &task, 1);
  }

  /// Takes the chain from `first` to `last` as it is, in order.
  [[nodiscard]] bool push(runnable* first, runnable* last, std::size_t count) noexcept {
    MAGPIE_ASSERT(first != nullptr && last != nullptr && count != 0);
    lock_scope guard(lock_);
    if (closed_) {
      return false;
    }
    last->next = nullptr;
    if (first_ == nullptr) {
      first_ = first;
    } else {
      last_->next = first;
    }
    last_ = last;
    // (A) seq_cst: the store half of the handshake with (B) in empty; the producer's load of the
    // idle word is the other.  The tasks themselves travel by the lock, under which alone the size
    // is written, so load and store need not be one.
    size_.store(size_.load(order::relaxed) + count, order::seq_cst);
    return true;
  }

  /// Takes the oldest task, or null.
  runnable* pop() noexcept {
    runnable* task = nullptr;
    return pop_batch(&task, 1) != 0 ? task : nullptr;
  }

  /// Takes up to `count_max` of the oldest tasks; returns how many.
  std::size_t pop_batch(runnable** into, std::size_t count_max) noexcept {
    runnable* task = nullptr;
    const std::size_t count = take(task, count_max);
    for (std::size_t i = 0; i != count; ++i) {
      into[i] = task;
      task = task->next;
    }
    return count;
  }

  /// Takes up to `count_max` of the oldest tasks: the first is returned to be run at once, the rest
  /// goes to `mine`, which must have room for it.  Callers: the owner of `mine`.
  template <std::uint32_t Capacity>
  runnable* pop_into(basic_local_queue<Capacity>& mine, std::size_t count_max) noexcept {
    const std::size_t room = mine.free_slots();
    runnable* first = nullptr;
    const std::size_t count = take(first, count_max <= room ? count_max : room + 1);
    if (count > 1) {
      mine.push_batch(first->next, nullptr, count - 1,
                      [](runnable*, runnable*, std::size_t) noexcept { MAGPIE_ASSERT(false); });
    }
    return first;
  }

  /// How many tasks wait, without the lock; any thread, a guess by the time it is used.
  std::size_t size() const noexcept { return size_.load(order::relaxed); }

  /// Whether no task waits, without the lock.  True is certain in the sense of the handshake: a
  /// push whose caller did not see this thread's change of the idle word is seen here.
  bool empty() const noexcept {
    return size_.load(order::seq_cst) == 0;  // (B) pairs with (A): the load half of the handshake
  }

  /// Refuses every later push.
  void close() noexcept {
    lock_scope guard(lock_);
    closed_ = true;
  }

  bool is_closed() noexcept {
    lock_scope guard(lock_);
    return closed_;
  }

  void check_invariants() noexcept {
    lock_scope guard(lock_);
    std::size_t count = 0;
    for (const runnable* task = first_; task != nullptr; task = task->next) {
      ++count;
      MAGPIE_ASSERT(task->next != nullptr || task == last_);
    }
    MAGPIE_ASSERT(count == size_.load(order::relaxed));  // written under the lock alone
  }

 private:
  /// Cuts up to `count_max` tasks off the front: `first` and what hangs on it, `count` long (the
  /// chain's end is not marked).
  std::size_t take(runnable*& first, std::size_t count_max) noexcept {
    // A look without the lock: this is not the handshake, a task that arrives now is somebody
    // else's wake-up or found by `empty`.
    if (count_max == 0 || size_.load(order::relaxed) == 0) {
      return 0;
    }
    lock_scope guard(lock_);
    const std::size_t size = size_.load(order::relaxed);  // exact: written under the lock alone
    const std::size_t count = count_max < size ? count_max : size;
    if (count == 0) {
      return 0;
    }
    first = first_;
    runnable* last = first;
    for (std::size_t i = 1; i != count; ++i) {
      last = last->next;
    }
    first_ = last->next;
    // Relaxed: who reads a size that is too large takes the lock in vain, no more.
    size_.store(size - count, order::relaxed);
    return count;
  }

  atomic<std::size_t> size_{0};
  plain<runnable*> first_{nullptr};
  plain<runnable*> last_{nullptr};
  plain<bool> closed_{false};
  spin_lock lock_;
};

}  // namespace magpie
