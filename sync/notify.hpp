/// `notify`: something has changed, look again.
///
///     // whoever waits                              whoever changes
///     while (queue.empty())                         queue.push(item);
///       co_await changed.notified();                changed.notify_one();
///
/// (With one who waits, or all on one worker.  Else two may look, two items come, and the one
/// permit that they leave wakes one of the two: take a `condition`.)
///
/// It says nothing about what has changed: the state is the program's.  `notify_one` wakes the one
/// that has waited longest, or leaves one *permit* for the next to come, so a notification that
/// comes before the wait is not lost; more than one are one.  `notify_last` wakes the newest.
/// `notify_all` wakes every wait that was made before it, whether it has begun or not, and leaves
/// nothing behind.  So one makes the wait, looks, and then awaits:
///
///     auto change = changed.notified();   // from here on `notify_all` counts
///     if (version == seen) co_await std::move(change);
///
/// A notification that was given to a task which is stopped before it has run is passed on, in the
/// direction in which it came; that of `notify_all` is not, as everybody has one.
///
/// Everything is under the lock of the wait list:
///
///     state        notified() is awaited                  notify_one, last     notify_all
///     idle         made before the last notify_all:       -> permit            what was made
///                  at once; else it waits                                      is covered
///     permit       as above; else takes it, -> idle       nothing              the same
///     one waits    waits behind                           wakes one            wakes all
///
/// Threads: any, with or without a runtime; `notified` is awaited on workers.  Whoever was notified
/// may destroy it, if nobody else is going to use it.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/result.hpp>

#include <cstdint>

namespace magpie::sync {
namespace detail {

/// What a wait was woken by.
enum class notified_by : std::uint8_t { nobody, one, last, all };

struct notify_entry : magpie::detail::grant_entry {
  explicit notify_entry(std::uint64_t made_at) noexcept : since(made_at) {}
  std::uint64_t wanted() const noexcept { return since; }

  std::uint64_t since;  ///< How many `notify_all` there had been when it was made.
  notified_by by = notified_by::nobody;
};

class notify_list : public magpie::detail::wait_list {
 public:
  /// How many `notify_all` there have been.  Relaxed: one that happened before is counted.
  std::uint64_t count() const noexcept { return word_.load(order::relaxed) / one_all; }

  // ---- what the waiting awaitable asks for; see grant_operation.hpp ----

  bool try_take(notify_entry& one) noexcept;
  void offer(notify_entry& one, magpie::detail::wake_chain&) noexcept { give(one); }
  static void left(notify_entry&, magpie::detail::wake_chain&) noexcept {}
  bool give_back(notify_entry& one) noexcept {
    if (one.by == notified_by::all) return false;
    wake_one(one.by);
    return true;
  }

  /// The permit, if it is there; whatever was notified beside it.
  bool take_permit() noexcept;

  void wake_one(notified_by which) noexcept;
  void wake_all() noexcept;

 private:
  static constexpr std::uint64_t permit = 1;
  static constexpr std::uint64_t one_all = 2;

  bool give(notify_entry& one) noexcept;

  /// Changes under the lock; who looks without it does not rely on what it sees.
  atomic<std::uint64_t> word_{0};
};

/// `notify::notified`.
class notified_operation final : public magpie::detail::grant_operation<notify_list, notify_entry> {
 public:
  using value_type = void;

  explicit notified_operation(notify_list& from) noexcept : grant_operation(from, from.count()) {}
  notified_operation(notified_operation&&) noexcept = default;

  result<void> take() noexcept {
    taken();
    return {};
  }
};

}  // namespace detail

class notify {
 public:
  notify() noexcept = default;
  notify(const notify&) = delete;
  notify& operator=(const notify&) = delete;
  /// Nobody may be waiting (asserted).
  ~notify() = default;

  /// Waits for a notification; completes at once if a permit is there, or if there was a
  /// `notify_all` since this was called.
  /// Errors: stopped.  Stop: a notification that was not taken is passed on.
  /// Threads: any number of tasks.  Cost: no allocation; a lock.
  detail::notified_operation notified() noexcept { return detail::notified_operation(list_); }

  /// The same for a thread that is no worker (asserted): it waits in the same line.
  /// Cost: blocks the thread.
  void blocking_notified() noexcept;

  /// Takes the permit if there is one.  Threads: any.
  bool try_notified() noexcept;

  /// Wakes the one that has waited longest; or leaves a permit, of which there is one at most.
  /// Threads: any.  Cost: a lock, and a post.
  void notify_one() noexcept { list_.wake_one(detail::notified_by::one); }
  /// The same for the one that came last.
  void notify_last() noexcept { list_.wake_one(detail::notified_by::last); }

  /// Wakes every wait that was made before, begun or not.  Leaves no permit and takes none.
  /// Threads: any.  Cost: a lock, and a post for each.
  void notify_all() noexcept { list_.wake_all(); }

 private:
  detail::notify_list list_;
};

}  // namespace magpie::sync
