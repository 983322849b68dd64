#include <magpie/runtime/wait_operation.hpp>

#include <magpie/runtime/task_root.hpp>

namespace magpie::detail {

/// Begins the wait; false: the source has come, or the scope is stopped.
bool wait_operation::wait() noexcept {
  lock_scope guard(*list_);
  if (list_->came()) return false;
  waits_ = true;  // before anybody can see it
  waiter_.work = this;
  waiter_.root = &scope().root();
  if (!begin()) {
    waits_ = false;
    return false;
  }
  list_->insert(waiter_);
  return true;
}

std::coroutine_handle<> wait_operation::start(detail::continuation to, stop_scope& scope) noexcept {
  prepare(to, scope);
  // What does not wait goes through the queue, never inline: a loop that ignores a stop would spin.
  if (list_ == nullptr || !wait()) this_context().post_last(*this);
  return std::noop_coroutine();
}

void wait_operation::woken(runnable& work) noexcept {
  auto& self = static_cast<wait_operation&>(static_cast<operation&>(work));
  if (self.waits_ && !self.end()) return;
  const bool stopped = self.waits_ ? self.stopped_ : self.scope().stop_requested();
  const std::error_code error = stopped ? make_error_code(errc::stopped) : self.failed();
  resume(error ? deliver_error(self.continuation(), error) : deliver(self.continuation()));
}

void wait_operation::cancel_wait(operation& op) noexcept {
  auto& self = static_cast<wait_operation&>(op);
  if (!self.list_->remove(self.waiter_)) return;  // the source was faster: that is the outcome
  self.stopped_ = true;
  self.scope().root().post(self);
}

}  // namespace magpie::detail
