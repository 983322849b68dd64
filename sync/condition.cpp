#include <magpie/sync/condition.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/sync/source_wait.hpp>
#include <magpie/util/assert.hpp>

#include <utility>

namespace magpie::sync {
namespace detail {

using magpie::detail::grant;
using magpie::detail::wake_chain;

void condition_list::begin(condition_entry& one, held_permits& held, wake_chain& woken) noexcept {
  one.mutex = held.queue();
  insert(one);
  held.release(woken);
}

/// Puts one that was notified into the line for its mutex, if that is not free.  Under the lock.
void condition_list::move_on(condition_entry& one, wake_chain& woken) noexcept {
  one.unlink();
  permit_queue& mutex = *one.mutex;
  const lock_scope inner(mutex);
  mutex.offer(one.in_line, woken);
  if (one.in_line.is == grant::waiting) {
    mutex.insert(one.in_line);
  } else {
    woken.add(one.in_line);
  }
}

void condition_list::notify_one() noexcept {
  wake_chain woken;
  {
    const lock_scope guard(*this);
    if (auto* const one = static_cast<condition_entry*>(first())) {
      one->alone = true;
      move_on(*one, woken);
    }
  }
  woken.post();
}

void condition_list::notify_all() noexcept {
  wake_chain woken;
  {
    const lock_scope guard(*this);
    while (auto* const one = static_cast<condition_entry*>(first())) move_on(*one, woken);
  }
  woken.post();
}

bool condition_list::stop(condition_entry& one) noexcept {
  wake_chain woken;
  bool passes_on = false;
  {
    const lock_scope guard(*this);
    if (one.linked()) {
      one.unlink();
    } else {
      const lock_scope inner(*one.mutex);
      if (!one.in_line.linked()) return false;
      one.in_line.unlink();
      one.mutex->left(one.in_line, woken);
      passes_on = one.alone;
    }
  }
  woken.post();
  if (passes_on) notify_one();
  return true;
}

void condition_list::give_back(condition_entry& one) noexcept {
  one.mutex->release(1);
  if (one.alone) notify_one();
}

std::coroutine_handle<> condition_operation::start(magpie::detail::continuation to,
                                                   stop_scope& scope) noexcept {
  MAGPIE_ASSERT(guard_->owns_lock() && "waits for a condition without its mutex");
  prepare(to, scope);
  if (!wait()) {
    guard_->unlock();
    // Through the queue, never inline: a loop that ignores a stop would spin.
    magpie::detail::this_context().post_last(*this);
  }
  return std::noop_coroutine();
}

/// Begins the wait; false: the scope is stopped.
bool condition_operation::wait() noexcept {
  wake_chain woken;
  {
    const lock_scope guard(*list_);
    began_ = true;  // before anybody can see it
    entry_.set_work(*this, &scope().root());
    if (!begin()) {
      began_ = false;
      stopped_ = true;
      return false;
    }
    list_->begin(entry_, guard_->held(), woken);
  }
  woken.post();  // who waited for the mutex; we may be gone
  return true;
}

void condition_operation::woken(runnable& work) noexcept {
  auto& self = static_cast<condition_operation&>(static_cast<operation&>(work));
  if (self.began_ && !self.end()) return;
  let_leave(*self.list_);  // who has notified us
  if (!self.stopped_ && self.scope().stop_requested()) {
    self.list_->give_back(self.entry_);
    self.stopped_ = true;
  }
  self.has_mutex_ = !self.stopped_;
  magpie::detail::resume(self.stopped_
                             ? magpie::detail::deliver_error(self.continuation(), errc::stopped)
                             : magpie::detail::deliver(self.continuation()));
}

void condition_operation::cancel_wait(operation& op) noexcept {
  auto& self = static_cast<condition_operation&>(op);
  if (!self.list_->stop(self.entry_)) return;  // it has the mutex, and will see the stop
  self.stopped_ = true;
  self.scope().root().post(self);
}

}  // namespace detail

void condition::blocking_wait(mutex_guard& guard) noexcept {
  MAGPIE_ASSERT(!on_worker() && "waiting inside of a task would block its worker: use co_await");
  MAGPIE_ASSERT(guard.owns_lock() && "waits for a condition without its mutex");
  magpie::detail::thread_wait waiter;
  magpie::detail::wake_chain woken;
  detail::condition_entry one;
  one.set_work(waiter, nullptr);
  {
    const lock_scope inside(list_);
    list_.begin(one, guard.held(), woken);
  }
  woken.post();
  waiter.wait();
  detail::let_leave(list_);  // who has notified us
  guard = mutex_guard(detail::held_permits(one.mutex, 1));
}

}  // namespace magpie::sync
