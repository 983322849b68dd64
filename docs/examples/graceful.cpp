/// A server that ends without losing a response that it has begun.
///
///     graceful --listen 127.0.0.1:7000 --drain-ms 5000
///
/// A request is a line, a response is a line with a number and as many bytes:
///
///     bytes 10000       ten thousand bytes, in pieces, which takes a while
///     hang              a response that never comes, until it is stopped
///     stubborn          the same, from a handler that ignores being stopped
///
/// At SIGINT or SIGTERM it accepts nothing more, closes the connections that wait for a request,
/// and goes on with those that are in the middle of a response, for `--drain-ms`.  What is left
/// then is stopped and has `--abort-ms`.  It prints a report, and exits with 0; with 1 if something
/// had to be stopped; with 3 if something is stuck.  A second signal exits at once.
#include <magpie/docs/examples/options.hpp>
#include <magpie/net/tcp.hpp>
#include <magpie/runtime/graceful.hpp>
#include <magpie/runtime/run.hpp>
#include <magpie/runtime/sleep.hpp>

#include <array>
#include <charconv>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

using namespace magpie;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t line_max = 128;
constexpr std::size_t response_max = 1 << 20;
constexpr std::size_t pieces = 10;

struct settings {
  std::uint64_t drain_ms = 5000;
  std::uint64_t abort_ms = 500;
};

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

task<> say(net::tcp_stream& peer, std::string_view text) {
  co_await peer.write_all(std::as_bytes(std::span(text)));
}

/// The next request without its end; empty when there is none: the peer has closed, or has sent
/// something else, or the server stops.
task<std::string_view> next_request(net::tcp_stream& peer, std::span<std::byte> buffer,
                                    const cancellation_token& stopping) {
  for (std::size_t size = 0; size < buffer.size();) {
    // Nothing has been begun here, so this is where a session may end.
    const auto got = co_await stopping.run_until_cancelled(peer.read(buffer.subspan(size)));
    if (!got || *got == 0) break;
    size += *got;
    const std::string_view text = as_text(buffer.first(size));
    if (text.ends_with('\n')) co_return text.substr(0, size - 1);
  }
  co_return std::string_view();
}

task<> send_bytes(net::tcp_stream& peer, std::size_t size) {
  co_await say(peer, std::to_string(size) + "\n");
  const std::string piece(size / pieces, 'x');
  for (std::size_t sent = 0; sent < size;) {
    const std::size_t now = std::min(piece.size(), size - sent);
    co_await sleep_for(5ms);  // stands for a slow source
    co_await say(peer, std::string_view(piece).substr(0, now));
    sent += now;
  }
}

task<> answer(net::tcp_stream& peer, std::string_view request) {
  if (request == "hang") co_await sleep_for(24h);
  while (request == "stubborn") {
    [[maybe_unused]] const auto slept = co_await as_result(sleep_for(1ms));
  }
  std::size_t size = 0;
  constexpr std::string_view verb = "bytes ";
  if (request.starts_with(verb))
    std::from_chars(request.data() + verb.size(), request.data() + request.size(), size);
  co_await send_bytes(peer, std::min(size, response_max));
}

task<> session(net::tcp_stream peer, cancellation_token stopping) {
  std::array<std::byte, line_max> buffer;
  for (;;) {
    const std::string_view request = co_await next_request(peer, buffer, stopping);
    if (request.empty()) co_return;
    co_await answer(peer, request);  // what is begun goes on, also when the server stops
  }
}

task<int> serve(net::tcp_listener listener, settings chosen) {
  examples::announce(listener);
  const graceful_options wanted(std::chrono::milliseconds(chosen.drain_ms),
                                std::chrono::milliseconds(chosen.abort_ms));
  const auto report =
      co_await with_graceful_shutdown(wanted, [&](graceful_group& server) -> task<> {
        for (std::uint64_t number = 1;; ++number) {
          auto peer = co_await listener.accept();
          const std::string name = "session " + std::to_string(number);
          server.spawn(named(name), session(std::move(peer), server.stopping()));
        }
      });
  std::fputs(to_string(report).c_str(), stdout);
  co_return report.clean() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  examples::server_options chosen;
  settings times;
  examples::command_line line("graceful", "Ends without losing what it has begun.");
  examples::add_server_options(line, chosen);
  constexpr std::uint64_t day_ms = 86'400'000;
  line.add("--drain-ms", times.drain_ms, 0, day_ms, "how long what is begun may go on");
  line.add("--abort-ms", times.abort_ms, 0, day_ms, "how long what is stopped may take");
  line.parse(argc, argv);
  chosen.runtime.drain_deadline = 100ms;  // what is stuck has had its time by then
  auto listener = net::tcp_listener::bind(chosen.listen);
  if (!listener) return examples::complain("graceful", chosen.listen.to_string(), listener.error());
  return magpie::run(serve(std::move(*listener), times), chosen.runtime);
}
