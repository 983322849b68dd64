/// A load generator for echo servers: sends messages, expects them back, and measures.
///
///     load --connect 127.0.0.1:7000 --connections 50 --size 64 --seconds 5
///     load --connect 127.0.0.1:7000 --rate 20000 --json
///
/// Closed loop: each connection sends its next message when the answer is back.  Open loop (with
/// `--rate`): messages are sent when they are due whether or not answers are late, and a latency
/// counts from the moment at which the message *should* have been sent.  A wrong answer or a lost
/// connection ends the program with exit code 1.
///
/// It runs on one worker, so what the connections share needs no lock.
#include <magpie/bench/bare/histogram.hpp>
#include <magpie/docs/examples/options.hpp>
#include <magpie/io/read.hpp>
#include <magpie/net/tcp.hpp>
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/run.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>

#include <unistd.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <span>
#include <vector>

using namespace magpie;
using namespace std::chrono_literals;

namespace {

/// Above this a message is sent and received at the same time: it may not fit into the buffers
/// between here and the server.
constexpr std::size_t both_ways_above = 32'768;

struct settings {
  net::socket_address connect;
  std::uint64_t connections = 50;
  std::uint64_t size = 64;
  double seconds = 5;
  double warmup = 0.5;
  double rate = 0;  // messages per second in all; 0: closed loop
  bool json = false;
  magpie::options runtime;
};

/// What all connections share.
struct measurement {
  explicit measurement(const settings& chosen) : options(chosen) {}

  /// Sets the window, once everybody is connected.
  void begin() {
    start = clock::now();
    window_begin = start + in_ns(options.warmup);
    window_end = window_begin + in_ns(options.seconds);
  }
  static clock::duration in_ns(double seconds) {
    return std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds));
  }
  bool counts(clock::time_point moment) const {
    return moment >= window_begin && moment < window_end;
  }
  void record(clock::time_point since, clock::time_point now) {
    latencies.record(static_cast<std::uint64_t>((now - since).count()));
  }

  const settings& options;
  clock::time_point start;
  clock::time_point window_begin;
  clock::time_point window_end;
  bare::histogram latencies;
  std::uint64_t answers = 0;  // in all, for the progress line
  std::uint64_t sent_in_window = 0;
};

/// The messages of one connection, each different from its neighbours.
class messages {
 public:
  messages(std::size_t size, std::uint64_t connection) : sent_(size), back_(size) {
    for (std::size_t i = 0; i < size; ++i)
      sent_[i] = static_cast<std::byte>('a' + (i + connection) % 26);
  }

  std::span<const std::byte> next(std::uint64_t number) {
    mark(sent_, number);
    return sent_;
  }
  std::span<std::byte> answer() { return back_; }
  /// Whether the answer is message `number`; the message itself may have moved on.
  bool right(std::uint64_t number) {
    const std::size_t marked = std::min(sent_.size(), sizeof number);
    return std::memcmp(back_.data(), &number, marked) == 0 &&
           std::memcmp(back_.data() + marked, sent_.data() + marked, sent_.size() - marked) == 0;
  }

 private:
  static void mark(std::span<std::byte> message, std::uint64_t number) {
    std::memcpy(message.data(), &number, std::min(message.size(), sizeof number));
  }

  std::vector<std::byte> sent_;
  std::vector<std::byte> back_;
};

std::error_code wrong_answer() {
  std::fprintf(stderr, "load: the answer is not what was sent\n");
  return std::make_error_code(std::errc::bad_message);
}

task<> send(net::tcp_stream& to, std::span<const std::byte> message) {
  co_await to.write_all(message);
}

/// One message there and back.
task<> exchange(net::tcp_stream& server, std::span<const std::byte> message,
                std::span<std::byte> answer) {
  if (message.size() <= both_ways_above) {
    co_await server.write_all(message);
    co_await io::read_exact(server, answer);
    co_return;
  }
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(send(server, message));
    co_await io::read_exact(server, answer);
  });
}

task<> closed_loop(net::tcp_stream& server, std::uint64_t connection, measurement& all) {
  messages own(all.options.size, connection);
  for (std::uint64_t number = 0;; ++number) {
    const auto sent = clock::now();
    if (sent >= all.window_end) co_return;
    co_await exchange(server, own.next(number), own.answer());
    const auto now = clock::now();
    if (!own.right(number)) co_await fail(wrong_answer());
    ++all.answers;
    if (all.counts(now)) all.record(sent, now);
  }
}

/// When a connection sends: the connections take turns, one message each `1 / rate`.
struct schedule {
  schedule(const measurement& all, std::uint64_t connection)
      : first(all.start + measurement::in_ns(static_cast<double>(connection) / all.options.rate)),
        every(measurement::in_ns(static_cast<double>(all.options.connections) / all.options.rate)) {
  }
  clock::time_point due(std::uint64_t number) const {
    return first + every * static_cast<clock::rep>(number);
  }
  clock::time_point first;
  clock::duration every;
};

