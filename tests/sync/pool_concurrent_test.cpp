/// `pool` with many tasks on many workers, with threads outside, and with destructors that come
/// back to it.
#include <magpie/sync/pool.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/tests/sync/world.hpp>

#include <thread>
#include <utility>
#include <vector>

namespace magpie::tests::pool_concurrent_test {
namespace {

using sync::pool_options;
using sync::pooled;

/// An object that one may use at a time.
class exclusive {
 public:
  explicit exclusive(atomic<int>& alive) noexcept : alive_(&alive) {
    alive.fetch_add(1, order::relaxed);
  }
  exclusive(exclusive&& other) noexcept : alive_(std::exchange(other.alive_, nullptr)) {}
  exclusive& operator=(exclusive&&) = delete;
  ~exclusive() {
    EXPECT_FALSE(in_use_);
    if (alive_ != nullptr) alive_->fetch_sub(1, order::relaxed);
  }

  void begin() noexcept {
    EXPECT_FALSE(std::exchange(in_use_, true));
    ++uses_;
  }
  void end() noexcept { EXPECT_TRUE(std::exchange(in_use_, false)); }
  int uses() const noexcept { return uses_; }

 private:
  atomic<int>* alive_;
  bool in_use_ = false;  // plain: whoever has it sees what was done before
  int uses_ = 0;
};

struct exclusives {
  explicit exclusives(atomic<int>& count) noexcept : alive(&count) {}

  task<exclusive> create() {
    co_await yield();
    co_return exclusive(*alive);
  }
  static bool recycle(exclusive& one) noexcept { return one.uses() % 50 != 49; }

