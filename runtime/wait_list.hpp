/// Those who wait for something: the one place where a wait, a wake and a stop meet.
///
/// Idea: whoever waits lists an entry that lies in its own frame, under the list's lock, after it
/// has looked, under the same lock, that it has to wait.  Whoever wakes changes what is looked at
/// and takes entries out, under the lock, and posts them when it has given the lock up.  So either
/// the waiter sees the change or the waker finds the waiter, and nothing is allocated.
///
///     waiter     insert      a waker takes it         remove, by a stop
///     out        -> listed   -                        false
///     listed     -           -> taken                 -> out, true
///     taken      -           posted, without the lock  false
///
/// Whoever takes a waiter out owns it: `remove` that says false means that the waker posts it.  A
/// waker may take out as many as it likes in one go; `wake_chain` keeps their order.  Nobody is
/// resumed here, and no user's code runs under the lock: who destroys things that wait or wake
/// again, from wherever it is woken, meets no lock that is held.
///
/// The lock is given up before the first of them is posted, and the list is not touched after that:
/// what the list belongs to may be destroyed by whoever is woken.
///
/// Two kinds of awaitables wait in lists.  `wait_operation` waits until something *has come*, for
/// all (a token's cancel, a tracker's end): the list is a `wait_source`.  `grant_operation` waits
/// until it is *given* something that others then have not (a permit, a notification).
///
/// Threads: any; the caller keeps what the list belongs to alive.
#pragma once

#include <magpie/util/assert.hpp>
#include <magpie/util/intrusive_list.hpp>
#include <magpie/util/spin_lock.hpp>

namespace magpie {

struct runnable;
struct task_root;

namespace detail {

/// Waits in a list; then `work` is posted for `root`.  Without a root it is a thread's, and is run
/// by the waker; see thread_wait.hpp.
struct wait_entry : list_node {
  runnable* work = nullptr;
  task_root* root = nullptr;
  wait_entry* next_woken = nullptr;  ///< The waker's.
};

/// Those who were taken out, in order.
class wake_chain {
 public:
  wake_chain() noexcept = default;
  wake_chain(const wake_chain&) = delete;
  wake_chain& operator=(const wake_chain&) = delete;
  ~wake_chain() { MAGPIE_DEBUG_ASSERT(first_ == nullptr); }

  bool empty() const noexcept { return first_ == nullptr; }

  void add(wait_entry& one) noexcept {
    one.next_woken = nullptr;
    (first_ == nullptr ? first_ : last_->next_woken) = &one;
    last_ = &one;
  }

  /// Posts all, without any lock.
  void post() noexcept;

 private:
  wait_entry* first_ = nullptr;
  wait_entry* last_ = nullptr;
};

class wait_list {
 public:
  wait_list(const wait_list&) = delete;
  wait_list& operator=(const wait_list&) = delete;

  /// Takes `one` out; false: a waker has it, and posts it.
  bool remove(wait_entry& one) noexcept;

  void lock() noexcept { lock_.lock(); }
  void unlock() noexcept { lock_.unlock(); }

  // ---- under the lock ----

  void insert(wait_entry& one) noexcept { waiters_.push_back(one); }

  /// Who has waited longest and who has come last, or null.
  wait_entry* first() const noexcept { return waiters_.front(); }
  wait_entry* last() const noexcept { return waiters_.back(); }

  void take_out(wait_entry& one, wake_chain& into) noexcept {
    one.unlink();
    into.add(one);
  }
  void take_all(wake_chain& into) noexcept {
    while (wait_entry* const one = waiters_.pop_front()) into.add(*one);
  }

 protected:
  wait_list() noexcept = default;
  ~wait_list() { MAGPIE_ASSERT(waiters_.empty() && "destroyed while somebody waits"); }

 private:
  spin_lock lock_;
  intrusive_list<wait_entry> waiters_;
};

/// A list of those who wait for the same thing to come about.  Listing looks at `came` under the
/// lock, and the source takes the lock after it has come.  One who is listed after a wake is not
/// woken by it, although the source may have been taken back meanwhile (a tracker's `reopen`).
class wait_source : public wait_list {
 public:
  /// Whether what they wait for is there; then what was done before it came is visible.
  bool came() const noexcept { return came_(*this); }

  /// Lists `one`; false when the source has come.
  bool add(wait_entry& one) noexcept {
    lock_scope guard(*this);
    if (came()) return false;
    insert(one);
    return true;
  }

  /// Posts all who are listed; after it has come.
  void wake() noexcept;

 protected:
  using came_function = bool (*)(const wait_source&) noexcept;

  explicit wait_source(came_function came) noexcept : came_(came) {}
  ~wait_source() = default;

 private:
  came_function came_;
};

}  // namespace detail
}  // namespace magpie
