/// What the tests of streams share.
#pragma once

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/generator.hpp>
#include <magpie/sync/stream.hpp>
#include <magpie/sync/stream_adapters.hpp>
#include <magpie/sync/stream_ends.hpp>
#include <magpie/sync/stream_sources.hpp>
#include <magpie/tests/sync/world.hpp>

#include <optional>
#include <vector>

namespace magpie::tests {

namespace streams = sync::streams;

inline std::vector<int> numbers_to(int count) {
  std::vector<int> all;
  for (int i = 0; i < count; ++i) all.push_back(i);
  return all;
}

/// Runs a scenario with a clock that stands still while anything is ready, and goes from one timer
/// to the next: what it says about times is exact.
template <class Scenario>
void in_exact_time(Scenario scenario) {
  const auto advances = [](Scenario& inner) -> task<> {
    test_clock::pause();
    auto running = spawn(inner());
    while (!running.done()) co_await test_clock::advance(1ms);
    test_clock::resume();
    const auto ended = co_await running.join();
    EXPECT_TRUE(ended);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), advances(scenario)));
}

/// A source that gives what a script says: items, errors and waits.
class scripted {
 public:
  struct line {
    // NOLINTBEGIN(google-explicit-constructor): `scripted({1, 5ms, some_error(), 2})`
    line(int number) : item(number) {}
    line(std::error_code fails) : error(fails) {}
    line(std::chrono::milliseconds until) : wait(until) {}
    // NOLINTEND(google-explicit-constructor)
    std::optional<int> item;
    std::error_code error;
    std::chrono::milliseconds wait{0};
  };

  explicit scripted(std::vector<line> script) : script_(std::move(script)) {}

  /// A wait is over when it has ended once: one that is stopped begins anew.
  task<std::optional<int>> next() { return next_of(*this); }

  /// How many lines were read.
  std::size_t at() const noexcept { return at_; }

 private:
  static task<std::optional<int>> next_of(scripted& self) {
    for (;;) {
      if (self.at_ == self.script_.size()) co_return std::nullopt;
      const line& now = self.script_[self.at_];
      if (now.wait > 0ms) co_await sleep_for(now.wait);
      ++self.at_;
      if (now.error) co_await fail(now.error);
      if (now.item) co_return now.item;
    }
  }

  std::vector<line> script_;
  std::size_t at_ = 0;
};

}  // namespace magpie::tests
