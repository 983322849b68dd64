/// Stops at every possible moment, for whatever waits for permits and locks.  Afterwards all of
/// them are back.
#include <magpie/sync/mutex.hpp>
#include <magpie/sync/owned.hpp>
#include <magpie/sync/semaphore.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>

namespace magpie::tests {
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

TEST(sync_torture, concurrent_semaphores) { torture(&acquiring); }
TEST(sync_torture, concurrent_added_permits) { torture(&acquiring_what_is_added); }
TEST(sync_torture, concurrent_choices) { torture(&choosing); }
TEST(sync_torture, concurrent_mutexes) { torture(&locking); }

}  // namespace
}  // namespace magpie::tests
