// The contract over epoll, and what epoll's registrations add to it.
#include <magpie/runtime/epoll_reactor.hpp>
#include <magpie/runtime/reactor_factory.hpp>
#include <magpie/tests/runtime/reactor_contract.hpp>

#include <atomic>
#include <fcntl.h>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace magpie::tests::epoll_reactor_test {

INSTANTIATE_TEST_SUITE_P(epoll, reactor_contract,
                         ::testing::Values(reactor_backend{"epoll", &make_epoll_reactor, true}),
                         [](const auto& backend) { return backend.param.name; });

namespace {

class epoll_reactor_test : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_FALSE(first.open());
    ASSERT_FALSE(second.open());
  }

  static std::size_t turn(epoll_reactor& io) {
    std::size_t count = 0;
    for (;;) {
      runnable_chain chain;
      io.turn(reactor::no_wait, 64, chain);
      if (chain.count == 0) return count;
      count += chain.count;
      for (runnable* work = chain.first; work != nullptr;) {
        runnable* next = work->next;
        work->run(*work);
        work = next;
      }
    }
  }

  post_office posts;
  epoll_reactor first;
  epoll_reactor second;
};

TEST_F(epoll_reactor_test, later_waits_share_the_first_registration) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(first.wait(read));
  const std::uint64_t calls = second.system_calls();
  probe write(near, direction::write, posts.root());
  ASSERT_TRUE(second.wait(write));
  EXPECT_EQ(second.system_calls(), calls);
  EXPECT_EQ(second.in_flight(), 1U);
  EXPECT_EQ(turn(second), 0U);
  EXPECT_EQ(turn(first), 1U);  // the event goes where the descriptor is registered
  EXPECT_EQ(write.ends, 1);
  EXPECT_EQ(first.in_flight(), 1U);
  EXPECT_EQ(second.in_flight(), 0U);

  sockets.send_from_far();
  EXPECT_EQ(turn(first), 1U);
  EXPECT_EQ(read.ends, 1);

  // Readiness that came while nobody waited ends a wait at the reactor it is made on.
  socket_pair::drain(near.fd);
  sockets.send_from_far();
  EXPECT_EQ(turn(first), 0U);
  ASSERT_TRUE(second.wait(read));
  EXPECT_TRUE(second.ready());
  EXPECT_EQ(turn(first), 0U);
  EXPECT_EQ(turn(second), 1U);
  second.forget(near);
  EXPECT_EQ(near.registration, nullptr);
}

TEST_F(epoll_reactor_test, cancel_from_elsewhere_counts_where_the_wait_began) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe write(near, direction::write, posts.root());
  ASSERT_TRUE(first.wait(write));
  EXPECT_EQ(turn(first), 1U);
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(second.wait(read));
  read.stop();
  EXPECT_EQ(posts.run_all(), 1U);
  EXPECT_TRUE(read.cancelled);
  EXPECT_EQ(second.in_flight(), 0U);
  first.forget(near);
}

// The number is closed before it is forgotten, against the rules, and a duplicate keeps the file
// open: the kernel then reports events for a registration that is no more.
TEST_F(epoll_reactor_test, stale_event_is_dropped_and_counted) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
  const unique_fd writer(pipe[1]);
  const unique_fd held(::dup(pipe[0]));
  descriptor old{.fd = pipe[0]};
  probe before(old, direction::read, posts.root());
  ASSERT_TRUE(first.wait(before));
  before.stop();
  posts.run_all();
  ASSERT_EQ(::close(pipe[0]), 0);
  first.forget(old);

  socket_pair sockets;  // takes the number, and the registration's memory
  descriptor reused{.fd = sockets.near.get()};
  probe read(reused, direction::read, posts.root());
  ASSERT_TRUE(first.wait(read));
  EXPECT_EQ(read.slot, before.slot);
  EXPECT_EQ(::write(writer.get(), "x", 1), 1);
  EXPECT_EQ(turn(first), 0U);
  EXPECT_EQ(first.stale_events(), 1U);
  EXPECT_EQ(read.ends, 0);
  sockets.send_from_far();
  EXPECT_EQ(turn(first), 1U);
  EXPECT_EQ(first.stale_events(), 1U);
  first.forget(reused);
}

