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
  if (pool_ == nullptr) pool_ = &here.home->blocking();
  if (here.home->world() != nullptr) {
    bool starts = false;
    error_ = pool_->submit_simulated(*this, when_full_, &enter, starts);
    if (starts) run_simulated(*this);
    if (error_) here.post_last(*this);
  } else if (const std::error_code error = pool_->submit(*this, when_full_, &enter)) {
    error_ = error;  // not taken: still ours
    here.post_last(*this);
  }
  return std::noop_coroutine();
}

bool blocking_operation_base::enter(blocking_job& job) noexcept {
  auto& self = static_cast<blocking_operation_base&>(job);
  self.refused_ = !self.begin();
  return !self.refused_;
}

void blocking_operation_base::run_simulated(blocking_job& job) noexcept {
  auto& self = static_cast<blocking_operation_base&>(job);
  sim_world& world = *self.scope().root().home->world();
  self.has_turn_ = true;
  self.compute_(self);
  // A paused clock does not move for a call either, which then takes no time.
  const std::uint64_t takes =
      world.paused() ? 0 : world.any_duration(simulated_least_ns, simulated_spread_ns);
  world.schedule_completion(self, takes);
}

void blocking_operation_base::call_it(blocking_job& job) noexcept {
  auto& self = static_cast<blocking_operation_base&>(job);
  self.compute_(self);
  self.scope().root().post(self);
}

void blocking_operation_base::ended(runnable& work) noexcept {
  auto& self = static_cast<blocking_operation_base&>(static_cast<operation&>(work));
  if (!self.refused_ && !self.end()) return;
  if (self.has_turn_) {
    if (blocking_job* next = self.pool_->next_simulated()) run_simulated(*next);
  }
  resume(self.error_ ? deliver_error(self.continuation(), self.error_)
                     : deliver(self.continuation()));
}

void blocking_operation_base::cancel_job(operation& op) noexcept {
  auto& self = static_cast<blocking_operation_base&>(op);
  if (!self.pool_->withdraw(self)) return;
  self.error_ = errc::stopped;
  self.scope().root().post(self);
}

}  // namespace magpie::detail
