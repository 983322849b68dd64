/// Stops at every possible moment, for whoever awaits the next of a stream.  Those that lose their
/// patience and ask again find each item, once.
#include <magpie/runtime/abort_on_drop.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/stream_buffered.hpp>
#include <magpie/sync/stream_joins.hpp>
#include <magpie/sync/stream_timed.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/streams.hpp>

#include <memory>
#include <vector>

namespace magpie::tests::stream_torture_test {
namespace {

using value = std::shared_ptr<int>;

task<> sends_numbers(sync::mpsc_sender<value> to, int first, int count, int i, tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < count; ++k) {
    if ((i + k) % 3 == 0) co_await sleep_for(std::chrono::microseconds((i + k) % 7));
    const auto sent = co_await as_result(to.send(std::make_shared<int>(first + k)));
    if (!sent) co_return;
  }
}

std::chrono::microseconds patience(int i) { return std::chrono::microseconds(i % 11); }

/// Awaits all of a stream, with little patience; `check(item)` looks at each.
template <class S, class F>
task<> takes_all(S& from, int i, F check) {
  for (;; ++i) {
    auto one = co_await as_result(timeout(patience(i), from.next()));
    if (one && !*one) co_return;
    if (one) {
      check(**one);
    } else if (one.error() != errc::deadline) {
      co_await fail(one.error());
    }
  }
}

task<> adapting(int i, tally& counts) {
  const counted here(counts.alive);
  auto [to, from] = sync::mpsc<value>(2);
  auto sending = abort_on_drop(spawn(sends_numbers(std::move(to), 0, i % 9, i, counts)));
  auto all = streams::messages(std::move(from)) |
             streams::filter([](const value& one) { return *one % 4 != 1; }) |
             streams::map([](const value& one) { return *one; }) | streams::peekable() |
             streams::enumerate();
  int next = 0;
  co_await takes_all(all, i, [&](const std::pair<std::size_t, int>& one) {
    counts.check(one.second == next);
    next += next % 4 == 0 ? 2 : 1;
  });
  counts.check(next >= i % 9);
}

task<> merging(int i, tally& counts) {
  const counted here(counts.alive);
  auto one = sync::mpsc<value>(2);
  auto other = sync::mpsc<value>(1);
  auto sending = abort_on_drop(spawn(sends_numbers(std::move(one.sender), 0, i % 5, i, counts)));
  auto sending_other =
      abort_on_drop(spawn(sends_numbers(std::move(other.sender), 100, i % 7, i + 1, counts)));
  auto all = streams::messages(std::move(one.receiver)) |
             streams::merge(streams::messages(std::move(other.receiver)));
  int next = 0;
  int next_other = 100;
  co_await takes_all(all, i, [&](const value& got) {
    int& expected = *got < 100 ? next : next_other;
    counts.check(*got == expected);
    ++expected;
  });
  counts.check(next == i % 5 && next_other == 100 + i % 7);
}

task<> joining(int i, tally& counts) {
  const counted here(counts.alive);
  auto [to, from] = sync::mpsc<value>(2);
  auto sending = abort_on_drop(spawn(sends_numbers(std::move(to), 0, i % 6, i, counts)));
  auto all = streams::messages(std::move(from)) |
             streams::then([&](const value& lent) -> task<int> {
               const counted inside(counts.alive);
               if (*lent % 2 == 1) co_await sleep_for(1us);
               co_return *lent;
             }) |
             streams::map([](int k) { return streams::each(numbers_to(k)); }) | streams::flatten() |
             streams::zip(streams::each(numbers_to(1'000)));
  int count = 0;
  co_await takes_all(all, i, [&](const std::pair<int, int>& got) {
    counts.check(got.second == count);
    ++count;
  });
  const int sent = i % 6;
  counts.check(count == sent * (sent - 1) / 2);
}

task<> timing(int i, tally& counts) {
  const counted here(counts.alive);
  auto [to, from] = sync::mpsc<value>(2);
  auto sending = abort_on_drop(spawn(sends_numbers(std::move(to), 0, i % 8, i, counts)));
  auto all = streams::messages(std::move(from)) | streams::throttle(1us) |
             streams::chunks_timeout(3, std::chrono::microseconds(i % 6));
  int next = 0;
  co_await takes_all(all, i, [&](const std::vector<value>& got) {
    counts.check(!got.empty());
    for (const value& one : got) counts.check(*one == next++);
  });
  counts.check(next == i % 8);
}

task<> buffering(int i, tally& counts) {
  const counted here(counts.alive);
  const int items = i % 12;
  const auto works = [&](int k) -> task<value> {
    const counted inside(counts.alive);
    if ((i + k) % 3 != 0) co_await sleep_for(std::chrono::microseconds((i + k) % 9));
    co_return std::make_shared<int>(k);
  };
  auto plan = streams::each(numbers_to(items)) | streams::map(works) |
              streams::buffered(static_cast<std::size_t>(1 + i % 4));
  int next = 0;
  co_await streams::with_stream(std::move(plan), [&](auto& all) -> task<> {
    co_await takes_all(all, i, [&](const value& got) { counts.check(*got == next++); });
  });
  counts.check(next == items);
}

task<> having_enough(int i, tally& counts) {
  const counted here(counts.alive);
  const auto works = [&](int k) -> task<int> {
    const counted inside(counts.alive);
    if ((i + k) % 3 != 0) co_await sleep_for(std::chrono::microseconds((i + k) % 9));
    co_return k;
  };
  const auto some = co_await (streams::each(numbers_to(20)) | streams::map(works) |
                              streams::buffer_unordered(4) | streams::take(3) | streams::collect());
  counts.check(some.size() == 3);
}

task<> doing(int i, tally& counts) {
  const counted here(counts.alive);
  atomic<int> done{0};
  co_await (streams::each(numbers_to(i % 9)) |
            streams::for_each_concurrent(3, [&](int k) -> task<> {
              const counted inside(counts.alive);
              if ((i + k) % 3 != 0) co_await sleep_for(std::chrono::microseconds((i + k) % 9));
              done.fetch_add(1, order::relaxed);
            }));
  counts.check(done.load(order::relaxed) == i % 9);
}

TEST(stream_torture, concurrent_adapters) { torture(&adapting); }
TEST(stream_torture, concurrent_merges) { torture(&merging); }
TEST(stream_torture, concurrent_joins) { torture(&joining); }
TEST(stream_torture, concurrent_timed_adapters) { torture(&timing); }
TEST(stream_torture, concurrent_buffers) { torture(&buffering); }
TEST(stream_torture, concurrent_buffers_that_are_left) { torture(&having_enough); }
TEST(stream_torture, concurrent_children) { torture(&doing); }

}  // namespace
}  // namespace magpie::tests::stream_torture_test
