#include <magpie/runtime/runtime.hpp>

#include <magpie/runtime/blocking_pool.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/runtime_core.hpp>
#include <magpie/runtime/runtime_handle.hpp>
#include <magpie/runtime/runtime_list.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/worker.hpp>

#include <pthread.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>

namespace magpie {

// ---- block_on ----------------------------------------------------------------------------------

/// A foreign thread waits on the condition; the thread that is worker 0 itself polls `done`.
struct detail::blocked_base::waiter {
  std::mutex mutex;
  std::condition_variable ended;
};

detail::blocked_base::blocked_base(run_function begin, scheduler& home, stop_scope& parent,
                                   std::source_location where) noexcept
    : runnable(begin),
      root(home, next_task_id(home)),
      scope(&parent, root),
      waiter_(new(std::nothrow) waiter) {
  MAGPIE_ASSERT(waiter_ != nullptr);
  root.spawned = where;
}

detail::blocked_base::~blocked_base() { delete waiter_; }

void detail::blocked_base::finished(std::error_code with) noexcept {
  error = with;
  scope.close();
  scheduler& home = *root.home;
  home.roots->count_end();
  if (driven_) {
    done.store(true, order::release);
    home.wake_first();
    return;
  }
  const std::lock_guard lock(waiter_->mutex);  // the waiter returns only after we let go
  done.store(true, order::release);
  waiter_->ended.notify_one();
}

void detail::blocked_base::post() noexcept {
  scheduler& home = *root.home;
  home.roots->count_spawn();
  detail::note_birth(root, scope);
  home.post(*this);
}

void detail::blocked_base::wait() noexcept {
  MAGPIE_ASSERT(!on_worker() && "waiting inside of a task would block its worker: use co_await");
  std::unique_lock lock(waiter_->mutex);
  waiter_->ended.wait(lock, [this] { return done.load(order::relaxed); });
}

void detail::wait_for(blocked_base& root) noexcept {
  MAGPIE_ASSERT(!on_worker() && "block_on inside of a task would wait for itself: use co_await");
  scheduler& home = *root.root.home;
  if (home.runs_here()) root.will_drive();
  root.post();
  if (home.runs_here()) {
    home.run_here(root.done);
  } else {
    root.wait();
  }
}

// ---- life --------------------------------------------------------------------------------------

runtime::core* runtime::make_core(const options& wanted, bool caller_is_worker,
                                  std::error_code& error) noexcept {
  scheduler* made = scheduler::make(wanted, error);
  if (made == nullptr) return nullptr;
  auto* link = new (std::nothrow) detail::runtime_link(made);
  auto* built = link != nullptr ? new (std::nothrow) core(made, link) : nullptr;
  if (built == nullptr) {
    delete link;
    delete made;
    error = std::make_error_code(std::errc::not_enough_memory);
    return nullptr;
  }
  if (caller_is_worker) made->run_on_caller();
  error = made->start(caller_is_worker ? 1 : 0);
  if (error) {
    made->stop_workers(true);
    delete built;
    return nullptr;
  }
  return built;
}

runtime::core::core(scheduler* owned, detail::runtime_link* link) noexcept
    : home(owned),
      roots(*owned, owned->size()),
      dumps(owned->world() != nullptr ? 0 : owned->settings().dump_signal, owned->settings().log) {
  owned->roots = &roots;
  roots.link = link;
  if (owned->settings().track_tasks) detail::tasks_tracked.store(true, order::relaxed);
  detail::runtime_list::add(roots);
}

runtime::core::~core() {
  detail::runtime_list::remove(roots);  // before what an onlooker may look at goes
  detail::runtime_link* const link = roots.link;
  link->latch.close();  // a runtime that never came to life is not drained
  delete home;
  if (link->let_go()) delete link;
}

result<runtime> runtime::make(const options& wanted) noexcept {
  std::error_code error;
  core* made = make_core(wanted, false, error);
  if (made == nullptr) return std::unexpected(error);
  return runtime(made);
}

runtime::runtime(const options& wanted) noexcept : core_(nullptr) {
  std::error_code error;
  core_ = make_core(wanted, false, error);
  if (core_ == nullptr) {
    std::fprintf(stderr, "magpie: cannot start a runtime: %s\n", error.message().c_str());
    std::abort();
  }
}

runtime::runtime(runtime&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}

runtime::~runtime() {
  if (core_ != nullptr) shutdown(core_->home->settings().drain_deadline);
}

runtime::core& runtime::alive() const noexcept {
  MAGPIE_ASSERT(core_ != nullptr && "a runtime is used after its shutdown, or after it was moved");
  return *core_;
}

scheduler& runtime::scheduler_ref() noexcept { return *alive().home; }

stop_scope& runtime::root_parent() noexcept { return alive().roots.parent_scope(); }

void runtime::request_stop() noexcept {
  if (core_ != nullptr) core_->roots.request_stop();
}

runtime_handle runtime::handle() const noexcept {
  if (core_ == nullptr) return {};
  core_->roots.link->hold();
  return runtime_handle(core_->roots.link);
}

std::size_t runtime::workers() const noexcept { return alive().home->size(); }

reactor_kind runtime::reactor() const noexcept { return alive().home->reactor(); }

// ---- shutdown ----------------------------------------------------------------------------------

bool runtime::shutdown(std::chrono::nanoseconds deadline) noexcept {
  if (core_ == nullptr) return true;
  MAGPIE_ASSERT(!on_worker() && "a runtime is dropped, or shut down, inside of a task");
  core* const ending = std::exchange(core_, nullptr);
  const bool clean = ending->drain(deadline);
  return ending->end(clean);
}

void* runtime::core::end_in_background(void* raw) noexcept {
  core* const ending = static_cast<core*>(raw);
  const bool clean = ending->drain(ending->home->settings().drain_deadline);
  static_cast<void>(ending->end(clean));  // what is left is named, and nobody waits for the answer
  return nullptr;
}

void runtime::shutdown_background() noexcept {
  if (core_ == nullptr) return;
  scheduler& home = *core_->home;
  const std::chrono::nanoseconds patience = home.settings().drain_deadline;
  pthread_t thread;
  if (home.runs_here()) {
    shutdown(patience);
    return;
  }
  core_->roots.link->latch.close();
  core_->roots.request_stop();
  if (::pthread_create(&thread, nullptr, &core::end_in_background, core_) != 0) {
    shutdown(patience);
    return;
  }
  ::pthread_detach(thread);
  core_ = nullptr;
}

namespace {

constexpr std::uint64_t drain_look_ns = 500'000;

}  // namespace

/// Steps 1 to 3: stop and drain.
bool runtime::core::drain(std::chrono::nanoseconds patience) noexcept {
  roots.link->latch.close();
  roots.request_stop();
  const std::uint64_t now = home->now_ns();
  const auto wait = static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 0));
  const std::uint64_t until = now + wait < now ? ~std::uint64_t{0} : now + wait;
  // The tasks are counted without a shared counter, so nobody can tell who is the last: look.
  const atomic<bool> never{false};
  for (std::uint64_t at = now; roots.live() != 0; at = home->now_ns()) {
    if (at >= until) return false;
    home->run_until(never, std::min(until, at + drain_look_ns));
  }
  return true;
}

