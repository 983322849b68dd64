/// `current_task`: exact after every kind of await, and in destructors.
#include <magpie/runtime/current_task.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <cstdint>

namespace magpie::tests::current_task_test {
namespace {

task<std::uint64_t> own_id() {
  co_await yield();
  co_return current_task().id;
}

task<> awaited(std::uint64_t expected) {
  EXPECT_EQ(current_task().id, expected);
  co_await sleep_for(10us);
  EXPECT_EQ(current_task().id, expected);
}

/// Looks who it is when it dies.
class sees_at_its_end {
 public:
  explicit sees_at_its_end(std::uint64_t& id) noexcept : id_(&id) {}
  sees_at_its_end(const sees_at_its_end&) = delete;
  sees_at_its_end& operator=(const sees_at_its_end&) = delete;
  ~sees_at_its_end() { *id_ = current_task().id; }

 private:
  std::uint64_t* id_;
};

task<> waits_with(std::uint64_t& at_the_end) {
  const sees_at_its_end local(at_the_end);
  co_await sleep_for(1h);
}

task<> never_mistaken() {
  const std::uint64_t self = current_task().id;
  EXPECT_NE(self, 0U);
  co_await awaited(self);
  co_await timeout(1h, awaited(self));
  const auto late = co_await as_result(timeout(1us, sleep_for(1h)));
  EXPECT_EQ(error_of(late), errc::deadline);
  EXPECT_EQ(current_task().id, self);
  std::uint64_t child = 0;
  co_await with_task_group([&](task_group& group) -> task<> {
    EXPECT_EQ(current_task().id, self);  // the body is part of the awaiting task
    auto sees = [](std::uint64_t& id) -> task<> {
      co_await yield();
      id = current_task().id;
    };
    group.spawn(sees(child));
    co_await sleep_for(10us);
    EXPECT_EQ(current_task().id, self);
  });
  EXPECT_EQ(current_task().id, self);
  EXPECT_NE(child, self);
  EXPECT_NE(child, 0U);
  auto in_place = spawn(own_id());
  const auto other = co_await in_place.join();  // may run in the joiner's place
  EXPECT_EQ(other.value(), in_place.id());
  EXPECT_EQ(current_task().id, self);
  std::uint64_t at_the_end = 0;
  auto aborted = spawn(waits_with(at_the_end));
  co_await sleep_for(10us);
  aborted.abort();
  const auto ended = co_await aborted.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
  EXPECT_EQ(at_the_end, aborted.id());
  EXPECT_EQ(current_task().id, self);
}

TEST(task_root, concurrent_the_current_task_is_never_mistaken) {
  MAGPIE_NEED_CELL();
  EXPECT_EQ(current_task().id, 0U);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(run_in_cell(never_mistaken()));
  EXPECT_EQ(current_task().id, 0U);
}

}  // namespace
}  // namespace magpie::tests::current_task_test
