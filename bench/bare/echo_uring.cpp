// The floor for Magpie's io_uring reactor: an echo server that is nothing but a loop over a ring,
// one ring and one thread per worker. The forms differ in how they do I/O:
//   multishot  the best form: multishot receive, buffer ring, DEFER_TASKRUN (uring_multishot.hpp);
//   poll       Magpie's flags and Magpie's method (uring_poll.hpp);
//   oneshot    RECV and SEND, one at a time, COOP_TASKRUN (uring_oneshot.hpp).
// Magpie's measured echo server is compared with `poll` (the cost of the runtime alone) and with
// `multishot` (the cost of its choices too).
#include <magpie/bench/bare/uring_multishot.hpp>
#include <magpie/bench/bare/uring_oneshot.hpp>
#include <magpie/bench/bare/uring_poll.hpp>

#include <algorithm>
#include <bit>
#include <latch>
#include <memory>
#include <thread>

namespace bare {
namespace {

// The ring is made by the thread that uses it: SINGLE_ISSUER binds it to its creator.
template <class Worker>
[[noreturn]] void serve(const server_options& options, const char* program) {
  descriptor_table<backlog*> backlogs(raise_descriptor_limit());
  const int listener = make_listener(options, program);
  std::vector<inbox> inboxes(options.workers);
  // A refused ring must end the program before it says that it listens.
  std::latch ready(options.workers);
  std::vector<std::jthread> threads;
  for (auto& connections : inboxes) {
    threads.emplace_back([&] {
      Worker worker(options, backlogs);
      ready.count_down();
      worker.run(connections);
    });
  }
  ready.wait();
  announce(listener, "bare-uring-" + options.form, options.workers);
  accept_for_ever(listener, options.workers, Worker::socket_flags,
                  [&](int fd, unsigned worker) { inboxes[worker].push(fd); });
}

}  // namespace
}  // namespace bare

int main(int argc, char** argv) {
  using namespace bare;
  static constexpr std::array<const char*, 4> forms = {"multishot", "multishot-inline", "poll",
                                                       "oneshot"};
  const auto options = parse_server_options(argc, argv, forms);
  exit_on_signals();
  if (options.form == "poll") serve<poll_worker>(options, argv[0]);
  if (options.form == "oneshot") serve<oneshot_worker>(options, argv[0]);
  serve<multishot_worker>(options, argv[0]);
}
