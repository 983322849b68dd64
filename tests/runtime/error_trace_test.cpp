/// The error return trace: which places it holds, its bound, its beginning and its passage through
/// boundaries.
#include <magpie/runtime/error_trace.hpp>

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace magpie::tests::error_trace_test {
namespace {

/// Completes at once with the trace of the task that awaits it.
class look_at_trace {
 public:
  using value_type = error_trace;
  bool try_complete(stop_scope& scope) noexcept {
    if (scope.root().trace != nullptr) seen_ = *scope.root().trace;
    return true;
  }
  std::error_code failed() const noexcept { return {}; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope&) noexcept {
    return detail::deliver(to);
  }
  result<error_trace> take() const noexcept { return seen_; }

 private:
  error_trace seen_;
};

std::vector<unsigned> lines_of(const error_trace& trace) {
  std::vector<unsigned> lines;
  const std::size_t kept = std::min<std::size_t>(trace.count, error_trace::places_max);
  for (std::size_t i = 0; i < kept; ++i) {
    EXPECT_TRUE(std::string_view(trace.places[i].file_name()).ends_with("error_trace_test.cpp"));
    lines.push_back(static_cast<unsigned>(trace.places[i].line()));
  }
  return lines;
}

constexpr unsigned line_of_fail = __LINE__ + 1;
task<> fails() { co_await fail(some_error()); }
constexpr unsigned line_of_middle = __LINE__ + 1;
task<> middle() { co_await fails(); }
constexpr unsigned line_of_upper = __LINE__ + 1;
task<> upper() { co_await timeout(1s, middle()); }

task<error_trace> traces_three_frames() {
  const auto ended = co_await as_result(upper());
  EXPECT_EQ(error_of(ended), some_error());
  const error_trace trace = co_await look_at_trace();
  co_return trace;
}

TEST(error_trace, holds_the_places_innermost_first_and_leads_through_boundaries) {
  const auto trace = run_in_simulation(traces_three_frames());
  ASSERT_TRUE(trace);
  EXPECT_EQ(trace->error, some_error());
  EXPECT_EQ(lines_of(*trace), (std::vector<unsigned>{line_of_fail, line_of_middle, line_of_upper}));
  const std::string text = format_trace(&*trace);
  EXPECT_NE(text.find("raised at"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
}

task<error_trace> fails_twice() {
  const auto first = co_await as_result(upper());
  const auto second = co_await as_result(fails());
  EXPECT_FALSE(first || second);
  const error_trace trace = co_await look_at_trace();
  co_return trace;
}

TEST(error_trace, begins_afresh_with_a_new_error) {
  EXPECT_EQ(lines_of(run_in_simulation(fails_twice()).value()),
            (std::vector<unsigned>{line_of_fail}));
}

task<> fails_deep(int depth) {
  if (depth == 0) co_await fail(some_error());
  co_await fails_deep(depth - 1);
}

task<error_trace> traces_deep(int depth) {
  const auto ended = co_await as_result(fails_deep(depth));
  EXPECT_FALSE(ended);
  const error_trace trace = co_await look_at_trace();
  co_return trace;
}

TEST(error_trace, is_bounded_and_counts_on) {
  const auto trace = run_in_simulation(traces_deep(1000));
  ASSERT_TRUE(trace);
  EXPECT_EQ(trace->count, 1001U);
  EXPECT_EQ(lines_of(*trace).size(), std::size_t{error_trace::places_max});
  const std::string text = format_trace(&*trace);
  EXPECT_NE(text.find("973 more"), std::string::npos) << text;
}

task<> group_of_one() {
  co_await with_task_group([](task_group& group) -> task<> {
    group.spawn(middle());
    co_return;
  });
}

task<error_trace> traces_a_child() {
  const auto ended = co_await as_result(group_of_one());
  EXPECT_FALSE(ended);
  const error_trace trace = co_await look_at_trace();
  co_return trace;
}

TEST(error_trace, leads_from_a_child_through_its_group) {
  const auto trace = run_in_simulation(traces_a_child());
  ASSERT_TRUE(trace);
  const auto lines = lines_of(*trace);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0], line_of_fail);
  EXPECT_EQ(lines[1], line_of_middle);
}

task<error_trace> traces_nothing() {
  const auto value = co_await as_result(sleep_for(1us));
  EXPECT_TRUE(value);
  const error_trace trace = co_await look_at_trace();
  co_return trace;
}

TEST(error_trace, is_not_there_without_an_error) {
  EXPECT_EQ(run_in_simulation(traces_nothing()).value().count, 0U);
  EXPECT_EQ(format_trace(nullptr), "");
}

}  // namespace
}  // namespace magpie::tests::error_trace_test
