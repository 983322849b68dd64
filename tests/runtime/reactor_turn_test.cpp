// Turns: limits, deadlines, wakes, and rescues from another thread.
#include <magpie/tests/runtime/reactor_contract.hpp>

#include <array>
#include <atomic>
#include <csignal>
#include <deque>
#include <memory>
#include <mutex>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace magpie::tests::reactor_turn_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Many sockets, each with a wait for data.
struct crowd {
  crowd(std::size_t size, task_root& root) {
    for (std::size_t i = 0; i < size; ++i) {
      auto& near = descriptors.emplace_back(descriptor{.fd = sockets.emplace_back().near.get()});
      reads.push_back(std::make_unique<probe>(near, direction::read, root));
      writes.push_back(std::make_unique<probe>(near, direction::write, root));
    }
  }

  void forget(reactor& io) {
    for (descriptor& each : descriptors) io.forget(each);
  }

  std::deque<socket_pair> sockets;
  std::deque<descriptor> descriptors;
  std::vector<std::unique_ptr<probe>> reads;
  std::vector<std::unique_ptr<probe>> writes;
};

// ---- limits and deadlines ----------------------------------------------------------------------

TEST_P(reactor_contract, turn_keeps_to_its_limit) {
  crowd all(20, posts.root());
  for (std::size_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(io->wait(*all.reads[i]));
    ASSERT_TRUE(io->wait(*all.writes[i]));
    all.sockets[i].send_from_far();
  }
  std::size_t total = 0;
  for (int turns = 0; total < 40 && turns < 1000; ++turns) {
    runnable_chain chain;
    io->turn(reactor::no_wait, 3, chain);
    ASSERT_LE(chain.count, 3U);
    total += run(chain);
    ASSERT_EQ(io->in_flight(), 40 - total);
  }
  EXPECT_EQ(total, 40U);
  for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(all.reads[i]->ends + all.writes[i]->ends, 2);
  all.forget(*io);
}

TEST_P(reactor_contract, blocking_turn_brings_what_an_earlier_limit_left) {
  crowd all(4, posts.root());
  for (std::size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(io->wait(*all.reads[i]));
    ASSERT_TRUE(io->wait(*all.writes[i]));
    all.sockets[i].send_from_far();
  }
  std::size_t total = 0;
  for (int turns = 0; total < 8 && turns < 8; ++turns) {
    runnable_chain chain;
    io->turn(reactor::forever, 1, chain);
    total += run(chain);
  }
  EXPECT_EQ(total, 8U);
  all.forget(*io);
}

TEST_P(reactor_contract, blocking_turn_ends_at_its_deadline) {
  for (const auto time : {milliseconds(1), milliseconds(7), milliseconds(20)}) {
    const std::uint64_t deadline = deadline_in(time);
    int turns = 0;
    for (; monotonic_ns() < deadline && turns < 100; ++turns) {
      runnable_chain chain;
      io->turn(deadline, 64, chain);
      EXPECT_EQ(chain.count, 0U);
    }
    EXPECT_LE(turns, 2);  // it may return early, but not always
    EXPECT_LT(monotonic_ns(), deadline + 500'000'000);
  }
}

TEST_P(reactor_contract, passed_deadline_does_not_block) {
  socket_pair sockets;
  sockets.send_from_far();
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(io->wait(read));
  std::size_t count = 0;
  for (int turns = 0; turns < 3; ++turns) {
    runnable_chain chain;
    io->turn(monotonic_ns() - 1, 64, chain);
    count += run(chain);
  }
  EXPECT_EQ(count, 1U);
  io->forget(near);
}

TEST_P(reactor_contract, hang_up_that_nobody_waits_for_does_not_spin) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(io->wait(read));
  sockets.send_from_far();
  ASSERT_EQ(collect(1), 1U);
  sockets.far.reset();
  const std::uint64_t before = io->system_calls();
  const std::uint64_t deadline = deadline_in(milliseconds(50));
  while (monotonic_ns() < deadline) {
    runnable_chain chain;
    io->turn(deadline, 64, chain);
    EXPECT_EQ(chain.count, 0U);
  }
  EXPECT_LE(io->system_calls() - before, 5U);
  io->forget(near);
}

// ---- wakes -------------------------------------------------------------------------------------

