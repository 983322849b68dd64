/// Stops at every possible moment, for whoever sends, reserves and receives.  Afterwards each
/// message was received, or is in the channel, or is where it was.
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/unbounded_mpsc.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <vector>

namespace magpie::tests::mpsc_torture_test {
namespace {

using value = std::shared_ptr<int>;

std::chrono::nanoseconds patience(int i) {
  return i % 3 == 0 ? std::chrono::nanoseconds(i % 13 * 1us) : 1h;
}

/// Counts what it has sent; a value that was not sent is still there.
task<> sends_some(sync::mpsc_sender<value> to, value what, int& sent, int i, tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < 3; ++k) {
    value mine = what;
    const auto ended = co_await as_result(timeout(patience(i + k), to.send(std::move(mine))));
    counts.check(ended.has_value() == (mine == nullptr));
    if (ended) {
      ++sent;
    } else if (ended.error() != errc::deadline) {
      co_await fail(ended.error());
    }
  }
}

task<> reserves_some(sync::mpsc_sender<value> to, value what, int& sent, int i, tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < 3; ++k) {
    const auto room = static_cast<std::size_t>(1 + k % 2);
    auto permit = co_await as_result(timeout(patience(i + k), to.reserve(room)));
    if (permit) {
      if (i % 4 == 0) {
        const auto slept = co_await as_result(sleep_for(std::chrono::microseconds(i % 5)));
        if (!slept) co_await fail(slept.error());  // and the room goes back
      }
      permit->send(what);
      ++sent;
    } else if (permit.error() != errc::deadline) {
      co_await fail(permit.error());
    }
  }
}

task<> receives_some(sync::mpsc_receiver<value>& from, int& received, int i, tally& counts) {
  const counted here(counts.alive);
  std::vector<value> into;
  for (;; ++i) {
    std::error_code error;
    if (i % 4 == 0) {
      const auto some = co_await as_result(timeout(patience(i), from.receive_many(into, 2)));
      if (some && *some == 0) co_return;
      if (some) received += static_cast<int>(*some);
      error = error_of(some);
    } else {
      const auto one = co_await as_result(timeout(patience(i), from.receive()));
      if (one) ++received;
      error = error_of(one);
    }
    if (error == errc::closed) co_return;
    if (error && error != errc::deadline) co_await fail(error);
  }
}

/// Everybody is stopped at about the same time: what is missing must be in the channel.
task<> streaming(int i, tally& counts) {
  const counted here(counts.alive);
  const auto what = std::make_shared<int>(i);
  auto [to, from] = sync::mpsc<value>(2);
  int sent[3] = {};
  int received = 0;
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(sends_some(to, what, sent[0], i, counts));
    group.spawn(sends_some(to, what, sent[1], i + 1, counts));
    group.spawn(reserves_some(to, what, sent[2], i + 2, counts));
    to = sync::mpsc_sender<value>();
    co_await receives_some(from, received, i, counts);
  }));
  while (from.try_receive()) ++received;
  counts.check(received == sent[0] + sent[1] + sent[2]);
  from = sync::mpsc_receiver<value>();
  counts.check(what.use_count() == 1);
  if (!ended) co_await fail(ended.error());
}

/// The receiver closes meanwhile.
task<> closing(int i, tally& counts) {
  const counted here(counts.alive);
  const auto what = std::make_shared<int>(i);
  auto [to, from] = sync::mpsc<value>(2);
  int sent[2] = {};
  int received = 0;
  const auto closes = [](sync::mpsc_receiver<value>& of, int n) -> task<> {
    if (n % 3 != 0) co_await sleep_for(std::chrono::microseconds(n % 13));
    of.close();
  };
  const auto tries = [](task<> inner) -> task<> {
    const auto ended = co_await as_result(std::move(inner));
    if (!ended && ended.error() != errc::closed) co_await fail(ended.error());
  };
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(tries(sends_some(to, what, sent[0], i, counts)));
    group.spawn(tries(reserves_some(to, what, sent[1], i + 1, counts)));
    group.spawn(closes(from, i));
    co_await receives_some(from, received, i, counts);
  }));
  while (from.try_receive()) ++received;
  counts.check(received == sent[0] + sent[1]);
  counts.check(to.available() == 2);
  if (!ended) co_await fail(ended.error());
}

/// The message comes from somebody else, at about the time of the stop.
task<> receiving_one(int i, tally& counts) {
  const counted here(counts.alive);
  auto ends = sync::unbounded_mpsc<int>();
  const auto sends = [](sync::unbounded_sender<int> to, int n) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 31));
    static_cast<void>(to.send(n));
  };
  auto sending = spawn(sends(std::move(ends.sender), i));
  const auto first = co_await as_result(timeout(patience(i), ends.receiver.receive()));
  if (first) {
    counts.check(*first == i);
    co_return;
  }
  const auto ended = co_await shielded(sending.join());
  const auto again = ends.receiver.try_receive();
  counts.check(ended && again && *again == i);
  if (first.error() == errc::stopped) co_await fail(first.error());
}

/// Of two channels to which messages come at about the same time it takes one.
task<> choosing(int i, tally& counts) {
  const counted here(counts.alive);
  auto left = sync::mpsc<int>(1);
  auto right = sync::mpsc<int>(1);
  const auto sends = [](sync::mpsc_sender<int> to, int n) -> task<> {
    if (n % 3 != 0) co_await sleep_for(std::chrono::microseconds(n % 13));
    co_await to.send(1);
  };
  int received = 0;
  int on_their_way = 0;
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(sends(left.sender, i));
    group.spawn(sends(right.sender, i + 1));
    const auto first = co_await select(left.receiver.receive(), right.receiver.receive());
    const bool both = first.get<0>() && *first.get<0>() && first.get<1>() && *first.get<1>();
    received = both ? 2 : 1;
  }));
  for (auto* each : {&left, &right}) {
    if (each->receiver.try_receive()) ++on_their_way;
    counts.check(each->sender.available() == 1);
  }
  if (ended) counts.check(received + on_their_way == 2);
  if (!ended) co_await fail(ended.error());
}

TEST(mpsc_torture, concurrent_streams) { torture(&streaming); }
TEST(mpsc_torture, concurrent_closings) { torture(&closing); }
TEST(mpsc_torture, concurrent_receives) { torture(&receiving_one); }
TEST(mpsc_torture, concurrent_choices) { torture(&choosing); }

}  // namespace
}  // namespace magpie::tests::mpsc_torture_test
