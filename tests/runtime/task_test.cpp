/// `task<T>`: results of every kind, laziness, order of destruction, errors and exceptions.
#include <magpie/runtime/task.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <memory>
#include <string>
#include <vector>

namespace magpie::tests::task_test {
namespace {

task<int> number(int i) { co_return i; }
task<> nothing() { co_return; }
task<std::string> text() { co_return "a text that does not fit into the string itself"; }
task<std::unique_ptr<int>> boxed(int i) { co_return std::make_unique<int>(i); }
task<int&> referred(int& to) { co_return to; }
task<const int&> referred_constant(const int& to) { co_return to; }

task<> takes_every_kind_of_result() {
  const int value = co_await number(7);
  EXPECT_EQ(value, 7);
  co_await nothing();
  const std::string words = co_await text();
  EXPECT_EQ(words.size(), 47U);
  const auto box = co_await boxed(9);
  EXPECT_EQ(*box, 9);
  int target = 1;
  int& alias = co_await referred(target);
  alias = 5;
  EXPECT_EQ(target, 5);
  const int& constant = co_await referred_constant(target);
  EXPECT_EQ(&constant, &target);
  const result<int> looked = co_await as_result(number(3));
  EXPECT_EQ(looked.value(), 3);
  const result<void> empty = co_await as_result(nothing());
  EXPECT_TRUE(empty);
}

TEST(task, gives_values_voids_references_and_what_only_moves) {
  EXPECT_TRUE(run_in_simulation(takes_every_kind_of_result()));
}

task<std::unique_ptr<int>> throws_away(std::unique_ptr<int> box) { co_return std::move(box); }

TEST(task, hands_an_outcome_to_the_thread_that_blocks) {
  const auto box = run_in_simulation(throws_away(std::make_unique<int>(4)));
  ASSERT_TRUE(box);
  EXPECT_EQ(**box, 4);
}

task<> marks(bool& ran, counted) {
  ran = true;
  co_return;
}

TEST(task, runs_nothing_until_it_is_awaited) {
  atomic<int> alive{0};
  bool ran = false;
  {
    auto t = marks(ran, counted(alive));
    EXPECT_TRUE(t);
    EXPECT_EQ(alive.load(order::relaxed), 1);
    auto moved = std::move(t);
    EXPECT_FALSE(t);  // NOLINT(bugprone-use-after-move): that is what is asked
    moved = marks(ran, counted(alive));
    EXPECT_EQ(alive.load(order::relaxed), 1);
  }
  EXPECT_EQ(alive.load(order::relaxed), 0);
  EXPECT_FALSE(ran);
}

/// Notes in `order` when it dies.
class witness {
 public:
  witness(std::vector<int>& order, int number) : order_(&order), number_(number) {}
  witness(witness&& other) noexcept
      : order_(std::exchange(other.order_, nullptr)), number_(other.number_) {}
  witness(const witness&) = delete;
  witness& operator=(const witness&) = delete;
  ~witness() {
    if (order_ != nullptr) order_->push_back(number_);
  }

 private:
  std::vector<int>* order_;
  int number_;
};

task<> fails_at_the_bottom(std::vector<int>& order, int depth) {
  const witness here(order, depth);
  if (depth == 0) co_await fail(some_error());
  co_await fails_at_the_bottom(order, depth - 1);
  order.push_back(-1);
}

task<> looks_after_the_failure(std::vector<int>& order) {
  const auto ended = co_await as_result(fails_at_the_bottom(order, 3));
  EXPECT_EQ(error_of(ended), some_error());
  order.push_back(100);
}

TEST(task, an_error_destroys_the_frames_innermost_first_before_anything_else_runs) {
  std::vector<int> order;
  EXPECT_TRUE(run_in_simulation(looks_after_the_failure(order)));
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 100}));
}

task<int> valued(std::vector<int>& order) {
  const witness here(order, 1);
  co_return 5;
}

int note_use(std::vector<int>& order, int value) {
  order.push_back(2);
  return value;
}

task<> uses_a_value(std::vector<int>& order) {
  note_use(order, co_await valued(order));
  order.push_back(3);
}

