/// Chains of adapters, made by chance, next to the same on a vector: with random stops of `next`.
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/stream_joins.hpp>
#include <magpie/sync/stream_timed.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/sync/streams.hpp>

#include <algorithm>
#include <memory>
#include <numeric>

namespace magpie::tests::stream_random_test {
namespace {

/// A stream of numbers without its type.
class some_stream {
 public:
  template <class S>
  explicit some_stream(S of) : kept_(std::make_unique<typed<S>>(std::move(of))) {}

  task<std::optional<int>> next() { return kept_->next(); }

 private:
  struct base {
    virtual ~base() = default;
    virtual task<std::optional<int>> next() = 0;
  };
  template <class S>
  struct typed final : base {
    explicit typed(S kept) : of(std::move(kept)) {}
    task<std::optional<int>> next() override { return next_of(of); }
    static task<std::optional<int>> next_of(S& from) { co_return co_await from.next(); }
    S of;
  };
  std::unique_ptr<base> kept_;
};

using numbers = std::vector<int>;

/// A chain, and what it has to give.
struct pair_of_both {
  some_stream chain;
  numbers expected;
};

numbers collected(const numbers& all, std::size_t size) {
  numbers sums;
  for (std::size_t i = 0; i < all.size(); i += size)
    sums.push_back(std::accumulate(
        all.begin() + static_cast<std::ptrdiff_t>(i),
        all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), i + size)), 0));
  return sums;
}

/// One more adapter of one stream.
pair_of_both adapt(pair_of_both to, std::size_t kind, int by) {
  numbers& all = to.expected;
  const auto count =
      static_cast<std::ptrdiff_t>(std::min(all.size(), static_cast<std::size_t>(by)));
  const auto divides = [by](int i) { return i % (by + 1) == 0; };
  const auto small = [by](int i) { return i < 3 * by; };
  switch (kind) {
    case 0:
      for (int& i : all) i += by;
      return {some_stream(std::move(to.chain) | streams::map([by](int i) { return i + by; })),
              std::move(all)};
    case 1:
      std::erase_if(all, [&](int i) { return !divides(i); });
      return {some_stream(std::move(to.chain) | streams::filter(divides)), std::move(all)};
    case 2:
      all.resize(static_cast<std::size_t>(count));
      return {some_stream(std::move(to.chain) | streams::take(static_cast<std::size_t>(by))),
              std::move(all)};
    case 3:
      all.erase(all.begin(), all.begin() + count);
      return {some_stream(std::move(to.chain) | streams::skip(static_cast<std::size_t>(by))),
              std::move(all)};
    case 4:
      all.erase(std::ranges::find_if_not(all, small), all.end());
      return {some_stream(std::move(to.chain) | streams::take_while(small)), std::move(all)};
    case 5:
      all.erase(all.begin(), std::ranges::find_if_not(all, small));
      return {some_stream(std::move(to.chain) | streams::skip_while(small)), std::move(all)};
    case 6:
      std::partial_sum(all.begin(), all.end(), all.begin());
      return {some_stream(std::move(to.chain) | streams::scan(0,
                                                              [](int& sum, int i) {
                                                                sum += i;
                                                                return std::optional(sum);
                                                              })),
              std::move(all)};
    case 7: {
      const auto size = static_cast<std::size_t>(by + 1);
      return {some_stream(std::move(to.chain) | streams::chunks(size) |
                          streams::map([](const numbers& some) {
                            return std::accumulate(some.begin(), some.end(), 0);
                          })),
              collected(all, size)};
    }
    default:
      return {some_stream(std::move(to.chain) | streams::peekable()), std::move(all)};
  }
}

/// One more of those that join streams, or that wait.
pair_of_both join(pair_of_both to, std::size_t kind, int by) {
  numbers& all = to.expected;
  numbers more;
  switch (kind) {
    case 0:
      more = numbers_to(by);
      all.insert(all.end(), more.begin(), more.end());
      return {some_stream(std::move(to.chain) | streams::chain(streams::each(std::move(more)))),
              std::move(all)};
    case 1:
      all.resize(std::min(all.size(), std::size_t{12}));
      for (std::size_t i = 0; i < all.size(); ++i) all[i] += static_cast<int>(i);
      return {
          some_stream(std::move(to.chain) | streams::zip(streams::each(numbers_to(12))) |
                      streams::map([](std::pair<int, int> two) { return two.first + two.second; })),
          std::move(all)};
    case 2:
      for (const int i : all)
        for (int k = 0; k < i % 3; ++k) more.push_back(k + i);
      return {some_stream(std::move(to.chain) | streams::map([](int i) {
                            numbers inner;
                            for (int k = 0; k < i % 3; ++k) inner.push_back(k + i);
                            return streams::each(std::move(inner));
                          }) |
                          streams::flatten()),
              std::move(more)};
    case 3:
      for (int& i : all) i *= 2;
      return {some_stream(std::move(to.chain) | streams::then([](const int& i) -> task<int> {
                            if (i % 2 == 0) co_await sleep_for(1us);
                            co_return i * 2;
                          })),
              std::move(all)};
    default:
      return {some_stream(std::move(to.chain) | streams::throttle(1us)), std::move(all)};
  }
}

task<> sends_some(sync::mpsc_sender<int> to, numbers what, std::size_t pace) {
  for (std::size_t i = 0; i < what.size(); ++i) {
    if (pace != 0 && i % pace == 0) co_await sleep_for(std::chrono::microseconds(i % 5));
    co_await to.send(std::move(what[i]));
  }
}

/// A stream is asked until its end; gives how often.
task<int> compare(dice& chance) {
  numbers what;
  const std::size_t size = chance.below(40);
  for (std::size_t i = 0; i < size; ++i) what.push_back(static_cast<int>(chance.below(50)));
  auto [to, from] = sync::mpsc<int>(1 + chance.below(8));
  auto sending = spawn(sends_some(std::move(to), what, chance.below(4)));
  pair_of_both both{some_stream(streams::messages(std::move(from))), std::move(what)};
  for (std::size_t depth = chance.below(6); depth != 0; --depth) {
    const int by = static_cast<int>(chance.below(6));
    both = chance.below(3) != 0 ? adapt(std::move(both), chance.below(9), by)
                                : join(std::move(both), chance.below(5), by);
  }
  numbers got;
  int asked = 0;
  for (;;) {
    ++asked;
    const std::chrono::nanoseconds patience =
        chance.below(2) == 0 ? 1h : std::chrono::nanoseconds(chance.below(6) * 1us);
    const auto one = co_await as_result(timeout(patience, both.chain.next()));
    if (!one && one.error() == errc::deadline) continue;
    EXPECT_TRUE(one);
    if (!one || !*one) break;
    got.push_back(**one);
  }
  EXPECT_EQ(got, both.expected);
  const auto again = co_await both.chain.next();
  EXPECT_FALSE(again);
  sending.abort();
  static_cast<void>(co_await sending.join());
  co_return asked;
}

TEST(stream_random, chains_give_what_vectors_give) {
  MAGPIE_NEED_SIMULATION();
  for (std::uint64_t seed = 1, asked = 0; asked < static_cast<std::uint64_t>(model_operations());
       ++seed) {
    dice chance(seed);
    const auto rounds = run_in_simulation(compare(chance), seed);
    ASSERT_TRUE(rounds);
    asked += static_cast<std::uint64_t>(*rounds);
    if (HasFailure()) {
      ADD_FAILURE() << "seed " << seed;
      return;
    }
  }
}

}  // namespace
}  // namespace magpie::tests::stream_random_test
