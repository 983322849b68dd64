/// A worker's search for work that others have, on its own thread: the injector, then, if not too
/// many search already, half of some other worker's queue or its oldest fork.
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/worker.hpp>

#include <algorithm>
#include <utility>

namespace magpie {

/// Work that others have: the injector, then half of somebody's queue.
runnable* worker::find_elsewhere() noexcept {
  injector& shared_queue = home->shared_queue();
  runnable* work = shared_queue.pop_into(
      queue_,
      std::min<std::size_t>(shared_queue.size() / home->size() + 1, local_queue::capacity / 2));
  if (work == nullptr && shared_) {
    if (!searching_ && !stole_in_vain())
      searching_ = home->sleepers().begin_search(static_cast<std::uint32_t>(home->size()));
    if (searching_) work = steal();
  }
  if (work != nullptr && searching_) stop_searching();
  return work;
}

void worker::stop_searching() noexcept {
  searching_ = false;
  if (home->sleepers().end_search()) home->wake_one();
}

runnable* worker::steal() noexcept {
  const std::size_t count = home->size();
  std::size_t at = rng_.below(static_cast<std::uint32_t>(count));
  for (std::size_t i = 0; i < count; ++i, at = at + 1 == count ? 0 : at + 1) {
    if (at == index) continue;
    if (runnable* work = steal_from(home->at(at))) return work;
  }
  return nullptr;
}

/// Half of somebody's queue, of which the newest is handed out, or else the oldest fork.
runnable* worker::steal_from(worker& victim) noexcept {
  runnable* work = victim.queue_.steal_into(queue_);
  if (work == nullptr) return steal_fork(victim);
  worker_counters::add(counters_.steals);
  return work;
}

runnable* worker::steal_fork(worker& victim) noexcept {
  runnable* work = victim.forks_.steal();
  if (work == nullptr) return nullptr;
  stole_fork_ns_ = clock::detail_now_ns();
  worker_counters::add(counters_.steals);
  return work;
}

/// Whether the fork that was stolen last is over in less time than a steal costs, with all that it
/// spawned: then more of them would only be in the victim's way, and this worker parks until the
/// next look at the others.
bool worker::stole_in_vain() noexcept {
  if (stole_fork_ns_ == 0 || !home->settings().rescue) return false;
  return clock::detail_now_ns() - std::exchange(stole_fork_ns_, 0) < steal_cost_ns;
}

bool worker::work_is_visible() noexcept {
  if (!home->shared_queue().empty()) return true;
  for (std::size_t i = 0; i < home->size(); ++i) {
    if (!home->at(i).queue_.empty()) return true;
    // With the rescue forks take no part in the handshake: their owner is awake, and the watcher
    // comes for them.
    if (!home->settings().rescue && !home->at(i).forks_.empty()) return true;
  }
  return false;
}

}  // namespace magpie