TEST_F(epoll_reactor_test, forgotten_descriptor_brings_no_events) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
  unique_fd reader(pipe[0]);
  const unique_fd writer(pipe[1]);
  const unique_fd held(::dup(pipe[0]));
  descriptor old{.fd = pipe[0]};
  probe before(old, direction::read, posts.root());
  ASSERT_TRUE(first.wait(before));
  before.stop();
  posts.run_all();
  first.forget(old);
  reader.reset();
  EXPECT_EQ(::write(writer.get(), "x", 1), 1);
  EXPECT_EQ(turn(first), 0U);
  EXPECT_EQ(first.stale_events(), 0U);
}

// A pipe hangs up with its last writer, and is a pipe again with the next one.
TEST_F(epoll_reactor_test, hang_up_that_is_over_does_not_spin) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
  const unique_fd reader(pipe[0]);
  unique_fd writer(pipe[1]);
  const std::string name = "/proc/self/fd/" + std::to_string(pipe[0]);
  descriptor near{.fd = reader.get()};
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(first.wait(read));
  writer.reset();
  EXPECT_EQ(turn(first), 1U);
  ASSERT_TRUE(first.wait(read));
  EXPECT_EQ(turn(first), 1U);  // hung up still
  writer.reset(::open(name.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(writer.valid());
  ASSERT_TRUE(first.wait(read));
  EXPECT_EQ(turn(first), 0U);
  EXPECT_EQ(::write(writer.get(), "x", 1), 1);
  EXPECT_EQ(turn(first), 1U);
  first.forget(near);
}

TEST_F(epoll_reactor_test, descriptor_outlives_its_reactor) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  {
    epoll_reactor brief;
    ASSERT_FALSE(brief.open());
    probe write(near, direction::write, posts.root());
    ASSERT_TRUE(brief.wait(write));
    EXPECT_EQ(turn(brief), 1U);
  }
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(first.wait(read));  // registers anew
  sockets.send_from_far();
  EXPECT_EQ(turn(first), 1U);
  {
    epoll_reactor brief;
    ASSERT_FALSE(brief.open());
    descriptor far{.fd = sockets.far.get()};
    probe write(far, direction::write, posts.root());
    ASSERT_TRUE(brief.wait(write));
    EXPECT_EQ(turn(brief), 1U);
    near.fd = sockets.near.get();
    first.forget(near);
    near = far;
  }
  const std::uint64_t calls = first.system_calls();
  first.forget(near);
  EXPECT_EQ(first.system_calls(), calls);
}

TEST_F(epoll_reactor_test, registrations_do_not_grow) {
  socket_pair sockets;
  descriptor warm_up{.fd = sockets.near.get()};
  probe once(warm_up, direction::write, posts.root());
  ASSERT_TRUE(first.wait(once));
  ASSERT_EQ(turn(first), 1U);
  first.forget(warm_up);
  const std::size_t used = epoll_registrations().used();
  const std::size_t capacity = epoll_registrations().capacity();
  for (int round = 0; round < 100'000; ++round) {
    descriptor near{.fd = sockets.near.get()};
    probe write(near, direction::write, posts.root());
    ASSERT_TRUE(first.wait(write));
    runnable_chain chain;
    first.turn(reactor::no_wait, 64, chain);
    ASSERT_EQ(chain.count, 1U);
    chain.first->run(*chain.first);
    first.forget(near);
  }
  EXPECT_EQ(epoll_registrations().used(), used);
  EXPECT_EQ(epoll_registrations().capacity(), capacity);
  EXPECT_EQ(first.in_flight(), 0U);
}

