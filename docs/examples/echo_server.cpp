/// An echo server: what a connection sends comes back.
///
///     echo_server --listen 127.0.0.1:7000 --workers 2 --reactor auto
///
/// SIGINT and SIGTERM stop it: connections end, and it exits with 0.
#include <magpie/docs/examples/options.hpp>
#include <magpie/io/write.hpp>
#include <magpie/net/tcp.hpp>
#include <magpie/runtime/run.hpp>
#include <magpie/runtime/task_group.hpp>

#include <array>
#include <span>

using namespace magpie;

task<> echo(net::tcp_stream peer) {
  std::array<std::byte, 4096> buffer;
  while (auto count = co_await peer.read(buffer))  // 0: the peer closed its side
    co_await io::write_all(peer, std::span(buffer).first(count));
}

task<> serve(net::tcp_listener listener) {
  examples::announce(listener);
  co_await with_task_group([&](task_group& sessions) -> task<> {
    for (;;) {
      auto peer = co_await listener.accept();
      sessions.spawn_isolated(echo(std::move(peer)));  // one peer's failure ends only that peer
    }
  });
}

int main(int argc, char** argv) {
  examples::server_options chosen;
  examples::command_line line("echo_server", "Sends back what it receives.");
  examples::add_server_options(line, chosen);
  line.parse(argc, argv);
  auto listener = net::tcp_listener::bind(chosen.listen);
  if (!listener)
    return examples::complain("echo_server", chosen.listen.to_string(), listener.error());
  return magpie::run(serve(std::move(*listener)), chosen.runtime);
}
