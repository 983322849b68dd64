/// The contract that every reactor keeps, as a test suite that each backend instantiates:
///
///   INSTANTIATE_TEST_SUITE_P(epoll, reactor_contract, ::testing::Values(…));
///
/// A test drives one reactor by hand: its thread is the owner, and runs what a turn hands out.
/// The tests are in reactor_test.cpp (waits) and reactor_turn_test.cpp (turns, wakes, rescues).
#pragma once

#include <magpie/runtime/reactor.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/unique_fd.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>

namespace magpie::tests {

struct reactor_backend {
  const char* name;
  reactor* (*make)(std::error_code& error) noexcept;
  bool rescues = true;  ///< Other threads may collect for a stuck owner.
};

std::uint64_t monotonic_ns();

/// CLOCK_MONOTONIC, so many milliseconds from now.
std::uint64_t deadline_in(std::chrono::milliseconds time);

/// Receives what cancellers post.
class post_office {
 public:
  post_office();
  ~post_office();

  task_root& root();

  /// Runs what was posted, on the calling thread; returns how many.
  std::size_t run_all();

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Two connected, non-blocking stream sockets.
struct socket_pair {
  socket_pair();

  unique_fd near;
  unique_fd far;

  void send_from_far(std::size_t bytes = 1);
  /// Sends until the kernel takes no more.
  void fill();
  /// Reads until nothing is left; returns how many bytes there were.
  static std::size_t drain(int fd);
};

/// A wait in a scope of its own, which counts how often it ended.
class probe final : public readiness_operation {
 public:
  probe(descriptor& on, direction way, task_root& root);

  void stop() { own_.request_stop(); }

  int ends = 0;

 private:
  static void ended(runnable& work) noexcept;

  stop_scope own_;
};

class reactor_contract : public ::testing::TestWithParam<reactor_backend> {
 protected:
  void SetUp() override;

  /// Runs a chain; returns how many.
  static std::size_t run(const runnable_chain& chain);

  /// Turns that do not block, until one brings nothing; returns how many operations ran.
  std::size_t poll(std::size_t limit = 64);

  /// Blocking turns until `count` operations ran, or far too much time passed.
  std::size_t collect(std::size_t count);

  /// Turns until a cancelled wait has left the kernel.
  void settle();

  post_office posts;
  std::unique_ptr<reactor> io;
};

}  // namespace magpie::tests
