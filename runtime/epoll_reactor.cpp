#include <magpie/runtime/epoll_reactor.hpp>

#include <magpie/runtime/reactor_factory.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/errc.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <limits>
#include <new>

namespace magpie {
namespace {

using record = epoll_slab::registration;

/// What the eventfd's events carry; no index is that high.
constexpr std::uint64_t wake_tag = ~std::uint64_t{0};

/// The slot of an operation that no registration holds.
constexpr std::uint32_t no_slot = ~std::uint32_t{0};

constexpr std::uint32_t descriptor_events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;

std::uint64_t tag_of(const record& which) noexcept {
  return (std::uint64_t{which.generation()} << 32) | which.index;
}

constexpr unsigned way_of(direction way) noexcept {
  return way == direction::read ? record::read_way : record::write_way;
}

/// The directions in which an attempt is worth while.  An error is told to both: either attempt
/// may be the one that takes it.
constexpr unsigned ready_ways(std::uint32_t events) noexcept {
  unsigned ways = 0;
  if ((events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
    ways |= record::read_bit;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) ways |= record::write_bit;
  return ways;
}

/// The directions of which an edge no longer tells all: they will stay ready, or, after urgent
/// data, a read stops at the mark although more is there.
constexpr unsigned hung_up_ways(std::uint32_t events) noexcept {
  unsigned ways = 0;
  if ((events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP)) != 0) ways |= record::read_bit;
  if ((events & EPOLLHUP) != 0) ways |= record::write_bit;
  return ways;
}

std::uint64_t now_ns() noexcept {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

/// The registration field of a descriptor: two tasks on two workers may wait on it for the first
/// time at once, one in each direction.
std::atomic_ref<void*> registration_of(descriptor& io) noexcept {
  return std::atomic_ref<void*>(io.registration);
}

/// Gives back a registration that no descriptor has.
void discard(record& unused) noexcept {
  unused.close();
  unused.closed();
  epoll_registrations().give(unused);
}

}  // namespace

// ---- life --------------------------------------------------------------------------------------

std::error_code epoll_reactor::open() noexcept {
  MAGPIE_ASSERT(!epoll_.valid());
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  count_system_call();
  if (!epoll_) return errno_code(errno);
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  count_system_call();
  if (!wake_) return errno_code(errno);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = wake_tag;
  count_system_call();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) return errno_code(errno);
  // Absent before Linux 5.11 and behind some filters: then timeouts are whole milliseconds.
  const timespec at_once{};
  count_system_call();
  fine_timeouts_ = ::epoll_pwait2(epoll_.get(), events_, 1, &at_once, nullptr) >= 0;
  return {};
}

epoll_reactor::~epoll_reactor() {
  if (epoll_) epoll_registrations().abandon(epoll_.get());
}

reactor* make_epoll_reactor(std::error_code& error) noexcept {
  auto* made = new (std::nothrow) epoll_reactor;
  error = made == nullptr ? std::make_error_code(std::errc::not_enough_memory) : made->open();
  if (!error) return made;
  delete made;
  return nullptr;
}

// ---- waiting -----------------------------------------------------------------------------------

bool epoll_reactor::wait(readiness_operation& op) noexcept {
  // Before any lock is taken: linking may walk into cancels.
  op.scope().link();
  if (op.scope().stop_requested()) return false;
  MAGPIE_ASSERT(op.io->fd >= 0);
  op.where = this;
  // Acquire pairs with the release in add: the registration's index is visible.
  auto* on = static_cast<registration*>(registration_of(*op.io).load(order::acquire));
  for (;;) {
    if (on == nullptr) {
      if (const int error = add(*op.io, nullptr, on); error != 0) return end_at_once(op, error);
    }
    op.slot = on->index;
    in_flight_.fetch_add(1, order::relaxed);  // a counter; before the wait, so it never wraps
    switch (wait_on(*on, op)) {
      case registration::outcome::waiting:
        return true;
      case registration::outcome::ready:
        push_ready(op);
        return true;
      case registration::outcome::refused:
        in_flight_.fetch_sub(1, order::relaxed);
        return false;
      default:  // its reactor has been destroyed
        in_flight_.fetch_sub(1, order::relaxed);
        if (const int error = add(*op.io, on, on); error != 0) return end_at_once(op, error);
    }
  }
}

epoll_reactor::registration::outcome epoll_reactor::wait_on(registration& on,
                                                            readiness_operation& op) noexcept {
  const unsigned way = way_of(op.dir);
  const auto outcome = on.wait(way, op);
  if (outcome != registration::outcome::ask) [[likely]]
    return outcome;
  const bool ready = has_readiness(*op.io, op.dir);
  return on.wait(way, op, ready ? registration::knows::ready : registration::knows::not_ready);
}

bool epoll_reactor::has_readiness(const descriptor& io, direction way) noexcept {
  pollfd question{};
  question.fd = io.fd;
  question.events = way == direction::read ? POLLIN | POLLRDHUP : POLLOUT;
  count_system_call();
  return ::poll(&question, 1, 0) != 0;  // after a failure the attempt will tell
}

/// Ends a wait that the kernel refused to register.  EPERM: a file that is always ready.
bool epoll_reactor::end_at_once(readiness_operation& op, int error) noexcept {
  op.wait_error = error == EPERM ? 0 : error;
  op.slot = no_slot;
  in_flight_.fetch_add(1, order::relaxed);  // a counter, as in wait
  if (!op.begin()) {
    in_flight_.fetch_sub(1, order::relaxed);
    return false;
  }
  push_ready(op);
  return true;
}

int epoll_reactor::add(descriptor& io, registration* dead, registration*& added) noexcept {
  registration* fresh = epoll_registrations().take();
  if (fresh == nullptr) return ENOMEM;
  fresh->open(epoll_.get());
  epoll_event event{};
  event.events = descriptor_events;
  event.data.u64 = tag_of(*fresh);
  count_system_call();
  // Reports by itself what the descriptor is ready for now.
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, io.fd, &event) != 0) {
    const int error = errno;
    discard(*fresh);
    return error;
  }
  void* expected = dead;
  // Release: whoever loads the pointer sees the index.  Acquire: if somebody on another worker was
  // faster, we see theirs.  A dead registration is not used again: another worker may have loaded
  // the pointer and be about to look.
  if (registration_of(io).compare_exchange_strong(expected, fresh, order::acq_rel)) {
    added = fresh;
    return 0;
  }
  count_system_call();
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, io.fd, nullptr);
  discard(*fresh);
  added = static_cast<registration*>(expected);
  return 0;
}