TEST_P(reactor_contract, wake_from_another_thread_ends_a_blocking_turn) {
  for (int round = 0; round < 20; ++round) {
    std::thread waker([&] {
      std::this_thread::sleep_for(milliseconds(round % 3));
      io->wake();
    });
    const std::uint64_t begin = monotonic_ns();
    runnable_chain chain;
    io->turn(deadline_in(seconds(10)), 64, chain);
    EXPECT_LT(monotonic_ns() - begin, 5'000'000'000U);
    EXPECT_EQ(chain.count, 0U);
    waker.join();
    if (round % 2 == 0) {
      runnable_chain rest;  // nothing of the wake is left over
      const std::uint64_t deadline = deadline_in(milliseconds(2));
      for (int turns = 0; turns < 2; ++turns) io->turn(deadline, 64, rest);
      EXPECT_GE(monotonic_ns(), deadline);
    }
  }
}

TEST_P(reactor_contract, wake_before_a_blocking_turn_ends_it) {
  io->wake();
  io->wake();
  const std::uint64_t begin = monotonic_ns();
  runnable_chain chain;
  io->turn(deadline_in(seconds(10)), 64, chain);
  EXPECT_LT(monotonic_ns() - begin, 5'000'000'000U);
}

TEST_P(reactor_contract, wake_outlives_a_turn_that_does_not_block) {
  io->wake();
  EXPECT_EQ(poll(), 0U);
  const std::uint64_t begin = monotonic_ns();
  runnable_chain chain;
  io->turn(deadline_in(seconds(2)), 64, chain);
  EXPECT_LT(monotonic_ns() - begin, 1'000'000'000U);
}

reactor* woken_by_signal = nullptr;

TEST_P(reactor_contract, wake_works_in_a_signal_handler) {
  woken_by_signal = io.get();
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_handler = [](int) { woken_by_signal->wake(); };
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  const pthread_t self = ::pthread_self();
  std::thread sender([&] {
    std::this_thread::sleep_for(milliseconds(5));
    ::pthread_kill(self, SIGUSR1);
  });
  const std::uint64_t begin = monotonic_ns();
  runnable_chain chain;
  io->turn(deadline_in(seconds(10)), 64, chain);
  EXPECT_LT(monotonic_ns() - begin, 5'000'000'000U);
  sender.join();
  ASSERT_EQ(::sigaction(SIGUSR1, &before, nullptr), 0);
}

// ---- rescues -----------------------------------------------------------------------------------

TEST_P(reactor_contract, rescue_collects_for_a_stuck_owner) {
  if (!GetParam().rescues) GTEST_SKIP() << "entered by its own thread alone";
  crowd all(3, posts.root());
  for (auto& read : all.reads) ASSERT_TRUE(io->wait(*read));
  std::atomic<std::size_t> rescued = 0;
  std::thread rescuer([&] {
    const std::uint64_t deadline = deadline_in(seconds(10));
    for (std::size_t i = 0; i < 3; ++i) all.sockets[i].send_from_far();
    while (rescued.load() < 3 && monotonic_ns() < deadline) {
      runnable_chain chain;
      const rescue_report report = io->rescue(true, 2, chain);
      EXPECT_EQ(report.reaped, chain.count);
      EXPECT_LE(chain.count, 2U);
      rescued.fetch_add(run(chain));
    }
  });
  const std::uint64_t deadline = deadline_in(seconds(10));
  while (rescued.load() < 3 && monotonic_ns() < deadline) {  // in user code, as it were
  }
  rescuer.join();
  EXPECT_EQ(rescued.load(), 3U);
  EXPECT_EQ(poll(), 0U);
  EXPECT_EQ(io->in_flight(), 0U);
  all.forget(*io);
}

TEST_P(reactor_contract, rescue_brings_what_a_limit_left) {
  if (!GetParam().rescues) GTEST_SKIP() << "entered by its own thread alone";
  crowd all(4, posts.root());
  for (std::size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(io->wait(*all.reads[i]));
    ASSERT_TRUE(io->wait(*all.writes[i]));
    all.sockets[i].send_from_far();
  }
  runnable_chain chain;
  io->turn(deadline_in(seconds(10)), 1, chain);
  std::size_t total = run(chain);
  EXPECT_EQ(total, 1U);
  std::thread([&] {
    for (int i = 0; i < 100 && total < 8; ++i) {
      runnable_chain rest;
      io->rescue(true, 64, rest);
      total += run(rest);
    }
  }).join();
  EXPECT_EQ(total, 8U);
  all.forget(*io);
}

TEST_P(reactor_contract, rescue_leaves_a_parked_owner_alone) {
  crowd all(1, posts.root());
  ASSERT_TRUE(io->wait(*all.reads[0]));
  EXPECT_EQ(poll(), 0U);
  all.sockets[0].send_from_far();
  io->set_parked(true);
  io->wake();
  std::thread([&] {
    for (int i = 0; i < 10; ++i) {
      runnable_chain chain;
      io->rescue(true, 64, chain);
      EXPECT_EQ(chain.count, 0U);
    }
  }).join();
  const std::uint64_t begin = monotonic_ns();
  EXPECT_EQ(collect(1), 1U);
  EXPECT_LT(monotonic_ns() - begin, 5'000'000'000U);
  io->set_parked(false);
  all.forget(*io);
}

TEST_P(reactor_contract, rescue_does_not_swallow_a_wake) {
  io->wake();
  std::thread([&] {
    for (int i = 0; i < 10; ++i) {
      runnable_chain chain;
      io->rescue(true, 64, chain);
    }
  }).join();
  const std::uint64_t begin = monotonic_ns();
  runnable_chain chain;
  io->turn(deadline_in(seconds(2)), 64, chain);
  EXPECT_LT(monotonic_ns() - begin, 1'000'000'000U);
}

TEST_P(reactor_contract, rescue_of_an_owner_in_a_blocking_turn_returns) {
  std::atomic<bool> over = false;
  std::thread rescuer([&] {
    for (int i = 0; i < 200; ++i) {
      runnable_chain chain;
      io->rescue(true, 64, chain);
      EXPECT_EQ(chain.count, 0U);
      std::this_thread::yield();
    }
    over.store(true);
    io->wake();
  });
  while (!over.load()) {
    io->set_parked(true);
    runnable_chain chain;
    io->turn(deadline_in(seconds(10)), 64, chain);
    io->set_parked(false);
  }
  rescuer.join();
}

// An owner that turns, parks and is rescued while data streams in: every byte wakes its reader.
TEST_P(reactor_contract, concurrent_rescues_lose_no_edge) {
  constexpr std::size_t count = 8;
  constexpr std::size_t messages = 4000;
  crowd all(count, posts.root());
  std::mutex lock;
  std::vector<runnable*> rescued;  // guarded by lock; the owner runs them
  std::atomic<bool> over = false;
  std::thread rescuer([&] {
    while (!over.load()) {
      runnable_chain chain;
      io->rescue(true, 4, chain);
      if (chain.count != 0) {
        const std::scoped_lock held(lock);
        for (runnable* work = chain.first; work != nullptr;) {
          rescued.push_back(std::exchange(work, work->next));
        }
      }
      std::this_thread::yield();
    }
  });
  std::atomic<std::size_t> taken = 0;
  std::thread sender([&] {
    for (std::size_t i = 0; i < messages; ++i) {
      all.sockets[i % count].send_from_far();
      while (i + 1 > taken.load() + count) std::this_thread::yield();
    }
  });
  std::array<int, count> ends{};
  for (auto& read : all.reads) EXPECT_TRUE(io->wait(*read));
  const std::uint64_t deadline = deadline_in(seconds(60));
  for (unsigned turns = 0; taken.load() < messages && monotonic_ns() < deadline; ++turns) {
    runnable_chain chain;
    if (turns % 4 == 0) {
      io->set_parked(true);
      io->turn(deadline_in(milliseconds(1)), 3, chain);
      io->set_parked(false);
    } else {
      io->turn(reactor::no_wait, 3, chain);
    }
    run(chain);
    std::vector<runnable*> others;
    {
      const std::scoped_lock held(lock);
      others.swap(rescued);
    }
    for (runnable* work : others) work->run(*work);
    for (std::size_t i = 0; i < count; ++i) {
      if (all.reads[i]->ends == ends[i]) continue;
      ends[i] = all.reads[i]->ends;
      taken.fetch_add(socket_pair::drain(all.descriptors[i].fd));
      EXPECT_TRUE(io->wait(*all.reads[i]));
    }
  }
  EXPECT_EQ(taken.load(), messages);
  sender.join();
  over.store(true);
  rescuer.join();
  for (auto& read : all.reads) read->stop();
  for (runnable* work : rescued) work->run(*work);
  posts.run_all();
  poll();
  settle();
  all.forget(*io);
}

}  // namespace
}  // namespace magpie::tests::reactor_turn_test