/// Steps 4 to 6: name what is left, end the workers, free or leak.
bool runtime::core::end(bool clean) noexcept {
  if (!clean) report_live();
  const bool left = home->stop_workers(clean);
  if (!clean || !left) return false;  // tasks and what they use are leaked on purpose
  delete this;
  return true;
}

void runtime::core::report_live() noexcept {
  if (!home->settings().log) return;
  constexpr std::uint64_t named_max = 20;
  struct report {
    std::uint64_t named = 0;
  } out;
  std::fprintf(stderr, "magpie: shutdown: tasks still running, leaked:\n");
  const std::uint64_t live = roots.visit(
      [](void* context, task_root& root) {
        auto& seen = *static_cast<report*>(context);
        if (++seen.named > named_max) return;
        std::fprintf(stderr, "  task %s, spawned at %s:%u\n", detail::task_label(root).text,
                     root.spawned.file_name(), static_cast<unsigned>(root.spawned.line()));
      },
      &out);
  const std::uint64_t shown = std::min(out.named, named_max);
  if (live > shown)
    std::fprintf(stderr, "  and %llu more\n", static_cast<unsigned long long>(live - shown));
}

// ---- metrics -----------------------------------------------------------------------------------

namespace {

runtime_metrics collect(scheduler& from) noexcept {
  runtime_metrics sum;
  sum.workers = from.size();
  sum.live_tasks = from.roots->live();
  sum.injected_now = from.shared_queue().size();
  const blocking_metrics blocking = from.blocking().metrics();
  sum.blocking_threads = blocking.threads;
  sum.blocking_queued = blocking.queued;
  sum.blocking_running = blocking.running;
  for (std::size_t i = 0; i < from.size(); ++i) {
    worker& one = from.at(i);
    worker_counters& counted = one.counters();
    sum.spawned += one.spawned.load(order::relaxed);
    sum.polls += counted.polls.load(order::relaxed);
    sum.steals += counted.steals.load(order::relaxed);
    sum.parks += counted.parks.load(order::relaxed);
    sum.wakes += counted.wakes.load(order::relaxed);
    sum.overflows += counted.overflows.load(order::relaxed);
    sum.budget_yields += one.budget_yields.load(order::relaxed);
    sum.watches += counted.watches.load(order::relaxed);
    sum.watch_ns += counted.watch_ns.load(order::relaxed);
    sum.rescues += counted.rescues.load(order::relaxed);
    sum.kicks += counted.kicks.load(order::relaxed);
    sum.long_runs += counted.long_runs.load(order::relaxed);
    sum.ignored_stops += counted.ignored_stops.load(order::relaxed);
    sum.reactor_calls += one.io->system_calls();
    sum.waits_in_flight += one.io->in_flight();
    sum.timers += one.wheel().size();
  }
  return sum;
}

}  // namespace

runtime_metrics runtime::metrics() const noexcept { return collect(*alive().home); }

runtime_metrics current_metrics() noexcept { return collect(detail::current_scheduler()); }

reactor_kind current_reactor() noexcept { return detail::current_scheduler().reactor(); }

std::size_t current_workers() noexcept { return detail::current_scheduler().size(); }

}  // namespace magpie
