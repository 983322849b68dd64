#include <magpie/runtime/runtime_handle.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/scheduler.hpp>

namespace magpie {

runtime_handle runtime_handle::current() noexcept {
  const detail::context* const here = detail::current_context;
  if (here == nullptr) return {};
  detail::runtime_link& link = *here->home->roots->link;  // a worker keeps its runtime
  link.hold();
  return runtime_handle(&link);
}

bool runtime_handle::request_stop() const noexcept {
  if (link_ == nullptr || !link_->latch.enter()) return false;
  link_->home->roots->request_stop();
  link_->latch.leave();
  return true;
}

}  // namespace magpie
