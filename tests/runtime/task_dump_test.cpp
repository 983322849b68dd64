/// Dumps: what they say, that equal tasks share a paragraph, and that they need no worker.
#include <magpie/runtime/task_dump.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/util/unique_fd.hpp>

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

namespace magpie::tests::task_dump_test {
namespace {

std::size_t count_of(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

task<> reads_request() { co_await sleep_for(1h); }
task<> session() { co_await timeout(2h, reads_request()); }
task<> serves() {
  co_await with_task_group([](task_group& group) -> task<> {
    for (int i = 0; i < 20; ++i) {
      const std::string name = "session " + std::to_string(i);
      group.spawn(named(name), session());
    }
    co_return;
  });
}

task<std::string> describes_a_server() {
  auto server = spawn(named("server"), serves());
  co_await sleep_for(3ms);
  const auto all = current_live_tasks();
  server.abort();
  static_cast<void>(co_await server.join());
  co_return format_tasks(all);
}

TEST(task_dump, equal_tasks_share_a_paragraph) {
  const auto text = run_in_simulation(describes_a_server()).value();
  EXPECT_EQ(count_of(text, " in "), 3U) << text;
  EXPECT_NE(text.find("1 task, waiting: "), std::string::npos) << text;
  EXPECT_NE(text.find(" (server)\n"), std::string::npos) << text;
  EXPECT_NE(text.find("20 tasks, waiting: "), std::string::npos) << text;
  EXPECT_NE(text.find(" (session 0), "), std::string::npos) << text;
  EXPECT_NE(text.find(" (session 7) and 12 more\n"), std::string::npos) << text;
  EXPECT_EQ(count_of(text, "waits for the children of a group at"), 1U) << text;
  EXPECT_LT(text.find("reads_request"), text.rfind("session")) << text;
  EXPECT_EQ(count_of(text, "spawned at "), 3U) << text;
}

// The same seed gives the same dump, ages and ids included.
TEST(task_dump, is_the_same_for_the_same_seed) {
  options chosen = simulation(42);
  chosen.track_tasks = true;
  const auto first = run_on(chosen, describes_a_server()).value();
  const auto second = run_on(chosen, describes_a_server()).value();
  EXPECT_EQ(first, second);
  EXPECT_NE(first.find("s old"), std::string::npos) << first;
}

TEST(task_dump, names_of_coroutines_are_cleaned) {
  const auto stack =
      run_in_simulation([]() -> task<task_stack> { co_return co_await current_stack(); }());
  ASSERT_EQ(stack->places.size(), 1U);
  const std::string name = detail::function_of(stack->places[0]);
  EXPECT_NE(name.find("operator()"), std::string::npos) << name;
  EXPECT_EQ(name.find("Frame"), std::string::npos) << name;
}

TEST(task_dump, an_empty_list_is_an_empty_text) { EXPECT_EQ(format_tasks({}), ""); }

/// What `write` writes to its descriptor.
template <class F>
std::string what_comes(F write) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return {};
  const unique_fd reader(ends[0]);
  unique_fd writer(ends[1]);
  std::string text;
  std::thread reads([&] {
    std::array<char, 4096> buffer;
    for (ssize_t count = 1; count > 0;) {
      count = ::read(reader.get(), buffer.data(), buffer.size());
      if (count > 0) text.append(buffer.data(), static_cast<std::size_t>(count));
    }
  });
  write(writer.get());
  writer.reset();
  reads.join();
  return text;
}

/// Workers that do not come back until they are let.
struct stuck_workers {
  atomic<std::size_t> stuck{0};
  atomic<bool> leave{false};
};

task<> gets_stuck(stuck_workers& all) {
  all.stuck.fetch_add(1, order::release);
  while (!all.leave.load(order::acquire)) ::sched_yield();
  co_return;
}

// W8: tasks that are very stuck are there, and whoever waits behind them.
TEST(task_dump, w8_concurrent_with_every_worker_stuck) {
  MAGPIE_NEED_KERNEL();
  options chosen = cell_options();
  chosen.track_tasks = true;
  chosen.rescue = false;
  runtime on(chosen);
  stuck_workers all;
  std::vector<join_handle<void>> handles;
  for (int i = 0; i < 20; ++i) handles.push_back(on.spawn(named("sleeper"), session()));
  for (std::size_t i = 0; i < on.workers(); ++i)
    handles.push_back(on.spawn(named("stuck"), gets_stuck(all)));
  while (all.stuck.load(order::acquire) != on.workers()) ::sched_yield();
  const auto listed = on.live_tasks();
  EXPECT_EQ(listed.size(), 20 + on.workers());
  std::vector<bool> runs(on.workers());
  for (const live_task& task : listed) {
    if (task.name != "stuck") continue;
    EXPECT_EQ(task.state, task_state::running);
    runs[task.worker] = true;
  }
  EXPECT_EQ(std::ranges::count(runs, true), static_cast<std::ptrdiff_t>(on.workers()));
  const std::string text = what_comes([](int fd) { dump_tasks(fd); });
  EXPECT_NE(text.find("(stuck)"), std::string::npos) << text;
  EXPECT_NE(text.find("running on worker 0"), std::string::npos) << text;
  EXPECT_NE(text.find("live tasks; "), std::string::npos) << text;
  all.leave.store(true, order::release);
  EXPECT_TRUE(on.shutdown(30s));
}

// A dump of a current-thread runtime disturbs nobody.
TEST(task_dump, w8_concurrent_with_a_runtime_of_the_calling_thread) {
  MAGPIE_NEED_KERNEL();
  options chosen = cell_options();
  chosen.flavour = flavour::current_thread;
  runtime on(chosen);
  atomic<bool> leave{false};
  std::thread looks([&] {
    while (!leave.load(order::acquire)) EXPECT_NE(what_comes([](int fd) { dump_tasks(fd); }), "");
  });
  const auto churn = [](int rounds) -> task<int> {
    int done = 0;
    for (int i = 0; i < rounds; ++i) {
      auto handle = spawn([]() -> task<int> {
        co_await sleep_for(1us);
        co_return 1;
      });
      done += (co_await handle.join()).value();
    }
    co_return done;
  };
  EXPECT_EQ(on.block_on(churn(500)).value(), 500);
  leave.store(true, order::release);
  looks.join();
}

/// What standard error gets from a `SIGUSR2` on, until `count` titles have come.
std::string said_on_signal(std::size_t count) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return {};
  const unique_fd reader(ends[0]);
  const unique_fd writer(ends[1]);
  const unique_fd own(::dup(STDERR_FILENO));
  ::dup2(writer.get(), STDERR_FILENO);
  ::raise(SIGUSR2);
  std::string text;
  std::array<char, 4096> buffer;
  while (count_of(text, "magpie: ") < count) {
    const ssize_t got = ::read(reader.get(), buffer.data(), buffer.size());
    if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::dup2(own.get(), STDERR_FILENO);
  return text;
}

TEST(task_dump, concurrent_a_signal_prints_it_without_a_worker) {
  MAGPIE_NEED_KERNEL();
  struct sigaction before = {};
  ::sigaction(SIGUSR2, nullptr, &before);
  options chosen = cell_options();
  chosen.dump_signal = SIGUSR2;
  chosen.rescue = false;
  {
    stuck_workers all;
    runtime on(chosen);
    const runtime second(chosen);
    for (std::size_t i = 0; i < on.workers(); ++i)
      on.spawn(named("stuck"), gets_stuck(all)).detach();
    while (all.stuck.load(order::acquire) != on.workers()) ::sched_yield();
    for (int i = 0; i < 3; ++i) {
      const std::string said = said_on_signal(2);
      EXPECT_NE(said.find("live task"), std::string::npos) << said;
      EXPECT_NE(said.find("options::track_tasks is off"), std::string::npos) << said;
    }
    all.leave.store(true, order::release);
  }
  struct sigaction after = {};
  ::sigaction(SIGUSR2, nullptr, &after);
  EXPECT_EQ(after.sa_handler, before.sa_handler);
}

}  // namespace
}  // namespace magpie::tests::task_dump_test
