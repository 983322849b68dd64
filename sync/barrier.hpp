/// `barrier`: so many tasks wait for each other, again and again.
///
///     task<> computes(part& mine, sync::barrier& all) {
///       for (int step = 0; step < steps; ++step) {
///         compute(mine, step);
///         const bool last = co_await all.arrive_and_wait();   // everybody has computed
///         if (last) report(step);                             // one of them says so
///       }
///     }
///
/// The last to arrive lets all go on, and the next round begins.  A wait that is stopped before
/// that takes its arrival back: the others go on waiting for somebody else.  Once all have arrived
/// the round is over for each of them, whatever is stopped then.
///
///     arrived    arrives                          a stop of one who waits
///     n < all-1  -> n+1, waits                    -> n-1
///     all-1      -> 0, all go on, this one leads  -> n-1
///
/// Threads: any number of tasks, on workers.  Whoever has waited may destroy it, if it is the only
/// one that would use it again.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>

namespace magpie::sync {
namespace detail {

struct barrier_entry : magpie::detail::grant_entry {
  explicit barrier_entry(bool leading = false) noexcept : leads(leading) {}
  bool wanted() const noexcept { return leads; }

  bool leads;  ///< It was the last to arrive.
};

class barrier_list : public magpie::detail::wait_list {
 public:
  explicit barrier_list(std::size_t size) noexcept : size_(size == 0 ? 1 : size) {}

  std::size_t size() const noexcept { return size_; }

  // ---- what the waiting awaitable asks for; see grant_operation.hpp ----

  bool try_take(barrier_entry& one) noexcept;
  void offer(barrier_entry& one, magpie::detail::wake_chain& woken) noexcept;
  void left(barrier_entry&, magpie::detail::wake_chain&) noexcept {
    arrived_.store(arrived_.load(order::relaxed) - 1, order::relaxed);
  }
  static bool give_back(barrier_entry&) noexcept { return false; }

 private:
  bool complete(barrier_entry& one, magpie::detail::wake_chain& woken) noexcept;

  std::size_t size_;  ///< Never changes.
  /// Those who wait.  Changes under the lock; who looks without it does not rely on what it sees.
  atomic<std::size_t> arrived_{0};
};

/// `barrier::arrive_and_wait`.
class barrier_operation final
    : public magpie::detail::grant_operation<barrier_list, barrier_entry> {
 public:
  using value_type = bool;

  explicit barrier_operation(barrier_list& at) noexcept : grant_operation(at) {}
  barrier_operation(barrier_operation&&) noexcept = default;

  result<bool> take() noexcept {
    taken();
    return entry().leads;
  }
};

}  // namespace detail

class barrier {
 public:
  /// One for `size` tasks; none counts as one.
  explicit barrier(std::size_t size) noexcept : list_(size) {}
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;
  /// Nobody may be waiting (asserted).
  ~barrier() = default;

  /// Arrives, and waits until as many have as it is for; true for the last of them.
  /// Errors: stopped.  Stop: the arrival is taken back; or all had arrived, and it is a value.
  /// Threads: any number of tasks.  Cost: no allocation; a lock, and for the last to arrive a post
  /// for each of the others.
  detail::barrier_operation arrive_and_wait() noexcept { return detail::barrier_operation(list_); }

  /// The same for a thread that is no worker (asserted).  Cost: blocks the thread.
  bool blocking_arrive_and_wait() noexcept;

  std::size_t size() const noexcept { return list_.size(); }

 private:
  detail::barrier_list list_;
};

}  // namespace magpie::sync
