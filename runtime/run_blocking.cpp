#include <magpie/runtime/run_blocking.hpp>

#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/sim_world.hpp>

namespace magpie::detail {
namespace {

constexpr std::uint64_t simulated_least_ns = 1'000;
constexpr std::uint32_t simulated_spread_ns = 200'000;

}  // namespace

std::coroutine_handle<> blocking_operation_base::start(detail::continuation to,
                                                       stop_scope& scope) noexcept {
  prepare(to, scope);
  context& here = this_context();
  if (scope.stop_requested() || !begin()) {
    refused_ = true;
    here.post_last(*this);
    return std::noop_coroutine();
  }
  if (sim_world* world = here.home->world()) {
    compute_(*this);
    // A paused clock does not move for a call either, which then takes no time.
    const std::uint64_t takes =
        world->paused() ? 0 : world->any_duration(simulated_least_ns, simulated_spread_ns);
    world->schedule_completion(*this, takes);
  } else if (const std::error_code full = here.home->blocking().submit(*this)) {
    error_ = full;  // not taken: still ours
    here.post_last(*this);
  }
  return std::noop_coroutine();
}

void blocking_operation_base::call_it(blocking_job& job) noexcept {
  auto& self = static_cast<blocking_operation_base&>(job);
  self.compute_(self);
  self.scope().root().post(self);
}

void blocking_operation_base::ended(runnable& work) noexcept {
  auto& self = static_cast<blocking_operation_base&>(static_cast<operation&>(work));
  if (!self.refused_ && !self.end()) return;
  if (self.refused_) self.error_ = errc::stopped;
  resume(self.error_ ? deliver_error(self.continuation(), self.error_)
                     : deliver(self.continuation()));
}

void blocking_operation_base::cancel_job(operation& op) noexcept {
  auto& self = static_cast<blocking_operation_base&>(op);
  task_root& root = self.scope().root();
  if (root.home->world() != nullptr || !root.home->blocking().withdraw(self)) return;
  self.error_ = errc::stopped;
  root.post(self);
}

}  // namespace magpie::detail
