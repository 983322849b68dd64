/// The echo server that is measured: a connection that waits holds no buffer.
///
/// It reads into the worker's hot buffer and answers from there; only what the socket does not take
/// at once is copied.  `--compute-us N`: a message that begins with 'C' keeps its worker busy for
/// that long first.  `--no-rescue` and `--watch-us N` show what the watcher does; `--metrics`
/// prints the runtime's counters to standard error at the end.
#include <magpie/docs/examples/options.hpp>
#include <magpie/net/tcp.hpp>
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/run.hpp>
#include <magpie/runtime/runtime.hpp>
#include <magpie/runtime/task_group.hpp>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <span>
#include <vector>

using namespace magpie;

namespace {

std::chrono::microseconds compute_time{0};
bool print_metrics = false;

void compute_if_asked(std::span<const std::byte> message) {
  if (compute_time.count() == 0 || message[0] != std::byte{'C'}) [[likely]]
    return;
  const auto end = magpie::clock::now() + compute_time;
  while (magpie::clock::now() < end) {
  }
}

/// Answers with what arrived; true when the socket took all of it, else `rest` is to be written.
/// An error is left to that write, which meets it again.
bool answer(net::tcp_stream& peer, std::span<const std::byte> message,
            std::vector<std::byte>& rest) {
  const std::size_t sent = peer.try_write(message).value_or(0);
  if (sent == message.size()) [[likely]]
    return true;
  rest.assign(message.begin() + static_cast<std::ptrdiff_t>(sent), message.end());
  return false;
}

task<> send_rest(net::tcp_stream& peer, std::vector<std::byte> rest) {
  co_await peer.write_all(rest);
}

task<> echo(net::tcp_stream peer) {
  for (;;) {
    std::vector<std::byte> rest;
    {
      const auto arrived = co_await peer.read_leased();
      if (arrived.empty()) co_return;
      compute_if_asked(arrived.bytes());
      if (answer(peer, arrived.bytes(), rest)) [[likely]]
        continue;
    }
    co_await send_rest(peer, std::move(rest));
  }
}

void show(const char* name, std::uint64_t value) {
  std::fprintf(stderr, "%s %" PRIu64 "\n", name, value);
}

void show_metrics() {
  const runtime_metrics now = current_metrics();
  show("polls", now.polls);
  show("steals", now.steals);
  show("parks", now.parks);
  show("wakes", now.wakes);
  show("overflows", now.overflows);
  show("budget_yields", now.budget_yields);
  show("watches", now.watches);
  show("watch_us", now.watch_ns / 1000);
  show("rescues", now.rescues);
  show("kicks", now.kicks);
  show("reactor_calls", now.reactor_calls);
}

task<> serve(net::tcp_listener listener) {
  examples::announce(listener);
  const auto ended = co_await as_result(with_task_group([&](task_group& sessions) -> task<> {
    for (;;) {
      auto peer = co_await listener.accept();
      sessions.spawn_isolated(echo(std::move(peer)));
    }
  }));
  if (print_metrics) show_metrics();
  if (!ended) co_await fail(ended.error());
}

}  // namespace

int main(int argc, char** argv) {
  examples::server_options chosen;
  chosen.listen = net::socket_address(net::ip_address::loopback(), 0);
  chosen.runtime.workers = 1;
  std::uint64_t compute_us = 0;
  std::uint64_t message_size = 0;
  examples::command_line line("echo_server_bench", "The echo server that is measured.");
  examples::add_server_options(line, chosen);
  line.add("--compute-us", compute_us, 0, 10'000'000,
           "compute that long for messages that begin with 'C'");
  line.add("--message-size", message_size, 0, 1U << 24,
           "understood for the sake of comparisons; the buffer is the worker's");
  bool no_rescue = false;
  line.add_flag("--no-rescue", no_rescue, "switch the watcher off");
  std::uint64_t watch_us = 100;
  line.add("--watch-us", watch_us, 10, 1'000'000, "how often the watcher looks");
  line.add_flag("--metrics", print_metrics, "print the runtime's counters at the end");
  line.parse(argc, argv);
  chosen.runtime.rescue = !no_rescue;
  chosen.runtime.watch_interval = std::chrono::microseconds(watch_us);
  compute_time = std::chrono::microseconds(compute_us);
  examples::raise_descriptor_limit();
  net::listen_options deep;
  deep.backlog = 4096;
  auto listener = net::tcp_listener::bind(chosen.listen, deep);
  if (!listener)
    return examples::complain("echo_server_bench", chosen.listen.to_string(), listener.error());
  return magpie::run(serve(std::move(*listener)), chosen.runtime);
}
