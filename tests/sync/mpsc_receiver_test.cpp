/// The receiver's end: many at a time, threads that block, and the end of the channel.
#include <magpie/sync/mpsc_receiver.hpp>

#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/unbounded_mpsc.hpp>
#include <magpie/tests/sync/world.hpp>

#include <deque>
#include <memory>
#include <thread>
#include <vector>

namespace magpie::tests::mpsc_receiver_test {
namespace {

using sync::mpsc;
using sync::mpsc_receiver;
using sync::mpsc_sender;

TEST(mpsc_receiver, takes_many_at_a_time) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(100);
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(to.try_send(i));
    std::vector<int> got{-1};
    const std::size_t some = co_await from.receive_many(got, 70);
    EXPECT_EQ(some, 70U);
    EXPECT_EQ(to.available(), 70U);
    const std::size_t rest = co_await from.receive_many(got, 70);
    EXPECT_EQ(rest, 30U);
    EXPECT_EQ(to.available(), 100U);
    EXPECT_EQ(got.size(), 101U);
    for (int i = -1; const int each : got) EXPECT_EQ(each, i++);
    std::deque<int> other;
    const std::size_t none = co_await from.receive_many(other, 0);  // at once
    EXPECT_EQ(none, 0U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc_receiver, c53_many_of_a_closed_channel_are_none) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(2);
    EXPECT_TRUE(to.try_send(1));
    from.close();
    std::vector<int> got{7};
    const std::size_t one = co_await from.receive_many(got, 5);
    EXPECT_EQ(one, 1U);
    for (int i = 0; i < 2; ++i) {
      const std::size_t none = co_await from.receive_many(got, 5);
      EXPECT_EQ(none, 0U);
    }
    EXPECT_EQ(got, (std::vector{7, 1}));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

task<> takes_many(mpsc_receiver<int>& from, std::vector<std::size_t>& sizes) {
  std::vector<int> into;
  for (;;) {
    const std::size_t got = co_await from.receive_many(into, 3);
    sizes.push_back(got);
    if (got == 0) co_return;
  }
}

TEST(mpsc_receiver, waits_for_the_first_of_many_and_for_the_end) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(8);
    std::vector<std::size_t> sizes;
    auto receiving = spawn(takes_many(from, sizes));
    co_await settled();
    EXPECT_TRUE(sizes.empty());
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(to.try_send(i));
    co_await settled();
    EXPECT_EQ(sizes, (std::vector<std::size_t>{3, 1}));
    to = mpsc_sender<int>();
    co_await receiving.join();
    EXPECT_EQ(sizes, (std::vector<std::size_t>{3, 1, 0}));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// Of those that were given by a select and not looked at, one counts as received.
TEST(mpsc_receiver, many_that_nobody_took_are_received_again) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(3);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(to.try_send(i));
    const auto fails = []() -> task<> { co_await fail(some_error()); };
    std::vector<int> into;
    const auto both = co_await as_result(join(from.receive_many(into, 2), fails()));
    EXPECT_EQ(error_of(both), some_error());
    EXPECT_TRUE(into.empty());
    EXPECT_EQ(to.available(), 1U);
    EXPECT_TRUE(to.try_send(3));
    EXPECT_EQ(from.size(), 4U);
    const std::size_t all = co_await from.receive_many(into, 9);
    EXPECT_EQ(all, 4U);
    EXPECT_EQ(into, (std::vector{0, 1, 2, 3}));
    EXPECT_EQ(to.available(), 3U);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc_receiver, is_moved_with_what_is_in_the_channel) {
  auto [to, from] = mpsc<int>(2);
  EXPECT_TRUE(to.try_send(1));
  mpsc_receiver<int> other = std::move(from);
  EXPECT_EQ(error_of(from.try_receive()), errc::closed);
  EXPECT_EQ(other.size(), 1U);
  from = std::move(other);
  EXPECT_EQ(from.try_receive().value(), 1);
}

/// A close by another task ends the wait of the one that receives.
TEST(mpsc_receiver, a_close_ends_a_wait) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(2);
    auto [loose_to, loose] = sync::unbounded_mpsc<int>();
    const auto waits = [](mpsc_receiver<int>& of) -> task<> {
      const auto got = co_await as_result(of.receive());
      EXPECT_EQ(error_of(got), errc::closed);
    };
    auto one = spawn(waits(from));
    auto two = spawn(waits(loose));
    co_await settled();
    from.close();
    loose.close();
    co_await one.join();
    co_await two.join();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(mpsc_receiver, what_is_there_is_had_at_once_by_threads) {
  auto [to, from] = mpsc<int>(2);
  EXPECT_TRUE(to.blocking_send(1));
  const int second = 2;
  EXPECT_TRUE(to.blocking_send(second));
  EXPECT_EQ(from.blocking_receive().value(), 1);
  std::vector<int> into;
  EXPECT_EQ(from.blocking_receive_many(into, 4), 1U);
  auto permit = to.try_reserve().value();
  permit.release();
  to = mpsc_sender<int>();
  EXPECT_EQ(error_of(from.blocking_receive()), errc::closed);
  EXPECT_EQ(from.blocking_receive_many(into, 4), 0U);
  EXPECT_EQ(error_of(to.blocking_send(3)), errc::closed);
}

TEST(mpsc_receiver, concurrent_threads_send_to_a_task) {
  MAGPIE_NEED_KERNEL();
  constexpr int rounds = 500;
  auto ends = mpsc<int>(2);
  std::vector<std::thread> all;
  for (int k = 0; k < 3; ++k)
    all.emplace_back([to = ends.sender, k] {
      for (int i = 0; i < rounds; ++i) EXPECT_TRUE(to.blocking_send(k * rounds + i));
    });
  ends.sender = mpsc_sender<int>();
  const auto scenario = [](mpsc_receiver<int>& from) -> task<> {
    int next[3] = {};
    for (;;) {
      const auto got = co_await as_result(from.receive());
      if (!got) break;
      EXPECT_EQ(*got % rounds, next[*got / rounds]++);
    }
    EXPECT_EQ(next[0] + next[1] + next[2], 3 * rounds);
  };
  EXPECT_TRUE(run_in_cell(scenario(ends.receiver)));
  for (auto& each : all) each.join();
}

TEST(mpsc_receiver, concurrent_tasks_send_to_a_thread) {
  MAGPIE_NEED_KERNEL();
  constexpr int rounds = 500;
  auto ends = mpsc<int>(2);
  std::thread other([from = std::move(ends.receiver)]() mutable {
    int sum = 0;
    std::vector<int> into;
    for (;;) {
      const auto got = from.blocking_receive();
      if (!got) break;
      sum += *got;
      into.clear();
      from.blocking_receive_many(into, 2);
      for (const int each : into) sum += each;
    }
    EXPECT_EQ(sum, 3 * rounds);
  });
  const auto scenario = [](mpsc_sender<int> to) -> task<> {
    const auto sends = [](mpsc_sender<int> with) -> task<> {
      for (int i = 0; i < rounds; ++i) co_await with.send(1);
    };
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int k = 0; k < 3; ++k) group.spawn(sends(to));
      co_return;
    });
  };
  EXPECT_TRUE(run_in_cell(scenario(std::move(ends.sender))));
  other.join();
}

TEST(mpsc_receiver, blocking_on_a_worker_is_an_abort) {
  const auto scenario = []() -> task<> {
    auto [to, from] = mpsc<int>(1);
    static_cast<void>(from.blocking_receive());
    co_return;
  };
  EXPECT_DEATH(static_cast<void>(run_in_simulation(scenario())), "use co_await");
}

}  // namespace
}  // namespace magpie::tests::mpsc_receiver_test