TEST(task, the_frame_is_gone_before_its_value_is_used) {
  std::vector<int> order;
  EXPECT_TRUE(run_in_simulation(uses_a_value(order)));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

task<> awaits_results() {
  result<int> good(4);
  const int value = co_await std::move(good);
  EXPECT_EQ(value, 4);
  co_await result<void>();
  const auto from_temporary = co_await as_result(result<int>(std::unexpected(some_error())));
  EXPECT_EQ(error_of(from_temporary), some_error());
  co_await result<int>(std::unexpected(some_error()));
  ADD_FAILURE() << "an error went on as a value";
}

TEST(task, awaiting_a_result_unwraps_or_raises) {
  EXPECT_EQ(error_of(run_in_simulation(awaits_results())), some_error());
}

task<> wraps_in_many_ways() {
  const auto twice = co_await as_result(as_result(number(2)));
  EXPECT_EQ(twice.value().value(), 2);
  auto failing = as_result(fail(some_error()));
  const auto inside = co_await as_result(timeout(1s, std::move(failing)));
  EXPECT_TRUE(inside);
  EXPECT_EQ(error_of(result<void>(std::unexpected(inside->error()))), some_error());
  auto patient = timeout(1h, sleep_for(2ms));
  const auto late = co_await as_result(timeout(1ms, as_result(std::move(patient))));
  EXPECT_TRUE(late);
  EXPECT_EQ(error_of(*late), errc::stopped);
  const auto slept = co_await as_result(sleep_for(1us));
  EXPECT_TRUE(slept);
  const auto yielded = co_await as_result(yield());
  EXPECT_TRUE(yielded);
}

TEST(task, as_result_takes_every_awaitable) {
  EXPECT_TRUE(run_in_simulation(wraps_in_many_ways()));
}

#if defined(__cpp_exceptions)

struct surprise {
  int number;
};

task<int> throws(std::vector<int>& order, int depth) {
  const witness here(order, depth);
  if (depth == 0) throw surprise{42};
  const int below = co_await throws(order, depth - 1);
  co_return below;
}

task<int> catches(std::vector<int>& order) {
  int caught = 0;
  try {
    co_await throws(order, 2);
  } catch (const surprise& s) {
    caught = s.number;
  }
  order.push_back(100);
  try {
    const auto unreached = co_await as_result(timeout(1s, throws(order, 0)));
    EXPECT_FALSE(unreached) << "as_result keeps exceptions as they are";
  } catch (const surprise& s) {
    caught += s.number;
  }
  co_return caught;
}

TEST(task, exceptions_are_rethrown_at_the_await) {
  std::vector<int> order;
  EXPECT_EQ(run_in_simulation(catches(order)).value(), 84);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 100, 0}));
}

TEST(task, block_on_rethrows) {
  std::vector<int> order;
  runtime on(simulation());
  EXPECT_THROW(static_cast<void>(on.block_on(throws(order, 3))), surprise);
}

task<> raises_from_a_catch(std::vector<int>& order) {
  const witness here(order, 1);
  try {
    co_await throws(order, 0);
  } catch (const surprise&) {
    throw failure(some_error());
  }
}

TEST(task, a_thrown_failure_is_an_error) {
  std::vector<int> order;
  EXPECT_EQ(error_of(run_in_simulation(raises_from_a_catch(order))), some_error());
  EXPECT_EQ(order, (std::vector<int>{0, 1}));
}

task<> fails_inside_a_try(bool& caught) {
  try {
    co_await fail(some_error());
  } catch (...) {
    caught = true;
  }
  caught = true;
}

TEST(task, an_error_runs_no_catch_and_no_code_behind_the_try) {
  bool caught = false;
  EXPECT_EQ(error_of(run_in_simulation(fails_inside_a_try(caught))), some_error());
  EXPECT_FALSE(caught);
}

/// Its destruction throws nothing, its copies do.
struct copies_throw {
  copies_throw() = default;
  copies_throw(const copies_throw&) { throw surprise{1}; }
  copies_throw& operator=(const copies_throw&) = delete;
};

task<copies_throw> returns_what_throws(const copies_throw& from) { co_return from; }

task<bool> meets_a_throwing_copy() {
  const copies_throw original;
  bool caught = false;
  try {
    co_await as_result(returns_what_throws(original));
  } catch (const surprise&) {
    caught = true;
  }
  co_return caught;
}

TEST(task, a_result_whose_copy_throws_is_an_exception) {
  EXPECT_TRUE(run_in_simulation(meets_a_throwing_copy()).value());
}

#endif

}  // namespace
}  // namespace magpie::tests::task_test
