#include <magpie/sync/stream_map.hpp>

#include <magpie/runtime/abort_on_drop.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/stream_timed.hpp>
#include <magpie/tests/runtime/stop_torture.hpp>
#include <magpie/tests/sync/streams.hpp>

#include <string>

namespace magpie::tests::stream_map_test {
namespace {

using scripts = sync::stream_map<std::string, scripted>;
static_assert(sync::stream<scripts>);

/// "key:item", "key!" for an error, "key." for the end.
template <class Item>
std::string text_of(const Item& one) {
  if (!one.outcome) return one.key + "!";
  return *one.outcome ? one.key + ":" + std::to_string(**one.outcome) : one.key + ".";
}

template <class Map>
task<std::vector<std::string>> all_of(Map& from) {
  std::vector<std::string> all;
  for (;;) {
    const auto one = co_await from.next();
    if (!one) co_return all;
    all.push_back(text_of(*one));
  }
}

using ranges = sync::stream_map<std::string, decltype(streams::each(std::vector<int>()))>;

TEST(stream_map, serves_all_by_turns_and_tells_the_end_of_each) {
  const auto scenario = []() -> task<> {
    ranges some;
    EXPECT_TRUE(some.insert("a", streams::each(std::vector{1, 2, 3})));
    EXPECT_TRUE(some.insert("b", streams::each(std::vector{7})));
    EXPECT_FALSE(some.insert("a", streams::each(std::vector{9})));
    EXPECT_EQ(some.size(), 2U);
    const auto all = co_await all_of(some);
    EXPECT_EQ(all, (std::vector<std::string>{"a:1", "b:7", "a:2", "b.", "a:3", "a."}));
    EXPECT_TRUE(some.empty());
    EXPECT_TRUE(some.insert("c", streams::each(std::vector{4})));
    const auto more = co_await all_of(some);
    EXPECT_EQ(more, (std::vector<std::string>{"c:4", "c."}));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

TEST(stream_map, gives_what_comes_when_it_comes_and_whose_error_it_is) {
  in_exact_time([]() -> task<> {
    auto one = sync::mpsc<int>(4);
    auto other = sync::mpsc<int>(4);
    using source = decltype(streams::messages(std::move(one.receiver)) | streams::timeout(10ms));
    sync::stream_map<std::string, source> some;
    some.insert("one", streams::messages(std::move(one.receiver)) | streams::timeout(10ms));
    some.insert("other", streams::messages(std::move(other.receiver)) | streams::timeout(1h));
    auto sending = spawn([](sync::mpsc_sender<int> to) -> task<> {
      co_await sleep_for(4ms);
      co_await to.send(1);
      co_await sleep_for(30ms);
    }(std::move(other.sender)));
    const auto begin = clock::now();
    const auto first = co_await some.next();
    EXPECT_EQ(text_of(*first), "other:1");
    EXPECT_EQ(clock::now(), begin + 4ms);
    const auto second = co_await some.next();
    EXPECT_EQ(text_of(*second), "one!");
    EXPECT_EQ(second->outcome.error(), errc::deadline);
    EXPECT_EQ(clock::now(), begin + 10ms);  // its time went on when its `next` was stopped
    EXPECT_TRUE(some.erase("one"));
    EXPECT_FALSE(some.erase("one"));
    const auto third = co_await some.next();
    EXPECT_EQ(text_of(*third), "other.");
    EXPECT_EQ(clock::now(), begin + 34ms);
    co_await sending.join();
  });
}

TEST(stream_map, a_stop_is_that_of_next) {
  const auto scenario = []() -> task<> {
    scripts some;
    some.insert("a", scripted({5ms, 1}));
    for (int i = 0; i < 2; ++i) {
      const auto early = co_await as_result(timeout(1ms, some.next()));
      EXPECT_EQ(error_of(early), errc::deadline);
      if (i == 0) some.insert("b", scripted({6ms, some_error()}));
    }
    const auto first = co_await some.next();
    EXPECT_EQ(text_of(*first), "a:1");
    const auto end = co_await some.next();
    EXPECT_EQ(text_of(*end), "a.");
    const auto second = co_await some.next();
    EXPECT_EQ(text_of(*second), "b!");
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

task<> sends_numbers(sync::mpsc_sender<int> to, int count, int i, tally& counts) {
  const counted here(counts.alive);
  for (int k = 0; k < count; ++k) {
    if ((i + k) % 3 != 0) co_await sleep_for(std::chrono::microseconds((i + k) % 7));
    const auto sent = co_await as_result(to.send(std::move(k)));
    if (!sent) co_return;
  }
}

/// Each stream comes whole and in order, however often `next` is stopped.
task<> mapping(int i, tally& counts) {
  const counted here(counts.alive);
  using source = decltype(streams::messages(sync::mpsc_receiver<int>()));
  sync::stream_map<int, source> some;
  std::vector<abort_on_drop<void>> sending;
  std::vector<int> next(static_cast<std::size_t>(i % 4), 0);
  for (int k = 0; k < i % 4; ++k) {
    auto ends = sync::mpsc<int>(2);
    sending.emplace_back(spawn(sends_numbers(std::move(ends.sender), (i + k) % 6, i + k, counts)));
    some.insert(k, streams::messages(std::move(ends.receiver)));
  }
  for (int asked = i;; ++asked) {
    const auto one = co_await as_result(timeout(std::chrono::microseconds(asked % 9), some.next()));
    if (!one && one.error() == errc::deadline) continue;
    if (!one) co_await fail(one.error());
    if (!*one) break;
    counts.check((*one)->outcome.has_value());
    int& expected = next[static_cast<std::size_t>((*one)->key)];
    const auto& item = *(*one)->outcome;
    counts.check(item ? *item == expected : expected == (i + (*one)->key) % 6);
    ++expected;
  }
}

TEST(stream_map, concurrent_stop_torture) { torture(&mapping); }

}  // namespace
}  // namespace magpie::tests::stream_map_test
