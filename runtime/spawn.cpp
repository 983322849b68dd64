#include <magpie/runtime/spawn.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/failure_log.hpp>
#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/scheduler.hpp>

#include <cstdio>
#include <utility>

namespace magpie::detail {

scheduler& current_scheduler() noexcept { return *this_context().home; }

stop_scope& spawn_parent(scheduler& on) noexcept { return on.roots->parent_scope(); }

void count_spawn(scheduler& on) noexcept { on.roots->count_spawn(); }

void count_end(scheduler& on) noexcept { on.roots->count_end(); }

void post_fork(scheduler& on, runnable& task) noexcept {
  context* const here = current_context;
  if (here != nullptr && here->home == &on) {
    here->post_fork(task);
  } else {
    on.post(task);
  }
}

std::coroutine_handle<> spawned_base::finish(std::error_code with, bool exception,
                                             bool& mine) noexcept {
  failure_unseen = (exception || (with && with != errc::stopped && with != errc::aborted)) &&
                   root.home->settings().log;
  scope.close();
  context& here = this_context();
  MAGPIE_ASSERT(here.home == root.home);  // tasks end on their workers
  MAGPIE_ASSERT(!root.pinned() || here.index == root.pinned_to());
  if (join_base* waiting = here.deferred_joins; waiting != nullptr && waiting->state_ == this) {
    // The joiner is noted here and nowhere else, and holds the handle: nobody else looks.
    here.deferred_joins = waiting->outer_;
    word.store(done, order::release);
    here.count_end();
    return deliver(waiting->continuation());
  }
  // (J1) acq_rel with (J2), (J3), (J4).  From here on the state is the handle's, if there is one.
  const std::uintptr_t before = word.exchange(done, order::acq_rel);
  mine = before == dropped;
  if (mine && failure_unseen) log_failure(with);
  if (before != running && before != dropped && before != refused)
    // It may be a task of another runtime; it is alive until it is posted.
    reinterpret_cast<join_base*>(before)->scope().root().post(
        *reinterpret_cast<join_base*>(before));
  if (!mine) here.count_end();  // else the caller does, after the state is gone
  return std::noop_coroutine();
}

void spawned_base::log_failure(std::error_code error) noexcept { log_lost_failure(root, error); }

void log_lost_failure(const task_root& root, std::error_code error) noexcept {
  if (!may_log_failure()) return;
  std::fprintf(stderr, "magpie: detached task %s, spawned at %s:%u, failed: %s\n%s",
               task_label(root).text, root.spawned.file_name(),
               static_cast<unsigned>(root.spawned.line()),
               error ? error.message().c_str() : "exception", format_trace(root.trace).c_str());
}

// ---- join --------------------------------------------------------------------------------------

std::coroutine_handle<> join_base::start(detail::continuation to, stop_scope& scope) noexcept {
  prepare(to, scope);
  context& here = this_context();
  if (state_ != nullptr && !scope.stop_requested() && spend_budget(here) &&
      here.take_back(*state_)) {
    outer_ = std::exchange(here.deferred_joins, this);
    return state_->launch(*state_);
  }
  enlist();
  return std::noop_coroutine();
}

void join_base::enlist() noexcept {
  if (state_ == nullptr || !begin()) {
    refused_ = true;
    this_context().post_last(*this);
    return;
  }
  std::uintptr_t now = spawned_base::running;
  // (J3) release with (J1): whoever ends the task may run this operation.
  if (state_->word.compare_exchange_strong(now, reinterpret_cast<std::uintptr_t>(this),
                                           order::acq_rel, order::acquire))
    return;
  if (now == spawned_base::refused) {
    cancelled_ = true;
    // Fails only if the task has ended meanwhile, and then the word is as it should be.
    state_->word.compare_exchange_strong(now, spawned_base::running, order::acq_rel,
                                         order::acquire);
  } else {
    MAGPIE_ASSERT(now == spawned_base::done && "two tasks join one handle");
  }
  scope().root().post(*this);
}

void join_base::joined(runnable& work) noexcept {
  auto& self = static_cast<join_base&>(static_cast<operation&>(work));
  if (!self.refused_ && !self.end()) return;
  const bool stopped = (self.refused_ && self.state_ != nullptr) || self.cancelled_;
  resume(stopped ? deliver_error(self.continuation(), errc::stopped)
                 : deliver(self.continuation()));
}

void join_base::cancel_join(operation& op) noexcept {
  auto& self = static_cast<join_base&>(op);
  const auto joining = reinterpret_cast<std::uintptr_t>(&self);
  std::uintptr_t now = joining;
  for (;;) {
    const std::uintptr_t next = now == joining ? spawned_base::running : spawned_base::refused;
    if (self.state_->word.compare_exchange_weak(now, next, order::acq_rel, order::acquire)) break;
    if (now == spawned_base::done) return;  // the task has ended: the outcome is on its way
  }
  if (now != joining) return;  // the joiner will find `refused`
  self.cancelled_ = true;
  self.scope().root().post(self);
}

}  // namespace magpie::detail
