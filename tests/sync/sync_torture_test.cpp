/// Stops at every possible moment, for whatever waits in a primitive.  Afterwards permits and locks
/// are back, and no notification and no value is lost.
#include <magpie/sync/barrier.hpp>
#include <magpie/sync/event.hpp>
#include <magpie/sync/latch.hpp>
#include <magpie/sync/mutex.hpp>
#include <magpie/sync/notify.hpp>
#include <magpie/sync/oneshot.hpp>
#include <magpie/sync/owned.hpp>
#include <magpie/sync/semaphore.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>

namespace magpie::tests::sync_torture_test {
namespace {

/// Waits, with a deadline or without, holds for a while, and gives back.
task<> acquires(sync::semaphore& from, int i, tally& counts) {
  const counted here(counts.alive);
  const auto count = static_cast<std::size_t>(1 + i % 2);
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 1h;
  auto got = co_await as_result(timeout(longest, from.acquire(count)));
  if (got) {
    counts.check(got->count() == count);
    if (i % 5 == 0) got->release();
    co_await sleep_for(std::chrono::microseconds(i % 7));
  } else if (got.error() != errc::deadline) {
    co_await fail(got.error());
  }
}

task<> acquiring(int i, tally& counts) {
  const counted here(counts.alive);
  sync::semaphore some(2);
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 4; ++k) group.spawn(acquires(some, i + k, counts));
    co_return;
  }));
  counts.check(some.available() == 2);
  some.check_invariants();
  if (!ended) co_await fail(ended.error());
}

/// The permits come from somebody else, at about the time of the stop.
task<> acquiring_what_is_added(int i, tally& counts) {
  const counted here(counts.alive);
  const auto none = std::make_shared<sync::semaphore>(0);
  const auto adds = [](std::shared_ptr<sync::semaphore> to, int n) -> task<> {
    if (n % 2 == 0) co_await sleep_for(std::chrono::microseconds(n % 23));
    to->add(1);
  };
  auto adding = spawn(adds(none, i));
  auto got = co_await as_result(sync::acquire_owned(none));
  if (!got) {
    counts.check(got.error() == errc::stopped);
    const auto joined = co_await shielded(adding.join());
    counts.check(joined.has_value() && none->available() == 1);  // it was left behind
    co_await fail(got.error());
  }
  counts.check(none->available() == 0);
}

/// Of two that come at about the same time it takes one.
task<> choosing(int i, tally& counts) {
  const counted here(counts.alive);
  sync::semaphore a(0);
  sync::semaphore b(0);
  const auto adds = [](sync::semaphore& to, int n) -> task<> {
    if (n % 3 != 0) co_await sleep_for(std::chrono::microseconds(n % 13));
    to.add(1);
  };
  const auto chooses = [](sync::semaphore& left, sync::semaphore& right, tally& in) -> task<> {
    auto first = co_await select(left.acquire(), right.acquire());
    const bool is_left = first.index() == 0;
    in.check((is_left ? left : right).available() == 0);
    if (is_left) {
      first.value<0>().forget();
    } else {
      first.value<1>().forget();
    }
  };
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(adds(a, i));
    group.spawn(adds(b, i + 1));
    co_await chooses(a, b, counts);
  }));
  // One was taken, the other one is there.
  if (ended) counts.check(a.available() + b.available() == 1);
  counts.check(a.available() <= 1 && b.available() <= 1);
  if (!ended) co_await fail(ended.error());
}

task<> locks(sync::mutex& one, int& inside, int i, tally& counts) {
  const counted here(counts.alive);
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 1h;
  auto guard = co_await as_result(timeout(longest, one.lock()));
  if (!guard) {
    if (guard.error() == errc::deadline) co_return;
    co_await fail(guard.error());
  }
  counts.check(++inside == 1);
  const auto slept = co_await as_result(sleep_for(std::chrono::microseconds(i % 5)));
  --inside;
  if (!slept) co_await fail(slept.error());
}

task<> locking(int i, tally& counts) {
  const counted here(counts.alive);
  sync::mutex one;
  int inside = 0;
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 4; ++k) group.spawn(locks(one, inside, i + k, counts));
    co_return;
  }));
  counts.check(!one.is_locked() && inside == 0);
  one.check_invariants();
  if (!ended) co_await fail(ended.error());
}

/// Two wait, two notifications come: each is had, or is left, or is one with another.
task<> notified(int i, tally& counts) {
  const counted here(counts.alive);
  sync::notify on;
  int heard = 0;
  atomic<int> said{0};
  const auto waits = [](sync::notify& in, int& sum, int n, tally& all) -> task<> {
    const counted inner(all.alive);
    const auto longest = n % 3 == 0 ? std::chrono::nanoseconds(n % 11 * 1us) : 50us;
    const auto ended = co_await as_result(timeout(longest, in.notified()));
    if (ended) {
      ++sum;
    } else if (ended.error() != errc::deadline) {
      co_await fail(ended.error());
    }
  };
  const auto says = [](sync::notify& in, atomic<int>& sum, int n) -> task<> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 13));
    sum.fetch_add(1, order::relaxed);
    n % 2 == 0 ? in.notify_one() : in.notify_last();
  };
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(says(on, said, i));
    co_await join(waits(on, heard, i, counts), waits(on, heard, i + 1, counts));
  }));
  // Exactly one, if it came: it was heard by one, or is there.
  counts.check(heard + (on.try_notified() ? 1 : 0) == said.load(order::relaxed));
  if (!ended) co_await fail(ended.error());
}

