#include <magpie/sync/stream_adapters.hpp>

#include <magpie/tests/sync/streams.hpp>

#include <memory>
#include <string>

namespace magpie::tests::stream_adapters_test {
namespace {

/// What `adapted` gives, to its end.
template <class S>
auto run_through(S adapted) {
  auto all = run_in_simulation(std::move(adapted) | streams::collect());
  EXPECT_TRUE(all);
  return *std::move(all);
}

auto six() { return streams::each(numbers_to(6)); }

TEST(stream_adapters, map) {
  EXPECT_EQ(run_through(six() | streams::map([](int i) { return std::to_string(i); })),
            (std::vector<std::string>{"0", "1", "2", "3", "4", "5"}));
  // Also of what can only be moved.
  const auto boxes =
      run_through(six() | streams::map([](int i) { return std::make_unique<int>(i); }));
  EXPECT_EQ(*boxes[5], 5);
}

TEST(stream_adapters, filter_and_filter_map) {
  EXPECT_EQ(run_through(six() | streams::filter([](int i) { return i % 2 == 0; })),
            (std::vector{0, 2, 4}));
  EXPECT_EQ(run_through(six() | streams::filter_map([](int i) {
                          return i > 3 ? std::optional(i * 10) : std::nullopt;
                        })),
            (std::vector{40, 50}));
}

TEST(stream_adapters, take_and_skip) {
  EXPECT_EQ(run_through(six() | streams::take(2)), (std::vector{0, 1}));
  EXPECT_EQ(run_through(six() | streams::take(0)), std::vector<int>());
  EXPECT_EQ(run_through(six() | streams::take(9)), numbers_to(6));
  EXPECT_EQ(run_through(six() | streams::skip(4)), (std::vector{4, 5}));
  EXPECT_EQ(run_through(six() | streams::skip(9)), std::vector<int>());
  EXPECT_EQ(run_through(six() | streams::skip(2) | streams::take(2)), (std::vector{2, 3}));
}

TEST(stream_adapters, take_takes_nothing_more_from_its_source) {
  const auto scenario = []() -> task<> {
    scripted script({0, 1, 2, 3});
    auto two = streams::by_ref(script) | streams::take(2);
    static_cast<void>(co_await (two | streams::collect()));
    EXPECT_EQ(script.at(), 2U);
    auto none = streams::by_ref(script) | streams::take(0);
    static_cast<void>(co_await (none | streams::collect()));
    EXPECT_EQ(script.at(), 2U);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_adapters, take_while_and_skip_while) {
  const auto humps = [] { return streams::each(std::vector{1, 2, 9, 1, 2}); };
  const auto small = [](int i) { return i < 5; };
  EXPECT_EQ(run_through(humps() | streams::take_while(small)), (std::vector{1, 2}));
  EXPECT_EQ(run_through(humps() | streams::skip_while(small)), (std::vector{9, 1, 2}));
}

TEST(stream_adapters, scan_keeps_a_state_and_may_end) {
  EXPECT_EQ(run_through(six() | streams::scan(10,
                                              [](int& sum, int i) -> std::optional<int> {
                                                sum += i;
                                                if (sum > 16) return std::nullopt;
                                                return sum;
                                              })),
            (std::vector{10, 11, 13, 16}));
}

TEST(stream_adapters, enumerate) {
  const auto pairs = run_through(streams::each(std::vector{7, 8}) | streams::enumerate());
  EXPECT_EQ(pairs[0], std::pair(std::size_t{0}, 7));
  EXPECT_EQ(pairs[1], std::pair(std::size_t{1}, 8));
}

TEST(stream_adapters, peekable_shows_what_comes) {
  const auto scenario = []() -> task<> {
    auto some = scripted({1, 5ms, 2}) | streams::peekable();
    int* const first = co_await some.peek();
    EXPECT_EQ(*first, 1);
    *first = 10;
    int* const again = co_await some.peek();
    EXPECT_EQ(again, first);
    const auto taken = co_await some.next();
    EXPECT_EQ(taken, 10);
    const auto early = co_await as_result(timeout(1ms, some.peek()));
    EXPECT_EQ(error_of(early), errc::deadline);
    int* const second = co_await some.peek();
    EXPECT_EQ(*second, 2);
    const auto second_taken = co_await some.next();
    EXPECT_EQ(second_taken, 2);
    int* const end = co_await some.peek();
    EXPECT_EQ(end, nullptr);
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_adapters, chunks_are_of_one_size_but_the_last) {
  using chunks = std::vector<std::vector<int>>;
  EXPECT_EQ(run_through(six() | streams::chunks(4)), (chunks{{0, 1, 2, 3}, {4, 5}}));
  EXPECT_EQ(run_through(six() | streams::chunks(3)), (chunks{{0, 1, 2}, {3, 4, 5}}));
  EXPECT_EQ(run_through(six() | streams::take(0) | streams::chunks(3)), chunks());
}

TEST(stream_adapters, chunks_keep_what_was_collected_before_an_error) {
  const auto scenario = []() -> task<> {
    auto pairs = scripted({1, some_error(), 2, 3}) | streams::chunks(2);
    const auto failed = co_await as_result(pairs.next());
    EXPECT_EQ(error_of(failed), some_error());
    const auto first = co_await pairs.next();
    EXPECT_EQ(*first, (std::vector{1, 2}));
    const auto second = co_await pairs.next();
    EXPECT_EQ(*second, std::vector{3});
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_adapters, chunks_of_nothing_are_refused) {
  const auto scenario = []() -> task<> {
    auto none = six() | streams::chunks(0);
    for (int i = 0; i < 2; ++i) {
      const auto failed = co_await as_result(none.next());
      EXPECT_EQ(error_of(failed), std::errc::invalid_argument);
    }
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_adapters, a_named_closure_may_own_what_it_uses) {
  const auto scenario = []() -> task<> {
    const auto adds = [name = std::string("number ")](int i) { return name + std::to_string(i); };
    const auto all = co_await (six() | streams::map(adds) | streams::take(2) | streams::collect());
    EXPECT_EQ(all, (std::vector<std::string>{"number 0", "number 1"}));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

}  // namespace
}  // namespace magpie::tests::stream_adapters_test
