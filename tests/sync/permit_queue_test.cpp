/// The line for permits against a reference that is a deque: random requests, releases, stops,
/// additions and closings, compared after each of them.  The races are in
/// tests/model/permit_queue_model.cpp.
#include <magpie/sync/permit_queue.hpp>

#include <magpie/sync/semaphore.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

namespace magpie::tests::permit_queue_test {
namespace {

using detail::grant;
using sync::semaphore;
using sync::semaphore_permit;
using sync::detail::held_permits;
using sync::detail::permit_entry;
using sync::detail::permit_queue;

TEST(permit_queue, takes_and_gives_back) {
  permit_queue two(2);
  permit_entry wanted(2);
  EXPECT_TRUE(two.try_take(wanted));
  EXPECT_EQ(wanted.is, grant::granted);
  permit_entry more(1);
  EXPECT_FALSE(two.try_take(more));
  EXPECT_EQ(more.is, grant::waiting);
  two.release(2);
  EXPECT_EQ(two.available(), 2U);
  two.close();
  EXPECT_TRUE(two.try_take(more));
  EXPECT_EQ(more.is, grant::closed);
}

/// The mark of those who waited is left behind, and is no obstacle.
TEST(permit_queue, the_mark_that_somebody_waits_is_cleared_by_whoever_comes_next) {
  permit_queue one(0);
  permit_entry waiting(1);
  detail::wake_chain woken;
  {
    lock_scope guard(one);
    one.offer(waiting, woken);
    EXPECT_EQ(waiting.is, grant::waiting);
    one.insert(waiting);
  }
  one.check_invariants();
  EXPECT_TRUE(one.remove(waiting));
  one.release(1);
  permit_entry next(1);
  EXPECT_FALSE(one.try_take(next));  // not without the lock
  EXPECT_TRUE(one.take(next));
  one.release(1);
  EXPECT_TRUE(one.try_take(next));
}

TEST(permit_queue, held_permits_go_back_once) {
  permit_queue three(0);
  {
    held_permits three_of_them(&three, 3);
    held_permits moved = std::move(three_of_them);
    moved = moved.split(2);
    EXPECT_EQ(three.available(), 1U);
  }
  EXPECT_EQ(three.available(), 3U);
  held_permits none;
  none.release();
  EXPECT_EQ(none.count(), 0U);
}

// ---- against the reference ----------------------------------------------------------------------

/// One who wants permits, and what became of it.
struct client {
  explicit client(std::size_t count) : wants(count) {}

  std::size_t wants;
  std::optional<semaphore_permit> permit;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};

task<> asks(semaphore& from, client& who) {
  auto ended = co_await as_result(from.acquire(who.wants));
  if (ended) {
    who.permit.emplace(*std::move(ended));
  } else {
    who.error = ended.error();
  }
}

/// What a semaphore should do.
struct reference {
  explicit reference(std::size_t permits) : free(permits) {}

  void serve() {
    while (!line.empty() && line.front()->wants <= free) {
      free -= line.front()->wants;
      held.push_back(line.front());
      line.pop_front();
    }
  }
  /// False: refused.
  bool ask(client& who) {
    if (closed) return false;
    if (who.wants == 0) {
      held.push_back(&who);
    } else {
      line.push_back(&who);
      serve();
    }
    return true;
  }
  void give_back(std::size_t count) {
    free += count;
    serve();
  }
  void leave(client& who) {
    std::erase(line, &who);
    serve();
  }

  std::size_t free;
  bool closed = false;
  std::deque<client*> line;
  std::vector<client*> held;
};

class comparison {
 public:
  explicit comparison(std::uint64_t seed) : by_chance_(seed) {}

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    real_.close();
    expected_.closed = true;
    expected_.line.clear();
    co_await settled();
    expected_.held.clear();
    for (auto& each : clients_)
      if (each->handle) [[maybe_unused]]
        const auto ended = co_await each->handle->join();
    clients_.clear();
  }

