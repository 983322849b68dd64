/// Those who wait for one thing to come about: a token's cancel, a tracker's end.
///
/// Idea: what they wait for (the *source*) derives from the list and says, by `came`, whether it is
/// there.  Listing looks at `came` under the lock, and the source takes the lock after it has come:
/// either the waiter finds it come, or the waker finds the waiter.
///
///     waiter     add                        the source wakes     remove
///     out        came: refused              -                    false
///                else -> listed
///     listed     -                          -> taken             -> out, true
///     taken      -                          posted by the waker  false
///
/// Whoever takes a waiter out owns it: `remove` that says false means that the waker posts it.
/// A wake takes all who are listed in one go, in the order in which they came, and posts them after
/// it has given the lock up; nobody is resumed here.  One who is listed after that is not woken by
/// it, although the source may have been taken back meanwhile (a tracker's `reopen`).
///
/// Threads: any; the caller keeps the source alive.
#pragma once

#include <magpie/util/assert.hpp>
#include <magpie/util/intrusive_list.hpp>
#include <magpie/util/spin_lock.hpp>

namespace magpie {

struct runnable;
struct task_root;

namespace detail {

/// Waits in a list; then `work` is posted for `root`.
struct wait_entry : list_node {
  runnable* work = nullptr;
  task_root* root = nullptr;
  wait_entry* next_woken = nullptr;  ///< The waker's.
};

class wait_list {
 public:
  wait_list(const wait_list&) = delete;
  wait_list& operator=(const wait_list&) = delete;

  /// Whether what they wait for is there; then what was done before it came is visible.
  bool came() const noexcept { return came_(*this); }

  /// Lists `one`; false when the source has come.
  bool add(wait_entry& one) noexcept {
    lock_scope guard(*this);
    if (came()) return false;
    insert(one);
    return true;
  }
  /// Takes `one` out; false: a waker has it, and posts it.
  bool remove(wait_entry& one) noexcept;

  /// For one who has more to decide between the look at `came` and the listing.
  void lock() noexcept { lock_.lock(); }
  void unlock() noexcept { lock_.unlock(); }
  void insert(wait_entry& one) noexcept { waiters_.push_back(one); }

 protected:
  using came_function = bool (*)(const wait_list&) noexcept;

  explicit wait_list(came_function came) noexcept : came_(came) {}
  ~wait_list() { MAGPIE_ASSERT(waiters_.empty()); }

  /// Takes out all who are listed, under the lock.
  wait_entry* take_all() noexcept;
  /// Posts what `take_all` gave, without the lock.
  static void post_all(wait_entry* first) noexcept;

 private:
  came_function came_;
  spin_lock lock_;
  intrusive_list<wait_entry> waiters_;
};

}  // namespace detail
}  // namespace magpie
