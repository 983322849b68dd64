#include <magpie/runtime/test_clock.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>

namespace magpie {
namespace {

sim_world& current_world() noexcept {
  sim_world* const world = detail::this_context().home->world();
  MAGPIE_ASSERT(world != nullptr && "only a simulated runtime's clock can be moved by hand");
  return *world;
}

}  // namespace

void test_clock::pause() noexcept { current_world().pause(); }

void test_clock::resume() noexcept { current_world().resume(); }

bool test_clock::paused() noexcept { return current_world().paused(); }

std::coroutine_handle<> detail::advance_operation::start(detail::continuation to,
                                                         stop_scope& scope) noexcept {
  prepare(to, scope);
  sim_world& world = current_world();
  if (begin()) {
    advance_.until_ns = to_wheel_ns(time_after(by_));
    world.begin_advance(advance_);
  } else {
    refused_ = true;
    this_context().post_last(*this);
  }
  return std::noop_coroutine();
}

void detail::advance_operation::ended(runnable& work) noexcept {
  auto& self = static_cast<advance_operation&>(static_cast<operation&>(work));
  if (!self.refused_ && !self.end()) return;
  resume(self.refused_ || self.cancelled_ ? deliver_error(self.continuation(), errc::stopped)
                                          : deliver(self.continuation()));
}

void detail::advance_operation::cancel_it(operation& op) noexcept {
  auto& self = static_cast<advance_operation&>(op);
  if (!sim_world::cancel_advance(self.advance_)) return;  // its time has come
  self.cancelled_ = true;
  self.scope().root().post(self);
}

}  // namespace magpie