 private:
  void step() {
    switch (by_chance_.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        ask(by_chance_.below(5));
        break;
      case 4:
      case 5:
      case 6:
        give_back();
        break;
      case 7:
        stop_one();
        break;
      case 8:
        stop_one_that_is_given();
        break;
      case 9:
        try_one(by_chance_.below(4));
        break;
      case 10:
        change_number();
        break;
      default:
        split_and_merge();
        break;
    }
  }

  void ask(std::size_t count) {
    if (expected_.line.size() > 20) return;
    client& who = *clients_.emplace_back(std::make_unique<client>(count));
    EXPECT_TRUE(expected_.ask(who));
    who.handle.emplace(spawn(asks(real_, who)));
  }

  client* one_of(std::vector<client*>& all) {
    return all.empty() ? nullptr : all[by_chance_.below(all.size())];
  }

  void forget_client(client* who) {
    std::erase(expected_.held, who);
    std::erase_if(clients_, [&](const auto& each) { return each.get() == who; });
  }

  void give_back() {
    client* const who = one_of(expected_.held);
    if (who == nullptr) return;
    const std::size_t count = who->permit->count();
    expected_.give_back(count);
    forget_client(who);  // its permit goes with it
  }

  /// Somebody in line.
  void stop_one() {
    if (expected_.line.empty()) return;
    client& who = *expected_.line[by_chance_.below(expected_.line.size())];
    who.handle->abort();
    expected_.leave(who);
    stopped_.push_back(&who);
  }

  /// The first in line is given its permits, and is stopped before it runs.
  void stop_one_that_is_given() {
    if (expected_.line.empty()) return;
    client& who = *expected_.line.front();
    const std::size_t missing = who.wants - expected_.free;
    real_.add(missing);
    who.handle->abort();
    expected_.line.pop_front();
    expected_.give_back(missing);
    stopped_.push_back(&who);
  }

  void try_one(std::size_t count) {
    auto got = real_.try_acquire(count);
    const bool there = count == 0 || (expected_.line.empty() && expected_.free >= count);
    EXPECT_EQ(got.has_value(), there);
    if (!got) return;
    expected_.free -= count;
    client& who = *clients_.emplace_back(std::make_unique<client>(count));
    who.permit.emplace(*std::move(got));
    expected_.held.push_back(&who);
  }

  /// So that there are some, and not too many.
  void change_number() {
    std::size_t all = expected_.free;
    for (const client* who : expected_.held) all += who->permit ? who->permit->count() : who->wants;
    if (all < 6) {
      const std::size_t more = 1 + by_chance_.below(3);
      real_.add(more);
      expected_.give_back(more);
    } else {
      const std::size_t fewer = by_chance_.below(4);
      const std::size_t gone = real_.forget(fewer);
      EXPECT_EQ(gone, std::min(fewer, expected_.free));
      expected_.free -= gone;
    }
  }

  void split_and_merge() {
    client* const from = one_of(expected_.held);
    client* const to = one_of(expected_.held);
    if (from == nullptr || from == to) return;
    to->permit->merge(from->permit->split(by_chance_.below(from->permit->count() + 1)));
  }

  void compare() {
    EXPECT_EQ(real_.available(), expected_.free);
    for (client* who : expected_.held) EXPECT_TRUE(who->permit);
    for (client* who : expected_.line) EXPECT_TRUE(!who->permit && !who->error);
    for (client* who : stopped_) {
      EXPECT_EQ(who->error, errc::stopped);
      std::erase_if(clients_, [&](const auto& each) { return each.get() == who; });
    }
    stopped_.clear();
    real_.check_invariants();
  }

  dice by_chance_;
  semaphore real_{4};
  reference expected_{4};
  std::vector<std::unique_ptr<client>> clients_;
  std::vector<client*> stopped_;
};

TEST(permit_queue, does_what_a_simple_reference_does) {
  constexpr int seeds = 10;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    comparison both(seed);
    EXPECT_TRUE(run_on(one_at_a_time(seed), both.run(model_operations() / seeds)));
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace magpie::tests::permit_queue_test
