/// Forks over sockets: a byte that a losing read had not taken is still there, and one that it had
/// taken is handed out.
#include <magpie/io/write.hpp>
#include <magpie/net/tcp.hpp>
#include <magpie/runtime/as_completed.hpp>
#include <magpie/runtime/join.hpp>
#include <magpie/runtime/race.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/tests/net/harness.hpp>

#include <array>
#include <vector>

namespace magpie::tests::tcp_forks_test {
namespace {

constexpr std::size_t total = 4000;

task<> sends_bytes(net::tcp_stream& to) {
  for (std::size_t at = 0; at < total;) {
    std::array<std::byte, 3> some;
    const std::size_t count = std::min(some.size(), total - at);
    for (std::size_t i = 0; i < count; ++i) some[i] = pattern(at + i);
    co_await to.write_all(std::span(some).first(count));
    at += count;
    if (at % 2 == 0) co_await sleep_for(std::chrono::microseconds(at % 7));
    if (at % 5 == 0) co_await yield();
  }
}

task<> reads_or_sleeps(net::tcp_stream& from, int& lost_reads) {
  for (std::size_t at = 0; at < total;) {
    std::array<std::byte, 2> some{};
    auto first = co_await select(from.read(some), sleep_for(std::chrono::microseconds(at % 5)));
    const auto& read = first.get<0>();
    if (!read || !*read) {  // the sleep won, and no byte was taken
      EXPECT_TRUE(!read || read->error() == errc::stopped);
      ++lost_reads;
      continue;
    }
    const std::size_t count = **read;
    EXPECT_GT(count, 0U);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(some[i], pattern(at + i));
    at += count;
    if (count == 0) break;
  }
}

}  // namespace

MAGPIE_TASK_TEST(tcp_forks, a_read_that_loses_a_select_loses_no_byte_concurrent) {
  stream_pair pair = co_await connected_pair();
  int lost_reads = 0;
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(sends_bytes(pair.client));
    group.spawn(reads_or_sleeps(pair.server, lost_reads));
    co_return;
  });
  EXPECT_GT(lost_reads, 0);
}

MAGPIE_TASK_TEST(tcp_forks, one_task_reads_and_writes_at_once) {
  stream_pair pair = co_await connected_pair();
  int lost_reads = 0;
  static_cast<void>(
      co_await join(sends_bytes(pair.client), reads_or_sleeps(pair.server, lost_reads)));
}

namespace {

task<std::size_t> reads_one(net::tcp_stream& from, std::byte& into) {
  const std::size_t count = co_await from.read(std::span(&into, 1));
  co_return count;
}

task<> serves_streams(std::vector<stream_pair>& pairs, std::size_t& sum) {
  std::vector<std::byte> bytes(pairs.size());
  std::vector<task<std::size_t>> reads;
  for (std::size_t i = 0; i < pairs.size(); ++i)
    reads.push_back(reads_one(pairs[i].server, bytes[i]));
  co_await as_completed(std::move(reads), [&](completions<std::size_t>& done) -> task<> {
    std::size_t answered = 0;
    std::byte one{1};
    co_await pairs[pairs.size() - 1].client.write_all(std::span(&one, 1));
    for (;;) {
      auto next = co_await done.next();
      if (!next) break;
      EXPECT_EQ(next->value.value(), 1U);
      EXPECT_EQ(next->index, pairs.size() - 1 - answered);  // each answer causes the next
      EXPECT_EQ(bytes[next->index], one);
      ++answered;
      sum += next->index;
      if (next->index == 0) continue;
      co_await pairs[next->index - 1].client.write_all(std::span(&one, 1));
    }
  });
}

}  // namespace

MAGPIE_TASK_TEST(tcp_forks, reads_are_handed_out_as_they_complete) {
  std::vector<stream_pair> pairs;
  for (int i = 0; i < 8; ++i) pairs.push_back(co_await connected_pair());
  std::size_t sum = 0;
  co_await serves_streams(pairs, sum);
  EXPECT_EQ(sum, 28U);
}

MAGPIE_TASK_TEST(tcp_forks, a_leased_read_in_a_select_keeps_its_bytes) {
  stream_pair pair = co_await connected_pair();
  co_await pair.client.write_all(bytes_of("hello"));
  auto first = co_await select(pair.server.read_leased(), sleep_for(10s));
  EXPECT_EQ(first.index(), 0U);
  const std::string_view got = text_of(first.value<0>().bytes());  // the simulation may split it
  EXPECT_FALSE(got.empty());
  EXPECT_TRUE(std::string_view("hello").starts_with(got)) << got;
}

}  // namespace magpie::tests::tcp_forks_test
