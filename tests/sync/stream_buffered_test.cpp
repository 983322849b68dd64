#include <magpie/sync/stream_buffered.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/sync/stream_joins.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/sync/streams.hpp>

#include <algorithm>
#include <memory>
#include <ranges>
#include <stdexcept>

namespace magpie::tests::stream_buffered_test {
namespace {

/// Tasks that count how many of them there are, finished ones that nobody has taken among them.
struct counting {
  task<int> work(int i, clock::duration time) {
    most = std::max(most, ++in_flight);
    co_await sleep_for(time);
    co_return i;
  }
  void taken() { --in_flight; }

  int in_flight = 0;
  int most = 0;
};

TEST(stream_buffered, t13_tasks_go_on_while_the_consumer_works) {
  in_exact_time([]() -> task<> {
    counting counts;
    std::vector<int> got;
    const auto begin = clock::now();
    co_await (streams::each(numbers_to(20)) |
              streams::map([&](int i) { return counts.work(i, 10ms); }) | streams::buffered(5) |
              streams::for_each([&](int i) -> task<> {
                counts.taken();
                got.push_back(i);
                co_await sleep_for(10ms);  // as long as the work takes
              }));
    EXPECT_EQ(got, numbers_to(20));
    EXPECT_EQ(counts.most, 5);
    // The first is waited for; all others are ready when the consumer is.
    EXPECT_EQ(clock::now(), begin + 10ms + 20 * 10ms);
  });
}

TEST(stream_buffered, never_more_are_in_flight_with_those_that_wait_for_the_consumer) {
  in_exact_time([]() -> task<> {
    counting counts;
    co_await (streams::each(numbers_to(50)) |
              streams::map([&](int i) { return counts.work(i, 1ms); }) | streams::buffered(4) |
              streams::for_each([&](int) -> task<> {
                counts.taken();
                co_await sleep_for(100ms);
                EXPECT_LE(counts.in_flight, 4);
              }));
    EXPECT_EQ(counts.most, 4);
  });
}

TEST(stream_buffered, a_slow_one_holds_up_the_order_but_not_the_unordered) {
  in_exact_time([]() -> task<> {
    counting counts;
    const auto times = [&](int i) { return counts.work(i, i == 0 ? 100ms : 10ms); };
    const auto begin = clock::now();
    std::vector<std::pair<int, clock::duration>> got;
    const auto notes = [&](int i) {
      counts.taken();
      got.emplace_back(i, clock::now() - begin);
    };
    co_await (streams::each(numbers_to(5)) | streams::map(times) | streams::buffered(2) |
              streams::for_each(notes));
    EXPECT_EQ(got[0], std::pair(0, clock::duration(100ms)));
    EXPECT_EQ(got[1], std::pair(1, clock::duration(100ms)));
    EXPECT_EQ(got[2], std::pair(2, clock::duration(110ms)));
    got.clear();
    const auto again = clock::now();
    co_await (streams::each(numbers_to(5)) | streams::map(times) | streams::buffer_unordered(2) |
              streams::for_each(notes));
    EXPECT_EQ(got.back().first, 0);
    EXPECT_EQ(got.front().first, 1);
    EXPECT_EQ(clock::now(), again + 100ms);
    EXPECT_EQ(counts.most, 2);
  });
}

TEST(stream_buffered, an_error_stops_the_others_and_comes_out) {
  atomic<int> alive{0};
  const auto works = [&](int i) -> task<int> {
    const counted here(alive);
    co_await sleep_for(i == 3 ? 1ms : 1h);
    co_await fail(some_error());
    co_return i;
  };
  const auto scenario = [&]() -> task<> {
    const auto begin = clock::now();
    const auto ended = co_await as_result(streams::each(numbers_to(100)) | streams::map(works) |
                                          streams::buffered(5) | streams::collect());
    EXPECT_EQ(error_of(ended), some_error());
    EXPECT_EQ(alive.load(), 0);
    EXPECT_LT(clock::now() - begin, 1min);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_buffered, an_error_of_the_source_stops_all) {
  atomic<int> alive{0};
  const auto works = [&](int i) -> task<int> {
    const counted here(alive);
    co_await sleep_for(1h);
    co_return i;
  };
  const auto scenario = [&]() -> task<> {
    auto two_and_an_error = scripted({1, 2, 1ms, some_error()}) | streams::map(works);
    const auto ended = co_await as_result(std::move(two_and_an_error) |
                                          streams::buffer_unordered(5) | streams::collect());
    EXPECT_EQ(error_of(ended), some_error());
    EXPECT_EQ(alive.load(), 0);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

#if defined(__cpp_exceptions)
TEST(stream_buffered, an_exception_of_a_task_comes_out) {
  const auto scenario = []() -> task<> {
    bool caught = false;
    try {
      co_await (streams::each(numbers_to(10)) | streams::map([](int i) -> task<int> {
                  co_await sleep_for(1ms);
                  if (i == 2) throw std::runtime_error("of the task");
                  co_return i;
                }) |
                streams::buffered(4) | streams::for_each([](int) {}));
    } catch (const std::runtime_error&) {
      caught = true;
    }
    EXPECT_TRUE(caught);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}
#endif

TEST(stream_buffered, a_stop_stops_and_awaits_all) {
  atomic<int> alive{0};
  const auto works = [&](int i) -> task<int> {
    const counted here(alive);
    co_await sleep_for(i % 2 == 0 ? 1ms : 1h);
    co_return i;
  };
  const auto scenario = [&]() -> task<> {
    auto all = streams::each(numbers_to(100)) | streams::map(works) | streams::buffered(8) |
               streams::collect();
    const auto ended = co_await as_result(timeout(10ms, std::move(all)));
    EXPECT_EQ(error_of(ended), errc::deadline);
    EXPECT_EQ(alive.load(), 0);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

/// Consumes all there is; false, if it came to the end.
template <class Plan>
task<> consumes(Plan plan, bool& cut_off) {
  cut_off = true;
  co_await streams::with_stream(std::move(plan), [&](auto& all) -> task<> {
    while (co_await all.next()) continue;
    cut_off = false;
  });
}

// Whoever fails or is stopped lets go of the channel, as one does whose work is done.
TEST(stream_buffered, who_consumes_does_not_take_a_failure_or_a_stop_for_the_end) {
  const auto fails = [](int i) -> task<int> {
    co_await sleep_for(i == 3 ? 2ms : 1ms);  // the others have been consumed
    if (i == 3) co_await fail(some_error());
    co_return i;
  };
  const auto lasts = [](int i) -> task<int> {
    co_await sleep_for(1h);
    co_return i;
  };
  for (std::uint64_t seed = 1; seed < 40; ++seed) {
    const auto scenario = [&]() -> task<> {
      bool cut_off = false;
      const auto failed = co_await as_result(consumes(
          streams::each(numbers_to(4)) | streams::map(fails) | streams::buffered(4), cut_off));
      EXPECT_EQ(error_of(failed), some_error());
      EXPECT_TRUE(cut_off);
      auto stopped = consumes(
          streams::each(numbers_to(9)) | streams::map(lasts) | streams::buffer_unordered(4),
          cut_off);
      EXPECT_EQ(error_of(co_await as_result(timeout(1ms, std::move(stopped)))), errc::deadline);
      EXPECT_TRUE(cut_off);
      auto broken = consumes(
          scripted({1, 2, 1ms, some_error()}) | streams::map(lasts) | streams::buffer_unordered(4),
          cut_off);
      EXPECT_EQ(error_of(co_await as_result(std::move(broken))), some_error());
      EXPECT_TRUE(cut_off);
    };
    EXPECT_TRUE(run_in_simulation(scenario(), seed));
  }
}

TEST(stream_buffered, what_is_left_is_stopped_when_the_consumer_has_enough) {
  atomic<int> alive{0};
  const auto works = [&](int i) -> task<int> {
    const counted here(alive);
    co_await sleep_for(i < 3 ? 1ms : 1h);
    co_return i;
  };
  const auto scenario = [&]() -> task<> {
    const auto begin = clock::now();
    const auto three = co_await (streams::each(std::views::iota(0)) | streams::map(works) |
                                 streams::buffered(8) | streams::take(3) | streams::collect());
    EXPECT_EQ(three, numbers_to(3));
    EXPECT_EQ(alive.load(), 0);
    EXPECT_LT(clock::now() - begin, 1min);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_buffered, a_stop_of_next_leaves_the_tasks_at_work_and_loses_nothing) {
  in_exact_time([]() -> task<> {
    counting counts;
    const auto begin = clock::now();
    const auto sum = co_await streams::with_stream(
        streams::each(numbers_to(6)) | streams::map([&](int i) { return counts.work(i, 10ms); }) |
            streams::buffered(3),
        [&](auto& results) -> task<int> {
          int stops = 0;
          int next = 0;
          for (;;) {
            const auto one = co_await as_result(timeout(3ms, results.next()));
            if (!one) {
              ++stops;
              continue;
            }
            if (!*one) break;
            counts.taken();
            EXPECT_EQ(**one, next++);
          }
          EXPECT_EQ(stops, 6);
          co_return next;
        });
    EXPECT_EQ(sum, 6);
    EXPECT_EQ(clock::now(), begin + 20ms);
  });
}

TEST(stream_buffered, no_place_and_too_many_are_refused) {
  const auto works = [](int i) -> task<int> { co_return i; };
  const auto scenario = [&]() -> task<> {
    const auto none = co_await as_result(streams::each(numbers_to(3)) | streams::map(works) |
                                         streams::buffered(0) | streams::collect());
    EXPECT_EQ(error_of(none), std::errc::invalid_argument);
    const auto many =
        co_await as_result(streams::each(numbers_to(3)) | streams::map(works) |
                           streams::buffer_unordered(~std::size_t{0}) | streams::collect());
    EXPECT_EQ(error_of(many), std::errc::invalid_argument);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_buffered, plans_are_adapted_and_buffered_again) {
  in_exact_time([]() -> task<> {
    const auto slow = [](int i) -> task<int> {
      co_await sleep_for(10ms);
      co_return i + 1;
    };
    const auto begin = clock::now();
    const auto all = co_await (
        streams::each(numbers_to(8)) | streams::map(slow) | streams::buffered(4) |
        streams::filter([](int i) { return i % 2 == 0; }) | streams::map(slow) |
        streams::buffered(4) | streams::map([](int i) { return i * 10; }) | streams::collect());
    EXPECT_EQ(all, (std::vector{30, 50, 70, 90}));
    EXPECT_EQ(clock::now(), begin + 30ms);
  });
}

TEST(stream_buffered, operations_are_as_good_as_tasks) {
  const auto scenario = []() -> task<> {
    int count = 0;
    co_await (streams::each(numbers_to(5)) | streams::map([](int i) {
                return as_result(sleep_for(std::chrono::milliseconds(i)));
              }) |
              streams::buffered(2) |
              streams::for_each([&](const result<void>& one) { count += one ? 1 : 0; }));
    EXPECT_EQ(count, 5);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_buffered, memory_is_flat_over_many_items) {
  MAGPIE_NEED_SIMULATION();
#if MAGPIE_FRAME_POOL_BYPASS
  GTEST_SKIP() << "no pool under this sanitizer";
#endif
  const auto scenario = []() -> task<> {
    std::uint64_t before = 0;
    int expected = 0;
    co_await (streams::each(std::views::iota(0, 50'000)) | streams::map([](int i) -> task<int> {
                if (i % 7 == 0) co_await yield();
                co_return i;
              }) |
              streams::buffered(16) | streams::for_each([&](int i) {
                EXPECT_EQ(i, expected++);
                if (i == 5'000) before = frame_pool_stats().mallocs;
              }));
    EXPECT_EQ(expected, 50'000);
    EXPECT_EQ(frame_pool_stats().mallocs, before);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// A value gives its place back when it is taken, before the consumer has seen it: so one more than
// there are places may have been begun and not been seen, and no more than that.
TEST(stream_buffered, concurrent_pipelines_keep_their_order_and_their_bound) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    atomic<int> at_work{0};
    atomic<int> not_seen{0};
    atomic<int> beyond{0};
    const auto works = [&](int i) -> task<int> {
      if (at_work.fetch_add(1, order::relaxed) >= 6) beyond.fetch_add(1, order::relaxed);
      if (not_seen.fetch_add(1, order::relaxed) >= 7) beyond.fetch_add(1, order::relaxed);
      for (int k = 0; k < i % 5; ++k) co_await yield();
      at_work.fetch_sub(1, order::relaxed);
      co_return i;
    };
    int next = 0;
    co_await (streams::each(numbers_to(2'000)) | streams::map(works) | streams::buffered(6) |
              streams::for_each([&](int i) {
                EXPECT_EQ(i, next++);
                not_seen.fetch_sub(1, order::relaxed);
              }));
    EXPECT_EQ(next, 2'000);
    std::vector<int> all = co_await (streams::each(numbers_to(2'000)) | streams::map(works) |
                                     streams::buffer_unordered(6) | streams::map([&](int i) {
                                       not_seen.fetch_sub(1, order::relaxed);
                                       return i;
                                     }) |
                                     streams::collect());
    std::ranges::sort(all);
    EXPECT_EQ(all, numbers_to(2'000));
    EXPECT_EQ(beyond.load(), 0);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::stream_buffered_test