  atomic<int>* alive;
};

using exclusive_pool = sync::pool<exclusives>;

task<> uses_often(exclusive_pool& from, int rounds, atomic<int>& out) {
  for (int i = 0; i < rounds; ++i) {
    const auto one = co_await from.get();
    EXPECT_LE(out.fetch_add(1, order::relaxed), 2);
    one->begin();
    if (i % 3 == 0) co_await yield();
    one->end();
    out.fetch_sub(1, order::relaxed);
  }
}

TEST(pool, concurrent_users_never_share_an_object) {
  MAGPIE_NEED_CELL();
  atomic<int> alive{0};
  atomic<int> out{0};
  exclusive_pool all(pool_options(3), exclusives(alive));
  const auto scenario = [](exclusive_pool& from, atomic<int>& now) -> task<> {
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 8; ++i) group.spawn(uses_often(from, 300, now));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario(all, out)));
  all.check_invariants();
  const auto counts = all.counts();
  EXPECT_EQ(counts.given, 2400U);
  EXPECT_GT(counts.waited, 0U);
  EXPECT_EQ(counts.size, counts.idle);
  EXPECT_EQ(counts.created - counts.all_ended(), counts.idle);
  EXPECT_EQ(static_cast<std::size_t>(alive.load(order::relaxed)), counts.idle);
  all.close();
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

/// Everything at once: gets, returns on other threads, resizes, looks, reaps, and a close.
TEST(pool, concurrent_changes_of_the_pool_lose_nothing) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int round = 0; round < 40; ++round) {
      atomic<int> alive{0};
      {
        pool_options options(3);
        options.idle_max = static_cast<std::size_t>(1 + round % 3);
        exclusive_pool all(options, exclusives(alive));
        const auto borrows = [](exclusive_pool& from) -> task<> {
          for (int i = 0; i < 20; ++i) {
            auto one = co_await as_result(from.get());
            if (!one) {
              EXPECT_EQ(one.error(), errc::closed);
              co_return;
            }
            (*one)->begin();
            co_await yield();
            (*one)->end();
            if (i % 7 == 3) one->discard();
          }
        };
        const auto changes = [](exclusive_pool& it, bool closes) -> task<> {
          for (std::size_t i = 0; i < 20; ++i) {
            it.resize(1 + i * 7 % 4);
            it.retain([](exclusive& one, const sync::pool_object_metrics&) {
              one.begin();
              one.end();
              return one.uses() % 5 != 0;
            });
            it.reap();
            co_await yield();
          }
          it.resize(2);
          if (closes) it.close();
        };
        co_await with_task_group([&](task_group& group) -> task<> {
          for (int i = 0; i < 5; ++i) group.spawn(borrows(all));
          group.spawn(changes(all, round % 2 == 0));
          co_return;
        });
        all.check_invariants();
        const auto counts = all.counts();
        EXPECT_EQ(counts.size, counts.idle);
        EXPECT_LE(counts.size, 2U);
        EXPECT_EQ(counts.waiting + counts.being_made, 0U);
        EXPECT_EQ(static_cast<std::size_t>(alive.load(order::relaxed)), counts.idle);
        if (round % 2 != 0) {  // both turns are there
          auto one = co_await all.get();
          auto two = co_await all.get();
          EXPECT_FALSE(all.try_get());
        }
      }
      EXPECT_EQ(alive.load(order::relaxed), 0);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// T2: an object goes back on whichever thread, also one that knows no runtime, and wakes who
/// waits.
TEST(pool, concurrent_threads_outside_give_back) {
  MAGPIE_NEED_KERNEL();
  atomic<int> alive{0};
  exclusive_pool all(pool_options(2), exclusives(alive));
  std::vector<std::thread> outside;
  const auto scenario = [](exclusive_pool& from, std::vector<std::thread>& threads) -> task<> {
    for (int i = 0; i < 50; ++i) {
      auto one = co_await from.get();
      one->begin();
      threads.emplace_back([mine = std::move(one)]() mutable {
        mine->end();
        mine.give_back();
      });
    }
  };
  EXPECT_TRUE(run_in_cell(scenario(all, outside)));
  for (auto& each : outside) each.join();
  EXPECT_EQ(all.counts().given, 50U);
  all.check_invariants();
}

/// The pool goes while its objects are out, on other workers; the last of them frees all.
TEST(pool, concurrent_c94_objects_come_back_to_a_pool_that_goes) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int round = 0; round < 200; ++round) {
      atomic<int> alive{0};
      co_await with_task_group([&](task_group& group) -> task<> {
        auto all = std::make_unique<exclusive_pool>(pool_options(4), exclusives(alive));
        const auto gives_back = [](pooled<exclusive> one, int yields) -> task<> {
          for (int i = 0; i < yields; ++i) co_await yield();
          one.give_back();
        };
        for (int i = 0; i < 3; ++i) {
          auto one = co_await all->get();
          group.spawn(gives_back(std::move(one), i * round % 3));
        }
        if (round % 3 == 0) co_await yield();
      });
      EXPECT_EQ(alive.load(order::relaxed), 0);
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

// ---- destructors that come back -----------------------------------------------------------------

struct reentrant;
struct reentrants {
  task<reentrant> create();
  void retired(reentrant& one, sync::pool_end how) noexcept;
  int retired_count = 0;
  sync::pool<reentrants>** pool = nullptr;
};
using reentrant_pool = sync::pool<reentrants>;

/// Uses its pool when it is destroyed.
struct reentrant {
  explicit reentrant(reentrant_pool** in) noexcept : pool(in) {}
  reentrant(reentrant&& other) noexcept : pool(std::exchange(other.pool, nullptr)) {}
  reentrant& operator=(reentrant&&) = delete;
  ~reentrant();

  reentrant_pool** pool;
};

task<reentrant> reentrants::create() { co_return reentrant(pool); }
void reentrants::retired(reentrant&, sync::pool_end) noexcept {
  ++retired_count;
  static_cast<void>((*pool)->counts());
}
reentrant::~reentrant() {
  if (pool == nullptr || *pool == nullptr) return;
  static_cast<void>((*pool)->try_get());
  (*pool)->reap();
  static_cast<void>((*pool)->counts());
  (*pool)->check_invariants();
}

/// C38 for pools: whatever ends an object, its destructor meets no lock that is held.
TEST(pool, concurrent_c38_destructors_of_objects_may_use_the_pool) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    reentrant_pool* it = nullptr;
    reentrants manager;
    manager.pool = &it;
    pool_options options(4);
    options.idle_max = 2;
    reentrant_pool all(options, std::move(manager));
    it = &all;
    {
      auto one = co_await all.get();
      auto two = co_await all.get();
      auto three = co_await all.get();
      auto four = co_await all.get();
      four.discard();
    }  // one of them is too many
    all.retain([n = 0](reentrant&, const sync::pool_object_metrics&) mutable { return n++ != 0; });
    all.resize(0);
    all.resize(2);
    {
      const auto again = co_await all.get();
      auto other = co_await all.get();
      [[maybe_unused]] const reentrant mine = std::move(other).detach();
    }
    all.close();
    EXPECT_EQ(all.counts().size, 0U);
    EXPECT_EQ(static_cast<std::uint64_t>(all.manager().retired_count),
              all.counts().all_ended() - all.counts().ended_by(sync::pool_end::detached));
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// An idle object that goes out and comes back takes no memory: what frames take comes from the
/// frame pool, and stays there.
TEST(pool, a_get_and_a_return_of_an_idle_object_take_no_memory) {
#if MAGPIE_FRAME_POOL_BYPASS
  GTEST_SKIP() << "no pool under this sanitizer";
#endif
  const auto scenario = []() -> task<> {
    atomic<int> alive{0};
    exclusive_pool all(pool_options(2), exclusives(alive));
    const auto uses = [](exclusive_pool& from, int rounds) -> task<> {
      for (int i = 0; i < rounds; ++i) {
        const auto one = co_await from.get();
        one.metrics();
      }
    };
    co_await uses(all, 10);
    const std::uint64_t before = frame_pool_stats().mallocs;
    co_await uses(all, 1000);
    EXPECT_EQ(frame_pool_stats().mallocs, before);
    EXPECT_EQ(all.counts().created, 1U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// Whichever of its allocations fails: an error, and everything is as before.
TEST(pool, without_memory_a_get_fails_and_costs_no_turn) {
  const auto scenario = []() -> task<> {
    atomic<int> alive{0};
    exclusive_pool all(pool_options(1), exclusives(alive));
    for (std::uint64_t nth = 1; nth <= 3; ++nth) {  // of the get, of the create, of the object
      frame_pool_fail_nth(nth);
      const auto none = co_await as_result(all.get());
      frame_pool_fail_nth(0);
      EXPECT_EQ(error_of(none), std::make_error_code(std::errc::not_enough_memory)) << nth;
      all.check_invariants();
      EXPECT_EQ(all.counts().size, 0U);
      EXPECT_EQ(alive.load(order::relaxed), 0);
    }
    const auto one = co_await all.get();
    EXPECT_EQ(alive.load(order::relaxed), 1);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

#if defined(__cpp_exceptions)
/// What a manager throws is its user's; no turn and no object is lost by it.
TEST(pool, exceptions_of_the_manager_pass_through) {
  struct throwing {
    task<int> create() {
      if (throws) throw 1;
      co_return 7;
    }
    bool recycle(int&) {
      if (throws) throw 2;
      return true;
    }
    bool throws = true;
  };
  const auto scenario = []() -> task<> {
    sync::pool<throwing> all{pool_options(1)};
    const auto asks = [](sync::pool<throwing>& from, int& caught) -> task<> {
      try {
        const auto one = co_await from.get();
      } catch (int what) {
        caught = what;
      }
    };
    int caught = 0;
    co_await asks(all, caught);
    EXPECT_EQ(caught, 1);
    EXPECT_EQ(all.counts().create_failed, 1U);
    all.manager().throws = false;
    co_await asks(all, caught);
    EXPECT_EQ(all.counts().idle, 1U);
    all.manager().throws = true;
    co_await asks(all, caught);
    EXPECT_EQ(caught, 2);
    EXPECT_EQ(all.counts().ended_by(sync::pool_end::abandoned), 1U);
    all.check_invariants();
    EXPECT_EQ(all.counts().size, 0U);
    all.manager().throws = false;
    co_await asks(all, caught);
    const auto look = [&](int&, const sync::pool_object_metrics&) -> bool { throw 3; };
    EXPECT_THROW(all.retain(look), int);
    EXPECT_EQ(all.counts().idle, 1U);
    all.check_invariants();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}
#endif

}  // namespace
}  // namespace magpie::tests::pool_concurrent_test
