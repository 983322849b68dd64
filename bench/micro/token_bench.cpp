/// Measures: cancellation tokens.
///
/// - A child token made and dropped; `run_until_cancelled` around an operation that is ready, and
///   around a yield.
/// - The cancel of 1e5 tokens below one, and of a tree of 111,110 with ten children each: for each
///   token, the call alone.
/// - The cancel of a token for which 1e5 tasks wait, and of one with 1e5 children for each of which
///   a task waits: for each task, until the last of them has ended.  One and two workers.
///
/// Against (floors): a block from a free list that is put into a list and taken out; a look at a
/// flag and a call; a flag set in each of a list of nodes; as many frames taken from a list and
/// resumed from a ring of handles, so that they end.

#include <magpie/bench/micro/bare.hpp>
#include <magpie/bench/micro/ready_operation.hpp>
#include <magpie/bench/micro/support.hpp>
#include <magpie/bench/micro/tree.hpp>
#include <magpie/runtime/cancellation_token.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/util/intrusive_list.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace magpie::bench {
namespace {

using namespace std::chrono_literals;

constexpr int batch = 1000;
constexpr std::int64_t iterations = 5;

// ---- one token -------------------------------------------------------------------------------

task<> make_child(benchmark::State& state) {
  const cancellation_token token;
  bool any = false;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) any |= token.child_token().is_cancelled();
  }
  if (any) state.SkipWithError("a token was born cancelled");
  co_return;
}

task<> until_ready(benchmark::State& state) {
  const cancellation_token token;
  std::int64_t got = 0;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      const auto value = co_await token.run_until_cancelled(ready_operation());
      got += value.value_or(0);
      benchmark::DoNotOptimize(got);
    }
  }
  if (got != state.iterations()) state.SkipWithError("a value was lost");
}

task<> until_yielded(benchmark::State& state) {
  const cancellation_token token;
  std::int64_t ran = 0;
  meter counted(state);
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      const bool done = co_await token.run_until_cancelled(yield());
      ran += done ? 1 : 0;
    }
  }
  if (ran != state.iterations()) state.SkipWithError("a yield was cancelled");
}

// ---- many tokens -----------------------------------------------------------------------------

using tokens = std::vector<cancellation_token>;

void check(benchmark::State& state, const tokens& all) {
  if (!std::all_of(all.begin(), all.end(), [](const auto& one) { return one.is_cancelled(); }))
    state.SkipWithError("a token was not cancelled");
}

/// As many below `root`.
tokens children_of(const cancellation_token& root, std::size_t count) {
  tokens all;
  all.reserve(count);
  for (std::size_t i = 0; i < count; ++i) all.push_back(root.child_token());
  return all;
}

tokens flat_below(const cancellation_token& root) { return children_of(root, waiters); }

constexpr std::size_t tree_size = 111'110;  // the lowest of five levels has 1e5

/// Ten below `root`, and ten below each but the lowest.
tokens tree_below(const cancellation_token& root) {
  tokens all = children_of(root, 10);
  for (std::size_t parent = 0; all.size() < tree_size; ++parent) {
    for (int i = 0; i < 10; ++i) all.push_back(all[parent].child_token());
  }
  return all;
}

template <tokens (*plant)(const cancellation_token&), std::size_t count>
task<> cancel_tokens(benchmark::State& state) {
  span_meter measured(state, count);
  for (auto _ : state) {
    const cancellation_token root;
    const tokens all = plant(root);
    if (all.size() != count) state.SkipWithError("a tree of another size");
    measured.begin();
    root.cancel();
    measured.end();
    check(state, all);
  }
  co_return;
}

// ---- many that wait --------------------------------------------------------------------------

[[gnu::noinline]] task<> waits(roll& of, std::size_t at, const cancellation_token& token) {
  roll::entry here(of, at);
  co_await token.cancelled();
}

/// Every task has one of `all`, by turns.
task<> cancel_waiters(benchmark::State& state, const std::size_t children) {
  roll of;
  span_meter measured(state, waiters);
  for (auto _ : state) {
    const cancellation_token root;
    tokens all = children_of(root, children);
    if (children == 0) all.push_back(root);
    auto body = [&](task_group& group) -> task<> {
      for (std::size_t i = 0; i < waiters; ++i) group.spawn(waits(of, i, all[i % all.size()]));
      while (!of.all_entered()) co_await sleep_for(1ms);
      measured.begin();
      root.cancel();
    };
    co_await with_task_group(body);
    measured.end();
    of.check(state);
  }
}

