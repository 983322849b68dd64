// The load generator of all echo measurements. Closed loop (each connection keeps `pipeline`
// requests in flight), open loop (requests are due at fixed times whether or not replies came;
// latency counts from the time due), silent connections, and the interference load. It is
// compared with tools in the manner of wrk, which count latency from the actual send and so hide
// a server's pauses.
#include <magpie/bench/bare/load_generator.hpp>

#include <sys/prctl.h>

namespace bare {
namespace {

int open_connection(const socket_address& address) {
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  if (connect(fd, address.get(), address.length) != 0) die("connect");
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

/// One round trip on a connection of its own: when it is back, everything before it is accepted.
void wait_until_accepted(const socket_address& address) {
  const int fd = open_connection(address);
  char byte = 'P';
  if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1) die("probe");
  close(fd);
}

/// Opens connections in steps that no backlog overflows.
std::vector<int> open_connections(const socket_address& address, std::size_t count) {
  std::vector<int> opened;
  const bool show = isatty(2) != 0;
  for (std::size_t index = 0; index < count; ++index) {
    opened.push_back(open_connection(address));
    if (index % 64 == 63) wait_until_accepted(address);
    if (show && index % 1024 == 1023) std::fprintf(stderr, "\rconnected %zu", index + 1);
  }
  if (show && count >= 1024) std::fprintf(stderr, "\r%20s\r", "");
  wait_until_accepted(address);
  return opened;
}

void hold_idle(const load_options& options, const socket_address& address) {
  wait_until_accepted(address);
  const auto before = options.server_pid != 0 ? private_memory(options.server_pid) : -1;
  const auto sockets = open_connections(address, options.idle);
  timespec time{static_cast<time_t>(options.seconds), 0};
  nanosleep(&time, nullptr);
  const auto after = options.server_pid != 0 ? private_memory(options.server_pid) : -1;
  for (const int fd : sockets) {
    char byte;
    if (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN) fail("an idle connection ended");
  }
  const double each = before < 0 || after < 0
                          ? -1
                          : static_cast<double>(after - before) / static_cast<double>(options.idle);
  std::printf(options.json ? "{\"idle\": %zu, \"bytes_each\": %.1f}\n"
                           : "%zu idle connections, %.1f bytes of private memory each\n",
              options.idle, each);
}

struct latencies_us {
  double p50, p90, p99, p999, max;

  explicit latencies_us(const histogram& of)
      : p50(us(of.percentile(0.5))),
        p90(us(of.percentile(0.9))),
        p99(us(of.percentile(0.99))),
        p999(us(of.percentile(0.999))),
        max(us(of.max())) {}

  static double us(std::uint64_t ns) { return static_cast<double>(ns) / 1000; }
};

void print_text(const load_options& options, const window_report& report,
                const histogram& latencies, const histogram& computing) {
  const auto count = static_cast<double>(report.requests);
  std::printf("%.0f requests in %.3f s: %.0f req/s\n", count, report.seconds,
              count / report.seconds);
  const auto print = [](const char* name, const histogram& of) {
    const latencies_us us(of);
    std::printf("%s p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f us\n", name, us.p50, us.p90,
                us.p99, us.p999, us.max);
  };
  print("latency  ", latencies);
  if (computing.total() > 0) print("computing", computing);
  if (options.rate > 0) {
    std::printf("unanswered %llu, sent late by at most %.1f us\n",
                static_cast<unsigned long long>(report.unanswered),
                latencies_us::us(report.latest_send_ns));
  }
  if (options.server_pid != 0) {
    std::printf("server %.3f us CPU per request (%.2f cores), ",
                static_cast<double>(report.server_cpu_ns) / 1000 / count,
                static_cast<double>(report.server_cpu_ns) / 1e9 / report.seconds);
  }
  std::printf("generator %.2f cores, others %.2f, stolen %.2f\n",
              static_cast<double>(report.own_cpu_ns) / 1e9 / report.seconds, report.other_cores,
              report.stolen_cores);
}

void print_json(const window_report& report, const histogram& latencies,
                const histogram& computing) {
  std::printf(
      "{\"requests\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"unanswered\": %llu, "
      "\"late_us\": %.1f, \"server_cpu_ns\": %llu, \"generator_cpu_ns\": %llu, "
      "\"other_cores\": %.4f, \"stolen_cores\": %.4f",
      static_cast<unsigned long long>(report.requests), report.seconds,
      static_cast<double>(report.requests) / report.seconds,
      static_cast<unsigned long long>(report.unanswered), latencies_us::us(report.latest_send_ns),
      static_cast<unsigned long long>(report.server_cpu_ns),
      static_cast<unsigned long long>(report.own_cpu_ns), report.other_cores, report.stolen_cores);
  const auto print = [](const char* name, const histogram& of) {
    const latencies_us us(of);
    std::printf(
        ", \"%s\": {\"samples\": %llu, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, "
        "\"p99.9\": %.1f, \"max\": %.1f}",
        name, static_cast<unsigned long long>(of.total()), us.p50, us.p90, us.p99, us.p999, us.max);
  };
  print("latency_us", latencies);
  if (computing.total() > 0) print("computing_us", computing);
  std::printf("}\n");
}

}  // namespace
}  // namespace bare

int main(int argc, char** argv) {
  using namespace bare;
  const auto options = parse_load_options(argc, argv);
  const auto address = parse_address(options.connect);
  if (!address) {
    std::fprintf(stderr, "%s: bad address '%s'\n", argv[0], options.connect.c_str());
    return 2;
  }
  raise_descriptor_limit();
  prctl(PR_SET_TIMERSLACK, 1);  // the open loop sleeps for microseconds
  if (options.idle > 0) {
    hold_idle(options, *address);
    return 0;
  }
  const auto sockets = open_connections(*address, options.connections);
  generator load(options, sockets);
  const auto report = load.run();
  if (isatty(2) != 0) std::fprintf(stderr, "\r%60s\r", "");
  if (options.json) {
    print_json(report, load.latencies(), load.compute_latencies());
  } else {
    print_text(options, report, load.latencies(), load.compute_latencies());
  }
}
