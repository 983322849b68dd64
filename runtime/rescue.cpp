/// The watcher: how an idle worker sees that another is stuck in user code, and what it does then.
///
/// A worker that runs moves its heartbeat (the count of runnables run).  The watcher is one parked
/// worker that wakes up every `watch_interval` while anything moves, ever more rarely when nothing
/// does, and sleeps untimed once nobody ran for 100 ms.  It compares heartbeats; one that stands
/// still although its worker is not parked means that a task computes.  Then the watcher enters the
/// stuck worker's submissions, interrupts its core so that the kernel posts the completions, reaps
/// them into its own queue, fires its due timers, and takes its queued tasks.
///
/// Where parks are short anyway, because I/O comes often, the looks cost no timer: a worker looks
/// when it comes back, at most once in an interval, and arms only a late timer of last resort.  To
/// arm a short one each time was 15 % of the CPU of a busy echo server in a virtual machine, where
/// programming the timer leaves the guest.
///
/// A watcher that finds work watches no more.  A second sleeper, its *deputy*, looks half as often
/// whether the watcher is still there, and takes over if not: so nobody has to be woken each time
/// that the watcher gets something to do.
///
/// All of this touches the stuck worker only through what thieves may touch: the reactor's rescue,
/// the wheel under its lock, the queue's steal, the LIFO slot's exchange.
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/timer.hpp>
#include <magpie/runtime/worker.hpp>

#include <time.h>

#include <algorithm>

