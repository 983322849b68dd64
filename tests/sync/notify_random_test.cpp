/// `notify` against a reference that is a deque and a flag: random waits, notifications and stops,
/// compared after each of them.
#include <magpie/sync/notify.hpp>

#include <magpie/tests/sync/world.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace magpie::tests::notify_random_test {
namespace {

using sync::notify;

/// One who waits, and whether it was notified.
struct listener {
  bool heard = false;
  bool stopped = false;
  std::optional<join_handle<void>> handle;
};

using wait = decltype(std::declval<notify&>().notified());

task<> listens(wait change, listener& who) {
  const auto ended = co_await as_result(std::move(change));
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
    switch (by_chance_.below(11)) {
      case 0:
      case 1:
      case 2:
        if (line_.size() < 10) join_in(real_.notified());
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
        covered_ = made_.size();
        break;
      case 6:
        if (!line_.empty()) stop(by_chance_.below(line_.size()));
        break;
      case 7:
        notify_and_stop();
        break;
      case 8:
        if (made_.size() < 5) made_.push_back(real_.notified());
        break;
      case 9:
        begin_one_that_was_made();
        break;
      default:
        EXPECT_EQ(real_.try_notified(), permit_);
        permit_ = false;
        break;
    }
  }

  void join_in(wait change) {
    auto& who = line_.emplace_back(std::make_unique<listener>());
    who->handle.emplace(spawn(listens(std::move(change), *who)));
    if (!permit_) return;
    permit_ = false;
    heard_.push_back(std::move(who));
    line_.pop_back();
  }

  /// The oldest of them: by a `notify_all` that came since, or as one that was made now.
  void begin_one_that_was_made() {
    if (made_.empty() || line_.size() >= 10) return;
    wait change = std::move(made_.front());
    made_.pop_front();
    if (covered_ == 0) {
      join_in(std::move(change));
      return;
    }
    --covered_;
    auto& who = heard_.emplace_back(std::make_unique<listener>());
    who->handle.emplace(spawn(listens(std::move(change), *who)));
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
  std::deque<wait> made_;    ///< And not begun.
  std::size_t covered_ = 0;  ///< How many of them, the oldest, were made before a `notify_all`.
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
}  // namespace magpie::tests::notify_random_test
