#include <magpie/sync/stream_sources.hpp>

#include <magpie/runtime/signal.hpp>
#include <magpie/sync/broadcast.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/unbounded_mpsc.hpp>
#include <magpie/sync/watch.hpp>
#include <magpie/tests/sync/streams.hpp>

#include <signal.h>

#include <array>
#include <list>
#include <memory>
#include <ranges>
#include <string>

namespace magpie::tests::stream_sources_test {
namespace {

TEST(stream_sources, each_copies_from_what_has_a_name_and_moves_from_what_is_kept) {
  const auto scenario = []() -> task<> {
    std::list<std::string> named{"one", "two"};
    const auto copies = co_await (streams::each(named) | streams::collect());
    EXPECT_EQ(copies, (std::vector<std::string>{"one", "two"}));
    EXPECT_EQ(named.front(), "one");
    std::vector<std::unique_ptr<int>> owned;
    for (int i = 0; i < 3; ++i) owned.push_back(std::make_unique<int>(i));
    const auto moved = co_await (streams::each(std::move(owned)) | streams::collect());
    EXPECT_EQ(moved.size(), 3U);
    EXPECT_EQ(*moved[2], 2);
    std::array<int, 3> fixed{1, 2, 3};
    const auto array =
        co_await (streams::each(std::move(fixed)) | streams::skip(1) | streams::collect());
    EXPECT_EQ(array, (std::vector{2, 3}));
    const auto view = co_await (streams::each(std::views::iota(0, 3)) | streams::collect());
    EXPECT_EQ(view, numbers_to(3));
    std::vector<int> none;
    const auto empty = co_await (streams::each(none) | streams::collect());
    EXPECT_TRUE(empty.empty());
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_sources, messages_end_when_the_channel_is_closed) {
  const auto scenario = []() -> task<> {
    auto bounded = sync::mpsc<int>(4);
    auto unbounded = sync::unbounded_mpsc<int>();
    for (int i = 0; i < 3; ++i) {
      co_await bounded.sender.send(i);
      static_cast<void>(unbounded.sender.send(i));
    }
    {
      const auto goes = std::move(bounded.sender);
      const auto goes_too = std::move(unbounded.sender);
    }
    auto one = streams::messages(std::move(bounded.receiver));
    auto other = streams::messages(std::move(unbounded.receiver));
    const auto all = co_await (one | streams::collect());
    const auto others = co_await (other | streams::collect());
    EXPECT_EQ(all, numbers_to(3));
    EXPECT_EQ(others, numbers_to(3));
    const auto after = co_await one.next();
    EXPECT_FALSE(after);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_sources, messages_of_a_broadcast_tell_what_was_missed) {
  const auto scenario = []() -> task<> {
    auto [news, reader] = sync::broadcast<int>(4);
    for (int i = 0; i < 6; ++i) EXPECT_TRUE(news.send(i));
    auto some = streams::messages(std::move(reader));
    const auto first = co_await some.next();
    EXPECT_EQ(**first, 2);
    EXPECT_EQ(first->missed(), 2U);
    {
      const auto goes = std::move(news);
    }
    const auto rest = co_await (
        std::move(some) | streams::map([](const auto& one) { return *one; }) | streams::collect());
    EXPECT_EQ(rest, (std::vector{3, 4, 5}));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_sources, changes_give_the_newest_that_was_not_seen) {
  const auto scenario = []() -> task<> {
    auto [settings, seen] = sync::watch<int>(0);
    auto changes = streams::changes(std::move(seen));
    const auto none = co_await as_result(timeout(1ms, changes.next()));
    EXPECT_EQ(error_of(none), errc::deadline);
    for (int i = 1; i < 4; ++i) EXPECT_TRUE(settings.send(i));
    const auto newest = co_await changes.next();
    EXPECT_EQ(**newest, 3);
    EXPECT_TRUE(settings.send(7));
    {
      const auto goes = std::move(settings);
    }
    const auto last = co_await changes.next();
    EXPECT_EQ(**last, 7);
    const auto end = co_await changes.next();
    EXPECT_FALSE(end);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_sources, ticks_come_at_their_times_and_a_stop_takes_none) {
  in_exact_time([]() -> task<> {
    const auto begin = clock::now();
    auto every = streams::ticks(interval(10ms)) | streams::take(3);
    const auto first = co_await every.next();
    EXPECT_EQ(*first, begin);
    const auto early = co_await as_result(timeout(5ms, every.next()));
    EXPECT_EQ(error_of(early), errc::deadline);
    const auto second = co_await every.next();
    EXPECT_EQ(*second, begin + 10ms);
    const auto third = co_await every.next();
    EXPECT_EQ(*third, begin + 20ms);
    const auto end = co_await every.next();
    EXPECT_FALSE(end);
  });
}

TEST(stream_sources, an_interval_that_is_refused_says_so) {
  const auto scenario = []() -> task<> {
    auto never = streams::ticks(interval(0ms));
    const auto failed = co_await as_result(never.next());
    EXPECT_EQ(error_of(failed), std::errc::invalid_argument);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_sources, signals) {
  MAGPIE_NEED_KERNEL();
  const auto scenario = []() -> task<> {
    auto listens = co_await signal_stream::open(SIGUSR1);
    auto some = streams::signals(std::move(listens)) | streams::take(2);
    ::raise(SIGUSR1);
    const auto first = co_await some.next();
    EXPECT_EQ(first, SIGUSR1);
    const auto none = co_await as_result(timeout(1ms, some.next()));
    EXPECT_EQ(error_of(none), errc::deadline);
    ::raise(SIGUSR1);
    const auto second = co_await some.next();
    EXPECT_EQ(second, SIGUSR1);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(stream_sources, by_ref_lends_a_stream) {
  const auto scenario = []() -> task<> {
    auto ten = streams::each(numbers_to(10));
    const auto head = co_await (streams::by_ref(ten) | streams::take(3) | streams::collect());
    const auto tail = co_await (ten | streams::collect());
    EXPECT_EQ(head, numbers_to(3));
    EXPECT_EQ(tail.front(), 3);
    EXPECT_EQ(tail.size(), 7U);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

}  // namespace
}  // namespace magpie::tests::stream_sources_test