/// Waits for an event and a latch of its own, which others set at about the time of the stop.
task<> awaiting_events(int i, tally& counts) {
  const counted here(counts.alive);
  sync::event ready;
  sync::latch two(2);
  const auto sets = [](sync::event& first, sync::latch& then, int n) -> task<> {
    if (n % 3 != 0) co_await sleep_for(std::chrono::microseconds(n % 13));
    n % 2 == 0 ? first.set() : then.count_down();
    if (n % 5 == 0) co_await yield();
    n % 2 == 0 ? then.count_down() : first.set();
  };
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    group.spawn(sets(ready, two, i));
    group.spawn(sets(ready, two, i + 1));
    co_await ready.wait();
    co_await two.wait();
  }));
  counts.check(!ended || (ready.is_set() && two.count() == 0));
  if (!ended) co_await fail(ended.error());
}

/// Three meet twice, and some of them give up: an arrival that was taken back does not count.
task<> meeting(int i, tally& counts) {
  const counted here(counts.alive);
  sync::barrier two(2);
  int leaders = 0;
  int through = 0;
  const auto meets = [](sync::barrier& at, int& leads, int& passed, int n) -> task<> {
    if (n % 4 == 0) co_await sleep_for(std::chrono::microseconds(n % 7));
    const auto longest = std::chrono::microseconds(n % 3 == 0 ? n % 11 : 30);
    const auto ended = co_await as_result(timeout(longest, at.arrive_and_wait()));
    if (ended) {
      ++passed;
      if (*ended) ++leads;
    } else if (ended.error() != errc::deadline) {
      co_await fail(ended.error());
    }
  };
  const auto ended = co_await as_result(
      join(meets(two, leaders, through, i), meets(two, leaders, through, i + 1),
           meets(two, leaders, through, i + 2), meets(two, leaders, through, i + 3)));
  // A branch that was stopped when it had its value has it all the same, but its frame may be gone.
  counts.check(!ended || through == 2 * leaders);
  if (!ended) co_await fail(ended.error());
}

/// The value is had, or stays in the channel, or goes back.
task<> receiving(int i, tally& counts) {
  const counted here(counts.alive);
  auto ends = sync::oneshot<std::shared_ptr<int>>();
  const auto value = std::make_shared<int>(i);
  const auto sends = [](sync::oneshot_sender<std::shared_ptr<int>> to, std::shared_ptr<int> what,
                        int n) -> task<bool> {
    if (n % 4 != 0) co_await sleep_for(std::chrono::microseconds(n % 31));
    co_return to.send(std::move(what)).has_value();
  };
  auto sending = spawn(sends(std::move(ends.sender), value, i));
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 17 * 1us) : 1h;
  const auto first = co_await as_result(timeout(longest, ends.receiver.receive()));
  if (first) {
    counts.check(*first == value);
    co_return;
  }
  const auto sent = co_await shielded(sending.join());
  const auto again = ends.receiver.try_receive();
  counts.check(sent && again && *again == value);
  if (first.error() == errc::stopped) co_await fail(first.error());
}

/// The sender gives up when the receiver has gone.
task<> hearing_of_the_end(int i, tally& counts) {
  const counted here(counts.alive);
  auto ends = sync::oneshot<int>();
  const auto leaves = [](sync::oneshot_receiver<int> from, int n) -> task<> {
    if (n % 2 == 0) {
      co_await sleep_for(std::chrono::microseconds(n % 31));
      from.close();
    }
  };
  auto leaving = spawn(leaves(std::move(ends.receiver), i));
  co_await ends.sender.closed();
  counts.check(!ends.sender.send(1));
}

TEST(sync_torture, concurrent_semaphores) { torture(&acquiring); }
TEST(sync_torture, concurrent_added_permits) { torture(&acquiring_what_is_added); }
TEST(sync_torture, concurrent_choices) { torture(&choosing); }
TEST(sync_torture, concurrent_mutexes) { torture(&locking); }
TEST(sync_torture, concurrent_notifications) { torture(&notified); }
TEST(sync_torture, concurrent_events_and_latches) { torture(&awaiting_events); }
TEST(sync_torture, concurrent_barriers) { torture(&meeting); }
TEST(sync_torture, concurrent_receives) { torture(&receiving); }
TEST(sync_torture, concurrent_waits_for_the_other_end) { torture(&hearing_of_the_end); }

}  // namespace
}  // namespace magpie::tests::sync_torture_test
