/// `rwlock` against a reference that is a deque: random readers and writers, unlocks, downgrades
/// and stops, compared after each of them.
#include <magpie/sync/rwlock.hpp>

#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

namespace magpie::tests::rwlock_random_test {
namespace {

using sync::rwlock;
using sync::rwlock_read_guard;
using sync::rwlock_write_guard;

/// One who reads or writes, and what became of it.
struct visitor {
  explicit visitor(bool wants_to_write) : writer(wants_to_write) {}

  bool inside() const { return read || write; }

  bool writer;
  std::optional<rwlock_read_guard> read;
  std::optional<rwlock_write_guard> write;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};

task<> visits(rwlock& one, visitor& who) {
  if (who.writer) {
    auto ended = co_await as_result(one.write());
    if (ended) who.write.emplace(*std::move(ended));
    who.error = error_of(ended);
  } else {
    auto ended = co_await as_result(one.read());
    if (ended) who.read.emplace(*std::move(ended));
    who.error = error_of(ended);
  }
}

class rwlock_comparison {
 public:
  explicit rwlock_comparison(std::uint64_t seed) : by_chance_(seed), real_(readers_max) {}

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    while (!line_.empty() || !inside_.empty()) {
      if (!line_.empty()) stop(0);
      if (!inside_.empty()) leave(0);
      co_await settled();
    }
    EXPECT_TRUE(real_.try_write());
  }

 private:
  static constexpr std::size_t readers_max = 4;

  void step() {
    switch (by_chance_.below(10)) {
      case 0:
      case 1:
      case 2:
        come(false);
        break;
      case 3:
        come(true);
        break;
      case 4:
      case 5:
        if (!inside_.empty()) leave(by_chance_.below(inside_.size()));
        break;
      case 6:
        if (!line_.empty()) stop(by_chance_.below(line_.size()));
        break;
      case 7:
        leave_and_stop();
        break;
      case 8:
        try_one(by_chance_.below(2) == 0);
        break;
      default:
        downgrade();
        break;
    }
  }

  bool can_enter(bool writer) const {
    if (writer) return inside_.empty();
    return inside_.size() < readers_max && (inside_.empty() || !inside_.front()->writer);
  }
  void serve() {
    while (!line_.empty() && can_enter(line_.front()->writer)) {
      inside_.push_back(std::move(line_.front()));
      line_.pop_front();
    }
  }

  void come(bool writer) {
    if (line_.size() > 10) return;
    auto& who = line_.emplace_back(std::make_unique<visitor>(writer));
    who->handle.emplace(spawn(visits(real_, *who)));
    serve();
  }

  void leave(std::size_t at) {
    inside_.erase(inside_.begin() + static_cast<std::ptrdiff_t>(at));  // unlocks
    serve();
  }

  void stop(std::size_t at) {
    line_[at]->handle->abort();
    stopped_.push_back(std::move(line_[at]));
    line_.erase(line_.begin() + static_cast<std::ptrdiff_t>(at));
    serve();
  }

  /// The first in line is given the lock, and is stopped before it runs.
  void leave_and_stop() {
    if (line_.empty() || inside_.size() != 1) return;
    inside_.clear();
    stop(0);
  }

  void try_one(bool writer) {
    const bool can = line_.empty() && can_enter(writer);
    auto who = std::make_unique<visitor>(writer);
    if (writer) {
      if (auto guard = real_.try_write()) who->write.emplace(*std::move(guard));
    } else {
      if (auto guard = real_.try_read()) who->read.emplace(*std::move(guard));
    }
    EXPECT_EQ(who->inside(), can);
    if (can) inside_.push_back(std::move(who));
  }

  void downgrade() {
    if (inside_.empty() || !inside_.front()->write) return;
    visitor& who = *inside_.front();
    who.read.emplace(who.write->downgrade());
    who.write.reset();
    who.writer = false;
    serve();
  }

  void compare() {
    for (const auto& each : line_) EXPECT_TRUE(!each->inside() && !each->error);
    for (const auto& each : inside_) EXPECT_TRUE(each->inside());
    for (const auto& each : stopped_) EXPECT_TRUE(!each->inside() && each->error == errc::stopped);
    stopped_.clear();
    real_.check_invariants();
  }

  dice by_chance_;
  rwlock real_;
  std::deque<std::unique_ptr<visitor>> line_;
  std::vector<std::unique_ptr<visitor>> inside_;
  std::vector<std::unique_ptr<visitor>> stopped_;
};

TEST(rwlock, does_what_a_simple_reference_does) {
  constexpr int seeds = 10;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    rwlock_comparison both(seed);
    EXPECT_TRUE(run_on(one_at_a_time(seed), both.run(model_operations() / seeds)));
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace magpie::tests::rwlock_random_test
