/// Cases of docs/conformance.md that take a socket: what comes is seen beside a task that never
/// rests, and what is there does not keep others from their turn.
#include <magpie/net/tcp.hpp>
#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/join.hpp>
#include <magpie/tests/net/harness.hpp>
#include <magpie/util/unique_fd.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <thread>
#include <vector>

namespace magpie::tests::conformance_test {
namespace {

// ---- C07 ----------------------------------------------------------------------------------------

/// Keeps its worker until it is told to leave.
task<> holds_its_worker(atomic<std::size_t>& held, const atomic<bool>& leave) {
  held.fetch_add(1, order::release);
  while (!leave.load(order::acquire)) std::this_thread::yield();
  co_return;
}

task<> accepts(net::tcp_listener& listener, bool& accepted) {
  const auto peer = co_await listener.accept();
  accepted = true;
}

/// Connects without the runtime: when it returns the connection waits to be accepted.
unique_fd connects(std::uint16_t port) {
  unique_fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  return client;
}

/// One turn that ends with a yield: asked for, or forced by a budget that is spent.
task<> one_turn(bool asked_for) {
  if (asked_for) {
    co_await yield();
  } else {
    for (int i = 0; i <= detail::task_budget; ++i) co_await consume_budget();
  }
}

task<> never_rests(std::uint16_t port, bool asked_for, const bool& accepted, int& turns) {
  for (int i = 0; i < 3; ++i) co_await yield();  // until the accept waits
  EXPECT_FALSE(accepted);
  const unique_fd client = connects(port);
  for (; !accepted && turns < 10'000; ++turns) co_await one_turn(asked_for);
}

task<> accepts_beside(bool asked_for) {
  net::tcp_listener listener = listen_somewhere();
  const std::uint16_t port = listener.local_address().value().port();
  for (int i = 0; i < 50; ++i) {
    bool accepted = false;
    int turns = 0;
    co_await join(accepts(listener, accepted), never_rests(port, asked_for, accepted, turns));
    EXPECT_LE(turns, 10);
  }
}

/// All workers but this one are held.
task<> accepts_while_others_are_held(bool asked_for) {
  if (simulated()) {
    GTEST_LOG_(INFO) << "left out: needs workers that run at once";
    co_return;
  }
  atomic<std::size_t> held{0};
  atomic<bool> leave{false};
  const std::size_t others = matrix_workers() - 1;
  co_await with_task_group([&](task_group& group) -> task<> {
    for (std::size_t i = 0; i < others; ++i) group.spawn(holds_its_worker(held, leave));
    while (held.load(order::acquire) != others) co_await sleep_for(50us);
    co_await accepts_beside(asked_for);
    leave.store(true, order::release);
  });
}

}  // namespace

MAGPIE_TASK_TEST(conformance, c07_an_accept_is_seen_beside_a_branch_that_yields) {
  co_await accepts_while_others_are_held(true);
}

MAGPIE_TASK_TEST(conformance, c07_an_accept_is_seen_beside_a_branch_whose_budget_is_spent) {
  co_await accepts_while_others_are_held(false);
}

/// A thousand bytes are there and are read one by one: never more than a budget of them in a row.
MAGPIE_TASK_TEST(conformance, c08_a_loop_over_what_is_there_gives_way) {
  stream_pair pair = co_await connected_pair();
  const std::vector<std::byte> much(1000);
  co_await pair.client.write_all(much);
  co_await sleep_for(1ms);
  const std::uint64_t before = current_metrics().budget_yields;
  std::array<std::byte, 1> one;
  for (std::size_t i = 0; i < much.size(); ++i) {
    const std::size_t count = co_await pair.server.read(one);
    EXPECT_EQ(count, 1U);
  }
  EXPECT_GE(current_metrics().budget_yields - before,
            std::uint64_t{1000} / (detail::task_budget + 1));
}

}  // namespace magpie::tests::conformance_test
