#include <magpie/runtime/task_tracker.hpp>

#include <magpie/runtime/scheduler.hpp>

namespace magpie {

task_tracker::task_tracker() noexcept : state_(nullptr) {
  void* const memory = frame_allocate(sizeof(detail::tracker_state));
  if (memory == nullptr) return;
  state_ = ::new (memory) detail::tracker_state([](detail::tracker_state& state) noexcept {
    state.~tracker_state();
    frame_free(&state, sizeof(detail::tracker_state));
  });
}

namespace detail {

void tracked_base::tell(std::error_code error, bool exception) noexcept {
  const bool failed = exception || (error && error != errc::stopped && error != errc::aborted);
  if (failed && root.home->settings().log) log_lost_failure(root, error);
}

/// Begins the wait; false: the tracker has ended, or the scope is stopped.
bool tracker_wait_operation::wait() noexcept {
  lock_scope guard(*state_);
  if (state_->ended()) return false;
  waits_ = true;  // before anybody can see it
  waiter_.work = this;
  waiter_.root = &scope().root();
  if (!begin()) {
    waits_ = false;
    return false;
  }
  state_->insert(waiter_);
  return true;
}

std::coroutine_handle<> tracker_wait_operation::start(detail::continuation to,
                                                      stop_scope& scope) noexcept {
  prepare(to, scope);
  // What does not wait goes through the queue, never inline: a loop that ignores a stop would spin.
  if (state_ == nullptr || !wait()) this_context().post_last(*this);
  return std::noop_coroutine();
}

void tracker_wait_operation::woken(runnable& work) noexcept {
  auto& self = static_cast<tracker_wait_operation&>(static_cast<operation&>(work));
  if (self.waits_ && !self.end()) return;
  const bool stopped = self.waits_ ? self.stopped_ : self.scope().stop_requested();
  const std::error_code error = stopped ? make_error_code(errc::stopped) : self.failed();
  resume(error ? deliver_error(self.continuation(), error) : deliver(self.continuation()));
}

void tracker_wait_operation::cancel_wait(operation& op) noexcept {
  auto& self = static_cast<tracker_wait_operation&>(op);
  if (!self.state_->remove(self.waiter_)) return;  // it ended before: that is the outcome
  self.stopped_ = true;
  self.scope().root().post(self);
}

}  // namespace detail
}  // namespace magpie
