/// A wait list by a source that does nothing else: who is refused, who is taken out, in which order
/// they are woken. The races are in tests/model/token_model.cpp and tracker_model.cpp.
#include <magpie/runtime/wait_operation.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <vector>

namespace magpie::tests::wait_list_test {
namespace {

using detail::wait_entry;
using detail::wait_operation;
using detail::wait_source;

/// Comes when it is told to.
class bell : public wait_source {
 public:
  bell() noexcept : wait_source(&has_rung) {}

  void ring() noexcept {
    {
      lock_scope guard(*this);
      rung_ = true;
    }
    wake();
  }

 private:
  static bool has_rung(const wait_source& of) noexcept {
    return static_cast<const bell&>(of).rung_;
  }

  bool rung_ = false;
};

TEST(wait_list, takes_a_waiter_out_once) {
  bell source;
  wait_entry one;
  EXPECT_FALSE(source.remove(one));
  EXPECT_TRUE(source.add(one));
  EXPECT_TRUE(source.remove(one));
  EXPECT_FALSE(source.remove(one));
}

TEST(wait_list, refuses_who_comes_too_late) {
  bell source;
  source.ring();
  wait_entry one;
  EXPECT_TRUE(source.came());
  EXPECT_FALSE(source.add(one));
  EXPECT_FALSE(one.linked());
}

task<> notes(bell& source, std::vector<int>& order, int number) {
  co_await wait_operation(&source);
  order.push_back(number);
}

// Posted in the order in which they began to wait, and none of them runs inside `ring`.
TEST(wait_list, posts_in_the_order_of_waiting) {
  std::vector<int> order;
  const auto scenario = [&]() -> task<> {
    bell source;
    co_await with_task_group([&](task_group& group) -> task<> {
      for (int i = 0; i < 5; ++i) {
        group.spawn(notes(source, order, i));
        co_await sleep_for(1us);
      }
      source.ring();
      EXPECT_TRUE(order.empty());
    });
    co_await wait_operation(&source);  // at once
  };
  options chosen = simulation(1);
  chosen.workers = 1;
  EXPECT_TRUE(run_on(chosen, scenario()));
  EXPECT_EQ(order, (std::vector{4, 0, 1, 2, 3}));  // the last one had the LIFO slot
}

TEST(wait_list, an_operation_without_a_list_completes_at_once) {
  const auto scenario = []() -> task<> {
    co_await wait_operation(nullptr);
    const auto failed = co_await as_result(wait_operation(nullptr, std::errc::not_enough_memory));
    EXPECT_EQ(error_of(failed), std::make_error_code(std::errc::not_enough_memory));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

}  // namespace
}  // namespace magpie::tests::wait_list_test
