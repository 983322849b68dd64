/// A channel from many to many against a queue and a few numbers, with stops by chance.
#include <magpie/sync/mpmc_core.hpp>

#include <magpie/sync/mpmc.hpp>
#include <magpie/tests/sync/world.hpp>

#include <deque>
#include <optional>
#include <vector>

namespace magpie::tests::mpmc_core_test {
namespace {

/// What one who waits has come to, and what it waits for.
struct waiter {
  bool sends = false;
  int value = 0;
  std::optional<std::error_code> ended;
  std::optional<join_handle<void>> handle;
};

task<> sends(sync::mpmc_sender<int> to, waiter& self) {
  self.ended = error_of(co_await as_result(to.send(self.value)));
}
task<> receives(sync::mpmc_receiver<int> from, waiter& self) {
  const auto got = co_await as_result(from.receive());
  self.ended = error_of(got);
  if (got) self.value = *got;
}

/// The same channel as a queue and two lines; `now` is who is served, in order.
struct reference {
  explicit reference(std::size_t room) : capacity(room) {}
  std::size_t capacity;
  bool closed = false;
  std::size_t permits = 0;  // out
  std::deque<int> ready;
  std::deque<std::pair<waiter*, int>> senders;
  std::deque<waiter*> receivers;
  struct served {
    waiter* who;
    std::error_code error;
    int value;
  };
  std::vector<served> now;

  /// Whatever can go on does.
  void settle() {
    for (bool moved = true; moved;) {
      moved = false;
      if (!ready.empty() && !receivers.empty()) {
        now.push_back({receivers.front(), no_error, ready.front()});
        receivers.pop_front();
        ready.pop_front();
        moved = true;
      }
      if (closed && !senders.empty()) {
        now.push_back({senders.front().first, errc::closed, 0});
        senders.pop_front();
        moved = true;
      } else if (!senders.empty() && ready.size() + permits < capacity) {
        now.push_back({senders.front().first, no_error, 0});
        ready.push_back(senders.front().second);
        senders.pop_front();
        moved = true;
      }
      if (closed && permits == 0 && ready.empty() && !receivers.empty()) {
        now.push_back({receivers.front(), errc::closed, 0});
        receivers.pop_front();
        moved = true;
      }
    }
  }
};

class game {
 public:
  explicit game(std::uint64_t seed) : chance_(seed), model_(1 + chance_.below(3)) {
    auto ends = sync::mpmc<int>(model_.capacity);
    to_ = std::move(ends.sender);
    from_ = std::move(ends.receiver);
  }

  /// Something by chance, at both.
  void step(bool may_close) {
    switch (chance_.below(9)) {
      case 0:
      case 1:
        return begin_send();
      case 2:
      case 3:
        return begin_receive();
      case 4:
        return stop_one();
      case 5:
        return reserve();
      case 6:
        return use_permit();
      case 7:
        return try_receive();
      default:
        if (!may_close) return;
        from_.close();
        model_.closed = true;
    }
  }

  task<> compare() {
    model_.settle();
    for (int k = 0; k < 3; ++k) co_await settled();
    for (const auto& one : model_.now) {
      EXPECT_TRUE(one.who->ended.has_value() && *one.who->ended == one.error);
      if (!one.error && !one.who->sends) {
        EXPECT_EQ(one.who->value, one.value);
      }
    }
    model_.now.clear();
    EXPECT_EQ(from_.size(), model_.ready.size());
    EXPECT_EQ(to_.available(), model_.capacity - model_.ready.size() - model_.permits);
    while (!all_.empty() && all_.front().ended) {
      [[maybe_unused]] const auto ended = co_await all_.front().handle->join();
      all_.pop_front();
    }
  }

  task<> end() {
    permits_.clear();
    from_.close();
    for (auto& one : all_) {
      one.handle->abort();
      [[maybe_unused]] const auto ended = co_await one.handle->join();
    }
  }

 private:
  void begin_send() {
    waiter& one = all_.emplace_back();
    one.sends = true;
    one.value = next_++;
    one.handle = spawn(sends(to_, one));
    model_.senders.emplace_back(&one, one.value);
  }
  void begin_receive() {
    waiter& one = all_.emplace_back();
    one.handle = spawn(receives(from_, one));
    model_.receivers.push_back(&one);
  }
  void stop_one() {
    std::vector<waiter*> waiting;
    for (auto& one : all_)
      if (!one.ended) waiting.push_back(&one);
    if (waiting.empty()) return;
    waiter* const one = waiting[chance_.below(waiting.size())];
    one->handle->abort();
    std::erase_if(model_.senders, [&](const auto& each) { return each.first == one; });
    std::erase(model_.receivers, one);
  }
  void reserve() {
    auto permit = to_.try_reserve();
    const bool room = !model_.closed && model_.senders.empty() &&
                      model_.ready.size() + model_.permits < model_.capacity;
    EXPECT_EQ(permit.has_value(), room);
    if (!permit) return;
    permits_.push_back(std::move(*permit));
    ++model_.permits;
  }
  void use_permit() {
    if (permits_.empty()) return;
    --model_.permits;
    if (chance_.below(2) == 0) {
      model_.ready.push_back(next_);
      permits_.back().send(next_++);
    }
    permits_.pop_back();
  }
  void try_receive() {
    const auto got = from_.try_receive();
    EXPECT_EQ(got.has_value(), !model_.ready.empty());
    if (!got) return;
    EXPECT_EQ(*got, model_.ready.front());
    model_.ready.pop_front();
  }

  dice chance_;
  reference model_;
  sync::mpmc_sender<int> to_;
  sync::mpmc_receiver<int> from_;
  std::deque<waiter> all_;
  std::vector<sync::mpmc_permit<int>> permits_;
  int next_ = 1;
};

task<> compares(std::uint64_t seed, int operations) {
  game both(seed);
  for (int i = 0; i < operations; ++i) {
    both.step(i > operations * 9 / 10);
    co_await both.compare();
  }
  co_await both.end();
}

TEST(mpmc_core, does_what_a_simple_reference_does) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed)
    EXPECT_TRUE(run_on(one_at_a_time(seed), compares(seed, model_operations(2'000))));
}

TEST(mpmc_core, one_that_is_no_channel_is_closed) {
  auto& none = sync::detail::mpmc_core::none();
  EXPECT_TRUE(none.is_closed());
  sync::detail::claim_entry wanted;
  EXPECT_TRUE(none.try_take(wanted));
  EXPECT_EQ(wanted.is, magpie::detail::grant::closed);
  EXPECT_EQ(none.size(), 0U);
}

}  // namespace
}  // namespace magpie::tests::mpmc_core_test
