// Waits: what ends them, what does not, and that each ends once.
#include <magpie/tests/runtime/reactor_contract.hpp>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace magpie::tests::reactor_test {
namespace {

// ---- readiness ---------------------------------------------------------------------------------

TEST_P(reactor_contract, read_ends_when_data_comes) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(io->wait(read));
  EXPECT_EQ(poll(), 0U);
  EXPECT_EQ(io->in_flight(), 1U);
  sockets.send_from_far();
  EXPECT_EQ(collect(1), 1U);
  EXPECT_EQ(read.ends, 1);
  EXPECT_FALSE(read.cancelled);
  EXPECT_EQ(read.wait_error, 0);
  EXPECT_EQ(io->in_flight(), 0U);
  io->forget(near);
}

TEST_P(reactor_contract, read_ends_when_data_was_there) {
  socket_pair sockets;
  sockets.send_from_far();
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(io->wait(read));
  EXPECT_EQ(collect(1), 1U);
  EXPECT_EQ(read.ends, 1);
  io->forget(near);
}

TEST_P(reactor_contract, write_ends_when_room_comes) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe write(near, direction::write, posts.root());
  ASSERT_TRUE(io->wait(write));
  EXPECT_EQ(collect(1), 1U);  // there is room
  for (int round = 0; round < 3; ++round) {
    sockets.fill();
    probe again(near, direction::write, posts.root());
    ASSERT_TRUE(io->wait(again));
    poll();  // a spurious end is allowed
    if (again.ends == 0) {
      EXPECT_GT(socket_pair::drain(sockets.far.get()), 0U);
      EXPECT_EQ(collect(1), 1U);
    }
    EXPECT_EQ(again.ends, 1);
    socket_pair::drain(sockets.far.get());
  }
  io->forget(near);
}

TEST_P(reactor_contract, directions_are_independent) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  probe write(near, direction::write, posts.root());
  ASSERT_TRUE(io->wait(read));
  ASSERT_TRUE(io->wait(write));
  EXPECT_EQ(collect(1), 1U);
  EXPECT_EQ(write.ends, 1);
  EXPECT_EQ(poll(), 0U);
  EXPECT_EQ(read.ends, 0);
  sockets.send_from_far();
  EXPECT_EQ(collect(1), 1U);
  EXPECT_EQ(read.ends, 1);
  io->forget(near);
}

TEST_P(reactor_contract, data_between_attempt_and_wait_is_not_lost) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  for (int round = 0; round < 100; ++round) {
    char byte;
    ASSERT_EQ(::recv(near.fd, &byte, 1, 0), -1);
    ASSERT_EQ(errno, EAGAIN);
    sockets.send_from_far();
    if (round % 2 == 1) {  // its event is collected while nobody waits
      EXPECT_EQ(poll(), 0U);
    }
    probe read(near, direction::read, posts.root());
    ASSERT_TRUE(io->wait(read));
    ASSERT_EQ(collect(1), 1U);
    ASSERT_EQ(socket_pair::drain(near.fd), 1U);
  }
  EXPECT_EQ(io->in_flight(), 0U);
  io->forget(near);
}

TEST_P(reactor_contract, waiting_anew_after_a_partial_read_ends) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  char bytes[8];
  for (int round = 0; round < 100; ++round) {
    // A caller that has read less than it asked for waits without another attempt.
    probe read(near, direction::read, posts.root());
    ASSERT_TRUE(io->wait(read));
    if (round % 3 == 1) {
      EXPECT_EQ(poll(), 0U);
    }
    sockets.send_from_far(2);
    ASSERT_EQ(collect(1), 1U);
    ASSERT_GE(::recv(near.fd, bytes, sizeof bytes, 0), -1);
  }
  io->forget(near);
}

// ---- hang-up -----------------------------------------------------------------------------------

TEST_P(reactor_contract, hang_up_ends_both_directions) {
  socket_pair sockets;
  sockets.fill();
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  probe write(near, direction::write, posts.root());
  ASSERT_TRUE(io->wait(read));
  ASSERT_TRUE(io->wait(write));
  EXPECT_EQ(poll(), 0U);
  sockets.far.reset();
  EXPECT_EQ(collect(2), 2U);
  EXPECT_EQ(read.ends, 1);
  EXPECT_EQ(write.ends, 1);
  io->forget(near);
}

