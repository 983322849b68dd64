/// `notify` against a reference that is a deque and a flag: random waits, notifications and stops,
/// compared after each of them.
#include <magpie/sync/notify.hpp>

#include <magpie/tests/sync/world.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

namespace magpie::tests {
namespace {

using sync::notify;

/// One who waits, and whether it was notified.
struct listener {
  bool heard = false;
  bool stopped = false;
  std::optional<join_handle<void>> handle;
};

task<> listens(notify& on, listener& who) {
  const auto ended = co_await as_result(on.notified());
  (ended ? who.heard : who.stopped) = true;
}

class notify_comparison {
 public:
  explicit notify_comparison(std::uint64_t seed) : by_chance_(seed) {}

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    real_.notify_all();
    co_await settled();
    line_.clear();
  }

 private:
  void step() {
    switch (by_chance_.below(9)) {
      case 0:
      case 1:
      case 2:
        join_in();
        break;
      case 3:
        real_.notify_one();
        give(false);
        break;
      case 4:
        real_.notify_last();
        give(true);
        break;
      case 5:
        if (by_chance_.below(6) != 0) break;
        real_.notify_all();
        for (auto& each : line_) heard_.push_back(std::move(each));
        line_.clear();
        break;
      case 6:
        if (!line_.empty()) stop(by_chance_.below(line_.size()));
        break;
      case 7:
        notify_and_stop();
        break;
      default:
        EXPECT_EQ(real_.try_notified(), permit_);
        permit_ = false;
        break;
    }
  }

  void join_in() {
    if (line_.size() > 10) return;
    auto& who = line_.emplace_back(std::make_unique<listener>());
    who->handle.emplace(spawn(listens(real_, *who)));
    if (!permit_) return;
    permit_ = false;
    heard_.push_back(std::move(who));
    line_.pop_back();
  }

  void give(bool newest) {
    if (line_.empty()) {
      permit_ = true;
      return;
    }
    heard_.push_back(std::move(newest ? line_.back() : line_.front()));
    newest ? line_.pop_back() : line_.pop_front();
  }

  void stop(std::size_t at) {
    line_[at]->handle->abort();
    stopped_.push_back(std::move(line_[at]));
    line_.erase(line_.begin() + static_cast<std::ptrdiff_t>(at));
  }

  /// The one that is notified is stopped before it runs.
  void notify_and_stop() {
    if (line_.empty()) return;
    const bool newest = by_chance_.below(2) == 0;
    newest ? real_.notify_last() : real_.notify_one();
    stop(newest ? line_.size() - 1 : 0);
    give(newest);
  }

  void compare() {
    for (const auto& each : line_) EXPECT_TRUE(!each->heard && !each->stopped);
    for (const auto& each : heard_) EXPECT_TRUE(each->heard);
    for (const auto& each : stopped_) EXPECT_TRUE(each->stopped);
    heard_.clear();
    stopped_.clear();
  }

  dice by_chance_;
  notify real_;
  bool permit_ = false;
  std::deque<std::unique_ptr<listener>> line_;
  std::vector<std::unique_ptr<listener>> heard_;
  std::vector<std::unique_ptr<listener>> stopped_;
};

TEST(notify, does_what_a_simple_reference_does) {
  constexpr int seeds = 10;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    notify_comparison both(seed);
    EXPECT_TRUE(run_on(one_at_a_time(seed), both.run(model_operations() / seeds)));
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace magpie::tests
