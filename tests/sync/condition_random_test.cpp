/// `condition` against a reference that is two deques: random waits, notifications, locks and
/// stops, compared after each of them.
#include <magpie/sync/condition.hpp>

#include <magpie/tests/sync/world.hpp>

#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace magpie::tests::condition_random_test {
namespace {

using sync::condition;
using sync::mutex;
using sync::mutex_guard;

/// One who locks, waits for the condition and keeps the mutex then; or locks alone.
struct party {
  explicit party(bool also_waits) : waits(also_waits) {}

  bool waits;
  bool notified = false;  ///< In the reference: it stands in line for the second time.
  bool alone = false;     ///< The same: by `notify_one`.
  bool inside = false;
  std::optional<mutex_guard> guard;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};

task<> takes_part(mutex& lock, condition& on, party& who) {
  auto got = co_await as_result(lock.lock());
  who.error = error_of(got);
  if (!got) co_return;
  if (who.waits) {
    const auto ended = co_await as_result(on.wait(*got));
    who.error = error_of(ended);
    EXPECT_EQ(got->owns_lock(), ended.has_value());
    if (!ended) co_return;
  }
  who.inside = true;
  who.guard.emplace(*std::move(got));
}

class condition_comparison {
 public:
  explicit condition_comparison(std::uint64_t seed) : by_chance_(seed) {}

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    while (holder_ || !line_.empty() || !waiting_.empty()) {
      if (!waiting_.empty()) stop(waiting_, 0);
      if (!line_.empty()) stop(line_, 0);
      leave();
      co_await settled();
      compare();
    }
    EXPECT_FALSE(lock_.is_locked());
  }

 private:
  using parties = std::deque<std::unique_ptr<party>>;

  void step() {
    switch (by_chance_.below(12)) {
      case 0:
      case 1:
      case 2:
        come(true);
        break;
      case 3:
        come(false);
        break;
      case 4:
      case 5:
      case 6:
        leave();
        break;
      case 7:
        on_.notify_one();
        notify_one();
        serve();
        break;
      case 8:
        if (by_chance_.below(3) != 0) break;
        on_.notify_all();
        while (!waiting_.empty()) move_on(false);
        serve();
        break;
      case 9:
        if (!waiting_.empty()) stop(waiting_, by_chance_.below(waiting_.size()));
        break;
      case 10:
        if (!line_.empty()) stop(line_, by_chance_.below(line_.size()));
        break;
      default:
        notify_and_stop();
        break;
    }
  }

  void come(bool waits) {
    if (line_.size() + waiting_.size() > 15) return;
    auto& who = line_.emplace_back(std::make_unique<party>(waits));
    who->handle.emplace(spawn(takes_part(lock_, on_, *who)));
    serve();
  }

  /// The mutex goes to the first in line, who may have it for a moment only.
  void serve() {
    while (!holder_ && !line_.empty()) {
      auto next = std::move(line_.front());
      line_.pop_front();
      if (next->waits && !next->notified) {
        waiting_.push_back(std::move(next));
      } else {
        holder_ = std::move(next);
      }
    }
  }

  void move_on(bool alone) {
    waiting_.front()->notified = true;
    waiting_.front()->alone = alone;
    line_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  void notify_one() {
    if (!waiting_.empty()) move_on(true);
  }

  void leave() {
    if (!holder_) return;
    holder_->guard.reset();
    holder_.reset();
    serve();
  }

  void stop(parties& from, std::size_t at) {
    auto who = std::move(from[at]);
    from.erase(from.begin() + static_cast<std::ptrdiff_t>(at));
    who->handle->abort();
    if (who->alone) notify_one();
    stopped_.push_back(std::move(who));
    serve();
  }

  /// The first who waits has the mutex at once, and is stopped before it runs.
  void notify_and_stop() {
    if (holder_ || waiting_.empty()) return;
    on_.notify_one();
    notify_one();
    stop(line_, 0);
  }

  void compare() {
    for (const auto& each : waiting_) EXPECT_TRUE(!each->inside && !each->error);
    for (const auto& each : line_) EXPECT_TRUE(!each->inside && !each->error);
    for (const auto& each : stopped_) EXPECT_TRUE(!each->inside && each->error == errc::stopped);
    if (holder_) {
      EXPECT_TRUE(holder_->inside);
    }
    EXPECT_EQ(lock_.is_locked(), holder_ != nullptr);
    stopped_.clear();
    lock_.check_invariants();
  }

  dice by_chance_;
  mutex lock_;
  condition on_;
  parties line_;
  parties waiting_;
  std::unique_ptr<party> holder_;
  std::vector<std::unique_ptr<party>> stopped_;
};

TEST(condition, does_what_a_simple_reference_does) {
  constexpr int seeds = 10;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    condition_comparison both(seed);
    EXPECT_TRUE(run_on(one_at_a_time(seed), both.run(model_operations() / seeds)));
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace magpie::tests::condition_random_test
