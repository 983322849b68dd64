/// `mpmc`: each message to one receiver, in order; who waits is served in the order of coming; and
/// the end is told when there is nothing that could still come.
#include <magpie/sync/mpmc.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace magpie::tests::mpmc_test {
namespace {

using sync::mpmc;
using sync::mpmc_permit;
using sync::mpmc_receiver;
using sync::mpmc_sender;

const auto again = std::errc::resource_unavailable_try_again;

TEST(mpmc, gives_each_message_once_in_order) {
  auto [to, from] = mpmc<int>(3);
  const mpmc_receiver<int> other = from;
  EXPECT_EQ(to.capacity(), 3U);
  EXPECT_TRUE(from.empty());
  EXPECT_EQ(error_of(from.try_receive()), again);
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(to.try_send(i));
    EXPECT_EQ(error_of(to.try_send(3)), again);
    EXPECT_EQ(from.size(), 3U);
    EXPECT_EQ(from.try_receive().value(), 0);
    EXPECT_EQ(other.try_receive().value(), 1);
    EXPECT_EQ(from.try_receive().value(), 2);
    EXPECT_EQ(to.available(), 3U);
  }
}

TEST(mpmc, ends_that_have_no_channel_are_closed) {
  const mpmc_sender<int> to;
  const mpmc_receiver<int> from;
  EXPECT_TRUE(to.is_closed() && from.is_closed());
  EXPECT_EQ(error_of(to.try_send(1)), errc::closed);
  EXPECT_EQ(error_of(to.try_reserve()), errc::closed);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
  from.close();
  const auto scenario = [](const mpmc_sender<int>& with, const mpmc_receiver<int>& of) -> task<> {
    const auto sent = co_await as_result(with.send(1));
    EXPECT_EQ(error_of(sent), errc::closed);
    const auto got = co_await as_result(of.receive());
    EXPECT_EQ(error_of(got), errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(to, from)));
  frame_pool_fail_nth(1);
  const auto none = mpmc<int>(100);
  frame_pool_fail_nth(0);
  EXPECT_TRUE(none.sender.is_closed());
  EXPECT_DEATH(static_cast<void>(mpmc<int>(0)), "room for some");
}

TEST(mpmc, the_last_sender_closes_and_what_was_sent_is_received) {
  auto [to, from] = mpmc<int>(4);
  {
    const mpmc_sender<int> other = to;
    EXPECT_TRUE(other.try_send(1));
  }
  EXPECT_FALSE(from.is_closed());
  EXPECT_TRUE(to.try_send(2));
  to = mpmc_sender<int>();
  EXPECT_TRUE(from.is_closed());
  EXPECT_EQ(from.try_receive().value(), 1);
  EXPECT_EQ(from.try_receive().value(), 2);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
}

TEST(mpmc, a_closed_one_refuses_and_gives_what_it_has_and_what_permits_send) {
  auto [to, from] = mpmc<std::unique_ptr<int>>(4);
  EXPECT_TRUE(to.try_send(std::make_unique<int>(1)));
  auto permit = to.try_reserve(2).value();
  const mpmc_receiver<std::unique_ptr<int>> other = from;
  other.close();
  auto value = std::make_unique<int>(2);
  EXPECT_EQ(error_of(to.try_send(std::move(value))), errc::closed);
  ASSERT_NE(value, nullptr);  // it is where it was
  EXPECT_EQ(*from.try_receive().value(), 1);
  EXPECT_EQ(error_of(from.try_receive()), again);  // a permit is out
  permit.send(std::move(value));
  EXPECT_EQ(*from.try_receive().value(), 2);
  permit.release();
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
}

TEST(mpmc, the_last_receiver_that_goes_destroys_what_is_there_at_once) {
  const auto value = std::make_shared<int>(1);
  auto [to, from] = mpmc<std::shared_ptr<int>>(100);
  auto other = from;
  for (int i = 0; i < 70; ++i) EXPECT_TRUE(to.try_send(value));
  auto permit = to.try_reserve(3).value();
  from = mpmc_receiver<std::shared_ptr<int>>();
  EXPECT_EQ(value.use_count(), 71);
  EXPECT_TRUE(to.try_send(value));
  other = mpmc_receiver<std::shared_ptr<int>>();
  EXPECT_EQ(value.use_count(), 1);
  EXPECT_EQ(error_of(to.try_send(value)), errc::closed);
  permit.send(value);  // nobody will have it
  EXPECT_EQ(value.use_count(), 1);
  to = mpmc_sender<std::shared_ptr<int>>();
  permit.send(value);
  EXPECT_EQ(value.use_count(), 1);
}

