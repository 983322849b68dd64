#include <magpie/runtime/scheduler.hpp>

#include <magpie/runtime/blocking_pool.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/cpu_count.hpp>
#include <magpie/runtime/reactor_factory.hpp>
#include <magpie/runtime/sim_world.hpp>
#include <magpie/runtime/timer.hpp>
#include <magpie/runtime/worker.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/random.hpp>

#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>

namespace magpie {

const char* to_string(reactor_kind kind) noexcept {
  switch (kind) {
    case reactor_kind::uring:
      return "uring";
    case reactor_kind::epoll:
      return "epoll";
    case reactor_kind::sim:
      return "sim";
    default:
      return "auto";
  }
}

struct scheduler::thread_state {
  scheduler* owner;
  std::size_t index;
  pthread_t thread;
};

// ---- options -----------------------------------------------------------------------------------

namespace {

/// Longer ones would overflow the clock that they are added to.
constexpr std::chrono::nanoseconds watch_interval_max = std::chrono::hours(1);

/// Fills in what the code left at its default from the environment; false on nonsense there.
bool apply_environment(options& chosen) noexcept {
  if (const char* text = std::getenv("MAGPIE_WORKERS"); text != nullptr && chosen.workers == 0) {
    std::size_t count = 0;
    const char* end = text + std::strlen(text);
    const auto [rest, error] = std::from_chars(text, end, count);
    if (error != std::errc{} || rest != end || count == 0 || count > options::workers_max) {
      std::fprintf(stderr, "magpie: MAGPIE_WORKERS=%s is not a number from 1 to %zu\n", text,
                   options::workers_max);
      return false;
    }
    chosen.workers = count;
  }
  if (const char* text = std::getenv("MAGPIE_REACTOR");
      text != nullptr && chosen.reactor == reactor_kind::automatic) {
    for (const reactor_kind kind :
         {reactor_kind::automatic, reactor_kind::uring, reactor_kind::epoll}) {
      if (std::strcmp(text, to_string(kind)) == 0) {
        chosen.reactor = kind;
        return true;
      }
    }
    std::fprintf(stderr, "magpie: MAGPIE_REACTOR=%s is not auto, uring or epoll\n", text);
    return false;
  }
  return true;
}

}  // namespace

scheduler* scheduler::make(const options& wanted, std::error_code& error) noexcept {
  options chosen = wanted;
  if (!apply_environment(chosen) || chosen.workers > options::workers_max ||
      chosen.blocking_threads_max == 0 || chosen.watch_interval.count() <= 0) {
    error = std::make_error_code(std::errc::invalid_argument);
    return nullptr;
  }
  chosen.watch_interval = std::min(chosen.watch_interval, watch_interval_max);
  if (chosen.flavour == flavour::current_thread) chosen.workers = 1;
  if (chosen.workers == 0) chosen.workers = std::min(usable_cpus(), options::workers_max);
  auto* made = new (std::nothrow) scheduler(chosen);
  error = made == nullptr ? std::make_error_code(std::errc::not_enough_memory) : made->set_up();
  if (error) {
    delete made;
    return nullptr;
  }
  return made;
}

// ---- set-up ------------------------------------------------------------------------------------

std::error_code scheduler::set_up() noexcept {
  const std::error_code no_memory = std::make_error_code(std::errc::not_enough_memory);
  const std::size_t count = settings_.workers;
  const bool simulated = settings_.reactor == reactor_kind::sim;
  on_caller_ = simulated || settings_.flavour == flavour::current_thread;
  maker_ = ::pthread_self();
  if (simulated) {
    world_ = new (std::nothrow) sim_world(settings_.seed);
    if (world_ == nullptr) return no_memory;
    world_->on_completion(
        [](void* self, runnable& work) noexcept { static_cast<scheduler*>(self)->post(work); },
        this);
  }
  workers_ = new (std::nothrow) worker*[count]();
  threads_ = new (std::nothrow) thread_state[count]();
  blocking_ = new (std::nothrow) blocking_pool(
      settings_.blocking_threads_max, settings_.blocking_queue_max, settings_.blocking_keep_alive);
  if (workers_ == nullptr || threads_ == nullptr || blocking_ == nullptr) return no_memory;
  const std::uint64_t now = simulated ? world_->now_ns : clock::detail_now_ns();
  split_mix64 seeds(simulated ? settings_.seed : now);
  for (std::size_t i = 0; i < count; ++i) {
    const bool shared = count > 1;
    workers_[i] = new (std::nothrow) worker(*this, i, seeds.next(), shared, now);
    if (workers_[i] == nullptr || workers_[i]->hot_buffer == nullptr) return no_memory;
    if (simulated) workers_[i]->virtual_now = &world_->now_ns;
  }
  return set_up_reactors();
}

bool scheduler::try_reactors(reactor_kind kind, std::error_code& error) noexcept {
  for (std::size_t i = 0; i < settings_.workers; ++i) {
    worker& owner = *workers_[i];
    switch (kind) {
      case reactor_kind::uring:
        owner.io = make_uring_reactor(settings_.flavour == flavour::current_thread, error);
        break;
      case reactor_kind::epoll:
        owner.io = make_epoll_reactor(error);
        break;
      default:
        owner.io = make_sim_reactor(*world_);
        if (owner.io == nullptr) error = std::make_error_code(std::errc::not_enough_memory);
        break;
    }
    if (owner.io == nullptr) {
      for (std::size_t k = 0; k < i; ++k) {
        delete workers_[k]->io;
        workers_[k]->io = nullptr;
      }
      return false;
    }
  }
  settings_.reactor = kind;
  return true;
}

std::error_code scheduler::set_up_reactors() noexcept {
  std::error_code error;
  const reactor_kind wanted = settings_.reactor;
  if (wanted != reactor_kind::automatic) {
    if (try_reactors(wanted, error)) return {};
    if (settings_.log)
      std::fprintf(stderr, "magpie: reactor %s is not available: %s\n", to_string(wanted),
                   error.message().c_str());
    return error;
  }
  if (try_reactors(reactor_kind::uring, error)) return {};
  if (settings_.log)
    std::fprintf(stderr, "magpie: io_uring is not available (%s), using epoll\n",
                 error.message().c_str());
  error.clear();
  if (try_reactors(reactor_kind::epoll, error)) return {};
  return error;
}

scheduler::~scheduler() {
  delete blocking_;
  // (P2) acquire: foreign threads that posted the last tasks have let go of us.
  while (posting_.load(order::acquire) != 0) thread_yield();
  if (workers_ != nullptr) {
    for (std::size_t i = 0; i < settings_.workers; ++i) delete workers_[i];
  }
  delete[] workers_;
  delete[] threads_;
  delete world_;
}

// ---- threads -----------------------------------------------------------------------------------

void* scheduler::thread_main(void* raw) noexcept {
  const thread_state& state = *static_cast<thread_state*>(raw);
  scheduler& owner = *state.owner;
  char name[16];
  std::snprintf(name, sizeof name, "magpie-%zu", state.index);
  ::pthread_setname_np(::pthread_self(), name);
  ::prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
  owner.workers_[state.index]->run(nullptr);
  owner.workers_[state.index]->finish();
  owner.left_.fetch_add(1, order::release);  // pairs with the acquire in stop_workers
  return nullptr;
}

std::error_code scheduler::start(std::size_t first) noexcept {
  first_thread_ = first;
  if (world_ != nullptr || settings_.flavour == flavour::current_thread) return {};
  for (std::size_t i = first; i < settings_.workers; ++i) {
    thread_state& state = threads_[i];
    state.owner = this;
    state.index = i;
    if (const int code = ::pthread_create(&state.thread, nullptr, &thread_main, &state); code != 0)
      return errno_code(code);
    ++started_;
  }
  return {};
}

bool scheduler::stop_workers(bool drained) noexcept {
  constexpr std::uint64_t patience_ns = 100'000'000;
  const std::uint64_t deadline_ns =
      drained ? ~std::uint64_t{0} : clock::detail_now_ns() + patience_ns;
  drained_ = drained;  // before `leaving_`, by which the workers learn of it
  leaving_.store(true, order::release);
  for (std::size_t i = 0; i < settings_.workers; ++i) workers_[i]->wake();
  while (left_.load(order::acquire) != started_) {
    if (clock::detail_now_ns() >= deadline_ns) return false;
    const timespec pause{0, 100'000};
    ::nanosleep(&pause, nullptr);
  }
  for (std::size_t i = 0; i < started_; ++i)
    ::pthread_join(threads_[first_thread_ + i].thread, nullptr);
  // Those that have no thread ran on the caller's; for the others this does nothing.
  for (std::size_t i = 0; i < settings_.workers; ++i) workers_[i]->finish();
  started_ = 0;
  left_.store(0, order::relaxed);
  return true;
}

/// The kernel lets no other thread into a ring that was made for one, and a simulation, workers and
/// all, lives on one thread.
void scheduler::check_maker() const noexcept {
  MAGPIE_ASSERT(::pthread_equal(maker_, ::pthread_self()) != 0 &&
                "a runtime without threads is used by another thread than the one that made it");
}

void scheduler::run_here(const atomic<bool>& done) noexcept {
  check_maker();
  if (world_ != nullptr) {
    run_simulation(done, reactor::forever);
  } else {
    workers_[0]->run(&done);
  }
}

namespace {

/// Makes worker 0 leave its loop at a time: fires once, in its wheel.  A thief may run it, so it
/// wakes worker 0, which may be parked by then.
struct alarm final : runnable {
  alarm(scheduler& of, atomic<bool>& to_set) noexcept
      : runnable(&ring), owner(&of), flag(&to_set), clock(*this) {}
  static void ring(runnable& work) noexcept {
    auto& self = static_cast<alarm&>(work);
    scheduler& owner = *self.owner;
    self.flag->store(true, order::release);  // `self` may be gone after it
    owner.wake_first();
  }
  scheduler* owner;
  atomic<bool>* flag;
  timer clock;
};

}  // namespace

void scheduler::run_until(const atomic<bool>& done, std::uint64_t deadline_ns) noexcept {
  if (world_ != nullptr) {
    run_simulation(done, deadline_ns);
    return;
  }
  if (!on_caller_) {
    const timespec pause{0, 200'000};
    while (!done.load(order::acquire) && clock::detail_now_ns() < deadline_ns)
      ::nanosleep(&pause, nullptr);
    return;
  }
  check_maker();
  worker& first = *workers_[0];
  atomic<bool> late{false};
  alarm at_deadline(*this, late);
  if (deadline_ns != reactor::forever) at_deadline.clock.arm(first.wheel(), deadline_ns);
  while (!done.load(order::acquire) && !late.load(order::acquire)) first.run_one();
  if (deadline_ns != reactor::forever && !at_deadline.clock.disarm())
    while (!late.load(order::acquire)) first.run_one();
}

/// One thread plays all workers: the seed picks whose turn it is; when none has anything to do,
/// time moves on to the next event.
void scheduler::run_simulation(const atomic<bool>& done, std::uint64_t until_ns) noexcept {
  sys::network* const before = sys::set_current_network(&world_->network);
  const auto count = static_cast<std::uint32_t>(settings_.workers);
  if (until_ns != reactor::forever) world_->resume_for_good();
  while (!done.load(order::relaxed) && world_->now_ns < until_ns) {
    const std::uint32_t first = world_->random.below(count);
    bool worked = false;
    for (std::uint32_t i = 0; i < count && !worked; ++i) {
      worked = workers_[(first + i) % count]->step();
    }
    if (worked) {
      world_->step_passed();
      if (!world_->impatient()) continue;
    }
    std::uint64_t next = timer_wheel::no_deadline;
    for (std::uint32_t i = 0; i < count; ++i)
      next = std::min(next, workers_[i]->next_deadline_ns());
    if (!world_->move_on(next, until_ns)) {
      std::fprintf(stderr, "magpie: simulation: every task waits and %s\n",
                   world_->paused() ? "the clock is paused: nobody is left to advance it"
                                    : "no event is due");
      std::abort();
    }
  }
  sys::set_current_network(before);
}

// ---- posting -----------------------------------------------------------------------------------

void scheduler::post(runnable& work) noexcept {
  detail::context* const here = detail::current_context;
  if (here != nullptr && here->home == this) {
    static_cast<worker*>(here)->post_local(work);
    return;
  }
  if (world_ != nullptr) check_maker();
  // (P1) counted before `work` can be seen: it may be the last of its runtime, which then waits at
  // its end for the wake-up below to be over.  Relaxed: the injector's lock publishes it.
  posting_.fetch_add(1, order::relaxed);
  inject(&work, &work, 1);
  wake_one();
  posting_.fetch_sub(1, order::release);  // (P2)
}

void scheduler::post_to(std::size_t index, runnable& work) noexcept {
  worker& to = *workers_[index];
  detail::context* const here = detail::current_context;
  const bool foreign = here == nullptr || here->home != this;
  if (foreign) posting_.fetch_add(1, order::relaxed);  // (P1)
  to.post_inbox(work);
  if (foreign) posting_.fetch_sub(1, order::release);  // (P2)
}

void scheduler::inject(runnable* first, runnable* last, std::size_t count) noexcept {
  const bool taken = injector_.push(first, last, count);
  MAGPIE_ASSERT(taken);  // the injector is never closed while somebody may post
}

void scheduler::wake_one() noexcept {
  if (const int index = idle_.pick_to_wake(); index >= 0)
    workers_[static_cast<std::size_t>(index)]->wake();
}

bool scheduler::may_report(std::uint64_t now_ns, atomic<std::uint64_t>& at_ns) noexcept {
  constexpr std::uint64_t gap_ns = std::chrono::nanoseconds(watchdog::report_gap).count();
  std::uint64_t next = at_ns.load(order::relaxed);
  // Relaxed: one of those who come at the same time gets it; nothing is published.
  return now_ns >= next &&
         at_ns.compare_exchange_strong(next, now_ns + gap_ns, order::relaxed, order::relaxed);
}

bool scheduler::remember_ignored(std::uint64_t task) noexcept {
  // Relaxed: a task runs on one worker at a time, and its way to another one brings what it wrote.
  for (const atomic<std::uint64_t>& one : ignored_)
    if (one.load(order::relaxed) == task) return false;
  const std::size_t place = ignored_count_.fetch_add(1, order::relaxed) % ignored_max;
  ignored_[place].store(task, order::relaxed);
  return true;
}

std::uint64_t scheduler::now_ns() const noexcept {
  return world_ != nullptr ? world_->now_ns : clock::detail_now_ns();
}

namespace {

constinit atomic<std::uint64_t> ids_of_process{1};

}  // namespace

std::uint64_t scheduler::take_ids(std::uint64_t count) noexcept {
  atomic<std::uint64_t>& ids = world_ != nullptr ? simulated_ids_ : ids_of_process;
  return ids.fetch_add(count, order::relaxed);  // unique by itself; publishes nothing
}

void scheduler::wake_first() noexcept { workers_[0]->wake(); }

}  // namespace magpie
