/// Stops at every possible moment, for whatever waits for a limit.  Afterwards no token was taken
/// by who was stopped, and every place is free again.
#include <magpie/runtime/fail.hpp>
#include <magpie/sync/admission.hpp>
#include <magpie/sync/keyed_rate_limiter.hpp>
#include <magpie/sync/rate_limiter.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <array>

namespace magpie::tests::backpressure_torture_test {
namespace {

/// Takes tokens that never come again, with a deadline or without, and counts them.
task<> takes_tokens(sync::rate_limiter& from, int i, tally& counts, atomic<std::uint64_t>& taken) {
  const counted here(counts.alive);
  const auto count = static_cast<std::uint64_t>(1 + i % 2);
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 100us;
  const auto got = co_await as_result(timeout(longest, from.acquire(count)));
  if (got) {
    taken.fetch_add(count, order::relaxed);
    co_await sleep_for(std::chrono::microseconds(i % 7));
  } else if (got.error() != errc::deadline) {
    co_await fail(got.error());
  }
}

task<> limited(int i, tally& counts) {
  const counted here(counts.alive);
  sync::rate_limiter five(sync::rate_limit(1, std::chrono::hours(1'000'000), 5));
  atomic<std::uint64_t> taken{0};
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 5; ++k) group.spawn(takes_tokens(five, i + k, counts, taken));
    co_return;
  }));
  counts.check(five.available() + taken.load(order::relaxed) == 5);
  // Nobody is in line any more: what is left can be had.
  const std::uint64_t left = five.available();
  counts.check(left == 0 || five.try_acquire(left).has_value());
  if (!ended) co_await fail(ended.error());
}

task<> takes_tokens_of(sync::keyed_rate_limiter<int>& from, int i, tally& counts,
                       std::array<atomic<std::uint64_t>, 2>& taken) {
  const counted here(counts.alive);
  const int key = i % 2;
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 100us;
  const auto got = co_await as_result(timeout(longest, from.acquire(key)));
  if (got) {
    taken[static_cast<std::size_t>(key)].fetch_add(1, order::relaxed);
    co_await sleep_for(std::chrono::microseconds(i % 7));
  } else if (got.error() != errc::deadline) {
    co_await fail(got.error());
  }
}

task<> limited_by_key(int i, tally& counts) {
  const counted here(counts.alive);
  sync::keyed_rate_limiter<int> two(sync::rate_limit(1, std::chrono::hours(1'000'000), 2), 2);
  std::array<atomic<std::uint64_t>, 2> taken{};
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 6; ++k) group.spawn(takes_tokens_of(two, i + k, counts, taken));
    co_return;
  }));
  for (const int key : {0, 1}) {
    const std::uint64_t left = two.available(key);
    counts.check(left + taken[static_cast<std::size_t>(key)].load(order::relaxed) == 2);
    counts.check(left == 0 || two.try_acquire(key, left).has_value());
  }
  if (!ended) co_await fail(ended.error());
}

task<> visits(sync::admission& door, int i, tally& counts, atomic<int>& inside) {
  const counted here(counts.alive);
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 1h;
  auto got = co_await as_result(timeout(longest, door.enter()));
  if (got) {
    counts.check(inside.fetch_add(1, order::relaxed) < 2);
    const auto slept = co_await as_result(sleep_for(std::chrono::microseconds(i % 7)));
    inside.fetch_sub(1, order::relaxed);
    if (!slept) co_await fail(slept.error());
  } else if (got.error() != errc::deadline && got.error() != errc::refused) {
    co_await fail(got.error());
  }
}

task<> admitting(int i, tally& counts) {
  const counted here(counts.alive);
  sync::admission_limits limits(2, 2);
  limits.patience = i % 2 == 0 ? 1h : std::chrono::microseconds(i % 13);
  sync::admission door(limits);
  atomic<int> inside{0};
  const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 5; ++k) group.spawn(visits(door, i + k, counts, inside));
    co_return;
  }));
  const auto now = door.counts();
  counts.check(now.running == 0 && now.waiting == 0);
  auto first = door.try_enter();
  auto second = door.try_enter();
  counts.check(first && second && !door.try_enter());
  if (!ended) co_await fail(ended.error());
}

TEST(backpressure_torture, concurrent_rate_limiters) { torture(&limited); }
TEST(backpressure_torture, concurrent_keyed_rate_limiters) { torture(&limited_by_key); }
TEST(backpressure_torture, concurrent_admissions) { torture(&admitting); }

}  // namespace
}  // namespace magpie::tests::backpressure_torture_test
