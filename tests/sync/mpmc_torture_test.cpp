/// Stops at every possible moment, for whoever sends to and receives from a channel of many to
/// many.  Afterwards each message was received once, or is in the channel, or is where it was.
#include <magpie/runtime/fail.hpp>
#include <magpie/sync/mpmc.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>

namespace magpie::tests::mpmc_torture_test {
namespace {

using value = std::shared_ptr<int>;

std::chrono::nanoseconds patience(int i) {
  return i % 3 == 0 ? std::chrono::nanoseconds(i % 13 * 1us) : 1h;
}

task<> sends_some(sync::mpmc_sender<value> to, value what, atomic<int>& sent, int i,
                  tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < 3; ++k) {
    value mine = what;
    const auto ended = co_await as_result(timeout(patience(i + k), to.send(std::move(mine))));
    counts.check(ended.has_value() == (mine == nullptr));
    if (ended) {
      sent.fetch_add(1, order::relaxed);
    } else if (ended.error() != errc::deadline) {
      co_await fail(ended.error());
    }
  }
}

task<> reserves_some(sync::mpmc_sender<value> to, value what, atomic<int>& sent, int i,
                     tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < 3; ++k) {
    auto permit = co_await as_result(timeout(patience(i + k), to.reserve()));
    if (permit) {
      if (i % 4 == 0) {
        const auto slept = co_await as_result(sleep_for(std::chrono::microseconds(i % 5)));
        if (!slept) co_await fail(slept.error());  // and the room goes back
      }
      permit->send(what);
      sent.fetch_add(1, order::relaxed);
    } else if (permit.error() != errc::deadline) {
      co_await fail(permit.error());
    }
  }
}

task<> receives_some(sync::mpmc_receiver<value> from, atomic<int>& received, int i, tally& counts) {
  const counted here(counts.alive);
  for (;; ++i) {
    const auto one = co_await as_result(timeout(patience(i), from.receive()));
    if (one) {
      received.fetch_add(1, order::relaxed);
    } else if (one.error() == errc::closed) {
      co_return;
    } else if (one.error() != errc::deadline) {
      co_await fail(one.error());
    }
  }
}

/// Everybody is stopped at about the same time: what is missing must be in the channel.
task<> streaming(int i, tally& counts) {
  const counted here(counts.alive);
  const auto what = std::make_shared<int>(i);
  auto [to, from] = sync::mpmc<value>(2);
  atomic<int> sent{0};
  atomic<int> received{0};
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(sends_some(to, what, sent, i, counts));
    group.spawn(reserves_some(to, what, sent, i + 1, counts));
    to = sync::mpmc_sender<value>();
    for (int k = 0; k < 3; ++k) group.spawn(receives_some(from, received, i + k, counts));
    co_return;
  }));
  int left = 0;
  while (from.try_receive()) ++left;
  counts.check(error_of(from.try_receive()) == errc::closed);
  counts.check(sent.load(order::relaxed) == received.load(order::relaxed) + left);
  counts.check(!ended || left == 0);  // nobody has heard of the end too early
  counts.check(what.use_count() == 1);
  if (!ended) co_await fail(ended.error());
}

/// One of two receivers is stopped by itself: the other one gets everything.
task<> leaving(int i, tally& counts) {
  const counted here(counts.alive);
  const auto what = std::make_shared<int>(i);
  auto [to, from] = sync::mpmc<value>(1);
  atomic<int> sent{0};
  atomic<int> received{0};
  auto leaver = spawn(receives_some(from, received, i, counts));
  auto stayer = spawn(receives_some(from, received, i + 1, counts));
  auto sender = spawn(sends_some(std::move(to), what, sent, i + 2, counts));
  const auto paused = co_await as_result(sleep_for(std::chrono::microseconds(i % 9)));
  leaver.abort();
  [[maybe_unused]] const auto one = co_await shielded(leaver.join());
  [[maybe_unused]] const auto two = co_await shielded(sender.join());
  [[maybe_unused]] const auto three = co_await shielded(stayer.join());
  counts.check(!three || sent.load(order::relaxed) == received.load(order::relaxed));
  if (!paused) co_await fail(paused.error());
}

TEST(mpmc_torture, concurrent_streams) { torture(&streaming); }
TEST(mpmc_torture, concurrent_receivers_that_leave) { torture(&leaving); }

}  // namespace
}  // namespace magpie::tests::mpmc_torture_test
