/// `pool` against a reference that is two deques and a set of parties: random gets, creates and
/// recycles that end or fail, returns, stops at every await, resizes, looks; compared after each of
/// them, object by object.
#include <magpie/sync/pool.hpp>

#include <magpie/runtime/current_task.hpp>
#include <magpie/tests/sync/pool_world.hpp>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace magpie::tests::pool_random_test {
namespace {

using sync::pool_end;
using sync::pool_options;
using sync::pool_order;
using sync::pooled;

/// A create or a recycle that waits until the test ends it.
struct gate {
  gate(std::map<std::uint64_t, gate*>& in, int about) : all(in), object(about) {
    EXPECT_TRUE(all.emplace(current_task().id, this).second);
  }
  gate(const gate&) = delete;
  gate& operator=(const gate&) = delete;
  ~gate() {
    std::erase_if(all, [&](const auto& each) { return each.second == this; });
  }

  std::map<std::uint64_t, gate*>& all;
  int object;  ///< 0: it is being made.
  bool succeeds = false;
  sync::event ends;
};

struct gated_tools {
  gated_tools(workshop& of, std::map<std::uint64_t, gate*>& at) noexcept : in(&of), gates(&at) {}

  task<tool> create() {
    gate here(*gates, 0);
    workshop& shop = *in;
    co_await here.ends.wait();
    if (!here.succeeds) co_await fail(some_error());
    co_return tool(shop, ++shop.made);
  }
  task<bool> recycle(tool& one) {
    gate here(*gates, one.number);
    co_await here.ends.wait();
    if (!here.succeeds && one.number % 2 == 0) co_await fail(some_error());
    co_return here.succeeds;
  }
  static bool is_broken(tool& one) noexcept { return one.broken; }

  workshop* in;
  std::map<std::uint64_t, gate*>* gates;
};

using gated_pool = sync::pool<gated_tools>;

enum class phase { in_line, making, recycling, out };

struct party {
  phase is = phase::in_line;
  int object = 0;  ///< In the reference.
  std::uint64_t id = 0;
  std::optional<pooled<tool>> guard;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};
using parties = std::vector<std::unique_ptr<party>>;

task<> takes_part(gated_pool& from, party& who) {
  who.id = current_task().id;
  auto got = co_await as_result(from.get());
  who.error = error_of(got);
  if (got) who.guard.emplace(*std::move(got));
}

class pool_comparison {
 public:
  explicit pool_comparison(std::uint64_t seed)
      : by_chance_(seed),
        options_(some_options(seed)),
        pool_(options_, gated_tools(shop_, gates_)) {}

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    pool_.close();
    closed_ = true;
    ended_ += idle_.size();
    idle_.clear();
    while (!line_.empty()) end(take(line_.front()), errc::closed);
    co_await settled();
    compare();
    while (!all_.empty()) {
      party& who = *all_.front();
      if (who.is == phase::out) {
        give_back(who);
      } else {
        stop(who);
      }
      co_await settled();
      compare();
    }
    EXPECT_EQ(shop_.alive.load(order::relaxed), 0);
  }

 private:
  static pool_options some_options(std::uint64_t seed) {
    pool_options options(3);
    options.waiting_max = 6;
    options.order = seed % 2 == 0 ? pool_order::fifo : pool_order::lifo;
    options.idle_max = seed % 3 == 0 ? 1 : 100;
    for (clock::duration* each :
         {&options.wait_time_max, &options.create_time_max, &options.recycle_time_max,
          &options.age_max, &options.idle_time_max})
      *each = clock::duration::max();
    return options;
  }

  void step() {
    switch (by_chance_.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        come();
        break;
      case 4:
      case 5:
      case 6:
        if (party* who = some(phase::making)) end_create(*who, by_chance_.below(4) != 0);
        break;
      case 7:
      case 8:
        if (party* who = some(phase::recycling)) end_recycle(*who, by_chance_.below(3) != 0);
        break;
      case 9:
      case 10:
        if (party* who = some(phase::out)) give_back(*who);
        break;
      case 11:
        if (party* who = some(phase::out)) leave(*who);
        break;
      case 12:
        if (party* who = some_of_those([](const party& one) { return one.is != phase::out; }))
          stop(*who);
        break;
      case 13:
        give_back_and_stop();
        break;
      case 14:
        resize(by_chance_.below(6));
        break;
      default:
        look();
        break;
    }
  }

  // ---- who comes and goes ----

  void come() {
    const bool waits = !line_.empty() || turns_out() >= size_max_;
    if (all_.size() > 15) return;
    all_.push_back(std::make_unique<party>());
    party& who = *all_.back();
    who.handle.emplace(spawn(takes_part(pool_, who)));
    if (waits && line_.size() >= options_.waiting_max) return end(who, errc::refused);
    line_.push_back(&who);
    serve();
  }
  void serve() {
    while (!line_.empty() && turns_out() < size_max_ && !closed_) {
      served_ = line_.front();
      begin(take(served_));
    }
  }
  /// One who has a turn takes an idle object, or makes one.
  void begin(party& who) {
    if (closed_) return end(who, errc::closed);
    if (idle_.empty()) {
      who.is = phase::making;
      who.object = 0;
      return;
    }
    who.is = phase::recycling;
    const bool oldest = options_.order == pool_order::fifo;
    who.object = oldest ? idle_.front() : idle_.back();
    if (oldest) {
      idle_.pop_front();
    } else {
      idle_.pop_back();
    }
  }
  void end_create(party& who, bool well) {
    release(who, well);
    if (well) {
      who.object = shop_.made + 1;
      who.is = phase::out;
    } else {
      end(who, some_error());
      serve();
    }
  }
  void end_recycle(party& who, bool well) {
    release(who, well);
    if (well) {
      who.is = phase::out;
    } else {
      ++ended_;
      begin(who);
    }
  }
  void release(party& who, bool well) {
    gate& at = *gates_.at(who.id);
    at.succeeds = well;
    at.ends.set();
  }

