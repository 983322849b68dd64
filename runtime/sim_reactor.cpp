#include <magpie/runtime/sim_reactor.hpp>

#include <magpie/runtime/reactor_factory.hpp>
#include <magpie/runtime/sim_world.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/assert.hpp>

#include <algorithm>
#include <new>

namespace magpie {

reactor* make_sim_reactor(sim_world& world) noexcept {
  return new (std::nothrow) sim_reactor(world.network);
}

bool sim_reactor::wait(readiness_operation& op) noexcept {
  network_.check_thread();
  MAGPIE_ASSERT(op.io->fd >= sys::sim_fd_base);  // the kernel's descriptors have no virtual time
  op.where = this;
  if (!op.begin()) {
    op.where = nullptr;
    return false;
  }
  op.slot = at_network;
  ++held_;
  const std::uint32_t spurious = network_.options().spurious_one_in;
  const bool at_once = spurious != 0 && network_.random().one_in(spurious);
  if (at_once || !network_.watch(op, *this)) socket_ready(op);
  return true;
}

void sim_reactor::socket_ready(readiness_operation& op) noexcept {
  op.slot = in_ready;
  --held_;
  ready_.push_back(&op);
}

void sim_reactor::cancel(readiness_operation& op) noexcept {
  network_.check_thread();
  if (op.where != this) return;  // handed out already: it ends as ready
  if (op.slot == at_network) {
    network_.unwatch(op);
    --held_;
  } else {
    std::erase(ready_, &op);
  }
  op.where = nullptr;
  op.cancelled = true;
  op.scope().root().post(op);
}

void sim_reactor::forget(descriptor& io) noexcept {
  network_.check_thread();
  // The network asserts the same of held waits when the descriptor is closed.
  MAGPIE_ASSERT(std::ranges::none_of(ready_, [&](const auto* op) { return op->io == &io; }));
}

void sim_reactor::turn(std::uint64_t, std::size_t limit, runnable_chain& out) noexcept {
  network_.check_thread();
  woken_.store(false, order::relaxed);
  hand_out(limit, out);
}

rescue_report sim_reactor::rescue(bool /*on_core*/, std::size_t limit,
                                  runnable_chain& out) noexcept {
  network_.check_thread();
  if (parked_) return {};
  return {.reaped = hand_out(limit, out)};
}

std::size_t sim_reactor::hand_out(std::size_t limit, runnable_chain& out) noexcept {
  std::size_t count = 0;
  for (; count < limit && !ready_.empty(); ++count) {
    const auto pick = network_.random().below(static_cast<std::uint32_t>(ready_.size()));
    readiness_operation& op = *ready_[pick];
    ready_[pick] = ready_.back();
    ready_.pop_back();
    network_.note(static_cast<std::uint64_t>(op.io->fd) << 1 | static_cast<std::uint64_t>(op.dir));
    op.where = nullptr;
    out.push(op);
  }
  return count;
}

void sim_reactor::wake() noexcept {
  network_.check_thread();
  woken_.store(true, order::relaxed);
}

}  // namespace magpie
