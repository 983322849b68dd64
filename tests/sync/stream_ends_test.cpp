#include <magpie/sync/stream_ends.hpp>

#include <magpie/tests/sync/streams.hpp>

#include <algorithm>
#include <string>

namespace magpie::tests::stream_ends_test {
namespace {

TEST(stream_ends, for_each_calls_and_awaits) {
  const auto scenario = []() -> task<> {
    std::vector<int> seen;
    co_await (streams::each(numbers_to(3)) | streams::for_each([&](int i) { seen.push_back(i); }));
    co_await (streams::each(numbers_to(3)) | streams::for_each([&](int i) -> task<> {
                co_await sleep_for(1us);
                seen.push_back(10 + i);
              }));
    co_await (streams::each(numbers_to(3)) | streams::for_each([](int) { return sleep_for(1us); }));
    EXPECT_EQ(seen, (std::vector{0, 1, 2, 10, 11, 12}));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_ends, the_first_error_ends_it_and_the_stream_may_be_gone_on_with) {
  const auto scenario = []() -> task<> {
    auto some = streams::each(numbers_to(5));
    std::vector<int> seen;
    const auto ended = co_await as_result(some | streams::for_each([&](int i) -> task<> {
                                            if (i == 2) co_await fail(some_error());
                                            seen.push_back(i);
                                          }));
    EXPECT_EQ(error_of(ended), some_error());
    EXPECT_EQ(seen, numbers_to(2));
    const auto rest = co_await (some | streams::collect());
    EXPECT_EQ(rest, (std::vector{3, 4}));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_ends, fold) {
  const auto scenario = []() -> task<> {
    const int sum = co_await (streams::each(numbers_to(5)) |
                              streams::fold(100, [](int all, int i) { return all + i; }));
    EXPECT_EQ(sum, 110);
    const auto text =
        co_await (streams::each(numbers_to(3)) |
                  streams::fold(std::string(), [](std::string all, int i) -> task<std::string> {
                    co_await sleep_for(1us);
                    co_return all + std::to_string(i);
                  }));
    EXPECT_EQ(text, "012");
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_ends, all_and_any_stop_looking_when_they_know) {
  const auto scenario = []() -> task<> {
    auto some = streams::each(numbers_to(10));
    const bool small = co_await (some | streams::all([](int i) { return i < 3; }));
    EXPECT_FALSE(small);
    const auto next = co_await some.next();
    EXPECT_EQ(next, 4);
    const bool six = co_await (some | streams::any([](int i) -> task<bool> {
                                 co_await sleep_for(1us);
                                 co_return i == 6;
                               }));
    EXPECT_TRUE(six);
    const auto after = co_await some.next();
    EXPECT_EQ(after, 7);
    const bool ended = co_await (some | streams::all([](int) { return true; }));
    EXPECT_TRUE(ended);
    const bool none = co_await (some | streams::any([](int) { return true; }));
    EXPECT_FALSE(none);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_ends, for_each_concurrent_runs_so_many_at_a_time) {
  in_exact_time([]() -> task<> {
    int at_once = 0;
    int most = 0;
    int done = 0;
    const auto begin = clock::now();
    co_await (streams::each(numbers_to(10)) | streams::for_each_concurrent(3, [&](int) -> task<> {
                most = std::max(most, ++at_once);
                co_await sleep_for(10ms);
                --at_once;
                ++done;
              }));
    EXPECT_EQ(done, 10);
    EXPECT_EQ(most, 3);
    EXPECT_EQ(clock::now(), begin + 40ms);
  });
}

TEST(stream_ends, an_error_of_one_stops_the_others) {
  atomic<int> alive{0};
  const auto scenario = [&]() -> task<> {
    const auto begin = clock::now();
    const auto ended = co_await as_result(streams::each(numbers_to(100)) |
                                          streams::for_each_concurrent(4, [&](int i) -> task<> {
                                            const counted here(alive);
                                            co_await sleep_for(i == 2 ? 1ms : 1h);
                                            co_await fail(some_error());
                                          }));
    EXPECT_EQ(error_of(ended), some_error());
    EXPECT_EQ(alive.load(), 0);
    EXPECT_LT(clock::now() - begin, 1min);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_ends, a_stop_stops_and_awaits_all) {
  atomic<int> alive{0};
  const auto scenario = [&]() -> task<> {
    auto all = streams::each(numbers_to(100)) | streams::for_each_concurrent(4, [&](int) -> task<> {
                 const counted here(alive);
                 co_await sleep_for(1h);
               });
    const auto ended = co_await as_result(timeout(1ms, std::move(all)));
    EXPECT_EQ(error_of(ended), errc::deadline);
    EXPECT_EQ(alive.load(), 0);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_ends, none_at_a_time_is_refused) {
  const auto scenario = []() -> task<> {
    const auto refused =
        co_await as_result(streams::each(numbers_to(3)) |
                           streams::for_each_concurrent(0, [](int) -> task<> { co_return; }));
    EXPECT_EQ(error_of(refused), std::errc::invalid_argument);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_ends, concurrent_children_run_on_all_workers) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    atomic<int> sum{0};
    co_await (streams::each(numbers_to(1'000)) |
              streams::for_each_concurrent(16, [&](int i) -> task<> {
                co_await yield();
                sum.fetch_add(i, order::relaxed);
              }));
    EXPECT_EQ(sum.load(), 999 * 1'000 / 2);
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(stream_ends, a_result_of_a_plain_function_is_looked_at) {
  const auto scenario = []() -> task<> {
    int calls = 0;
    const auto ended = co_await as_result(streams::each(numbers_to(5)) |
                                          streams::for_each([&](int i) -> result<void> {
                                            ++calls;
                                            if (i == 1) return std::unexpected(some_error());
                                            return {};
                                          }));
    EXPECT_EQ(error_of(ended), some_error());
    EXPECT_EQ(calls, 2);
    const int sum =
        co_await (streams::each(numbers_to(4)) |
                  streams::fold(0, [](int all, int i) -> result<int> { return all + i; }));
    EXPECT_EQ(sum, 6);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

}  // namespace
}  // namespace magpie::tests::stream_ends_test
