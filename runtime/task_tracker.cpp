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

}  // namespace detail
}  // namespace magpie