TEST_F(epoll_reactor_test, failed_registrations_do_not_leak) {
  const std::size_t used = epoll_registrations().used();
  const unique_fd regular(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(regular.valid());
  descriptor file{.fd = regular.get()};
  for (int round = 0; round < 100'000; ++round) {
    probe read(file, direction::read, posts.root());
    ASSERT_TRUE(first.wait(read));
    runnable_chain chain;
    first.turn(reactor::no_wait, 64, chain);
    ASSERT_EQ(chain.count, 1U);
    chain.first->run(*chain.first);
    ASSERT_EQ(read.wait_error, 0);
  }
  EXPECT_EQ(file.registration, nullptr);
  EXPECT_EQ(epoll_registrations().used(), used);
}

TEST_F(epoll_reactor_test, sees_events_by_a_turn_alone) {
  EXPECT_TRUE(first.blind());
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(first.wait(read));
  turn(first);  // what the descriptor is ready for when it is registered
  sockets.send_from_far();
  EXPECT_FALSE(first.ready());
  EXPECT_EQ(turn(first), 1U);
}

TEST_F(epoll_reactor_test, wait_that_is_ready_stops_like_any_other) {
  socket_pair sockets;
  sockets.send_from_far();
  descriptor near{.fd = sockets.near.get()};
  probe write(near, direction::write, posts.root());
  ASSERT_TRUE(first.wait(write));
  EXPECT_EQ(turn(first), 1U);
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(first.wait(read));  // the data's event is known: in the ready chain
  EXPECT_TRUE(first.ready());
  read.stop();
  EXPECT_EQ(posts.run_all(), 0U);  // it ends with what happened
  EXPECT_EQ(turn(first), 1U);
  EXPECT_EQ(read.ends, 1);
  EXPECT_FALSE(read.cancelled);
  EXPECT_FALSE(first.wait(read));
  first.forget(near);
}

// Both directions wait for the first time at once, each on its own worker.
TEST_F(epoll_reactor_test, concurrent_first_waits_agree_on_one_registration) {
  const std::size_t used = epoll_registrations().used();
  std::atomic<int> arrived = 0;
  for (int round = 1; round <= 2000; ++round) {
    socket_pair sockets;
    descriptor near{.fd = sockets.near.get()};
    probe read(near, direction::read, posts.root());
    probe write(near, direction::write, posts.root());
    const auto meet = [&] {
      arrived.fetch_add(1);
      while (arrived.load() < 2 * round) std::this_thread::yield();
    };
    std::thread other([&] {
      meet();
      EXPECT_TRUE(second.wait(write));
    });
    meet();
    EXPECT_TRUE(first.wait(read));
    other.join();
    sockets.send_from_far();
    for (int tries = 0; read.ends + write.ends < 2 && tries < 100; ++tries) {
      turn(first);
      turn(second);
    }
    ASSERT_EQ(read.ends, 1);
    ASSERT_EQ(write.ends, 1);
    ASSERT_EQ(epoll_registrations().used(), used + 1);
    first.forget(near);
  }
  EXPECT_EQ(epoll_registrations().used(), used);
}

// A socket is closed on a thread without a reactor while its runtime ends.
TEST_F(epoll_reactor_test, concurrent_forget_and_end_of_the_reactor) {
  for (int round = 0; round < 500; ++round) {
    std::optional<epoll_reactor> brief;
    brief.emplace();
    ASSERT_FALSE(brief->open());
    socket_pair sockets;
    descriptor near{.fd = sockets.near.get()};
    probe write(near, direction::write, posts.root());
    ASSERT_TRUE(brief->wait(write));
    EXPECT_EQ(turn(*brief), 1U);
    std::thread closer([&] { first.forget(near); });
    brief.reset();
    closer.join();
    EXPECT_EQ(near.registration, nullptr);
  }
}

}  // namespace
}  // namespace magpie::tests::epoll_reactor_test