namespace magpie {
namespace {

constexpr std::uint64_t busy_for_ns = 10'000'000;  // sampled at full rate so long
constexpr std::uint64_t watch_slowest_ns = 8'000'000;
constexpr std::uint64_t deep_idle_after_ns = 100'000'000;
constexpr unsigned short_parks_enough = 8;           // so many, and the next will be short too
constexpr std::uint64_t last_resort_ns = 5'000'000;  // behind the kernel's tick: not programmed

}  // namespace

/// Makes a role this worker's own if it is free.
bool worker::hold(atomic<int>& role) noexcept {
  const int self = static_cast<int>(index);
  int holder = role.load(order::relaxed);
  return holder == self ||
         (holder == -1 && role.compare_exchange_strong(holder, self, order::relaxed));
}

/// Lays a role down, if it is this worker's.
void worker::release(atomic<int>& role) noexcept {
  int self = static_cast<int>(index);
  role.compare_exchange_strong(self, -1, order::relaxed);
}

/// When this worker, about to park, has to look after the others; `reactor::forever` if it is
/// neither the watcher nor its deputy, or if there is nothing to watch.
std::uint64_t worker::watch_deadline(std::uint64_t now_ns) noexcept {
  if (!shared_ || !home->settings().rescue) return reactor::forever;
  const bool watcher = hold(home->watcher);
  if (watcher) release(home->deputy);
  if (!watcher && !hold(home->deputy)) return reactor::forever;
  const auto interval = static_cast<std::uint64_t>(home->settings().watch_interval.count());
  if (!std::exchange(watching_, true)) {
    watch_every_ns_ = interval;
    last_moved_ns_ = now_ns;
  }
  const std::uint64_t still = now_ns - last_moved_ns_;
  if (still >= deep_idle_after_ns && home->sleepers().parked() + 1 >= home->size()) {
    release(home->watcher);  // (R) of watch_again
    release(home->deputy);
    watching_ = false;
    return reactor::forever;
  }
  if (still < busy_for_ns) {
    watch_every_ns_ = interval;
  } else {
    watch_every_ns_ = std::min(watch_every_ns_ * 2, std::max(watch_slowest_ns, interval));
  }
  if (short_parks_ >= short_parks_enough) return now_ns + std::max(watch_every_ns_, last_resort_ns);
  return now_ns + (watcher ? watch_every_ns_ : 2 * watch_every_ns_);
}

/// The same for a worker that has entered the list of sleepers, and is nobody's watcher: the
/// watcher may have laid its role down because all slept, while one was waking up.
///
/// Why nobody is left unwatched.  Watcher: (R) lays the role down, then (P) enters the list.
/// Waker: (U) leaves the list, or is picked from it, then (L) looks at the role and, if it is free,
/// wakes a sleeper.  (P) and (U) hold the list's lock.  If (U) comes first, (P) is followed by a
/// count of sleepers that shows somebody awake, and the watcher takes the role back.  If (P) comes
/// first, (R) is visible to (L), and the waker finds the watcher in the list.
std::uint64_t worker::watch_again(std::uint64_t now_ns) noexcept {
  if (watching_ || home->sleepers().parked() >= home->size()) return reactor::forever;
  return watch_deadline(now_ns);
}

/// This worker has found work and may get stuck in it: it watches no more.  Its deputy sees that in
/// time; if there is neither, a sleeper is woken to take over.
void worker::stop_watching() noexcept {
  watching_ = false;
  release(home->watcher);
  release(home->deputy);
  wake_a_watcher();
}

void worker::wake_a_watcher() noexcept {
  // (L) of watch_again.
  if (home->watcher.load(order::relaxed) != -1 || home->deputy.load(order::relaxed) != -1) return;
  if (const int peer = home->sleepers().pick_any(); peer >= 0)
    home->at(static_cast<std::size_t>(peer)).wake();
}

/// After parking: the watcher looks; the deputy does if the watcher runs and so cannot; a worker
/// that comes out of deep idle makes somebody watch.
void worker::watch(std::uint64_t now_ns) noexcept {
  if (!shared_ || !home->settings().rescue) return;
  if (!watching_) {
    wake_a_watcher();
    return;
  }
  const auto interval = static_cast<std::uint64_t>(home->settings().watch_interval.count());
  // Sooner, a heartbeat that stands still would say nothing.  A timer may be a little early.
  if (now_ns - last_look_ns_ < interval - interval / 8) return;
  last_look_ns_ = now_ns;
  const int self = static_cast<int>(index);
  int chief = home->watcher.load(order::relaxed);
  bool mine = chief == self;
  if (!mine && (chief < 0 || !home->at(static_cast<std::size_t>(chief)).parked())) {
    mine = home->watcher.compare_exchange_strong(chief, self, order::relaxed);
    if (mine) release(home->deputy);
  }
  worker_counters::add(counters_.watches);
  bool moved = false;
  for (std::size_t i = 0; i < home->size(); ++i) {
    if (i == index) continue;
    worker& other = home->at(i);
    const std::uint64_t beat = other.counters_.polls.load(order::relaxed);
    const bool stands_still = seen_[i].beat == beat;
    if (!stands_still) {
      seen_[i].beat = beat;
      seen_[i].since_ns = now_ns;
      moved = true;
    }
    if (!mine || other.parked()) continue;
    if (stands_still) {
      check_long_run(other, beat, now_ns - seen_[i].since_ns, now_ns);
      rescue(other);
    } else if (other.forks_.size() > 1) {
      take_fork(other);
    }
  }
  if (moved) last_moved_ns_ = now_ns;
  worker_counters::add(counters_.watch_ns, clock::detail_now_ns() - now_ns);
}

/// Takes one of the forks that wait at a busy worker: it may be the root of a tree.
void worker::take_fork(worker& busy) noexcept {
  if (runnable* work = steal_fork(busy)) post_tail(*work);
}

bool worker::on_core() const noexcept {
  const clockid_t clock = cpu_clock_.load(order::relaxed);
  timespec first{};
  timespec second{};
  // -1 is no clock: the calls fail and nothing moves.
  if (::clock_gettime(clock, &first) != 0 || ::clock_gettime(clock, &second) != 0) return false;
  return first.tv_nsec != second.tv_nsec || first.tv_sec != second.tv_sec;
}

/// Takes over what a stuck worker cannot get to; true if there was anything.
bool worker::rescue(worker& stuck) noexcept {
  runnable_chain chain;
  const std::size_t room = std::max<std::size_t>(queue_.free_slots() / 2, 1);
  const rescue_report report = stuck.io->rescue(stuck.on_core(), room, chain);
  if (report.kicked) worker_counters::add(counters_.kicks);
  const std::uint64_t now = clock::detail_now_ns();
  if (stuck.wheel_.next_deadline_ns() <= now && stuck.wheel_.try_lock()) {
    timer_list fired;
    stuck.wheel_.expire(now, fired, local_queue::capacity);
    stuck.wheel_.unlock();
    while (timer_node* node = fired.pop_front()) chain.push(*static_cast<timer*>(node)->fires);
  }
  if (stuck.lifo_.load(order::relaxed) != nullptr) {
    if (runnable* work = stuck.take_lifo()) chain.push(*work);
  }
  take_in(chain);
  if (runnable* work = steal_from(stuck)) {
    chain.count += 1;
    post_tail(*work);
  }
  if (chain.count != 0) worker_counters::add(counters_.rescues);
  return chain.count != 0;
}

/// The watchdog: `other` has not come back to its loop for `ran_ns`.  The marks are heartbeats, so
/// that a run is counted and reported once, whoever watches.
void worker::check_long_run(worker& other, std::uint64_t beat, std::uint64_t ran_ns,
                            std::uint64_t now_ns) noexcept {
  const watchdog& dog = home->settings().watchdog;
  const auto threshold = static_cast<std::uint64_t>(dog.threshold.count());
  if (threshold == 0 || ran_ns < threshold) return;
  if (other.reported_long_.load(order::relaxed) == beat) return;
  const detail::running_note::reading seen = other.note.read();
  if (seen.task == 0 || other.counters_.polls.load(order::relaxed) != beat) return;
  // Relaxed: the exchange alone decides who counts; nothing is published.
  if (other.counted_long_.exchange(beat, order::relaxed) != beat)
    worker_counters::add(counters_.long_runs);
  if (dog.reports == nullptr || !home->may_report_long(now_ns)) return;
  if (other.reported_long_.exchange(beat, order::relaxed) == beat) return;
  long_run report;
  report.task = seen.task;
  report.name = seen.name;
  report.place = seen.place;
  report.worker = other.index;
  report.ran = std::chrono::nanoseconds(ran_ns);
  dog.reports(dog.context, report);
}

/// When everybody is busy there is no watcher: each worker glances at its neighbour instead.
void worker::sweep_neighbour() noexcept {
  if (!home->settings().rescue) return;
  worker& other = home->at(index + 1 == home->size() ? 0 : index + 1);
  const std::uint64_t beat = other.counters_.polls.load(order::relaxed);
  const std::uint64_t now = clock::detail_now_ns();
  note_pace(now);
  if (beat != neighbour_seen_ || other.parked()) {
    neighbour_seen_ = beat;
    neighbour_seen_ns_ = now;
    neighbour_since_ns_ = now;
    return;
  }
  check_long_run(other, beat, now - neighbour_since_ns_, now);
  if (now - neighbour_seen_ns_ >=
      static_cast<std::uint64_t>(home->settings().watch_interval.count())) {
    neighbour_seen_ns_ = now;
    rescue(other);
  }
}

}  // namespace magpie