// ---- floors ----------------------------------------------------------------------------------

struct bare_node : list_node {
  std::atomic<int> flag{0};
};

void child_floor(benchmark::State& state) {
  intrusive_list<bare_node> children;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      auto* const child = ::new (bare::frames::take(sizeof(bare_node))) bare_node;
      children.push_front(*child);
      benchmark::DoNotOptimize(child->flag.load(std::memory_order_acquire));
      child->unlink();
      child->~bare_node();
      bare::frames::give(child, sizeof(bare_node));
    }
  }
}

[[gnu::noinline]] int answer() noexcept { return 1; }

void until_ready_floor(benchmark::State& state) {
  std::atomic<int> flag{0};
  std::int64_t got = 0;
  while (state.KeepRunningBatch(batch)) {
    for (int i = 0; i < batch; ++i) {
      benchmark::DoNotOptimize(&flag);
      if (flag.load(std::memory_order_acquire) == 0) got += answer();
      benchmark::DoNotOptimize(got);
    }
  }
  if (got != state.iterations()) state.SkipWithError("a value was lost");
}

void cancel_floor(benchmark::State& state) {
  std::vector<bare_node> nodes(waiters);
  intrusive_list<bare_node> children;
  for (auto& node : nodes) children.push_front(node);
  span_meter measured(state, waiters);
  for (auto _ : state) {
    measured.begin();
    for (bare_node* at = children.front(); at != nullptr; at = children.next(*at))
      at->flag.store(1, std::memory_order_release);
    measured.end();
    for (auto& node : nodes) {
      if (node.flag.load(std::memory_order_relaxed) != 1) state.SkipWithError("a flag is missing");
      node.flag.store(0, std::memory_order_relaxed);
    }
  }
  for (auto& node : nodes) node.unlink();
}

struct bare_waiter : list_node {
  std::coroutine_handle<> frame;
};

struct bare_wait {
  intrusive_list<bare_waiter>* list;
  bare_waiter waiter;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame) noexcept {
    waiter.frame = frame;
    list->push_back(waiter);
  }
  void await_resume() const noexcept {}
};

[[gnu::noinline]] bare::detached bare_waits(roll& of, std::size_t at,
                                            intrusive_list<bare_waiter>& list) {
  roll::entry here(of, at);
  bare_wait wait{&list, {}};
  co_await wait;
}

void wake_floor(benchmark::State& state) {
  constexpr std::size_t at_once = 1000;  // what the ring has room for
  bare::run_queue queue;
  intrusive_list<bare_waiter> list;
  roll of;
  span_meter measured(state, waiters);
  for (auto _ : state) {
    for (std::size_t i = 0; i < waiters; ++i) bare_waits(of, i, list);
    measured.begin();
    while (!list.empty()) {
      for (std::size_t i = 0; i < at_once && !list.empty(); ++i)
        queue.push(list.pop_front()->frame);
      queue.run();
    }
    measured.end();
    of.check(state);
  }
}

template <plain_function loop>
void on_first_core(benchmark::State& state) {
  pin_to(0);
  loop(state);
  pin_to_first(0);
}

}  // namespace

void register_all() {
  add_floor("child_token", child_floor);
  add("child_token", make_child);
  add_floor("until_cancelled_ready", until_ready_floor);
  add("until_cancelled_ready", until_ready);
  add("until_cancelled_pending", until_yielded, {1, 2});
  add_manual("cancel_tokens/floor", on_first_core<cancel_floor>, iterations,
             benchmark::kNanosecond);
  add_manual("cancel_children", cancel_tokens<flat_below, waiters>, {1}, iterations);
  add_manual("cancel_tree", cancel_tokens<tree_below, tree_size>, {1}, iterations);
  add_manual("cancel_waiters/floor", on_first_core<wake_floor>, iterations, benchmark::kNanosecond);
  add_manual(
      "cancel_waiters", [](benchmark::State& s) { return cancel_waiters(s, 0); }, {1, 2},
      iterations);
  add_manual(
      "cancel_children_with_waiters",
      [](benchmark::State& s) { return cancel_waiters(s, waiters); }, {1, 2}, iterations);
}

}  // namespace magpie::bench
