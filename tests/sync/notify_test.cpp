/// `notify`: who is woken, what is kept for whom, and what becomes of a notification whose task is
/// stopped.
#include <magpie/sync/notify.hpp>

#include <magpie/tests/sync/world.hpp>

#include <thread>
#include <utility>
#include <vector>

namespace magpie::tests::notify_test {
namespace {

using sync::notify;

task<> waits(notify& on, int name, std::vector<int>& order) {
  co_await on.notified();
  order.push_back(name);
}

TEST(notify, keeps_one_permit_and_no_more) {
  const auto scenario = []() -> task<> {
    notify on;
    EXPECT_FALSE(on.try_notified());
    on.notify_one();
    on.notify_one();
    on.notify_last();
    co_await on.notified();  // at once
    EXPECT_FALSE(on.try_notified());
    const auto late = co_await as_result(timeout(1ms, on.notified()));
    EXPECT_EQ(error_of(late), errc::deadline);
    on.notify_one();
    EXPECT_TRUE(on.try_notified());
    EXPECT_FALSE(on.try_notified());
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(notify, wakes_the_oldest_the_newest_or_all) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    notify on;
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 6; ++i) {
        group.spawn(waits(on, i, order));
        co_await settled();
      }
      on.notify_one();
      co_await settled();
      EXPECT_EQ(order, std::vector{0});
      on.notify_last();
      co_await settled();
      EXPECT_EQ(order, (std::vector{0, 5}));
      on.notify_one();
      on.notify_one();
      co_await settled();
      EXPECT_EQ(order.size(), 4U);
      on.notify_all();
      co_await settled();
      EXPECT_EQ(order.size(), 6U);
      EXPECT_FALSE(on.try_notified());  // nothing is left behind
    });
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- C34: a notification whose task is stopped --------------------------------------------------

TEST(notify, c34_a_notification_that_was_not_taken_goes_to_the_next) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    notify on;
    auto first = spawn(waits(on, 1, order));
    co_await settled();
    auto second = spawn(waits(on, 2, order));
    co_await settled();
    on.notify_one();
    first.abort();
    const auto ended = co_await first.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    co_await second.join();
    EXPECT_EQ(order, std::vector{2});
    EXPECT_FALSE(on.try_notified());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(notify, c34_one_from_notify_last_goes_to_the_newest_that_is_left) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    notify on;
    std::vector<join_handle<void>> all;
    for (int i = 1; i <= 3; ++i) {
      all.push_back(spawn(waits(on, i, order)));
      co_await settled();
    }
    on.notify_last();
    all[2].abort();
    co_await settled();
    EXPECT_EQ(order, std::vector{2});
    on.notify_one();
    co_await settled();
    EXPECT_EQ(order, (std::vector{2, 1}));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(notify, c34_without_a_next_it_stays_as_a_permit) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    notify on;
    auto only = spawn(waits(on, 1, order));
    co_await settled();
    on.notify_one();
    only.abort();
    [[maybe_unused]] const auto ended = co_await only.join();
    EXPECT_TRUE(on.try_notified());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(notify, c34_one_of_notify_all_is_not_passed_on) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    notify on;
    auto only = spawn(waits(on, 1, order));
    co_await settled();
    on.notify_all();
    only.abort();
    [[maybe_unused]] const auto ended = co_await only.join();
    EXPECT_FALSE(on.try_notified());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// Two branches are notified before the task runs: one takes its notification, the other's is left.
TEST(notify, a_loser_of_a_select_takes_none_along) {
  const auto scenario = []() -> task<> {
    notify a;
    notify b;
    const auto chooses = [](notify& left, notify& right, std::size_t& chosen) -> task<> {
      auto first = co_await select(left.notified(), right.notified());
      chosen = first.index();
    };
    std::size_t chosen = 2;
    auto choosing = spawn(chooses(a, b, chosen));
    co_await settled();
    a.notify_one();
    b.notify_one();
    co_await choosing.join();
    EXPECT_EQ(a.try_notified(), chosen == 1);
    EXPECT_EQ(b.try_notified(), chosen == 0);
  };
  for (std::uint64_t seed = 1; seed < 30; ++seed) EXPECT_TRUE(run_in_simulation(scenario(), seed));
}

// ---- C35, C37: notify_all ----------------------------------------------------------------------

TEST(notify, c35_all_covers_what_was_made_before_and_eats_no_permit) {
  const auto scenario = []() -> task<> {
    notify on;
    auto before = on.notified();
    on.notify_all();
    auto after = on.notified();
    on.notify_one();
    co_await std::move(before);  // by the one, not by the permit
    co_await std::move(after);   // by the permit
    const auto late = co_await as_result(timeout(1ms, on.notified()));
    EXPECT_EQ(error_of(late), errc::deadline);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(notify, c35_a_permit_from_before_stays) {
  const auto scenario = []() -> task<> {
    notify on;
    on.notify_one();
    on.notify_all();
    co_await on.notified();
    EXPECT_FALSE(on.try_notified());
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(notify, c37_what_was_made_before_is_covered_without_exception) {
  const auto scenario = []() -> task<> {
    notify on;
    std::vector<int> order;
    auto begun = spawn(waits(on, 1, order));
    co_await settled();
    auto made = on.notified();
    auto moved = std::move(made);
    const auto later = [](decltype(on.notified()) wait, std::vector<int>& in) -> task<> {
      co_await std::move(wait);
      in.push_back(2);
    };
    on.notify_all();
    co_await begun.join();
    EXPECT_EQ(order, std::vector{1});
    auto last = spawn(later(std::move(moved), order));
    co_await last.join();
    EXPECT_EQ(order, (std::vector{1, 2}));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- C38: re-entrance --------------------------------------------------------------------------

/// Notifies where it is destroyed.
class notifies_at_its_end {
 public:
  explicit notifies_at_its_end(notify& on) noexcept : on_(&on) {}
  notifies_at_its_end(notifies_at_its_end&& other) noexcept
      : on_(std::exchange(other.on_, nullptr)) {}
  notifies_at_its_end& operator=(notifies_at_its_end&&) = delete;
  ~notifies_at_its_end() {
    if (on_ == nullptr) return;
    on_->notify_all();
    on_->notify_one();
  }

 private:
  notify* on_;
};

TEST(notify, concurrent_c38_destructors_of_those_who_wait_may_notify) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int round = 0; round < 100; ++round) {
      notify on;
      const auto waits_with = [](notify& in, notifies_at_its_end) -> task<> {
        const notifies_at_its_end another(in);
        co_await in.notified();
      };
      std::vector<join_handle<void>> all;
      for (int i = 0; i < 5; ++i) all.push_back(spawn(waits_with(on, notifies_at_its_end(on))));
      if (round % 3 == 0) co_await yield();
      if (round % 2 == 0) on.notify_one();
      for (auto& each : all) each.abort();
      for (auto& each : all) [[maybe_unused]]
        const auto ended = co_await each.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

// ---- many --------------------------------------------------------------------------------------

/// A counter and those who look at it: no change is missed.
TEST(notify, concurrent_no_notification_is_lost) {
  MAGPIE_NEED_CELL();
  static constexpr int items = 3000;
  static constexpr int takers = 4;
  const auto scenario = []() -> task<> {
    notify changed;
    atomic<int> left{0};
    atomic<int> taken{0};
    atomic<int> gone{0};
    const auto takes = [](notify& on, atomic<int>& from, atomic<int>& sum,
                          atomic<int>& ended) -> task<> {
      for (;;) {
        int now = from.load(order::relaxed);
        while (now > 0 && !from.compare_exchange_weak(now, now - 1, order::acq_rel)) {
        }
        if (now > 0) {
          if (now > 1) on.notify_one();  // permits do not add up
          sum.fetch_add(1, order::relaxed);
          continue;
        }
        if (now < 0) break;
        co_await on.notified();
      }
      ended.fetch_add(1, order::relaxed);
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < takers; ++i) group.spawn(takes(changed, left, taken, gone));
      for (int i = 0; i < items; ++i) {
        left.fetch_add(1, order::acq_rel);
        changed.notify_one();
        if (i % 7 == 0) co_await yield();
      }
      while (taken.load(order::relaxed) < items) co_await yield();
      left.store(-1, order::release);
      while (gone.load(order::relaxed) < takers) {
        changed.notify_all();
        co_await sleep_for(10us);
      }
    });
    EXPECT_EQ(taken.load(order::relaxed), items);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

/// From threads that know no runtime.
TEST(notify, concurrent_threads_outside_notify) {
  MAGPIE_NEED_KERNEL();
  notify ping;
  atomic<int> turn{0};
  constexpr int rounds = 500;
  std::thread outside([&] {
    for (int i = 0; i < rounds; ++i) {
      while (turn.load(order::acquire) != i) std::this_thread::yield();
      ping.notify_one();
    }
  });
  const auto scenario = [&]() -> task<> {
    for (int i = 0; i < rounds; ++i) {
      turn.store(i, order::release);
      co_await ping.notified();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
  outside.join();
}

}  // namespace
}  // namespace magpie::tests::notify_test
