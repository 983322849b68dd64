/// For the system tests of dumps and of the debugger's script: tasks that wait, by names and in
/// functions that the tests look for. Says "ready" when all do; ends by a signal.
#include <magpie/runtime/live_tasks.hpp>
#include <magpie/runtime/run.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <vector>

namespace {

using namespace magpie;
using namespace std::chrono_literals;

constexpr int sessions = 12;

task<> sleeps_innermost() { co_await sleep_for(24h); }
task<> session_of_a_peer() { co_await timeout(48h, sleeps_innermost()); }

task<> serves_its_children() {
  co_await with_task_group([](task_group& group) -> task<> {
    for (int i = 0; i < sessions; ++i) group.spawn(named("session"), session_of_a_peer());
    co_return;
  });
}

task<> main_task() {
  auto server = spawn(named("server"), serves_its_children());
  for (std::ptrdiff_t waiting = 0; waiting != sessions + 1;) {
    co_await sleep_for(1ms);
    const std::vector<live_task> all = current_live_tasks();
    waiting = std::ranges::count_if(all, [](const live_task& task) {
      return !task.name.empty() && task.state == task_state::waiting;
    });
  }
  std::puts("ready");
  std::fflush(stdout);
  static_cast<void>(co_await server.join());
}

}  // namespace

int main() {
  options chosen;
  chosen.track_tasks = true;
  chosen.dump_signal = SIGQUIT;
  return run(main_task(), chosen);
}