  void give_back(party& who) {
    const bool breaks = by_chance_.below(8) == 0;
    (*who.guard)->broken = breaks;
    who.guard->give_back();
    const int object = who.object;
    const bool full =
        idle_.size() >= options_.idle_max && idle_.size() - options_.idle_max >= line_.size();
    const bool kept = !breaks && !closed_ && size() <= size_max_ && !full;
    gone(who);
    if (kept) {
      idle_.push_back(object);
    } else {
      ++ended_;
    }
    serve();
  }
  void leave(party& who) {
    if (by_chance_.below(2) == 0) {
      const tool mine = std::move(*who.guard).detach();
      EXPECT_EQ(mine.number, who.object);
    } else {
      who.guard->discard();
    }
    ++ended_;
    gone(who);
    serve();
  }

  // ---- stops ----

  void stop(party& who) {
    who.handle->abort();
    if (who.is == phase::recycling) ++ended_;
    end(who, errc::stopped);
    serve();
  }
  /// The first in line has a turn, and is stopped before it runs.
  void give_back_and_stop() {
    party* const who = some(phase::out);
    if (who == nullptr || line_.empty()) return;
    served_ = nullptr;
    give_back(*who);
    if (served_ == nullptr) return;
    // Its turn, and the object that it would have taken, are somebody else's.
    if (served_->is == phase::recycling) idle_.push_back(served_->object);
    served_->is = phase::in_line;
    stop(*served_);
  }

  // ---- the pool itself ----

  void resize(std::size_t size_max) {
    pool_.resize(size_max);
    size_max_ = size_max;
    while (size() > size_max_ && !idle_.empty()) {
      idle_.pop_front();
      ++ended_;
    }
    serve();
  }
  void look() {
    const int divisor = static_cast<int>(2 + by_chance_.below(4));
    const std::size_t ended = pool_.retain(
        [&](tool& one, const sync::pool_object_metrics&) { return one.number % divisor != 0; });
    const std::size_t also = std::erase_if(idle_, [&](int one) { return one % divisor == 0; });
    EXPECT_EQ(ended, also);
    ended_ += also;
    EXPECT_EQ(pool_.reap(), 0U);
  }

  // ---- the reference ----

  std::size_t count(phase of) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(all_, [of](const auto& one) { return one->is == of; }));
  }
  std::size_t turns_out() const { return all_.size() - count(phase::in_line); }
  std::size_t size() const { return turns_out() + idle_.size(); }

  party& take(party* from_line) {
    std::erase(line_, from_line);
    return *from_line;
  }
  std::unique_ptr<party> gone(party& who) {
    std::erase(line_, &who);
    const auto at = std::ranges::find_if(all_, [&](const auto& one) { return one.get() == &who; });
    auto one = std::move(*at);
    all_.erase(at);
    return one;
  }
  void end(party& who, std::error_code how) {
    auto one = gone(who);
    over_.emplace_back(std::move(one), how);
  }

  template <class Condition>
  party* some_of_those(Condition condition) {
    std::vector<party*> those;
    for (const auto& each : all_)
      if (condition(*each)) those.push_back(each.get());
    return those.empty() ? nullptr : those[by_chance_.below(those.size())];
  }
  party* some(phase of) {
    return some_of_those([of](const party& one) { return one.is == of; });
  }

  void compare() {
    for (const auto& each : all_) {
      const auto at = gates_.find(each->id);
      EXPECT_EQ(at != gates_.end(), each->is == phase::making || each->is == phase::recycling);
      if (at != gates_.end()) {
        EXPECT_EQ(at->second->object, each->object);
      }
      EXPECT_EQ(each->guard.has_value(), each->is == phase::out);
      if (each->guard) {
        EXPECT_EQ((*each->guard)->number, each->object);
      }
    }
    for (const auto& [who, how] : over_) {
      EXPECT_EQ(who->error, how);
      EXPECT_FALSE(who->guard);
    }
    over_.clear();
    const auto counts = pool_.counts();
    EXPECT_EQ(counts.size, size());
    EXPECT_EQ(counts.idle, idle_.size());
    EXPECT_EQ(counts.being_made, count(phase::making));
    EXPECT_EQ(counts.waiting, line_.size());
    EXPECT_EQ(counts.all_ended(), ended_);
    EXPECT_EQ(counts.created, static_cast<std::uint64_t>(shop_.made));
    EXPECT_EQ(static_cast<std::size_t>(shop_.alive.load(order::relaxed)),
              size() - count(phase::making));
    pool_.check_invariants();
  }

  dice by_chance_;
  workshop shop_;
  std::map<std::uint64_t, gate*> gates_;
  pool_options options_;
  gated_pool pool_;
  std::size_t size_max_ = 3;
  bool closed_ = false;
  parties all_;              // those who wait, make, check or have one
  std::deque<party*> line_;  // of those, in order
  party* served_ = nullptr;  // the last who got a turn in line
  std::deque<int> idle_;
  std::uint64_t ended_ = 0;
  std::vector<std::pair<std::unique_ptr<party>, std::error_code>> over_;
};

TEST(pool, does_what_a_simple_reference_does) {
  constexpr int seeds = 12;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    pool_comparison both(seed);
    EXPECT_TRUE(run_on(one_at_a_time(seed), both.run(model_operations() / seeds)));
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace magpie::tests::pool_random_test
