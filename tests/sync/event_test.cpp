/// `event`: set, reset, and who goes on.
#include <magpie/sync/event.hpp>

#include <magpie/tests/sync/world.hpp>

#include <optional>
#include <thread>

namespace magpie::tests::event_test {
namespace {

using sync::event;

TEST(event, is_set_and_reset) {
  event one;
  EXPECT_FALSE(one.is_set());
  one.set();
  one.set();
  EXPECT_TRUE(one.is_set());
  one.reset();
  EXPECT_FALSE(one.is_set());
  EXPECT_TRUE(event(true).is_set());
}

task<> waits(event& on, int& gone) {
  co_await on.wait();
  ++gone;
}

TEST(event, lets_all_go_on_who_wait_and_who_come) {
  const auto scenario = []() -> task<> {
    event on;
    int gone = 0;
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 3; ++i) group.spawn(waits(on, gone));
      co_await settled();
      EXPECT_EQ(gone, 0);
      on.set();
      EXPECT_EQ(gone, 0);  // nobody runs inside
      on.reset();          // they were let go all the same
      co_await settled();
      EXPECT_EQ(gone, 3);
      group.spawn(waits(on, gone));
      co_await settled();
      EXPECT_EQ(gone, 3);
      on.set();
      co_await on.wait();  // at once
    });
    EXPECT_EQ(gone, 4);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(event, a_wait_is_stopped_as_every_operation) {
  const auto scenario = []() -> task<> {
    event never;
    const auto late = co_await as_result(timeout(1ms, never.wait()));
    EXPECT_EQ(error_of(late), errc::deadline);
    event there(true);
    int gone = 0;
    auto stopped = spawn(waits(there, gone));
    stopped.abort();
    const auto ended = co_await stopped.join();
    EXPECT_EQ(error_of(ended), errc::aborted);
    EXPECT_EQ(gone, 0);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// What was done before `set` is visible to each who waited; the event is the waiter's own local.
TEST(event, concurrent_may_be_destroyed_by_whoever_has_waited) {
  MAGPIE_NEED_CELL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 2000; ++i) {
      int done = 0;
      std::optional<join_handle<void>> setting;
      {
        event ready;
        const auto sets = [](event& to, int& before) -> task<> {
          before = 1;
          to.set();
          co_return;
        };
        setting.emplace(spawn(sets(ready, done)));
        if (i % 3 == 0) co_await yield();
        co_await ready.wait();
        EXPECT_EQ(done, 1);
      }
      co_await setting->join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

TEST(event, concurrent_is_set_by_a_thread_outside) {
  MAGPIE_NEED_KERNEL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 50; ++i) {
      event ready;
      std::thread outside([&] { ready.set(); });
      co_await ready.wait();
      outside.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::event_test
