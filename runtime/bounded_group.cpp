#include <magpie/runtime/bounded_group.hpp>

#include <magpie/runtime/scheduler.hpp>

namespace magpie::detail {

bool slots::try_take() noexcept {
  lock_scope guard(lock_);
  if (free_ == 0 || !waiting_.empty()) return false;
  --free_;
  return true;
}

void slots::release() noexcept {
  slot_wait* first;
  {
    lock_scope guard(lock_);
    first = waiting_.pop_front();
    if (first == nullptr) ++free_;
  }
  if (first != nullptr) first->scope().root().post(*first);
}

bool slot_wait::try_complete(stop_scope& scope) noexcept {
  if (scope.stop_requested() || !spend_budget(this_context()) || !slots_->try_take()) return false;
  launch_(*this);
  return true;
}

std::coroutine_handle<> slot_wait::start(detail::continuation to, stop_scope& scope) noexcept {
  prepare(to, scope);
  {
    lock_scope guard(slots_->lock_);
    if (begin()) {
      if (slots_->free_ == 0 || !slots_->waiting_.empty()) {
        slots_->waiting_.push_back(*this);
        return std::noop_coroutine();
      }
      --slots_->free_;
    } else {
      refused_ = true;  // a stopped await goes through the queue, never inline
    }
  }
  this_context().post_last(*this);
  return std::noop_coroutine();
}

void slot_wait::woken(runnable& work) noexcept {
  auto& self = static_cast<slot_wait&>(static_cast<operation&>(work));
  if (!self.refused_ && !self.end()) return;
  if (self.refused_ || self.cancelled_) {
    resume(deliver_error(self.continuation(), errc::stopped));
    return;
  }
  self.launch_(self);
  resume(deliver(self.continuation()));
}

void slot_wait::cancel_wait(operation& op) noexcept {
  auto& self = static_cast<slot_wait&>(op);
  {
    lock_scope guard(self.slots_->lock_);
    if (!self.linked()) return;  // it has its slot: the child will be spawned
    self.unlink();
    self.cancelled_ = true;
  }
  self.scope().root().post(self);
}

}  // namespace magpie::detail
