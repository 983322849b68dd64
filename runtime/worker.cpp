#include <magpie/runtime/worker.hpp>

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/run_gate.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/timer.hpp>

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <new>

namespace magpie {

constinit thread_local detail::context* detail::current_context = nullptr;

void detail::context::post_last(runnable& work) noexcept {
  static_cast<worker*>(this)->post_tail(work);
}

void detail::context::post_fork(runnable& task) noexcept {
  auto& self = static_cast<worker&>(*this);
  if (!self.forks_.push(task)) {
    self.post_tail(task);
    return;
  }
  // A fork that runs for less than a steal costs is better left here: should it turn out to be the
  // root of a tree, the watcher comes for one within its interval.
  if (self.shared_ && (self.pace_ns_ >= worker::steal_cost_ns || !home->settings().rescue))
    self.offer(self.forks_.size());
}

bool detail::context::take_back(runnable& task) noexcept {
  return static_cast<worker*>(this)->forks_.take_if(task);
}

std::uint32_t detail::context::any_below(std::uint32_t bound) noexcept {
  return static_cast<worker*>(this)->rng_.below(bound);
}

worker::worker(scheduler& owner, std::size_t at, std::uint64_t seed, bool shared,
               std::uint64_t now_ns) noexcept
    : shared_(shared),
      rng_(seed),
      queue_(shared),
      forks_(shared, !owner.settings().rescue),
      wheel_(now_ns) {
  home = &owner;
  alone = owner.size() == 1;
  index = at;
  timers = &wheel_;
  chance = &rng_;
  hot_buffer = new (std::nothrow) std::byte[detail::hot_buffer_size];
  seen_ = new (std::nothrow) sighting[owner.size()];
}

worker::~worker() {
  MAGPIE_ASSERT(lifo_.load(order::relaxed) == nullptr);
  delete io;
  delete[] hot_buffer;
  delete[] seen_;
}

// ---- posting -----------------------------------------------------------------------------------

void worker::post_local(runnable& work) noexcept {
  runnable* before;
  if (shared_) {
    // (L1) acq_rel: hands the task to the thief that exchanges it out (L2), and back.
    before = lifo_.exchange(&work, order::acq_rel);
  } else {
    before = lifo_.load(order::relaxed);
    lifo_.store(&work, order::relaxed);
  }
  if (before != nullptr) post_tail(*before);
}

void worker::post_tail(runnable& work) noexcept {
  queue_.push(work, [this](runnable* first, runnable* last, std::size_t count) noexcept {
    worker_counters::add(counters_.overflows);
    home->inject(first, last, count);
  });
  if (shared_) offer(queue_.size());
}

/// `waiting` tasks have become visible here: wakes a sleeper if they are worth it.  A wake-up costs
/// more than a short task, so they are not while this worker gets to them sooner by itself; should
/// it get stuck before, the watcher comes for them.  Without a watcher each is worth it.
void worker::offer(std::size_t waiting) noexcept {
  if (waiting * pace_ns_ < wake_cost_ns && home->settings().rescue) return;
  if (home->sleepers().should_wake()) home->wake_one();
}

/// Learns how long a task runs, from the time and the polls since the last call or parking.
void worker::note_pace(std::uint64_t now_ns) noexcept {
  const std::uint64_t polls = counters_.polls.load(order::relaxed);
  const std::uint64_t ran = polls - paced_polls_;
  if (ran == 0) return;
  const std::uint64_t each = (now_ns - paced_at_ns_) / ran;
  pace_ns_ = (7 * pace_ns_ + std::min(each, 8 * wake_cost_ns)) / 8;
  paced_polls_ = polls;
  paced_at_ns_ = now_ns;
}

void worker::take_in(runnable_chain& chain) noexcept {
  if (chain.count == 0) return;
  queue_.push_batch(chain.first, chain.last, chain.count,
                    [this](runnable* first, runnable* last, std::size_t count) noexcept {
                      worker_counters::add(counters_.overflows);
                      home->inject(first, last, count);
                    });
  // One task keeps this worker busy; only what is left over is worth waking somebody for.
  if (shared_ && chain.count > 1) offer(chain.count - 1);
}

/// No wake-up is lost, as with every other one: the push is before (N1), and whoever consumes that
/// notice by (N2) looks into the inbox before it parks again.
void worker::post_inbox(runnable& work) noexcept {
  const bool taken = inbox_.push(work);
  MAGPIE_ASSERT(taken);
  if (detail::current_context != this) wake();
}

void worker::wake() noexcept {
  counters_.wakes.fetch_add(1, order::relaxed);  // several threads may wake at once
  // (N1) release with (N2): who consumes the notice sees what was done before it.  One wake-up in
  // flight is enough.
  if (!notified_.exchange(true, order::acq_rel)) io->wake();
}

runnable* worker::take_lifo() noexcept {
  return lifo_.exchange(nullptr, order::acq_rel);  // (L2) pairs with (L1)
}

// ---- the loop ----------------------------------------------------------------------------------

void worker::note_thread() noexcept {
  clockid_t clock = -1;
  if (::pthread_getcpuclockid(::pthread_self(), &clock) != 0) clock = -1;
  cpu_clock_.store(clock, order::relaxed);  // a watcher that sees an old one asks in vain
}

void worker::enter_loop() noexcept {
  note_thread();
  begin();
}

void worker::call(worker_hooks::function hook) noexcept {
  if (hook != nullptr) hook(home->settings().hooks.context, index);
}

/// Before the first thing that runs here.
void worker::begin() noexcept {
  if (!std::exchange(begun_, true)) call(home->settings().hooks.starts);
}

void worker::finish() noexcept {
  if (!std::exchange(begun_, false)) return;
  detail::context* const before = std::exchange(detail::current_context, this);
  // What a hook spawned after the last task had ended: it is born stopped.
  while (home->drained()) {
    runnable* work = next();
    if (work == nullptr) work = home->shared_queue().pop();
    if (work == nullptr) break;
    execute(*work);
  }
  call(home->settings().hooks.stops);
  detail::current_context = before;
}

/// Calls the hook before parking; true if that has made something to do here.
bool worker::found_by_hook() noexcept {
  const worker_hooks& hooks = home->settings().hooks;
  if (hooks.parks == nullptr) return false;
  call(hooks.parks);
  return lifo_.load(order::relaxed) != nullptr || !queue_.empty() || !forks_.empty() ||
         inbox_.size() != 0;
}

void worker::run(const atomic<bool>* done) noexcept {
  detail::context* const before = std::exchange(detail::current_context, this);
  enter_loop();
  while (!home->leaving() && (done == nullptr || !done->load(order::acquire))) round();
  if (searching_) stop_searching();
  detail::current_context = before;
}

void worker::stand_in(const atomic<bool>& done) noexcept {
  run(&done);
  if (watching_) stop_watching();  // the thread that comes back has a task to run
}

void worker::run_one() noexcept {
  detail::context* const before = std::exchange(detail::current_context, this);
  begin();
  round();
  detail::current_context = before;
}

void worker::round() noexcept {
  runnable* work = next();
  if (work == nullptr && io->ready()) {
    poll_io(reactor::no_wait);
    work = next();
  }
  if (work == nullptr) work = find_elsewhere();
  if (work != nullptr) {
    if (watching_) stop_watching();
    execute(*work);
  } else {
    park();
  }
}

bool worker::step() noexcept {
  detail::context* const before = std::exchange(detail::current_context, this);
  begin();
  runnable* work = next();
  if (work == nullptr) {
    fire_timers(clock::detail_now_ns());
    poll_io(reactor::no_wait);
    work = next();
  }
  if (work == nullptr) work = find_elsewhere();
  const bool idle = std::exchange(idle_, work == nullptr);
  if (work == nullptr && !idle && found_by_hook()) work = next();
  if (work != nullptr && (idle || std::exchange(idle_, false)))
    call(home->settings().hooks.unparks);
  if (work != nullptr) execute(*work);
  detail::current_context = before;
  return work != nullptr;
}

void worker::execute(runnable& work) noexcept {
  budget = detail::task_budget;
  worker_counters::add(counters_.polls);
  work.run(work);
  while (deferred_joins != nullptr) detail::join_base::enlist_innermost(*this);
  if (gates != nullptr) [[unlikely]]
    detail::run_gate::serve(*this);
  run_in(nullptr);
  note.clear();
}

/// What to run next of what this worker has itself: the inbox by turns with the queues.
runnable* worker::next() noexcept {
  const bool turn = !std::exchange(inbox_had_turn_, false);
  if (inbox_.size() != 0 && turn) [[unlikely]] {
    if (runnable* work = inbox_.pop()) {
      inbox_had_turn_ = true;
      return work;
    }
  }
  runnable* const work = next_of_queues();
  return work != nullptr ? work : inbox_.pop();
}

runnable* worker::next_of_queues() noexcept {
  ++tick_;
  if (tick_ % io_interval == 0) {
    if (tick_ - polled_at_ >= poll_after_ && (io->ready() || io->unflushed() != 0 || io->blind())) {
      poll_io(reactor::no_wait);
    }
    if (wheel_.size() != 0) fire_timers(clock::detail_now_ns());
  }
  if (tick_ % injector_interval == 0) {
    if (runnable* work = home->shared_queue().pop()) return work;
  }
  if (shared_ && tick_ % sweep_interval == 0) sweep_neighbour();
  if (lifo_.load(order::relaxed) != nullptr) {
    runnable* work;
    if (shared_) {
      work = take_lifo();
    } else {
      work = lifo_.load(order::relaxed);
      lifo_.store(nullptr, order::relaxed);
    }
    if (work != nullptr) {
      if (++lifo_streak_ <= lifo_streak_max) return work;
      post_tail(*work);  // its turn comes after what waits already
    }
  }
  lifo_streak_ = 0;
  return next_queued();
}

/// By turns what was woken and what was spawned, so that neither starves the other.
runnable* worker::next_queued() noexcept {
  // By a count of its own: where a hand-over by the LIFO slot takes every other tick, those left
  // would always be the queue's.
  ++queue_tick_;
  if (queue_tick_ % 2 == 0) {
    if (runnable* work = queue_.pop()) return work;
  }
  if (queue_tick_ % oldest_fork_interval == 1) {
    if (runnable* work = starving_fork()) return work;
  }
  if (runnable* work = forks_.take()) return work;
  return queue_.pop();
}

/// The oldest fork, if it has been the oldest for too long.  Not more often: each time a tree that
/// is unfolded newest first, in little memory, is begun at one more place.
runnable* worker::starving_fork() noexcept {
  const std::int64_t top = forks_.top();
  const std::uint64_t now = clock::detail_now_ns();
  if (forks_.size() == 0 || top != oldest_fork_) {
    oldest_fork_ = top;
    oldest_since_ns_ = now;
  } else if (now - oldest_since_ns_ >= fork_age_max_ns) {
    oldest_since_ns_ = now;
    return forks_.steal();
  }
  return nullptr;
}

void worker::poll_io(std::uint64_t deadline_ns) noexcept {
  runnable_chain chain;
  const std::size_t room = queue_.free_slots();
  io->turn(deadline_ns, std::max<std::size_t>(room / 2, 1), chain);
  const bool fruitless = chain.count == 0 && io->ready();
  take_in(chain);
  // What this turn brought is run before the next, which so brings the more: a turn costs a system
  // call, and would only put what it brings behind what waits already.
  polled_at_ = tick_;
  // The kernel may leave its note that there is work for us behind when the work is done already
  // (io_uring's SQ_TASKRUN), until the next that really comes: it is believed ever more rarely.
  poll_after_ =
      fruitless ? std::clamp(2 * poll_after_, io_interval, poll_after_max)
                : static_cast<unsigned>(std::clamp<std::size_t>(queue_.size(), 1, poll_after_max));
}

void worker::fire_timers(std::uint64_t now_ns) noexcept {
  if (wheel_.next_deadline_ns() > now_ns) return;
  timer_list fired;
  std::size_t count;
  {
    lock_scope guard(wheel_);
    count = wheel_.expire(now_ns, fired, local_queue::capacity);
  }
  if (count == 0) return;  // some moved down
  crowd_.fired(now_ns, count);
  runnable_chain chain;
  while (timer_node* node = fired.pop_front()) chain.push(*static_cast<timer*>(node)->fires);
  take_in(chain);
}

void worker::park() noexcept {
  if (found_by_hook()) {
    if (searching_) stop_searching();
    call(home->settings().hooks.unparks);
    return;
  }
  idle& sleepers = home->sleepers();
  const auto self = static_cast<std::uint32_t>(index);
  const std::uint64_t now = clock::detail_now_ns();
  note_pace(now);
  std::uint64_t deadline =
      std::min(crowd_.wake_at(wheel_.next_deadline_ns(), now), watch_deadline(now));
  io->set_parked(true);
  parked_.store(true, order::relaxed);
  const bool look_again = sleepers.park(self, std::exchange(searching_, false));
  deadline = std::min(deadline, watch_again(now));
  // A rescuer may have reaped the wake-up of a notice that came before `set_parked`: then (N1) is
  // visible here, by the reactor's lock, and nothing else would end the parking.
  const bool notified = notified_.load(order::acquire);
  if (!notified && !(look_again && work_is_visible()) && !home->leaving()) {
    worker_counters::add(counters_.parks);
    poll_io(deadline <= now ? reactor::no_wait : deadline);
  }
  parked_.store(false, order::relaxed);
  io->set_parked(false);
  searching_ = !sleepers.unpark_self(self);
  // (N2) acquire: sees what the waker did before (N1), `leaving` among it.
  static_cast<void>(notified_.exchange(false, order::acq_rel));
  const std::uint64_t woke = clock::detail_now_ns();
  paced_at_ns_ = woke;
  if (wheel_.size() != 0) fire_timers(woke);
  short_parks_ = woke < now + static_cast<std::uint64_t>(home->settings().watch_interval.count())
                     ? short_parks_ + 1
                     : 0;
  watch(woke);
  call(home->settings().hooks.unparks);
}

}  // namespace magpie