struct loop_back {
  mpmc_sender<loop_back> own;
  std::shared_ptr<int> life;
};

TEST(mpmc, a_message_may_hold_a_sender_of_its_own_channel) {
  const auto life = std::make_shared<int>(1);
  {
    auto [to, from] = mpmc<loop_back>(2);
    EXPECT_TRUE(to.try_send(loop_back{to, life}));
    to = mpmc_sender<loop_back>();
    EXPECT_FALSE(from.is_closed());
  }
  EXPECT_EQ(life.use_count(), 1);
}

// ---- waiting ------------------------------------------------------------------------------------

task<> receives(mpmc_receiver<int> from, int name, std::vector<std::pair<int, int>>& into) {
  for (;;) {
    const auto got = co_await as_result(from.receive());
    if (!got) {
      EXPECT_EQ(error_of(got), errc::closed);
      co_return;
    }
    into.emplace_back(name, *got);
    co_await settled();
  }
}

TEST(mpmc, receivers_are_served_in_the_order_of_coming) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpmc<int>(8);
    std::vector<std::pair<int, int>> got;
    std::vector<join_handle<void>> all;
    for (int i = 0; i < 3; ++i) {
      all.push_back(spawn(receives(from, i, got)));
      co_await settled();
    }
    for (int i = 0; i < 6; ++i) {
      co_await to.send(i);
      for (int k = 0; k < 3; ++k) co_await settled();
    }
    to = mpmc_sender<int>();
    for (auto& one : all) co_await one.join();
    const std::vector<std::pair<int, int>> expected{{0, 0}, {1, 1}, {2, 2}, {0, 3}, {1, 4}, {2, 5}};
    EXPECT_EQ(got, expected);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

task<> sends(mpmc_sender<int> to, int what) { co_await to.send(what); }

TEST(mpmc, senders_wait_for_room_in_the_order_of_coming) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpmc<int>(1);
    EXPECT_TRUE(to.try_send(0));
    std::vector<join_handle<void>> all;
    for (int i = 1; i < 4; ++i) {
      all.push_back(spawn(sends(to, i)));
      co_await settled();
    }
    EXPECT_EQ(error_of(to.try_send(9)), again);
    all[1].abort();
    [[maybe_unused]] const auto stopped = co_await all[1].join();
    for (const int expected : {0, 1, 3}) {
      const int got = co_await from.receive();
      EXPECT_EQ(got, expected);
    }
    EXPECT_TRUE(from.empty());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpmc, a_failed_send_leaves_the_value_to_its_caller) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpmc<std::unique_ptr<int>>(1);
    co_await to.send(std::make_unique<int>(1));
    auto mine = std::make_unique<int>(2);
    const auto late = co_await as_result(timeout(1ms, to.send(std::move(mine))));
    EXPECT_EQ(error_of(late), errc::deadline);
    EXPECT_NE(mine, nullptr);
    from.close();
    const auto refused = co_await as_result(to.send(std::move(mine)));
    EXPECT_EQ(error_of(refused), errc::closed);
    EXPECT_NE(mine, nullptr);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

task<> keeps_what_it_gets(mpmc_receiver<int> from, std::error_code& error, int& got) {
  const auto one = co_await as_result(from.receive());
  error = error_of(one);
  if (one) got = *one;
}

