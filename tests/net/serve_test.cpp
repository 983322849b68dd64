/// `net::serve`: the permit before the connection, and back however the handler ends.
#include <magpie/net/serve.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/sync/event.hpp>
#include <magpie/tests/net/drought.hpp>
#include <magpie/tests/net/harness.hpp>
#include <magpie/util/atomic.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>
#include <vector>

namespace magpie::net {
namespace {

using namespace magpie::tests;

/// What the handlers of a test share.
struct served {
  atomic<int> all{0};
  atomic<int> now{0};
  atomic<int> most{0};
  sync::event leave;
  spin_lock lock;
  std::vector<std::error_code> failures;

  void enter() {
    all.fetch_add(1, order::relaxed);
    const int here = now.fetch_add(1, order::relaxed) + 1;
    int before = most.load(order::relaxed);
    while (before < here && !most.compare_exchange_weak(before, here, order::relaxed)) {
    }
  }
  int count() const { return all.load(order::relaxed); }
};

task<> until(const served& by, int count) {
  while (by.count() < count) co_await sleep_for(1ms);
}

/// Sends back the one byte that it gets.
task<> echoes_a_byte(served& in, tcp_stream peer) {
  in.enter();
  std::array<std::byte, 1> byte;
  const std::size_t got = co_await peer.read(byte);
  EXPECT_EQ(got, 1U);
  in.now.fetch_sub(1, order::relaxed);  // before the answer: the client may come again at once
  co_await peer.write_all(byte);
}

task<> asks(socket_address whom) {
  auto peer = co_await tcp_stream::connect(whom);
  std::array<std::byte, 1> byte{std::byte{42}};
  co_await peer.write_all(byte);
  byte[0] = std::byte{0};
  const std::size_t got = co_await peer.read(byte);
  EXPECT_EQ(got, 1U);
  EXPECT_EQ(byte[0], std::byte{42});
}

/// The client is answered when its session has ended, and its end is seen here.
task<> sees_the_end(tcp_stream& of) {
  std::array<std::byte, 1> byte;
  const auto got = co_await as_result(timeout(10s, of.read(byte)));
  EXPECT_TRUE(!got || *got == 0);
  EXPECT_NE(error_of(got), errc::deadline);
}

MAGPIE_TASK_TEST(serve, t4_takes_its_permit_before_it_accepts) {
  auto listener = listen_somewhere();
  auto client = co_await tcp_stream::connect(listener.local_address().value());
  sync::semaphore limit(0);
  served by;
  const auto handler = [&](tcp_stream peer) { return echoes_a_byte(by, std::move(peer)); };
  const auto ended = co_await as_result(timeout(20ms, serve(listener, limit, handler)));
  EXPECT_EQ(error_of(ended), errc::deadline);
  EXPECT_EQ(by.count(), 0);
  auto still_there = co_await timeout(10s, listener.accept());
  EXPECT_EQ(still_there.peer_address().value(), client.local_address().value());
}

MAGPIE_TASK_TEST(serve, serves_all_and_so_many_at_once) {
  auto listener = listen_somewhere();
  const auto whom = listener.local_address().value();
  served by;
  const auto handler = [&](tcp_stream peer) { return echoes_a_byte(by, std::move(peer)); };
  auto serving = spawn(serve(std::move(listener), at_most(2), handler));
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int i = 0; i < 40; ++i) group.spawn(asks(whom));
    co_return;
  });
  EXPECT_EQ(by.count(), 40);
  EXPECT_LE(by.most.load(order::relaxed), 2);
  serving.abort();
  const auto ended = co_await serving.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
}

task<> ends_somehow(served& in, tcp_stream) {
  in.enter();
  switch (in.count()) {
    case 1:
      break;
    case 2:
      co_await fail(std::make_error_code(std::errc::connection_reset));
      break;
    case 3:
#if defined(__cpp_exceptions)
      throw std::runtime_error("thrown by a handler, to be logged");
#else
      break;
#endif
    default:
      co_await sleep_for(1h);
  }
}

MAGPIE_TASK_TEST(serve, a_permit_comes_back_however_the_handler_ends) {
  auto listener = listen_somewhere();
  const auto whom = listener.local_address().value();
  sync::semaphore limit(1);
  served by;
  const auto handler = [&](tcp_stream peer) { return ends_somehow(by, std::move(peer)); };
  const auto failed = [&](std::error_code error) {
    const lock_scope guard(by.lock);
    by.failures.push_back(error);
  };
  auto serving = spawn(serve(listener, limit, handler, failed));
  std::vector<tcp_stream> clients;
  for (int i = 1; i <= 4; ++i) {
    clients.push_back(co_await tcp_stream::connect(whom));
    co_await timeout(10s, until(by, i));
    if (i < 4) co_await sees_the_end(clients.back());
  }
  EXPECT_EQ(limit.available(), 0U);
  serving.abort();
  const auto ended = co_await serving.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
  EXPECT_EQ(limit.available(), 1U);
  co_await sees_the_end(clients.back());
  const std::vector<std::error_code> told{std::make_error_code(std::errc::connection_reset)};
  EXPECT_EQ(by.failures, told);  // neither the exception nor the stop
}

