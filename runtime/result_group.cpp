#include <magpie/runtime/result_group.hpp>

#include <magpie/runtime/scheduler.hpp>

namespace magpie {

using detail::next_base;

/// Every child has ended: `unwanted` ones are gone, the others are in both lists.
result_group_base::~result_group_base() {
  MAGPIE_ASSERT(consumer_ == nullptr);
  while (child* left = all_.pop_front()) {
    ended_.remove(*left);
    left->drop(*left);
  }
}

void result_group_base::enlist(child& spawned) noexcept {
  lock_scope guard(results_lock_);
  all_.push_back(spawned);
}

/// An ended child that nobody pins; under the lock.  Gives the consumer that is to be posted.
next_base* result_group_base::publish(child& ended) noexcept {
  ended_.push_back(ended);
  next_base* const waiting = consumer_;
  if (waiting == nullptr || !waiting->look()) return nullptr;
  consumer_ = nullptr;
  return waiting;
}

void result_group_base::child_has_ended(child& ended) noexcept {
  next_base* woken = nullptr;
  bool unwanted = false;
  {
    lock_scope guard(results_lock_);
    ended.ended = true;
    if (ended.pins != 0) return;  // whoever pins it goes on
    unwanted = ended.unwanted;
    if (!unwanted) woken = publish(ended);
  }
  if (unwanted) ended.drop(ended);
  if (woken != nullptr) woken->scope().root().post(*woken);
}

void result_group_base::unpin(child& pinned) noexcept {
  next_base* woken = nullptr;
  bool unwanted = false;
  {
    lock_scope guard(results_lock_);
    if (--pinned.pins != 0 || !pinned.ended) return;
    unwanted = pinned.unwanted;
    if (!unwanted) woken = publish(pinned);
  }
  if (unwanted) pinned.drop(pinned);
  if (woken != nullptr) woken->scope().root().post(*woken);
}

/// The first from `from` on that has not ended, pinned and marked as aborted; under the lock.
result_group_base::child* result_group_base::pin_running(child* from) noexcept {
  while (from != nullptr && from->ended) from = all_.next(*from);
  if (from == nullptr) return nullptr;
  from->aborted.store(true, order::relaxed);  // read after the stop that follows was seen
  ++from->pins;
  return from;
}

void result_group_base::abort_all() noexcept {
  child* now;
  {
    lock_scope guard(results_lock_);
    now = pin_running(all_.front());
  }
  while (now != nullptr) {
    now->scope.request_stop();
    child* next;
    {
      lock_scope guard(results_lock_);
      // One that was replaced meanwhile is in the list no more: begin anew.
      next = pin_running(now->by_spawn::linked() ? all_.next(*now) : all_.front());
    }
    unpin(*now);
    now = next;
  }
}

namespace detail {

next_base::~next_base() {
  if (item_ == nullptr) return;
  // Nobody took what this wait was handed: the next one gets it.
  {
    lock_scope guard(group_->results_lock_);
    if (group_->put_back_ == nullptr || group_->put_back_(*group_, *item_)) {
      group_->all_.push_front(*item_);
      group_->ended_.push_front(*item_);
      return;
    }
  }
  item_->drop(*item_);
}

/// Takes what is there for this wait; under the lock.  False: there will be something later.
bool next_base::look() noexcept {
  item_ = in_order_ ? group_->all_.front() : group_->ended_.front();
  if (item_ != nullptr && !item_->by_end::linked()) item_ = nullptr;  // in order, and not ended
  if (item_ == nullptr) return group_->all_.empty();
  group_->all_.remove(*item_);
  group_->ended_.remove(*item_);
  if (group_->handed_ != nullptr) group_->handed_(*group_, *item_);
  return true;
}

bool next_base::try_complete(stop_scope& scope) noexcept {
  if (scope.stop_requested() || !spend_budget(this_context())) return false;
  lock_scope guard(group_->results_lock_);
  return look();
}

std::coroutine_handle<> next_base::start(detail::continuation to, stop_scope& scope) noexcept {
  prepare(to, scope);
  {
    lock_scope guard(group_->results_lock_);
    if (begin()) {
      if (!look()) {
        MAGPIE_ASSERT(group_->consumer_ == nullptr && "two tasks consume one group's results");
        group_->consumer_ = this;
        return std::noop_coroutine();
      }
    } else {
      refused_ = true;  // a stopped await goes through the queue, never inline
    }
  }
  this_context().post_last(*this);
  return std::noop_coroutine();
}

void next_base::woken(runnable& work) noexcept {
  auto& self = static_cast<next_base&>(static_cast<operation&>(work));
  if (!self.refused_ && !self.end()) return;
  const bool stopped = self.refused_ || self.cancelled_;
  resume(stopped ? deliver_error(self.continuation(), errc::stopped)
                 : deliver(self.continuation()));
}

void next_base::cancel_wait(operation& op) noexcept {
  auto& self = static_cast<next_base&>(op);
  {
    lock_scope guard(self.group_->results_lock_);
    if (self.group_->consumer_ != &self) return;  // it was handed an outcome, or is about to be
    self.group_->consumer_ = nullptr;
    self.cancelled_ = true;
  }
  self.scope().root().post(self);
}

}  // namespace detail
}  // namespace magpie
