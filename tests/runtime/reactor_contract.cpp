#include <magpie/tests/runtime/reactor_contract.hpp>

#include <magpie/runtime/scheduler.hpp>

#include <cerrno>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

namespace magpie::tests {

// ---- time and posts ----------------------------------------------------------------------------

std::uint64_t monotonic_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t deadline_in(std::chrono::milliseconds time) {
  return monotonic_ns() + static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
}

/// A scheduler that never runs: what is posted to it from here lies in its shared queue.
struct post_office::state {
  static std::unique_ptr<scheduler> make_scheduler() {
    options idle;
    idle.reactor = reactor_kind::epoll;
    idle.flavour = flavour::current_thread;
    idle.workers = 1;
    std::error_code error;
    std::unique_ptr<scheduler> made(scheduler::make(idle, error));
    EXPECT_FALSE(error) << error.message();
    return made;
  }

  std::unique_ptr<scheduler> home = make_scheduler();
  task_root root{*home};
};

post_office::post_office() : state_(std::make_unique<state>()) {}
post_office::~post_office() = default;

task_root& post_office::root() { return state_->root; }

std::size_t post_office::run_all() {
  std::size_t count = 0;
  while (runnable* work = state_->home->shared_queue().pop()) {
    work->run(*work);
    ++count;
  }
  return count;
}

// ---- sockets -----------------------------------------------------------------------------------

socket_pair::socket_pair() {
  int both[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
  near.reset(both[0]);
  far.reset(both[1]);
}

void socket_pair::send_from_far(std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) {
    EXPECT_EQ(::send(far.get(), "x", 1, MSG_NOSIGNAL), 1);
  }
}

void socket_pair::fill() {
  const char block[4096] = {};
  while (::send(near.get(), block, sizeof block, MSG_NOSIGNAL) > 0) {
  }
  EXPECT_EQ(errno, EAGAIN);
}

std::size_t socket_pair::drain(int fd) {
  char block[4096];
  std::size_t total = 0;
  for (;;) {
    const ssize_t count = ::recv(fd, block, sizeof block, 0);
    if (count <= 0) return total;
    total += static_cast<std::size_t>(count);
  }
}

// ---- operations --------------------------------------------------------------------------------

probe::probe(descriptor& on, direction way, task_root& root)
    : readiness_operation(&probe::ended, on, way), own_(nullptr, root) {
  prepare({}, own_);
}

void probe::ended(runnable& work) noexcept {
  auto& self =
      static_cast<probe&>(static_cast<readiness_operation&>(static_cast<operation&>(work)));
  if (self.end()) ++self.ends;
}

// ---- the fixture -------------------------------------------------------------------------------

void reactor_contract::SetUp() {
  std::error_code error;
  io.reset(GetParam().make(error));
  if (io == nullptr) GTEST_SKIP() << GetParam().name << " is not available: " << error.message();
  EXPECT_FALSE(error);
}

std::size_t reactor_contract::run(const runnable_chain& chain) {
  std::size_t count = 0;
  for (runnable* work = chain.first; work != nullptr; ++count) {
    runnable* next = work->next;  // running it may put it elsewhere
    work->run(*work);
    work = next;
  }
  EXPECT_EQ(count, chain.count);
  return count;
}

std::size_t reactor_contract::poll(std::size_t limit) {
  std::size_t total = 0;
  for (;;) {
    runnable_chain chain;
    io->turn(reactor::no_wait, limit, chain);
    EXPECT_LE(chain.count, limit);
    if (chain.count == 0) return total;
    total += run(chain);
  }
}

std::size_t reactor_contract::collect(std::size_t count) {
  const std::uint64_t deadline = deadline_in(std::chrono::seconds(10));
  std::size_t total = 0;
  while (total < count && monotonic_ns() < deadline) {
    runnable_chain chain;
    io->turn(deadline, 64, chain);
    total += run(chain);
  }
  return total;
}

void reactor_contract::settle() {
  const std::uint64_t deadline = deadline_in(std::chrono::seconds(10));
  while (io->in_flight() != 0 && monotonic_ns() < deadline) {
    runnable_chain chain;
    io->turn(deadline_in(std::chrono::milliseconds(1)), 64, chain);
    EXPECT_EQ(chain.count, 0U);
  }
}

}  // namespace magpie::tests