task<> stays(served& in, tcp_stream) {
  in.enter();
  co_await in.leave.wait();
  in.now.fetch_sub(1, order::relaxed);
}

MAGPIE_TASK_TEST(serve, closing_the_semaphore_ends_it_when_the_sessions_have) {
  auto listener = listen_somewhere();
  const auto whom = listener.local_address().value();
  sync::semaphore limit(2);
  served by;
  const auto handler = [&](tcp_stream peer) { return stays(by, std::move(peer)); };
  auto serving = spawn(serve(listener, limit, handler));
  const auto one = co_await tcp_stream::connect(whom);
  const auto two = co_await tcp_stream::connect(whom);
  co_await timeout(10s, until(by, 2));
  const auto three = co_await tcp_stream::connect(whom);
  limit.close();
  co_await sleep_for(5ms);
  EXPECT_FALSE(serving.done());
  EXPECT_EQ(by.now.load(order::relaxed), 2);
  by.leave.set();
  const auto ended = co_await timeout(10s, serving.join());
  EXPECT_TRUE(ended);
  EXPECT_EQ(by.now.load(order::relaxed), 0);
  const auto left = co_await timeout(10s, listener.accept());
  EXPECT_EQ(left.peer_address().value(), three.local_address().value());
}

MAGPIE_TASK_TEST(serve, closing_the_semaphore_ends_it_although_nobody_comes) {
  auto listener = listen_somewhere();
  const auto whom = listener.local_address().value();
  sync::semaphore limit(3);
  served by;
  const auto handler = [&](tcp_stream peer) { return stays(by, std::move(peer)); };
  auto serving = spawn(serve(listener, limit, handler));
  const auto one = co_await tcp_stream::connect(whom);
  co_await timeout(10s, until(by, 1));
  limit.close();
  co_await sleep_for(5ms);
  EXPECT_FALSE(serving.done());
  const auto two = co_await tcp_stream::connect(whom);
  by.leave.set();
  const auto ended = co_await timeout(10s, serving.join());
  EXPECT_TRUE(ended);
  EXPECT_EQ(by.count(), 1);
  EXPECT_EQ(limit.available(), 3U);
  const auto left = co_await timeout(10s, listener.accept());
  EXPECT_EQ(left.peer_address().value(), two.local_address().value());
}

MAGPIE_TASK_TEST(serve, a_listener_that_does_not_listen_ends_it) {
  const auto handler = [](tcp_stream) -> task<> { co_return; };
  const auto ended = co_await as_result(serve(tcp_listener(), at_most(1), handler));
  EXPECT_EQ(error_of(ended), std::errc::bad_file_descriptor);
}

MAGPIE_TASK_TEST(serve, a_lack_of_descriptors_does_not_end_it) {
  if (simulated()) {
    GTEST_LOG_(INFO) << "left out: RLIMIT_NOFILE does not bind simulated descriptors";
    co_return;
  }
  auto listener = listen_somewhere();
  const auto client = co_await tcp_stream::connect(listener.local_address().value());
  sync::semaphore limit(1);
  served by;
  const auto handler = [&](tcp_stream peer) { return stays(by, std::move(peer)); };
  auto drought = std::make_unique<descriptor_drought>();
  auto serving = spawn(serve(listener, limit, handler));
  co_await sleep_for(30ms);
  EXPECT_EQ(by.count(), 0);
  EXPECT_EQ(limit.available(), 0U);  // its permit is there already
  EXPECT_FALSE(serving.done());
  drought.reset();
  co_await timeout(10s, until(by, 1));
  serving.abort();
  [[maybe_unused]] const auto ended = co_await serving.join();
  EXPECT_EQ(limit.available(), 1U);
}

task<> goes(tcp_stream) { co_return; }

MAGPIE_TASK_TEST(serve, two_servers_share_a_limit) {
  auto first = listen_somewhere();
  auto second = listen_somewhere();
  sync::semaphore limit(3);
  served by;
  const auto handler = [&](tcp_stream peer) { return echoes_a_byte(by, std::move(peer)); };
  co_await with_task_group([&](task_group& servers) -> task<> {
    servers.spawn(serve(first, limit, handler));
    servers.spawn(serve(second, limit, handler));
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 20; ++i) {
        group.spawn(asks(first.local_address().value()));
        group.spawn(asks(second.local_address().value()));
      }
      co_return;
    });
    servers.stop();
  });
  EXPECT_EQ(by.count(), 40);
  EXPECT_LE(by.most.load(order::relaxed), 3);
  EXPECT_EQ(limit.available(), 3U);
  auto plain_function = serve(listen_somewhere(), at_most(1), goes);
}

}  // namespace
}  // namespace magpie::net
