#include <magpie/net/lease.hpp>
#include <magpie/tests/net/harness.hpp>

#include <array>

namespace magpie::net {
namespace {

using namespace magpie::tests;

MAGPIE_TASK_TEST(lease, lends_what_arrived) {
  stream_pair peers = co_await connected_pair();
  for (int round = 0; round < 20; ++round) {
    co_await peers.client.write_all(bytes_of("leased"));
    std::string got;
    while (got.size() < 6) {
      const lease arrived = co_await peers.server.read_leased();
      EXPECT_FALSE(arrived.empty());
      EXPECT_EQ(arrived.size(), arrived.bytes().size());
      got += text_of(arrived.bytes());
    }
    EXPECT_EQ(got, "leased");
  }
}

MAGPIE_TASK_TEST(lease, is_empty_at_the_end) {
  stream_pair peers = co_await connected_pair();
  peers.client.close();
  for (int i = 0; i < 3; ++i) {
    const lease at_end = co_await peers.server.read_leased();
    EXPECT_TRUE(at_end.empty());
  }
}

MAGPIE_TASK_TEST(lease, can_be_given_back_early_and_moved) {
  stream_pair peers = co_await connected_pair();
  co_await peers.client.write_all(bytes_of("x"));
  lease first = co_await peers.server.read_leased();
  lease second(std::move(first));
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_EQ(second.size(), 1U);
  first = std::move(second);
  EXPECT_EQ(text_of(first.bytes()), "x");
  first.give_back();
  EXPECT_TRUE(first.empty());
  first.give_back();
  co_await peers.client.write_all(bytes_of("y"));
  const lease next = co_await peers.server.read_leased();
  EXPECT_EQ(text_of(next.bytes()), "y");
}

task<> write_later(tcp_stream& to, std::string_view text) {
  co_await sleep_for(2ms);
  co_await to.write_all(bytes_of(text));
}

// Under a combinator the frame may go on later, when others have used the worker's buffer.
MAGPIE_TASK_TEST(lease, survives_combinators) {
  stream_pair peers = co_await connected_pair();
  const auto stopped = co_await as_result(timeout(1ms, peers.server.read_leased()));
  EXPECT_EQ(error_of(stopped), errc::deadline);
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(write_later(peers.client, "z"));
    const lease arrived = co_await timeout(10s, peers.server.read_leased());
    EXPECT_EQ(text_of(arrived.bytes()), "z");
  });
}

task<> echo_leased(tcp_stream stream) {
  for (;;) {
    lease arrived = co_await stream.read_leased();
    if (arrived.empty()) co_return;
    const auto sent = stream.try_write(arrived.bytes());
    EXPECT_EQ(sent, arrived.size());
  }
}

task<> ask(socket_address server, std::uint64_t salt) {
  auto stream = co_await tcp_stream::connect(server);
  std::array<std::byte, 100> question;
  std::array<std::byte, 100> answer;
  for (int round = 0; round < 50; ++round) {
    for (std::size_t i = 0; i < question.size(); ++i) question[i] = pattern(salt * 1000 + i);
    co_await stream.write_all(question);
    for (std::size_t got = 0; got < answer.size();) {
      got += co_await stream.read(std::span(answer).subspan(got));
    }
    EXPECT_EQ(question, answer);
  }
}

MAGPIE_TASK_TEST(lease, many_connections_share_one_buffer_concurrent) {
  constexpr std::uint64_t connections = 40;
  tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  co_await with_task_group([&](task_group& group) -> task<> {
    for (std::uint64_t i = 0; i < connections; ++i) group.spawn(ask(address, i));
    for (std::uint64_t i = 0; i < connections; ++i) {
      auto peer = co_await listener.accept();
      group.spawn(echo_leased(std::move(peer)));
    }
  });
}

using lease_death_test = ::testing::Test;

task<> two_leases() {
  stream_pair peers = co_await connected_pair();
  std::vector<std::byte> twice(magpie::detail::hot_buffer_size * 2);
  co_await peers.client.write_all(twice);
  const lease first = co_await peers.server.read_leased();
  const lease second = co_await peers.server.read_leased();
}

task<> lease_one(stream_pair& peers) {
  co_await peers.client.write_all(bytes_of("b"));
  static_cast<void>(co_await peers.server.read_leased());
}

task<> lease_across_a_suspension() {
  stream_pair one = co_await connected_pair();
  stream_pair other = co_await connected_pair();
  co_await one.client.write_all(bytes_of("a"));
  co_await one.server.readable();
  const lease kept = co_await one.server.read_leased();
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(lease_one(other));
    co_return;
  });
  static_cast<void>(kept.bytes());
}

/// On one worker: with several, another one may run the task that finds the buffer lent.
void run_on_one_worker(task<> body) {
  options one = matrix_options();
  one.workers = 1;
  runtime on(one);
  static_cast<void>(on.block_on(std::move(body)));
}

TEST_F(lease_death_test, breaking_the_rules_is_an_abort) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  if (matrix_reactor() == "uring" && !kernel_has_uring()) GTEST_SKIP() << "no io_uring here";
  EXPECT_DEATH(run_on_one_worker(two_leases()), "lease");
  EXPECT_DEATH(run_on_one_worker(lease_across_a_suspension()), "lease");
}

}  // namespace
}  // namespace magpie::net
