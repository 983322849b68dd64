/// `timer_wait`: who ends a wait, when a timer, a pull and a stop race for it.
#include <magpie/runtime/timer_wait.hpp>

#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

namespace magpie::tests::timer_wait_test {
namespace {

/// An object with one waiter: a flag that is raised, or a time that comes.
class flag {
 public:
  class wait_operation;

  wait_operation wait(std::chrono::microseconds d);

  void raise() {
    wait_operation* pulled = nullptr;
    {
      lock_scope guard(lock_);
      raised_ = true;
      if (waiter_ != nullptr && pull()) pulled = waiter_;
    }
    if (pulled != nullptr) post(*pulled);
  }

 private:
  bool pull();
  static void post(wait_operation& pulled);

  spin_lock lock_;
  bool raised_ = false;
  wait_operation* waiter_ = nullptr;
};

class flag::wait_operation final : public detail::timer_wait {
 public:
  using value_type = bool;

  wait_operation(flag& on, clock::time_point until) : timer_wait(&ran), on_(&on), until_(until) {}
  wait_operation(wait_operation&&) noexcept = default;

  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return {}; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
    prepare(to, scope);
    {
      lock_scope guard(on_->lock_);
      const clock::time_point at = on_->raised_ ? clock::time_point() : until_;
      if (arm(detail::to_wheel_ns(at))) {
        EXPECT_EQ(armed_until_ns(), detail::to_wheel_ns(at));
        on_->waiter_ = this;
        return std::noop_coroutine();
      }
    }
    refused_ = true;
    detail::this_context().post_last(*this);
    return std::noop_coroutine();
  }
  /// Whether the flag was raised.
  result<bool> take() const noexcept { return raised_; }

 private:
  static void ran(runnable& work) noexcept {
    auto& self = static_cast<wait_operation&>(static_cast<operation&>(work));
    if (!self.refused_) {
      if (!self.end()) return;
      lock_scope guard(self.on_->lock_);
      self.on_->waiter_ = nullptr;
      self.raised_ = self.on_->raised_;
    }
    const bool stopped = self.refused_ || self.cancelled_;
    detail::resume(stopped ? detail::deliver_error(self.continuation(), errc::stopped)
                           : detail::deliver(self.continuation()));
  }

  flag* on_;
  clock::time_point until_;
  bool refused_ = false;
  bool raised_ = false;
};

flag::wait_operation flag::wait(std::chrono::microseconds d) {
  return wait_operation(*this, clock::now() + d);
}
bool flag::pull() { return waiter_->pull(); }
void flag::post(wait_operation& pulled) { pulled.post(); }

task<> by_the_timer() {
  flag of;
  const auto before = clock::now();
  const bool raised = co_await of.wait(100us);
  EXPECT_FALSE(raised);
  EXPECT_GE(clock::now() - before, 100us);
}

TEST(timer_wait, the_timer_ends_it) { EXPECT_TRUE(run_in_simulation(by_the_timer())); }

task<> raises_after(flag& of, std::chrono::microseconds pause) {
  co_await sleep_for(pause);
  of.raise();
}

task<> by_a_pull() {
  flag of;
  auto raising = spawn(raises_after(of, 10us));
  const auto before = clock::now();
  const bool raised = co_await of.wait(std::chrono::hours(1));
  EXPECT_TRUE(raised);
  EXPECT_LT(clock::now() - before, 1ms);
  const auto ended = co_await raising.join();
  EXPECT_TRUE(ended);
}

TEST(timer_wait, a_pull_ends_it) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(by_a_pull(), seed));
}

struct counts {
  atomic<int> raised{0};
  atomic<int> timed_out{0};
  atomic<int> stopped{0};
};

task<> waits_once(flag& of, std::chrono::microseconds pause, counts& in) {
  const auto ended = co_await as_result(of.wait(pause));
  (!ended ? in.stopped : *ended ? in.raised : in.timed_out).fetch_add(1, order::relaxed);
}

task<> all_three(int first, int last, counts& in) {
  for (int i = first; i < last; ++i) {
    flag of;
    auto waiting = spawn(waits_once(of, std::chrono::microseconds(i % 30), in));
    auto raising = spawn(raises_after(of, std::chrono::microseconds(i * 7 % 30)));
    co_await sleep_for(std::chrono::microseconds(i * 13 % 30));
    waiting.abort();
    const auto waited = co_await waiting.join();
    EXPECT_TRUE(waited);
    const auto raised = co_await raising.join();
    EXPECT_TRUE(raised);
  }
}

task<> races(counts& in, int rounds) {
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 4; ++k) group.spawn(all_three(rounds / 4 * k, rounds / 4 * (k + 1), in));
    co_return;
  });
}

TEST(timer_wait, concurrent_timers_pulls_and_stops_end_it_once) {
  MAGPIE_NEED_CELL();
  constexpr int rounds = 4000;
  counts in;
  EXPECT_TRUE(run_in_cell(races(in, rounds)));
  EXPECT_EQ(in.raised.load(order::relaxed) + in.timed_out.load(order::relaxed) +
                in.stopped.load(order::relaxed),
            rounds);
  if (in_simulation()) {
    EXPECT_GT(in.raised.load(order::relaxed), 0);
    EXPECT_GT(in.timed_out.load(order::relaxed), 0);
    EXPECT_GT(in.stopped.load(order::relaxed), 0);
  }
}

}  // namespace
}  // namespace magpie::tests::timer_wait_test