TEST_P(reactor_contract, end_of_stream_behind_a_short_read_is_seen) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(io->wait(read));
  sockets.send_from_far(3);
  ASSERT_EQ(::shutdown(sockets.far.get(), SHUT_WR), 0);
  ASSERT_EQ(collect(1), 1U);  // the data and the end, in one
  char bytes[8];
  ASSERT_EQ(::recv(near.fd, bytes, sizeof bytes, 0), 3);
  for (int round = 1; round <= 3; ++round) {
    ASSERT_TRUE(io->wait(read));  // a short read: no attempt before
    ASSERT_EQ(collect(1), 1U) << "round " << round;
    ASSERT_EQ(::recv(near.fd, bytes, sizeof bytes, 0), 0);
  }
  EXPECT_EQ(read.ends, 4);
  io->forget(near);
}

TEST_P(reactor_contract, half_closed_stream_can_still_wait_for_room) {
  socket_pair sockets;
  sockets.fill();
  descriptor near{.fd = sockets.near.get()};
  ASSERT_EQ(::shutdown(sockets.far.get(), SHUT_WR), 0);
  probe write(near, direction::write, posts.root());
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(io->wait(write));
    poll();
    socket_pair::drain(sockets.far.get());
    if (write.ends == round) {
      ASSERT_EQ(collect(1), 1U);
    }
    ASSERT_EQ(write.ends, round + 1);
    sockets.fill();
  }
  io->forget(near);
}

TEST_P(reactor_contract, last_reader_of_a_full_pipe_ends_the_writer) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
  unique_fd reader(pipe[0]);
  const unique_fd writer(pipe[1]);
  const char block[4096] = {};
  while (::write(writer.get(), block, sizeof block) > 0) {
  }
  descriptor full{.fd = writer.get()};
  probe write(full, direction::write, posts.root());
  ASSERT_TRUE(io->wait(write));
  EXPECT_EQ(poll(), 0U);
  reader.reset();
  EXPECT_EQ(collect(1), 1U);
  io->forget(full);
}

// ---- odd descriptors ---------------------------------------------------------------------------

TEST_P(reactor_contract, bad_descriptor_ends_with_an_error) {
  socket_pair sockets;
  descriptor closed{.fd = sockets.near.get()};
  sockets.near.reset();
  probe read(closed, direction::read, posts.root());
  ASSERT_TRUE(io->wait(read));
  EXPECT_EQ(collect(1), 1U);
  EXPECT_EQ(read.wait_error, EBADF);
  EXPECT_EQ(io->in_flight(), 0U);
  io->forget(closed);
}

TEST_P(reactor_contract, regular_file_is_always_ready) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  descriptor regular{.fd = ::fileno(file)};
  for (const direction way : {direction::read, direction::write}) {
    for (int round = 0; round < 1000; ++round) {
      probe wait(regular, way, posts.root());
      ASSERT_TRUE(io->wait(wait));
      ASSERT_EQ(collect(1), 1U);
      ASSERT_EQ(wait.wait_error, 0);
    }
  }
  io->forget(regular);
  std::fclose(file);
}

// A duplicate keeps a closed pipe open in the kernel; the number goes to somebody else.
TEST_P(reactor_contract, event_for_a_closed_descriptor_wakes_nobody) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
  const unique_fd writer(pipe[1]);
  const unique_fd held(::dup(pipe[0]));
  descriptor old{.fd = pipe[0]};
  probe before(old, direction::read, posts.root());
  ASSERT_TRUE(io->wait(before));
  before.stop();
  posts.run_all();
  ASSERT_EQ(before.ends, 1);
  settle();
  io->forget(old);
  ASSERT_EQ(::close(pipe[0]), 0);

  socket_pair sockets;
  ASSERT_EQ(sockets.near.get(), pipe[0]);
  descriptor reused{.fd = sockets.near.get()};
  probe read(reused, direction::read, posts.root());
  ASSERT_TRUE(io->wait(read));
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(::write(writer.get(), "x", 1), 1);
    EXPECT_EQ(poll(), 0U);
  }
  EXPECT_EQ(read.ends, 0);
  sockets.send_from_far();
  EXPECT_EQ(collect(1), 1U);
  io->forget(reused);
}

// ---- stops -------------------------------------------------------------------------------------