void epoll_reactor::cancel(readiness_operation& op) noexcept {
  registration* on = epoll_registrations().at(op.slot);
  // Not held: it is in a ready chain or handed out, and ends with what happened.
  if (on == nullptr || !on->cancel(way_of(op.dir), op)) return;
  op.cancelled = true;
  in_flight_.fetch_sub(1, order::relaxed);  // a counter
  op.scope().root().post(op);
}

void epoll_reactor::forget(descriptor& io) noexcept {
  if (end_registration(io)) count_system_call();
}

// ---- the ready chain ---------------------------------------------------------------------------

void epoll_reactor::push_ready(readiness_operation& op) noexcept {
  lock_scope held(ready_lock_);
  ready_.push(op);
  ready_count_.store(ready_.count, order::relaxed);  // a hint for ready(); the lock guards the rest
}

std::size_t epoll_reactor::take_ready(std::size_t limit, runnable_chain& out) noexcept {
  // Relaxed: our own thread's pushes are visible to it, and a rescuer's come before it gives back
  // the reap lock, which the turn that must not miss them takes first.
  if (ready_count_.load(order::relaxed) == 0) return 0;
  lock_scope held(ready_lock_);
  std::size_t taken = 0;
  for (; taken != limit && ready_.first != nullptr; ++taken) {
    runnable& first = *ready_.first;
    ready_.first = first.next;
    --ready_.count;
    hand_out(static_cast<readiness_operation&>(static_cast<operation&>(first)), out);
  }
  if (ready_.first == nullptr) ready_.last = nullptr;
  ready_count_.store(ready_.count, order::relaxed);  // as in push_ready
  return taken;
}

void epoll_reactor::hand_out(readiness_operation& op, runnable_chain& out) noexcept {
  // It may have been begun on another reactor than the one that hands it out.
  static_cast<epoll_reactor*>(op.where)->in_flight_.fetch_sub(1, order::relaxed);  // a counter
  out.push(op);
}

// ---- collecting --------------------------------------------------------------------------------

