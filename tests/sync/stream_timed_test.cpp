#include <magpie/sync/stream_timed.hpp>

#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/stream_joins.hpp>
#include <magpie/tests/sync/streams.hpp>

namespace magpie::tests::stream_timed_test {
namespace {

/// When each item came, from the beginning of the test on.
template <class T>
using times = std::vector<std::pair<T, clock::duration>>;

template <class S>
task<times<sync::stream_value<S>>> timed(S source) {
  const auto begin = clock::now();
  times<sync::stream_value<S>> all;
  for (;;) {
    auto one = co_await source.next();
    if (!one) co_return all;
    all.emplace_back(*std::move(one), clock::now() - begin);
  }
}

TEST(stream_timed, throttle_leaves_a_distance) {
  in_exact_time([]() -> task<> {
    auto burst = scripted({1, 2, 25ms, 3, 1ms, 4}) | streams::throttle(10ms);
    const auto all = co_await timed(std::move(burst));
    const times<int> expected{{1, 0ms}, {2, 10ms}, {3, 45ms}, {4, 56ms}};
    EXPECT_EQ(all, expected);
  });
}

TEST(stream_timed, throttle_goes_on_after_a_stop) {
  in_exact_time([]() -> task<> {
    auto some = streams::each(numbers_to(3)) | streams::throttle(10ms);
    const auto begin = clock::now();
    co_await some.next();
    for (int i = 0; i < 3; ++i) {
      const auto early = co_await as_result(timeout(3ms, some.next()));
      EXPECT_EQ(error_of(early), errc::deadline);
    }
    const auto second = co_await some.next();
    EXPECT_EQ(second, 1);
    EXPECT_EQ(clock::now(), begin + 10ms);
  });
}

TEST(stream_timed, timeout_is_for_each_gap) {
  in_exact_time([]() -> task<> {
    auto some = scripted({1, 5ms, 2, 5ms, 3}) | streams::timeout(6ms);
    const auto all = co_await timed(std::move(some));
    const times<int> expected{{1, 0ms}, {2, 5ms}, {3, 10ms}};
    EXPECT_EQ(all, expected);
    auto [to, from] = sync::mpsc<int>(4);
    auto slow = streams::messages(std::move(from)) | streams::timeout(6ms);
    for (int i = 0; i < 2; ++i) {
      const auto begin = clock::now();
      const auto late = co_await as_result(slow.next());
      EXPECT_EQ(error_of(late), errc::deadline);
      EXPECT_EQ(clock::now(), begin + 6ms);
    }
    co_await to.send(7);
    const auto in_time = co_await slow.next();
    EXPECT_EQ(in_time, 7);
  });
}

/// Sends numbers, each so long after the one before.
task<> sends_at(sync::mpsc_sender<int> to, std::vector<std::chrono::milliseconds> gaps) {
  int number = 0;
  for (const auto gap : gaps) {
    if (gap > 0ms) co_await sleep_for(gap);
    co_await to.send(++number);
  }
}

TEST(stream_timed, chunks_are_full_or_of_what_came_in_time_and_never_empty) {
  in_exact_time([]() -> task<> {
    auto [to, from] = sync::mpsc<int>(8);
    std::vector<std::chrono::milliseconds> gaps{30ms, 0ms, 0ms, 1ms, 1ms, 30ms, 6ms, 6ms, 0ms};
    auto sending = spawn(sends_at(std::move(to), std::move(gaps)));
    auto some = streams::messages(std::move(from)) | streams::chunks_timeout(3, 10ms);
    const auto all = co_await timed(std::move(some));
    // The time of a chunk begins with its first item; the last one comes with the end.
    const times<std::vector<int>> expected{
        {{1, 2, 3}, 30ms}, {{4, 5}, 41ms}, {{6, 7}, 72ms}, {{8, 9}, 74ms}};
    EXPECT_EQ(all, expected);
    co_await sending.join();
  });
}

TEST(stream_timed, chunks_keep_what_they_have_and_their_time_through_a_stop) {
  in_exact_time([]() -> task<> {
    auto [to, from] = sync::mpsc<int>(8);
    auto some = streams::messages(std::move(from)) | streams::chunks_timeout(3, 10ms);
    const auto begin = clock::now();
    co_await to.send(1);
    for (int i = 0; i < 3; ++i) {
      const auto early = co_await as_result(timeout(3ms, some.next()));
      EXPECT_EQ(error_of(early), errc::deadline);
    }
    const auto one = co_await some.next();
    EXPECT_EQ(*one, std::vector{1});
    EXPECT_EQ(clock::now(), begin + 10ms);
  });
}

TEST(stream_timed, a_deadline_of_the_source_is_its_error) {
  in_exact_time([]() -> task<> {
    auto [to, from] = sync::mpsc<int>(8);
    auto some = streams::messages(std::move(from)) | streams::timeout(4ms) |
                streams::chunks_timeout(3, 10ms);
    const auto begin = clock::now();
    co_await to.send(1);
    for (int i = 0; i < 2; ++i) {
      const auto failed = co_await as_result(some.next());
      EXPECT_EQ(error_of(failed), errc::deadline);
    }
    EXPECT_EQ(clock::now(), begin + 8ms);
    const auto one = co_await some.next();
    EXPECT_EQ(*one, std::vector{1});
    EXPECT_EQ(clock::now(), begin + 10ms);
  });
}

TEST(stream_timed, chunks_of_nothing_are_refused) {
  const auto scenario = []() -> task<> {
    auto none = streams::each(numbers_to(3)) | streams::chunks_timeout(0, 1s);
    const auto failed = co_await as_result(none.next());
    EXPECT_EQ(error_of(failed), std::errc::invalid_argument);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_timed, debounce_gives_what_nothing_follows) {
  in_exact_time([]() -> task<> {
    auto [to, from] = sync::mpsc<int>(8);
    std::vector<std::chrono::milliseconds> gaps{1ms, 5ms, 9ms, 20ms, 30ms, 1ms};
    auto sending = spawn(sends_at(std::move(to), std::move(gaps)));
    auto some = streams::messages(std::move(from)) | streams::debounce(10ms);
    const auto all = co_await timed(std::move(some));
    const times<int> expected{{3, 25ms}, {4, 45ms}, {6, 66ms}};
    EXPECT_EQ(all, expected);
    co_await sending.join();
  });
}

TEST(stream_timed, debounce_keeps_the_latest_through_a_stop_and_an_error) {
  in_exact_time([]() -> task<> {
    auto some = scripted({1, 2ms, some_error(), 2, 100ms}) | streams::debounce(10ms);
    const auto begin = clock::now();
    const auto failed = co_await as_result(some.next());
    EXPECT_EQ(error_of(failed), some_error());
    const auto early = co_await as_result(timeout(3ms, some.next()));
    EXPECT_EQ(error_of(early), errc::deadline);
    const auto latest = co_await some.next();
    EXPECT_EQ(latest, 2);
    EXPECT_EQ(clock::now(), begin + 12ms);
    const auto end = co_await some.next();
    EXPECT_FALSE(end);
  });
}

// In a merge the other's items stop the wait, again and again.
TEST(stream_timed, timeout_goes_on_through_stops) {
  in_exact_time([]() -> task<> {
    auto [to, from] = sync::mpsc<int>(8);
    auto [other_to, other] = sync::mpsc<int>(8);
    std::vector<std::chrono::milliseconds> gaps(10, 4ms);
    auto sending = spawn(sends_at(std::move(other_to), std::move(gaps)));
    auto both = streams::messages(std::move(from)) | streams::timeout(10ms) |
                streams::merge(streams::messages(std::move(other)));
    const auto begin = clock::now();
    std::vector<clock::duration> deadlines;
    for (int items = 0; items < 10;) {
      const auto one = co_await as_result(both.next());
      if (one) {
        ++items;
      } else {
        EXPECT_EQ(error_of(one), errc::deadline);
        deadlines.push_back(clock::now() - begin);
      }
    }
    const std::vector<clock::duration> expected{10ms, 20ms, 30ms};
    EXPECT_EQ(deadlines, expected);
    co_await sending.join();
  });
}

// What is there at once meets no timer: the clock is looked at all the same.
TEST(stream_timed, chunks_are_given_in_time_by_a_source_that_always_has_something) {
  in_exact_time([]() -> task<> {
    auto [to, from] = sync::mpsc<int>(8);
    auto some = streams::messages(std::move(from)) | streams::chunks_timeout(100, 10ms);
    co_await to.send(1);
    const auto early = co_await as_result(timeout(1ms, some.next()));
    EXPECT_EQ(error_of(early), errc::deadline);
    co_await sleep_for(20ms);
    co_await to.send(2);
    const auto one = co_await some.next();
    EXPECT_EQ(*one, std::vector{1});

    auto [late_to, late] = sync::mpsc<int>(8);
    auto last = streams::messages(std::move(late)) | streams::debounce(10ms);
    co_await late_to.send(1);
    static_cast<void>(co_await as_result(timeout(1ms, last.next())));
    co_await sleep_for(20ms);
    co_await late_to.send(2);
    const auto alone = co_await last.next();
    EXPECT_EQ(alone, 1);
  });
}

}  // namespace
}  // namespace magpie::tests::stream_timed_test