TEST_P(reactor_contract, cancel_ends_a_wait) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  {
    probe read(near, direction::read, posts.root());
    ASSERT_TRUE(io->wait(read));
    poll();
    read.stop();
    EXPECT_GE(posts.run_all(), 1U);
    EXPECT_EQ(read.ends, 1);
    EXPECT_TRUE(read.cancelled);
    read.stop();
    EXPECT_EQ(posts.run_all(), 0U);
  }
  sockets.send_from_far();  // reaches nobody
  EXPECT_EQ(poll(), 0U);
  settle();
  EXPECT_EQ(io->in_flight(), 0U);
  probe next(near, direction::read, posts.root());
  ASSERT_TRUE(io->wait(next));
  EXPECT_EQ(collect(1), 1U);
  EXPECT_FALSE(next.cancelled);
  io->forget(near);
}

TEST_P(reactor_contract, cancel_of_one_direction_leaves_the_other) {
  socket_pair sockets;
  sockets.fill();
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  probe write(near, direction::write, posts.root());
  ASSERT_TRUE(io->wait(read));
  ASSERT_TRUE(io->wait(write));
  read.stop();
  posts.run_all();
  EXPECT_TRUE(read.cancelled);
  EXPECT_EQ(write.ends, 0);
  sockets.far.reset();
  EXPECT_EQ(collect(1), 1U);
  EXPECT_FALSE(write.cancelled);
  settle();
  io->forget(near);
}

TEST_P(reactor_contract, cancel_after_the_wait_was_handed_out_changes_nothing) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  ASSERT_TRUE(io->wait(read));
  sockets.send_from_far();
  runnable_chain chain;
  io->turn(deadline_in(std::chrono::seconds(10)), 64, chain);
  ASSERT_EQ(chain.count, 1U);
  read.stop();
  EXPECT_EQ(posts.run_all(), 0U);
  EXPECT_EQ(run(chain), 1U);
  EXPECT_EQ(read.ends, 1);
  EXPECT_FALSE(read.cancelled);
  io->forget(near);
}

TEST_P(reactor_contract, stopped_scope_is_refused) {
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe read(near, direction::read, posts.root());
  read.stop();
  EXPECT_FALSE(io->wait(read));
  EXPECT_EQ(io->in_flight(), 0U);
  probe next(near, direction::read, posts.root());
  ASSERT_TRUE(io->wait(next));
  sockets.send_from_far();
  EXPECT_EQ(collect(1), 1U);
  EXPECT_FALSE(io->wait(read));
  EXPECT_EQ(read.ends, 0);
  io->forget(near);
}

TEST_P(reactor_contract, concurrent_stops_and_data_end_each_wait_once) {
  constexpr int rounds = 3000;
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  probe* victim = nullptr;  // of the round that was asked for last
  std::atomic<int> asked = 0;
  std::atomic<int> done = 0;
  std::thread stopper([&] {
    for (int round = 1; round <= rounds; ++round) {
      while (asked.load() < round) std::this_thread::yield();
      victim->stop();
      io->wake();
      done.store(round);
    }
  });
  int cancelled = 0;
  for (int round = 1; round <= rounds; ++round) {
    probe read(near, direction::read, posts.root());
    EXPECT_TRUE(io->wait(read));
    victim = &read;
    asked.store(round);
    if (round % 2 == 0) sockets.send_from_far();
    while (read.ends == 0) {
      runnable_chain chain;
      io->turn(deadline_in(std::chrono::milliseconds(10)), 64, chain);
      run(chain);
      posts.run_all();
    }
    while (done.load() < round) std::this_thread::yield();
    EXPECT_EQ(posts.run_all(), 0U);
    EXPECT_EQ(read.ends, 1);
    cancelled += read.cancelled ? 1 : 0;
    socket_pair::drain(near.fd);
  }
  stopper.join();
  settle();
  EXPECT_EQ(io->in_flight(), 0U);
  EXPECT_GT(cancelled, 0);
  io->forget(near);
}

TEST_P(reactor_contract, waits_and_forgets_leave_nothing_behind) {
  socket_pair sockets;
  for (int round = 0; round < 20'000; ++round) {
    descriptor near{.fd = sockets.near.get()};
    probe write(near, direction::write, posts.root());
    ASSERT_TRUE(io->wait(write));
    ASSERT_EQ(collect(1), 1U);
    io->forget(near);
  }
  EXPECT_EQ(io->in_flight(), 0U);
}

}  // namespace
}  // namespace magpie::tests::reactor_test
