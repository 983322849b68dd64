/// `condition`: waits for a change of what a mutex protects.
///
///     auto guard = co_await lock.lock();                        // whoever waits
///     co_await changed.wait(guard, [&] { return !jobs.empty(); });
///     run(jobs.front());                                        // it holds the lock again
///
///     {
///       const auto guard = co_await lock.lock();                // whoever changes
///       jobs.push_back(job);
///     }
///     changed.notify_one();
///
/// A wait unlocks the mutex and lists itself in one step, so no change is missed in between, and
/// locks it again before it goes on.  `notify_one` wakes the one that has waited longest,
/// `notify_all` everybody who waits; if nobody does, a notification is gone.  Nobody is woken
/// without one, yet somebody else may have had the mutex first: look again, which the form with a
/// predicate does.  Without a mutex around the state, `notify` is the one to take.
///
/// **A wait that fails leaves the guard empty**, at whichever moment it was stopped: the mutex is
/// not locked.  A frame that the failure abandons runs destructors only, and those must not rely on
/// the lock, which `guard.owns_lock()` tells.  Locking it again before the failure is delivered, as
/// threads have it, would mean waiting in a stopped scope for whoever holds the mutex, who may be
/// waiting for this very task to end; no stop may hang on that, and under a shield's deadline it
/// would be no promise.  A notification that was given to a task which is stopped before it goes on
/// is the next one's.
///
///     it waits       notified: moves into the line for the mutex     stopped -> fails
///     in line        unlocked by who was before: has the mutex       stopped -> passes the
///                                                                    notification on, fails
///     has the mutex  runs, and goes on; if it is stopped by then, unlocks and passes on as well
///
/// So everybody is woken once, when it has the mutex, and in the order of coming.  The lock of the
/// mutex's line is taken inside of that of the condition, never the other way round.  One that was
/// moved may have the mutex before its notifier has left the condition: whoever goes on passes the
/// condition's lock once, and may destroy it.
/// Threads: any, with or without a runtime; `wait` is awaited on workers.
#pragma once

#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/sync/mutex.hpp>
#include <magpie/sync/permit_queue.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <concepts>
#include <coroutine>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {
namespace detail {

/// One who waits: in the list of the condition, and then in the line for its mutex.
struct condition_entry : magpie::detail::wait_entry {
  permit_entry in_line{1};
  permit_queue* mutex = nullptr;
  bool alone = false;  ///< It was notified, and nobody else.

  void set_work(runnable& posted, task_root* root_of_task) noexcept {
    work = in_line.work = &posted;
    root = in_line.root = root_of_task;
  }
};

class condition_list : public magpie::detail::wait_list {
 public:
  condition_list() noexcept = default;

  /// Under the lock: lists `one` and unlocks what is held.
  void begin(condition_entry& one, held_permits& held, magpie::detail::wake_chain& woken) noexcept;
  /// Takes `one` out of where it waits; false: it has the mutex.
  bool stop(condition_entry& one) noexcept;
  /// `one` has the mutex and does not want it.
  void give_back(condition_entry& one) noexcept;

  void notify_one() noexcept;
  void notify_all() noexcept;

 private:
  static void move_on(condition_entry& one, magpie::detail::wake_chain& woken) noexcept;
};

/// `condition::wait`.
class condition_operation final : public operation {
 public:
  using value_type = void;

  condition_operation(condition_list& on, mutex_guard& guard) noexcept
      : operation(&woken, &cancel_wait), list_(&on), guard_(&guard) {}
  condition_operation(condition_operation&& other) noexcept
      : operation(std::move(other)), list_(other.list_), guard_(other.guard_) {}
  ~condition_operation() {
    if (has_mutex_) list_->give_back(entry_);
  }

  static bool try_complete(stop_scope&) noexcept { return false; }
  static std::error_code failed() noexcept { return no_error; }

  std::coroutine_handle<> start(magpie::detail::continuation to, stop_scope& scope) noexcept;

  result<void> take() noexcept {
    has_mutex_ = false;
    *guard_ = mutex_guard(held_permits(entry_.mutex, 1));
    return {};
  }

 private:
  bool wait() noexcept;
  static void woken(runnable& work) noexcept;
  static void cancel_wait(operation& op) noexcept;

  condition_list* list_;
  mutex_guard* guard_;
  condition_entry entry_;
  bool began_ = false;      ///< It entered its scope.
  bool stopped_ = false;    ///< And has no mutex.
  bool has_mutex_ = false;  ///< Which nobody has taken.
};

}  // namespace detail

class condition {
 public:
  condition() noexcept = default;
  condition(const condition&) = delete;
  condition& operator=(const condition&) = delete;
  /// Nobody may be waiting (asserted).
  ~condition() = default;

  /// Unlocks the mutex of `guard`, which must hold it (asserted), waits for a notification, and
  /// locks it again.  The guard must stay where it is.
  /// Errors: stopped; then `guard` is empty.  Stop: a notification that was not used is passed on.
  /// Threads: any number of tasks, all with the same mutex.  Cost: no allocation; a few locks of a
  /// byte.
  detail::condition_operation wait(mutex_guard& guard) noexcept {
    return detail::condition_operation(list_, guard);
  }

  /// Waits until `until()` is true, which is asked under the lock, first of all at once.
  /// Errors: stopped; then `guard` is empty.  What `until` throws leaves it locked.
  /// Stop, threads: as above.  Cost: a pooled frame.
  template <class P>
    requires std::predicate<std::remove_cvref_t<P>&>
  task<> wait(mutex_guard& guard, P&& until) {
    using predicate = std::remove_cvref_t<P>;
    static_assert(std::is_lvalue_reference_v<P> || std::is_trivially_copyable_v<predicate>,
                  "name the closure first: GCC 12 destroys an owning temporary twice");
    return wait_until<predicate>(*this, guard, std::forward<P>(until));
  }

  /// The same for a thread that is no worker (asserted): it waits in the same lines.
  /// Cost: blocks the thread.
  void blocking_wait(mutex_guard& guard) noexcept;
  template <std::predicate P>
  void blocking_wait(mutex_guard& guard, P&& until) {
    while (!until()) blocking_wait(guard);
  }

  /// Wakes the one that has waited longest, if somebody waits.  With or without the mutex.
  /// Threads: any.  Cost: two locks; a post if the mutex is free.
  void notify_one() noexcept { list_.notify_one(); }
  /// Wakes all who wait: they have the mutex one after the other.
  /// Threads: any.  Cost: a lock, and one more for each.
  void notify_all() noexcept { list_.notify_all(); }

 private:
  template <class P>
  static task<> wait_until(condition& on, mutex_guard& guard, P until) {
    while (!until()) co_await on.wait(guard);
  }

  detail::condition_list list_;
};

}  // namespace magpie::sync
