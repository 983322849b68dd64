#include <magpie/sync/stream.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/tests/sync/streams.hpp>

#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>

namespace magpie::tests::stream_test {
namespace {

struct no_stream {
  int next();
};
struct wrong_stream {
  task<int> next();
};
static_assert(sync::stream<scripted>);
static_assert(sync::stream<generator<std::string>>);
static_assert(std::is_same_v<sync::stream_value<generator<std::string>>, std::string>);
static_assert(!sync::stream<no_stream>);
static_assert(!sync::stream<wrong_stream>);
static_assert(!sync::stream<int>);

TEST(stream, a_task_may_be_the_next_of_a_source) {
  const auto scenario = []() -> task<> {
    auto some = scripted({1, 1ms, 2, 3}) | streams::map([](int i) { return i * 10; });
    const auto all = co_await (some | streams::collect());
    EXPECT_EQ(all, (std::vector{10, 20, 30}));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream, an_error_comes_out_of_next_and_the_stream_goes_on) {
  const auto scenario = []() -> task<> {
    auto some = scripted({1, some_error(), 2}) | streams::filter([](int) { return true; });
    const auto first = co_await some.next();
    EXPECT_EQ(first, 1);
    const auto failed = co_await as_result(some.next());
    EXPECT_EQ(error_of(failed), some_error());
    const auto second = co_await some.next();
    EXPECT_EQ(second, 2);
    for (int i = 0; i < 3; ++i) {
      const auto end = co_await some.next();
      EXPECT_FALSE(end);
    }
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream, an_error_climbs_over_adapters_and_frames_are_destroyed) {
  atomic<int> alive{0};
  const auto fails = [](atomic<int>& counts) -> generator<int> {
    const counted here(counts);
    co_yield 1;
    co_await sleep_for(1ms);
    co_await fail(some_error());
  };
  const auto scenario = [&]() -> task<> {
    auto some = fails(alive) | streams::map([](int i) { return i; }) | streams::take(5);
    const auto ended = co_await as_result(some | streams::for_each([](int) {}));
    EXPECT_EQ(error_of(ended), some_error());
    EXPECT_EQ(alive.load(), 0);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream, a_stop_of_next_loses_no_item) {
  const auto scenario = []() -> task<> {
    auto [to, from] = sync::mpsc<int>(8);
    auto odd = streams::messages(std::move(from)) |
               streams::filter([](int i) { return i % 2 == 1; }) |
               streams::map([](int i) { return i * 10; });
    auto sending = spawn([](sync::mpsc_sender<int> sends) -> task<> {
      for (int i = 0; i < 200; ++i) {
        if (i % 3 == 0) co_await sleep_for(10us);  // at the very times of the deadlines, too
        co_await sends.send(i);
      }
    }(std::move(to)));
    std::vector<int> got;
    for (;;) {
      const auto one = co_await as_result(timeout(10us, odd.next()));
      if (!one) {
        EXPECT_EQ(error_of(one), errc::deadline);
        continue;
      }
      if (!*one) break;
      got.push_back(**one);
    }
    EXPECT_EQ(got.size(), 100U);
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<int>(20 * i + 10));
    static_cast<void>(co_await sending.join());
  };
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(scenario(), seed));
}

TEST(stream, an_item_whose_value_was_not_taken_is_given_again) {
  const auto scenario = []() -> task<> {
    auto some = streams::each(numbers_to(3)) | streams::map([](int i) { return i + 1; });
    {
      auto dropped = some.next();
      EXPECT_TRUE(dropped.try_complete(*detail::this_context().running_here()));
    }
    for (int i = 1; i <= 3; ++i) {
      const auto one = co_await some.next();
      EXPECT_EQ(one, i);
    }
    const auto end = co_await some.next();
    EXPECT_FALSE(end);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream, a_next_of_a_stopped_task_does_not_begin) {
  bool looked = false;
  const auto stopped = [&](auto& from) -> task<> {
    co_await as_result(sleep_for(1h));
    const auto refused = co_await as_result(from.next());
    EXPECT_EQ(error_of(refused), errc::stopped);
    looked = true;
  };
  const auto scenario = [&]() -> task<> {
    auto some = streams::each(numbers_to(2)) | streams::peekable();
    co_await some.peek();  // so that one is held
    static_cast<void>(co_await as_result(timeout(1ms, stopped(some))));
    EXPECT_TRUE(looked);
    const auto all = co_await (some | streams::collect());
    EXPECT_EQ(all, numbers_to(2));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream, conformance_c08_a_stream_that_is_always_ready_gives_way_and_is_stopped) {
  const auto none_passes = [](int& seen) -> task<> {
    auto many = streams::each(std::views::iota(0, 1'000'000'000)) |
                streams::filter([&](int) { return ++seen < 0; });
    static_cast<void>(co_await many.next());
  };
  const auto scenario = [&]() -> task<> {
    int seen = 0;
    auto searching = spawn(none_passes(seen));
    co_await yield();
    EXPECT_GT(seen, 0);
    EXPECT_LE(seen, 129);
    searching.abort();
    const auto ended = co_await searching.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    EXPECT_LE(seen, 300);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(stream, allocates_nothing_for_an_item) {
  const auto scenario = []() -> task<> {
    auto [to, from] = sync::mpsc<int>(64);
    auto some = streams::messages(std::move(from)) | streams::skip(1) |
                streams::map([](int i) { return i + 1; }) |
                streams::filter([](int i) { return i % 2 == 0; }) | streams::enumerate() |
                streams::take(100'000);
    auto sending = spawn([](sync::mpsc_sender<int> sends) -> task<> {
      for (int i = 0; i < 20'000; ++i) co_await sends.send(i);
    }(std::move(to)));
    co_await some.next();
    const auto before = frame_pool_stats().mallocs;
    std::size_t count = 1;
    for (;;) {
      const auto one = co_await some.next();
      if (!one) break;
      ++count;
    }
    EXPECT_EQ(frame_pool_stats().mallocs, before);
    EXPECT_EQ(count, 10'000U);
    static_cast<void>(co_await sending.join());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

#if defined(__cpp_exceptions)
TEST(stream, an_exception_of_a_function_comes_out_of_next_and_the_stream_goes_on) {
  const auto scenario = []() -> task<> {
    auto some = streams::each(numbers_to(4)) | streams::map([](int i) {
                  if (i == 1) throw std::runtime_error("not this one");
                  return i;
                });
    std::vector<int> got;
    int thrown = 0;
    for (;;) {
      try {
        const auto one = co_await timeout(1h, some.next());
        if (!one) break;
        got.push_back(*one);
      } catch (const std::runtime_error&) {
        ++thrown;
      }
    }
    EXPECT_EQ(thrown, 1);
    EXPECT_EQ(got, (std::vector{0, 2, 3}));
    // In a select it is the branch's.
    auto throws = streams::each(numbers_to(1)) |
                  streams::map([](int i) -> int { throw std::runtime_error(std::to_string(i)); });
    bool caught = false;
    try {
      static_cast<void>(co_await select(throws.next(), sleep_for(1h)));
    } catch (const std::runtime_error&) {
      caught = true;
    }
    EXPECT_TRUE(caught);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}
#endif

TEST(stream, the_loser_of_a_select_keeps_its_item) {
  const auto scenario = []() -> task<> {
    auto some = streams::each(numbers_to(100));
    auto others = streams::each(numbers_to(100));
    std::vector<int> first;
    std::vector<int> second;
    while (first.size() < 50 && second.size() < 50) {
      auto raced = co_await select(some.next(), others.next());
      if (raced.get<0>() && *raced.get<0>()) first.push_back(*raced.value<0>());
      if (raced.get<1>() && *raced.get<1>()) second.push_back(*raced.value<1>());
    }
    co_await (some | streams::for_each([&](int i) { first.push_back(i); }));
    co_await (others | streams::for_each([&](int i) { second.push_back(i); }));
    EXPECT_EQ(first, numbers_to(100));
    EXPECT_EQ(second, numbers_to(100));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream, concurrent_consumer_and_producer) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    auto [to, from] = sync::mpsc<std::unique_ptr<int>>(4);
    auto sending = spawn([](sync::mpsc_sender<std::unique_ptr<int>> sends) -> task<> {
      for (int i = 0; i < 1'000; ++i) co_await sends.send(std::make_unique<int>(i));
    }(std::move(to)));
    const int sum = co_await (streams::messages(std::move(from)) |
                              streams::map([](std::unique_ptr<int> one) { return *one; }) |
                              streams::fold(0, [](int all, int one) { return all + one; }));
    EXPECT_EQ(sum, 999 * 1'000 / 2);
    static_cast<void>(co_await sending.join());
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::stream_test
