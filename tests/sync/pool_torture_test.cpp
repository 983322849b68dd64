/// Stops at every possible moment, for whatever gets an object of a pool.  Afterwards no object is
/// alive that is not counted, and every turn can be had again.
#include <magpie/runtime/fail.hpp>
#include <magpie/sync/keyed_pool.hpp>
#include <magpie/sync/pool.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/world.hpp>

#include <optional>
#include <utility>

namespace magpie::tests::pool_torture_test {
namespace {

using sync::pool_options;
using sync::pooled;

/// What happens at each of the three places at which a get may wait inside of the manager, by the
/// digits of a number: nothing, it waits, it yields, it fails, it waits and fails.
struct gates {
  explicit gates(int of) noexcept : number(static_cast<unsigned>(of)) {}

  task<> pass(unsigned which, unsigned round) const {
    unsigned digits = number + round * 7;
    for (unsigned i = 0; i < which; ++i) digits /= 5;
    const unsigned what = digits % 5;
    if (what == 1 || what == 4) co_await sleep_for(std::chrono::microseconds(digits % 23));
    if (what == 2) co_await yield();
    if (what >= 3) co_await fail(some_error());
  }

  unsigned number;
};

class part {
 public:
  explicit part(atomic<int>& alive) noexcept : alive_(&alive) {
    alive.fetch_add(1, order::relaxed);
  }
  part(part&& other) noexcept : alive_(std::exchange(other.alive_, nullptr)) {}
  part& operator=(part&&) = delete;
  ~part() {
    if (alive_ != nullptr) alive_->fetch_sub(1, order::relaxed);
  }
  bool used = false;

 private:
  atomic<int>* alive_;
};

struct gated_parts {
  gated_parts(int number, atomic<int>& alive_parts) noexcept : at(number), alive(&alive_parts) {}

  task<part> create() {
    const unsigned round = rounds.fetch_add(1, order::relaxed);
    co_await at.pass(0, round);
    part made(*alive);
    co_await at.pass(1, round);  // it may be stopped with what it has made
    co_return made;
  }
  task<> recycle(part&) { co_await at.pass(2, rounds.fetch_add(1, order::relaxed)); }
  static bool is_broken(part& one) noexcept { return std::exchange(one.used, false); }

  gated_parts(gated_parts&& other) noexcept : at(other.at), alive(other.alive) {}

  gates at;
  atomic<int>* alive;
  atomic<unsigned> rounds{0};
};

using gated_pool = sync::pool<gated_parts>;

task<> borrows(gated_pool& from, int i, tally& counts, atomic<int>& out) {
  const counted here(counts.alive);
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 1h;
  auto got = co_await as_result(timeout(longest, from.get()));
  if (got) {
    counts.check(out.fetch_add(1, order::relaxed) < 2);
    (*got)->used = i % 4 == 0;
    const auto slept = co_await as_result(sleep_for(std::chrono::microseconds(i % 7)));
    out.fetch_sub(1, order::relaxed);
    if (!slept) co_await fail(slept.error());
  } else if (got.error() != errc::deadline && got.error() != some_error()) {
    co_await fail(got.error());
  }
}

task<> pooling(int i, tally& counts) {
  const counted here(counts.alive);
  atomic<int> alive{0};
  atomic<int> out{0};
  {
    pool_options options(2);
    options.order = i % 2 == 0 ? sync::pool_order::fifo : sync::pool_order::lifo;
    options.recycle_time_max = i % 5 == 0 ? std::chrono::microseconds(i % 19) : 1h;
    options.idle_min = static_cast<std::size_t>(i % 3);
    options.maintain_every = 20us;
    gated_pool parts(options, gated_parts(i, alive));
    const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
      if (i % 3 != 0) group.spawn(parts.maintain());
      for (int k = 0; k < 4; ++k) group.spawn(borrows(parts, i + k, counts, out));
      co_await sleep_for(std::chrono::microseconds(i % 29));
      if (i % 4 == 1) parts.resize(1);
      parts.reap();
      if (i % 4 == 1) parts.resize(2);
      if (i % 3 != 0) group.stop();
    }));
    parts.check_invariants();
    const auto now = parts.counts();
    counts.check(now.size == now.idle && now.being_made == 0 && now.waiting == 0);
    counts.check(now.created - now.all_ended() == now.idle);
    counts.check(alive.load(order::relaxed) == static_cast<int>(now.idle));
    parts.close();
    if (!ended) co_await fail(ended.error());
  }
  counts.check(alive.load(order::relaxed) == 0);
}

struct keyed_parts {
  keyed_parts(int number, atomic<int>& alive_parts) noexcept : at(number), alive(&alive_parts) {}
  keyed_parts(keyed_parts&& other) noexcept : at(other.at), alive(other.alive) {}

  task<part> create(int key) {
    co_await at.pass(0, static_cast<unsigned>(key));
    co_return part(*alive);
  }
  task<> recycle(part&) { co_await at.pass(2, rounds.fetch_add(1, order::relaxed)); }

  gates at;
  atomic<int>* alive;
  atomic<unsigned> rounds{0};
};

using keyed_pool = sync::keyed_pool<int, keyed_parts>;

task<> borrows_of_key(keyed_pool& from, int i, tally& counts, atomic<int>& out) {
  const counted here(counts.alive);
  const auto longest = i % 3 == 0 ? std::chrono::nanoseconds(i % 11 * 1us) : 1h;
  auto got = co_await as_result(timeout(longest, from.get(i % 3)));
  if (got) {
    counts.check(out.fetch_add(1, order::relaxed) < 2);
    const auto slept = co_await as_result(sleep_for(std::chrono::microseconds(i % 7)));
    out.fetch_sub(1, order::relaxed);
    if (!slept) co_await fail(slept.error());
  } else if (got.error() != errc::deadline && got.error() != some_error()) {
    co_await fail(got.error());
  }
}

task<> pooling_by_key(int i, tally& counts) {
  const counted here(counts.alive);
  atomic<int> alive{0};
  atomic<int> out{0};
  {
    keyed_pool parts(sync::keyed_pool_options(2, static_cast<std::size_t>(1 + i % 2)),
                     keyed_parts(i, alive));
    const auto ended = co_await as_result(with_task_group([&](task_group& group) -> task<> {
      for (int k = 0; k < 5; ++k) group.spawn(borrows_of_key(parts, i + k, counts, out));
      co_return;
    }));
    counts.check(parts.counts().size <= 2);
    counts.check(alive.load(order::relaxed) == static_cast<int>(parts.counts().size));
    parts.reap();
    parts.close();
    counts.check(parts.counts().size == 0);
    if (!ended) co_await fail(ended.error());
  }
  counts.check(alive.load(order::relaxed) == 0);
}

TEST(pool_torture, concurrent_gets) { torture(&pooling); }
TEST(pool_torture, concurrent_gets_of_keys) { torture(&pooling_by_key); }

}  // namespace
}  // namespace magpie::tests::pool_torture_test
