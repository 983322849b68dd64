/// `finally` and `with_cleanup`: clean-ups run however the body ends, and whose error goes on.
#include <magpie/runtime/cleanup.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace magpie::tests::cleanup_test {
namespace {

std::error_code other_error() { return std::make_error_code(std::errc::no_link); }

/// What happened, in order.
struct diary {
  std::string text;
  void note(const char* what) { text += what; }
};

struct noted {
  noted(diary& in, const char* what) : book(&in), end(what) {}
  noted(const noted&) = delete;
  noted& operator=(const noted&) = delete;
  ~noted() { book->note(end); }
  diary* book;
  const char* end;
};

task<> writes(diary& in, const char* what) {
  co_await sleep_for(1ms);
  in.note(what);
}

task<> fails_after(diary& in, const char* what, std::error_code with) {
  co_await sleep_for(1ms);
  in.note(what);
  co_await fail(with);
}

task<int> works(diary& in) {
  const noted local(in, "local ");
  co_await sleep_for(1ms);
  in.note("work ");
  co_return 5;
}

task<int> fails_at_work(diary& in) {
  const noted local(in, "local ");
  co_await sleep_for(1ms);
  co_await fail(some_error());
  co_return 5;
}

task<> finally_passes() {
  diary in;
  const int value = co_await finally(works(in), writes(in, "clean"));
  EXPECT_EQ(value, 5);
  EXPECT_EQ(in.text, "work local clean");
  in.text.clear();
  const auto failed = co_await as_result(finally(fails_at_work(in), writes(in, "clean")));
  EXPECT_EQ(error_of(failed), some_error());
  EXPECT_EQ(in.text, "local clean");
}

TEST(cleanup, finally_runs_the_cleanup_after_the_frame_is_gone_and_passes_the_outcome_on) {
  EXPECT_TRUE(run_in_simulation(finally_passes()));
}

task<> finally_and_failing_cleanups() {
  diary in;
  const auto of_cleanup =
      co_await as_result(finally(works(in), fails_after(in, "c", other_error())));
  EXPECT_EQ(error_of(of_cleanup), other_error());
  const auto of_body =
      co_await as_result(finally(fails_at_work(in), fails_after(in, "c", other_error())));
  EXPECT_EQ(error_of(of_body), some_error());
}

TEST(cleanup, finally_a_failing_cleanup_does_not_hide_the_error_of_the_body) {
  EXPECT_TRUE(run_in_simulation(finally_and_failing_cleanups()));
}

/// Nothing waits.
task<> finally_inline() {
  const int value = co_await finally(result<int>(3), result<int>(4));
  EXPECT_EQ(value, 3);
  const auto failed = co_await as_result(finally(fail(some_error()), fail(other_error())));
  EXPECT_EQ(error_of(failed), some_error());
  const auto cleaning = co_await as_result(finally(result<int>(3), fail(other_error())));
  EXPECT_EQ(error_of(cleaning), other_error());
}

TEST(cleanup, finally_of_what_completes_inline) {
  EXPECT_TRUE(run_in_simulation(finally_inline()));
}

task<int> nested_finally(int depth) {
  if (depth == 0) co_await fail(some_error());
  const int value = co_await finally(nested_finally(depth - 1), result<int>(0));
  co_return value + 1;
}

TEST(cleanup, finally_nests_deeply) {
  const auto ended = run_in_simulation(nested_finally(100000));
  EXPECT_EQ(error_of(ended), some_error());
}

task<> uses_a_stack(diary& in, std::error_code ends_with, std::chrono::nanoseconds pause) {
  const auto value = co_await with_cleanup([&](cleanup_stack& on_exit) -> task<int> {
    const noted local(in, "local ");
    on_exit.push(writes(in, "a"));
    on_exit.push(&writes, std::ref(in), "b ");
    EXPECT_EQ(on_exit.size(), 2U);
    co_await sleep_for(pause);
    on_exit.push(writes(in, "c "));
    if (ends_with) co_await fail(ends_with);
    in.note("body ");
    co_return 4;
  });
  EXPECT_EQ(value, 4);
}

TEST(cleanup, stack_runs_from_the_newest_to_the_oldest) {
  MAGPIE_NEED_CELL();
  diary in;
  EXPECT_TRUE(run_in_cell(uses_a_stack(in, {}, 1us)));
  EXPECT_EQ(in.text, "body local c b a");
  in.text.clear();
  EXPECT_EQ(error_of(run_in_cell(uses_a_stack(in, some_error(), 1us))), some_error());
  EXPECT_EQ(in.text, "local c b a");
}

task<> aborts_it(diary& in) {
  auto handle = spawn(uses_a_stack(in, {}, 1h));
  co_await sleep_for(1ms);
  handle.abort();
  const auto ended = co_await handle.join();
  EXPECT_EQ(error_of(ended), errc::aborted);
}

TEST(cleanup, stack_runs_when_the_body_is_stopped) {
  MAGPIE_NEED_CELL();
  diary in;
  EXPECT_TRUE(run_in_cell(aborts_it(in)));
  EXPECT_EQ(in.text, "local b a");
}

task<> hangs() { co_await sleep_for(1h); }

task<> failing_stack(diary& in, bool body_fails) {
  co_await with_cleanup([&](cleanup_stack& on_exit) -> task<> {
    on_exit.push(writes(in, "a"));
    on_exit.push(fails_after(in, "b ", some_error()));
    on_exit.push(fails_after(in, "c ", other_error()));
    on_exit.push(writes(in, "d "));
    if (body_fails) co_await fail(std::make_error_code(std::errc::bad_message));
  });
}

TEST(cleanup, stack_goes_on_after_a_failure_and_the_first_one_counts) {
  diary in;
  EXPECT_EQ(error_of(run_in_simulation(failing_stack(in, false))), other_error());
  EXPECT_EQ(in.text, "d c b a");
  in.text.clear();
  EXPECT_EQ(error_of(run_in_simulation(failing_stack(in, true))), std::errc::bad_message);
  EXPECT_EQ(in.text, "d c b a");
}

TEST(cleanup, stack_logs_the_failures_that_are_nobodys_outcome) {
  options loud = simulation();
  loud.log = true;
  diary in;
  testing::internal::CaptureStderr();
  EXPECT_FALSE(run_on(loud, failing_stack(in, true)));
  const std::string said = testing::internal::GetCapturedStderr();
  const auto first = said.find("a clean-up failed (in the task spawned at ");
  ASSERT_NE(first, std::string::npos) << said;
  EXPECT_NE(said.find(other_error().message()), std::string::npos) << said;
  EXPECT_NE(said.find(some_error().message()), std::string::npos) << said;
  EXPECT_NE(said.find("raised at "), std::string::npos) << said;
}

/// The clean-up handles errors of its own, which must not become the trace of the body's.
task<> handles_an_error() {
  const auto inner = co_await as_result([]() -> task<> { co_await fail(other_error()); }());
  EXPECT_EQ(error_of(inner), other_error());
}

task<> keeps_the_trace() {
  const auto body = []() -> task<> { co_await fail(some_error()); };
  co_await finally(body(), handles_an_error());
}

task<> looks_at_the_trace() {
  struct trace_of {  // the record of the task that awaits
    using value_type = const error_trace*;
    bool try_complete(stop_scope& scope) noexcept {
      found = scope.root().trace;
      return true;
    }
    std::error_code failed() const noexcept { return {}; }
    std::coroutine_handle<> start(detail::continuation to, stop_scope&) const noexcept {
      return detail::deliver(to);
    }
    result<const error_trace*> take() const noexcept { return found; }
    const error_trace* found = nullptr;
  };
  const auto ended = co_await as_result(keeps_the_trace());
  EXPECT_EQ(error_of(ended), some_error());
  const error_trace* trace = co_await trace_of();
  EXPECT_NE(trace, nullptr);
  if (trace == nullptr) co_return;
  EXPECT_EQ(trace->error, some_error());
  EXPECT_EQ(trace->count, 2U);  // where it was raised, and the await of `finally`
}

TEST(cleanup, the_trace_stays_that_of_the_body) {
  EXPECT_TRUE(run_in_simulation(looks_at_the_trace()));
}

task<> one_hangs(diary& in) {
  const auto before = clock::now();
  const auto ended = co_await as_result(with_cleanup([&](cleanup_stack& on_exit) -> task<> {
    on_exit.push(writes(in, "a"));
    on_exit.push(hangs());
    co_return;
  }));
  EXPECT_EQ(error_of(ended), errc::deadline);
  EXPECT_EQ(in.text, "a");
  EXPECT_LT(clock::now() - before, cleanup_time_default + 10ms);
  const auto longer = co_await as_result(finally(result<int>(1), shielded(1h, sleep_for(30min))));
  EXPECT_TRUE(longer);
}

TEST(cleanup, each_has_a_deadline_of_its_own) {
  diary in;
  EXPECT_TRUE(run_in_simulation(one_hangs(in)));
}

task<> pushes_more(diary& in) {
  co_await with_cleanup([&](cleanup_stack& on_exit) -> task<> {
    const auto more = [&in, &on_exit]() -> task<> {
      in.note("b ");
      on_exit.push(writes(in, "more "));
      co_return;
    };
    on_exit.push(writes(in, "a"));
    on_exit.push(more);
    co_return;
  });
}

TEST(cleanup, stack_takes_clean_ups_from_clean_ups) {
  diary in;
  EXPECT_TRUE(run_in_simulation(pushes_more(in)));
  EXPECT_EQ(in.text, "b more a");
}

task<std::unique_ptr<int>> gives_a_box() {
  auto box = co_await with_cleanup([](cleanup_stack& on_exit) -> task<std::unique_ptr<int>> {
    on_exit.push([]() -> task<> { co_await sleep_for(1us); });
    co_return std::make_unique<int>(6);
  });
  auto again = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
  auto second = co_await finally(again(), sleep_for(1us));
  EXPECT_EQ(*second, 7);
  co_return std::move(box);
}

TEST(cleanup, passes_what_only_moves) {
  const auto box = run_in_simulation(gives_a_box());
  ASSERT_TRUE(box);
  EXPECT_EQ(**box, 6);
}

task<> out_of_memory(diary& in) {
  co_await with_cleanup([&](cleanup_stack& on_exit) -> task<> {
    on_exit.push(writes(in, "a"));
    frame_pool_fail_nth(1);
    on_exit.push(writes(in, "b"));  // no frame
    auto late = writes(in, "c");
    frame_pool_fail_nth(1);
    on_exit.push(std::move(late));  // no entry
    frame_pool_fail_nth(0);
    co_return;
  });
}

TEST(cleanup, stack_fails_when_memory_is_out_and_runs_the_rest) {
  diary in;
  EXPECT_EQ(error_of(run_in_simulation(out_of_memory(in))), std::errc::not_enough_memory);
  EXPECT_EQ(in.text, "a");
}

#if defined(__cpp_exceptions)
task<> throws(diary& in, const char* what) {
  co_await sleep_for(1ms);
  in.note(what);
  throw std::runtime_error(what);
}

task<> throws_in_the_body(diary& in) {
  co_await with_cleanup([&](cleanup_stack& on_exit) -> task<> {
    on_exit.push(writes(in, "a"));
    on_exit.push(throws(in, "b "));
    co_await throws(in, "body ");
  });
}

task<> throws_in_the_cleanup(diary& in) {
  co_await with_cleanup([&](cleanup_stack& on_exit) -> task<> {
    on_exit.push(writes(in, "a"));
    on_exit.push(throws(in, "b "));
    co_return;
  });
}

task<> throws_instead_of_a_body(diary& in) {
  co_await with_cleanup([&](cleanup_stack& on_exit) -> task<> {
    on_exit.push(writes(in, "a"));
    if (on_exit.size() == 1) throw std::runtime_error("no body");
    return writes(in, "body ");
  });
}

std::string thrown_by(task<> t) {
  try {
    static_cast<void>(run_in_simulation(std::move(t)));
  } catch (const std::runtime_error& caught) {
    return caught.what();
  }
  return "nothing";
}

task<> finally_throws(diary& in, bool body) {
  if (body) {
    co_await finally(throws(in, "body "), throws(in, "c"));
  } else {
    co_await finally(works(in), throws(in, "c"));
  }
}

TEST(cleanup, exceptions_count_as_errors_do) {
  diary in;
  EXPECT_EQ(thrown_by(throws_in_the_body(in)), "body ");
  EXPECT_EQ(in.text, "body b a");
  in.text.clear();
  EXPECT_EQ(thrown_by(throws_in_the_cleanup(in)), "b ");
  EXPECT_EQ(in.text, "b a");
  in.text.clear();
  EXPECT_EQ(thrown_by(throws_instead_of_a_body(in)), "no body");
  EXPECT_EQ(in.text, "a");
  EXPECT_EQ(thrown_by(finally_throws(in, true)), "body ");
  EXPECT_EQ(thrown_by(finally_throws(in, false)), "c");
}
#endif

}  // namespace
}  // namespace magpie::tests::cleanup_test
