#include <magpie/runtime/fork.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/transfer.hpp>

namespace magpie::detail {

fork_base::~fork_base() {
  MAGPIE_ASSERT(running_ == 0);
  if (trace_ != nullptr) frame_free(trace_, sizeof(error_trace));
}

void fork_base::choose_order() noexcept {
  if (first_ != none) return;
  first_ = order_ == fork_order::random && count_ > 1
               ? this_context().any_below(static_cast<std::uint32_t>(count_))
               : 0;
}

bool fork_base::try_complete(stop_scope& scope) noexcept {
  if (error_) return true;
  choose_order();
  bool all_ended = true;
  for (std::size_t p = 0; p < count_ && !decided_; ++p) {
    const std::size_t i = in_order(p);
    branch_base& branch = at(i);
    if (branch.at == branch_base::phase::off) continue;
    branch.looked_at = true;
    if (try_branch(i, scope, branch.error)) {
      branch.at = branch_base::phase::ended;
      note_end(i, false);
      continue;
    }
    all_ended = false;
    if (order_ == fork_order::strict || (order_ == fork_order::biased && !is_leaf(i))) break;
  }
  return decided_ || all_ended;
}

std::coroutine_handle<> fork_base::start(continuation to, stop_scope& scope) noexcept {
  to_ = to;
  outer_ = &scope;
  choose_order();
  context& here = this_context();
  if (root().gate() == nullptr) {
    own_gate_.open(root(), here);
    opened_ = true;
  } else {
    MAGPIE_ASSERT(here.gates == root().gate());  // a fork within a fork
  }
  step next;
  if (std::coroutine_handle<> first = start_next(next)) return first;
  return deliver_on(next);
}

/// Looks at the branches that are left; stops at the first that has to run.
std::coroutine_handle<> fork_base::start_next(step& next) noexcept {
  while (position_ < count_ && !decided_) {
    const std::size_t i = in_order(position_++);
    branch_base& branch = at(i);
    if (branch.at != branch_base::phase::fresh) continue;
    if (!std::exchange(branch.looked_at, true) && try_branch(i, *outer_, branch.error)) {
      branch.at = branch_base::phase::ended;
      note_end(i, false);
      continue;
    }
    branch.fork = this;
    branch.set_destination(to_);
    branch.index = i;
    branch.at = branch_base::phase::running;
    branch.scope.emplace(outer_, root());
    ++running_;
    if (position_ < count_) {
      waits_to_start_ = true;
      root().gate()->put_first(*this);
    }
    return start_branch(i, {&branch, &arrived}, *branch.scope);
  }
  if (running_ != 0) return std::noop_coroutine();
  return finish(next);
}

void fork_base::resume_starting(runnable& work) noexcept {
  auto& self = static_cast<fork_base&>(static_cast<gated_runnable&>(work));
  self.waits_to_start_ = false;
  step next;
  std::coroutine_handle<> first = self.start_next(next);
  resume(first ? first : deliver_on(next));
}

std::coroutine_handle<> fork_base::arrived(void* target, step& next) noexcept {
  auto& branch = boundary::from<branch_base>(target);
  fork_base& self = *branch.fork;
  branch.error = next.error;
  destroy_abandoned(next.abandoned);  // before siblings are stopped
  branch.scope.reset();
  branch.at = branch_base::phase::ended;
  --self.running_;
  self.note_end(branch.index, next.traced);
  if (self.waits_to_start_) {
    // It has ended at once, on the stack of its start.
    [[maybe_unused]] runnable* const front = self.root().gate()->take_first();
    MAGPIE_ASSERT(front == static_cast<gated_runnable*>(&self));
    self.waits_to_start_ = false;
    return self.start_next(next);
  }
  if (self.running_ != 0) return std::noop_coroutine();
  return self.finish(next);
}

void fork_base::note_end(std::size_t i, bool traced) noexcept {
  branch_base& branch = at(i);
  const bool threw = branch.threw = close_branch(i);
  const bool is_body = decides_ == ends_on::body && i + 1 == count_;
  if (threw && threw_ == none && (is_body || decides_ != ends_on::body)) threw_ = i;
  if (!branch.error && winner_ == none) winner_ = i;
  switch (decides_) {
    case ends_on::value:
    case ends_on::value_or_none:
      if (!branch.error) {
        decide();
      } else if (decides_ == ends_on::value && !error_ && winner_ == none) {
        fail_with_that_of(i, traced);
      }
      break;
    case ends_on::failure:
      if (branch.error && !decided_) fail_with_that_of(i, traced);
      if (branch.error || threw) decide();
      break;
    case ends_on::nothing:
      if (threw) decide();
      break;
    case ends_on::body:
      if (is_body && branch.error) fail_with_that_of(i, traced);
      if (is_body) decide();
      break;
  }
  if (threw_ != none || (decides_ == ends_on::value && winner_ != none)) error_.clear();
  branch_ended(i);
}

void fork_base::fail_with_that_of(std::size_t i, bool traced) noexcept {
  error_ = at(i).error;
  if (traced) trace_ = std::exchange(root().trace, nullptr);
}

void fork_base::decide() noexcept {
  if (std::exchange(decided_, true)) return;
  if (running_ == 0) return;
  for (std::size_t i = 0; i < count_; ++i) {
    branch_base& branch = at(i);
    if (branch.at == branch_base::phase::running) branch.scope->request_stop();
  }
}

/// The last branch has ended: hands the fork's outcome on.
std::coroutine_handle<> fork_base::finish(step& next) noexcept {
  task_root& task = root();
  if (opened_) own_gate_.close(task, this_context());
  next.traced = error_ && trace_ != nullptr;
  if (next.traced) std::swap(task.trace, trace_);
  return next.go_on(to_, error_);
}

}  // namespace magpie::detail