TEST(mpmc, a_message_whose_receiver_is_stopped_before_it_runs_goes_to_the_next) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpmc<int>(2);
    std::error_code errors[2];
    int got[2] = {};
    auto first = spawn(keeps_what_it_gets(from, errors[0], got[0]));
    co_await settled();
    auto second = spawn(keeps_what_it_gets(from, errors[1], got[1]));
    co_await settled();
    EXPECT_TRUE(to.try_send(7));  // it is the first one's
    EXPECT_EQ(error_of(from.try_receive()), again);
    to = mpmc_sender<int>();  // not the end: the first might still give it back
    first.abort();
    [[maybe_unused]] const auto ended = co_await first.join();
    co_await second.join();
    EXPECT_EQ(errors[0], errc::stopped);
    EXPECT_EQ(got[1], 7);
    const auto over = co_await as_result(from.receive());
    EXPECT_EQ(error_of(over), errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpmc, all_who_wait_hear_of_the_end_when_the_last_message_is_taken) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpmc<int>(2);
    std::error_code errors[3];
    int got[3] = {};
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 3; ++i) group.spawn(keeps_what_it_gets(from, errors[i], got[i]));
      co_await settled();
      auto permit = to.try_reserve().value();
      to = mpmc_sender<int>();
      co_await settled();
      permit.send(5);  // the last one that can
    });
    int values = 0;
    int ends = 0;
    for (int i = 0; i < 3; ++i) {
      values += got[i];
      ends += errors[i] == errc::closed ? 1 : 0;
    }
    EXPECT_EQ(values, 5);
    EXPECT_EQ(ends, 2);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpmc, the_loser_of_a_select_leaves_its_message) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpmc<int>(1);
    auto [other_to, other] = mpmc<int>(1);
    EXPECT_TRUE(to.try_send(1) && other_to.try_send(2));
    int sum = 0;
    {
      auto both = co_await select(from.receive(), other.receive());
      sum += both.index() == 0 ? 1 : 2;
    }
    const auto one = from.try_receive();
    const auto two = other.try_receive();
    EXPECT_EQ(sum + one.value_or(0) + two.value_or(0), 3);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- at once ------------------------------------------------------------------------------------

TEST(mpmc, concurrent_ends_lose_and_double_nothing) {
  MAGPIE_NEED_CELL();
  constexpr int each = 500;
  const auto scenario = []() -> task<> {
    auto [to, from] = mpmc<int>(3);
    std::vector<std::vector<std::pair<int, int>>> got(4);
    co_await with_task_group([&](task_group& group) -> task<> {
      const auto sends_all = [](mpmc_sender<int> into, int who) -> task<> {
        for (int i = 0; i < each; ++i) co_await into.send(who * each + i);
      };
      const auto takes_all = [](mpmc_receiver<int> of,
                                std::vector<std::pair<int, int>>& all) -> task<> {
        for (;;) {
          const auto one = co_await as_result(of.receive());
          if (!one) break;
          all.emplace_back(*one / each, *one % each);
        }
      };
      for (int i = 0; i < 4; ++i) group.spawn(sends_all(to, i));
      for (auto& all : got) group.spawn(takes_all(from, all));
      to = mpmc_sender<int>();
      co_return;
    });
    std::vector<bool> seen(4 * each);
    for (const auto& all : got) {
      std::vector<int> last(4, -1);
      for (const auto& [who, nth] : all) {
        EXPECT_GT(nth, last[static_cast<std::size_t>(who)]);  // of one sender, at one receiver
        last[static_cast<std::size_t>(who)] = nth;
        const auto at = static_cast<std::size_t>(who * each + nth);
        EXPECT_FALSE(seen[at]);
        seen[at] = true;
      }
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 4 * each);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(mpmc, concurrent_threads_and_tasks_stand_in_one_line) {
  MAGPIE_NEED_KERNEL();
  auto [to, from] = mpmc<int>(2);
  atomic<int> sum{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([of = from, &sum] {
      while (const auto got = of.blocking_receive()) sum.fetch_add(*got, order::relaxed);
    });
    threads.emplace_back([into = to] {
      for (int k = 1; k <= 200; ++k) EXPECT_TRUE(into.blocking_send(k));
    });
  }
  const auto takes = [](mpmc_receiver<int> of, atomic<int>& all) -> task<> {
    for (;;) {
      const auto got = co_await as_result(of.receive());
      if (!got) break;
      all.fetch_add(*got, order::relaxed);
    }
  };
  const auto puts = [](mpmc_sender<int> into) -> task<> {
    for (int k = 1; k <= 200; ++k) co_await into.send(k);
  };
  const auto scenario = [&](mpmc_receiver<int> of, mpmc_sender<int> into) -> task<> {
    co_await join(takes(std::move(of), sum), puts(std::move(into)));
  };
  EXPECT_TRUE(run_in_cell(scenario(std::move(from), std::move(to))));
  for (auto& one : threads) one.join();
  EXPECT_EQ(sum.load(order::relaxed), 3 * 200 * 201 / 2);
}

}  // namespace
}  // namespace magpie::tests::mpmc_test