void epoll_reactor::turn(std::uint64_t deadline_ns, std::size_t limit,
                         runnable_chain& out) noexcept {
  if (limit == 0) return;
  if (deadline_ns == no_wait) {
    if (reap_lock_.try_lock()) {
      collect(no_wait, limit, out);
      reap_lock_.unlock();
    } else {
      take_ready(limit, out);  // a rescuer is at it
    }
    return;
  }
  // Before the look at the ready chain: a rescuer that overflows into it holds the lock, and
  // nobody else pushes while we are here.
  lock_scope held(reap_lock_);
  if (woken_) deadline_ns = no_wait;
  woken_ = false;
  collect(deadline_ns, limit, out);
  if (deadline_ns != no_wait) woken_ = false;  // it ended this turn, if it came
}

std::size_t epoll_reactor::collect(std::uint64_t deadline_ns, std::size_t limit,
                                   runnable_chain& out) noexcept {
  std::size_t collected = take_ready(limit, out);
  if (collected == limit) return collected;
  if (collected != 0) deadline_ns = no_wait;
  const std::size_t most = limit - collected < batch_size ? limit - collected : batch_size;
  const int count = enter(deadline_ns, static_cast<int>(most));
  std::uint64_t stale = 0;
  for (int i = 0; i < count; ++i) {
    const epoll_event event = events_[i];
    if (event.data.u64 == wake_tag) {
      woken_ = true;
      continue;
    }
    registration* on = epoll_registrations().at(static_cast<std::uint32_t>(event.data.u64));
    MAGPIE_ASSERT(on != nullptr);
    const auto delivery = on->event(static_cast<std::uint32_t>(event.data.u64 >> 32),
                                    ready_ways(event.events), hung_up_ways(event.events));
    stale += delivery.stale ? 1 : 0;
    for (readiness_operation* op : delivery.ended) {
      if (op == nullptr) continue;
      if (collected == limit) {
        push_ready(*op);
      } else {
        hand_out(*op, out);
        ++collected;
      }
    }
  }
  if (stale != 0) stale_events_.fetch_add(stale, order::relaxed);  // a counter
  return collected;
}

/// Waits for events; returns how many, 0 when it was interrupted.
int epoll_reactor::enter(std::uint64_t deadline_ns, int most) noexcept {
  constexpr std::uint64_t second = 1'000'000'000;
  constexpr std::uint64_t millisecond = 1'000'000;
  const std::uint64_t now = deadline_ns == no_wait || deadline_ns == forever ? 0 : now_ns();
  const std::uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
  count_system_call();
  int count = 0;
  if (left == 0 || deadline_ns == forever) {
    count = ::epoll_wait(epoll_.get(), events_, most, left == 0 ? 0 : -1);
  } else if (fine_timeouts_) {
    timespec timeout;
    timeout.tv_sec = static_cast<time_t>(left / second);
    timeout.tv_nsec = static_cast<long>(left % second);
    count = ::epoll_pwait2(epoll_.get(), events_, most, &timeout, nullptr);
  } else {
    constexpr auto longest = std::uint64_t{std::numeric_limits<int>::max()} * millisecond;
    const std::uint64_t rounded = left < longest ? left + millisecond - 1 : longest;
    count = ::epoll_wait(epoll_.get(), events_, most, static_cast<int>(rounded / millisecond));
  }
  MAGPIE_ASSERT(count >= 0 || errno == EINTR);
  return count < 0 ? 0 : count;
}

void epoll_reactor::wake() noexcept {
  const int kept = errno;  // a signal handler may be calling
  const std::uint64_t one = 1;
  count_system_call();
  while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR) count_system_call();
  errno = kept;
}

rescue_report epoll_reactor::rescue(bool /*on_core*/, std::size_t limit,
                                    runnable_chain& out) noexcept {
  rescue_report report;
  if (limit == 0 || !reap_lock_.try_lock()) return report;  // in a turn, or somebody is at it
  // A parked owner is left alone: its wake might be among the events.
  if (!parked_) report.reaped = collect(no_wait, limit, out);
  reap_lock_.unlock();
  return report;
}

void epoll_reactor::set_parked(bool parked) noexcept {
  lock_scope held(reap_lock_);
  parked_ = parked;
}

// ---- counters ----------------------------------------------------------------------------------

void epoll_reactor::count_system_call() noexcept {
  system_calls_.fetch_add(1, order::relaxed);  // a counter
}

std::size_t epoll_reactor::in_flight() const noexcept {
  return in_flight_.load(order::relaxed);  // a counter
}

std::uint64_t epoll_reactor::system_calls() const noexcept {
  return system_calls_.load(order::relaxed);  // a counter
}

std::uint64_t epoll_reactor::stale_events() const noexcept {
  return stale_events_.load(order::relaxed);  // a counter
}

}  // namespace magpie
