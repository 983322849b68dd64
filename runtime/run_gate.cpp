#include <magpie/runtime/run_gate.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_root.hpp>

namespace magpie::detail {
void run_routed_operation(runnable& work) noexcept {
  auto& op = static_cast<operation&>(work);
  if (pass_gate(op.scope().root(), op, op.ungated)) op.ungated(op);
}

run_gate::run_gate() noexcept : runnable(&go_on) {}

void run_gate::hold(context& here) noexcept { outer_ = std::exchange(here.gates, this); }

void run_gate::open(task_root& root, context& here) noexcept {
  MAGPIE_ASSERT(root.gate() == nullptr);
  root.set_gate(this);
  root_ = &root;
  word_.store(held, order::relaxed);  // published with the first operation that a branch waits for
  hold(here);
}

void run_gate::close(task_root& root, context& here) noexcept {
  MAGPIE_ASSERT(here.gates == this && root.gate() == this);
  MAGPIE_ASSERT(first_ == nullptr && word_.load(order::relaxed) == held);  // all branches ended
  here.gates = outer_;
  root.set_gate(nullptr);
}

namespace {

void run_ungated(runnable& work) noexcept {
  auto& event = static_cast<gated_runnable&>(work);
  event.ungated(event);
}

}  // namespace

bool pass_gate(task_root& root, gated_runnable& work, runnable::run_function then) noexcept {
  if (!root.is_routed()) return true;
  context& here = this_context();
  const bool at_home = !root.pinned() || (here.home == root.home && here.index == root.pinned_to());
  run_gate* const gate = root.gate();
  if (gate == nullptr) {
    if (at_home) return true;
    work.ungated = then;
    work.run = &run_ungated;  // it comes to its worker and nowhere else
    root.post(work);
    return false;
  }
  work.ungated = then;
  if (!gate->enter(work)) return false;
  if (at_home) {
    gate->hold(here);
    return true;
  }
  gate->put_first(work);  // the gate goes home, held, with what came
  root.post(*gate);
  return false;
}

void run_gate::serve(context& here) noexcept {
  unsigned served = 0;
  while (run_gate* const gate = here.gates) {
    run_gate* const outer = gate->outer_;  // read before the gate may be gone
    if (gated_runnable* const work = gate->take_first()) {
      if (served++ >= served_max) {
        gate->put_first(*work);
        here.gates = outer;
        if (gate->root_->pinned()) {
          gate->root_->post(*gate);
        } else {
          here.post_last(*gate);
        }
        continue;
      }
      work->ungated(*work);
      while (here.deferred_joins != nullptr) join_base::enlist_innermost(here);
    } else if (gate->leave()) {
      here.gates = outer;
    }
  }
}

void run_gate::go_on(runnable& work) noexcept {
  static_cast<run_gate&>(work).hold(this_context());  // the worker's loop serves it
}

}  // namespace magpie::detail
