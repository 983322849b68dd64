/// A server with a limit for connections, a rate for each client and admission, under ten times
/// what it can do: its goodput stays, and so does the time of those whom it serves.
#include <magpie/net/serve.hpp>
#include <magpie/sync/admission.hpp>
#include <magpie/sync/keyed_rate_limiter.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <array>
#include <vector>

namespace magpie::tests::overload_test {
namespace {

enum class answer : std::uint8_t { done, too_often, busy };

constexpr std::size_t at_once = 8;
constexpr auto work_takes = 10ms;  // so it can do 800 in a second
constexpr std::size_t connections_max = 256;

sync::admission_limits limits() {
  sync::admission_limits of(at_once, 32);
  of.patience = 50ms;
  of.impatience = 5ms;
  return of;
}

/// The server, and what it has seen.
struct service {
  sync::semaphore connections{connections_max};
  sync::keyed_rate_limiter<std::uint8_t> clients{sync::rate_limit(100, 1s, 10)};
  sync::admission door{limits()};
  clock::duration longest{};  // of those it has served, from the accept on
  std::size_t open = 0;
  std::size_t most_open = 0;

  task<answer> answers_to(std::uint8_t client) {
    const clock::time_point came = clock::now();
    if (!clients.try_acquire(client)) co_return answer::too_often;
    const auto admitted = co_await as_result(door.enter());
    if (!admitted) co_return answer::busy;
    co_await sleep_for(work_takes);
    longest = std::max(longest, clock::now() - came);
    co_return answer::done;
  }

  task<> talk(net::tcp_stream peer) {
    most_open = std::max(most_open, ++open);
    std::array<std::byte, 1> byte;
    const std::size_t got = co_await peer.read(byte);
    EXPECT_EQ(got, 1U);
    const answer said = co_await answers_to(std::to_integer<std::uint8_t>(byte[0]));
    byte[0] = static_cast<std::byte>(said);
    --open;
    co_await peer.write_all(byte);
  }
};

using answers = std::array<int, 3>;

task<> asks(net::socket_address whom, std::uint8_t client, answers& got) {
  auto peer = co_await net::tcp_stream::connect(whom);
  std::array<std::byte, 1> byte{static_cast<std::byte>(client)};
  co_await peer.write_all(byte);
  const std::size_t count = co_await peer.read(byte);
  EXPECT_EQ(count, 1U);
  ++got[std::to_integer<std::size_t>(byte[0])];
}

task<> asks_steadily(net::socket_address whom, std::uint8_t client, int in_all,
                     clock::duration apart, answers& got) {
  co_await with_task_group([&](task_group& group) -> task<> {
    const clock::time_point began = clock::now();
    for (int i = 0; i < in_all; ++i) {
      group.spawn(asks(whom, client, got));
      co_await sleep_until(began + i * apart);
    }
  });
}

TEST(overload, a_server_with_all_its_limits_keeps_its_goodput) {
  MAGPIE_NEED_SIMULATION();
  const auto scenario = []() -> task<> {
    constexpr int seconds = 2;
    auto listener = net::tcp_listener::bind("127.0.0.1:0").value();
    const auto whom = listener.local_address().value();
    service by;
    const auto talks = [&](net::tcp_stream peer) { return by.talk(std::move(peer)); };
    auto serving = spawn(net::serve(listener, by.connections, talks));
    std::array<answers, 41> got{};
    co_await with_task_group([&](task_group& group) -> task<> {
      // One asks as often as forty others together, who do what they may.
      group.spawn(asks_steadily(whom, 0, 4000 * seconds, 250us, got[0]));
      for (std::uint8_t i = 1; i <= 40; ++i)
        group.spawn(asks_steadily(whom, i, 100 * seconds, 10ms, got[i]));
      co_return;
    });
    int done = 0;
    int all = 0;
    for (const answers& each : got) {
      done += each[0];
      all += each[0] + each[1] + each[2];
    }
    EXPECT_EQ(all, 8000 * seconds);  // everybody has got an answer
    EXPECT_GE(done, 800 * seconds * 9 / 10);
    EXPECT_LE(by.longest, limits().patience + work_takes + 2ms);
    EXPECT_LE(by.most_open, connections_max);
    // The one has used up what is its own, and no more.
    EXPECT_GE(got[0][1], 4000 * seconds - 100 * seconds - 12);
    EXPECT_LE(got[0][0], 100 * seconds + 10);
    serving.abort();
    [[maybe_unused]] const auto ended = co_await serving.join();
    EXPECT_EQ(by.connections.available(), connections_max);
    EXPECT_EQ(by.clients.size(), 41U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

}  // namespace
}  // namespace magpie::tests::overload_test