task<> send_when_due(net::tcp_stream& server, std::uint64_t connection, measurement& all) {
  const schedule plan(all, connection);
  messages own(all.options.size, connection);
  for (std::uint64_t number = 0; plan.due(number) < all.window_end; ++number) {
    co_await sleep_until(plan.due(number));
    if (all.counts(plan.due(number))) ++all.sent_in_window;
    co_await server.write_all(own.next(number));
  }
  co_await server.shutdown_write();
}

task<> open_loop(net::tcp_stream& server, std::uint64_t connection, measurement& all) {
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(send_when_due(server, connection, all));
    const schedule plan(all, connection);
    messages own(all.options.size, connection);
    for (std::uint64_t number = 0; plan.due(number) < all.window_end; ++number) {
      co_await io::read_exact(server, own.answer());
      const auto now = clock::now();
      if (!own.right(number)) co_await fail(wrong_answer());
      ++all.answers;
      if (all.counts(plan.due(number))) all.record(plan.due(number), now);
    }
  });
}

task<> connect_all(const settings& options, std::vector<net::tcp_stream>& into) {
  net::connect_options how;
  for (std::uint64_t i = 0; i < options.connections; ++i)
    into.push_back(co_await timeout(10s, net::tcp_stream::connect(options.connect, how)));
}

task<> show_progress(const measurement& all) {
  const bool terminal = ::isatty(2) != 0;
  std::uint64_t before = 0;
  for (auto next = all.start + 1s; next < all.window_end; next += 1s) {
    co_await sleep_until(next);
    const auto left = std::chrono::ceil<std::chrono::seconds>(all.window_end - next).count();
    if (!terminal) continue;
    std::fprintf(stderr, "\r%" PRIu64 " answers/s, %lld s left   ", all.answers - before,
                 static_cast<long long>(left));
    before = all.answers;
  }
  if (terminal) std::fprintf(stderr, "\r%40s\r", "");
}

task<> drive(measurement& all, std::vector<net::tcp_stream>& streams) {
  co_await with_task_group([&](task_group& group) -> task<> {
    group.spawn(show_progress(all));
    for (std::uint64_t i = 0; i < streams.size(); ++i) {
      if (all.options.rate > 0) {
        group.spawn(open_loop(streams[i], i, all));
      } else {
        group.spawn(closed_loop(streams[i], i, all));
      }
    }
    co_return;
  });
}

void print(const measurement& all) {
  const auto us = [&](double fraction) {
    return static_cast<double>(all.latencies.percentile(fraction)) / 1000;
  };
  const double max = static_cast<double>(all.latencies.max()) / 1000;
  const std::uint64_t requests = all.latencies.total();
  const std::uint64_t unanswered = all.options.rate > 0 ? all.sent_in_window - requests : 0;
  const double rate = static_cast<double>(requests) / all.options.seconds;
  if (all.options.json) {
    std::printf("{\"requests\": %" PRIu64
                ", \"seconds\": %.3f, \"rate\": %.1f, "
                "\"answers\": %" PRIu64 ", \"unanswered\": %" PRIu64
                ", "
                "\"latency_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, "
                "\"max\": %.1f}}\n",
                requests, all.options.seconds, rate, all.answers, unanswered, us(0.5), us(0.99),
                us(0.999), max);
    return;
  }
  std::printf("%" PRIu64 " requests in %.1f s: %.0f requests/s, %" PRIu64
              " unanswered\n"
              "latency  p50 %.1f  p99 %.1f  p99.9 %.1f  max %.1f us\n",
              requests, all.options.seconds, rate, unanswered, us(0.5), us(0.99), us(0.999), max);
}

task<> measure(const settings& options) {
  std::vector<net::tcp_stream> streams;
  co_await connect_all(options, streams);
  measurement all(options);
  all.begin();
  // A server that does not answer any more must not hold us for ever.
  const auto patience = measurement::in_ns(options.warmup + options.seconds) + 5s;
  const auto ended = co_await as_result(timeout(patience, drive(all, streams)));
  // Answers that did not come in time are a finding of an open loop, not a failure of it.
  const bool overrun = !ended && ended.error() == errc::deadline && options.rate > 0;
  if (!ended && !overrun) co_await fail(ended.error());
  print(all);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  examples::command_line line("load", "Sends messages to an echo server and measures.");
  line.add("--connect", chosen.connect, "the server");
  line.require_last();
  line.add("--connections", chosen.connections, 1, 100'000, "connections");
  line.add("--size", chosen.size, 1, 16U << 20, "bytes of a message");
  line.add("--seconds", chosen.seconds, 0.1, 86'400, "how long to measure");
  line.add("--warmup", chosen.warmup, 0, 3600, "seconds before that");
  line.add("--rate", chosen.rate, 0, 1e8, "open loop: messages per second in all; 0: closed loop");
  line.add_flag("--json", chosen.json, "print one JSON object");
  line.add_reactor(chosen.runtime.reactor);
  line.parse(argc, argv);
  examples::raise_descriptor_limit();
  chosen.runtime.workers = 1;
  chosen.runtime.flavour = flavour::current_thread;
  return magpie::run(measure(chosen), chosen.runtime);
}
