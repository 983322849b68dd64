// The command line of the load generator.
#pragma once

#include <magpie/bench/bare/common.hpp>

#include <getopt.h>

#include <string_view>

namespace bare {

struct load_options {
  std::string connect;
  std::size_t connections = 50;
  std::size_t size = 64;
  double seconds = 3;
  double warmup = 0.5;
  double rate = 0;  // requests per second in all; 0: closed loop
  std::size_t pipeline = 1;
  std::size_t idle = 0;
  double compute_share = 0;  // of the requests begin with 'C'
  pid_t server_pid = 0;
  bool spin = false;
  bool json = false;
};

[[noreturn]] inline void load_usage(const char* program, FILE* where, int status) {
  std::fprintf(
      where,
      "usage: %s --connect HOST:PORT [options]\n"
      "  --connections N   (50)      --size BYTES      of a message (64)\n"
      "  --seconds S       (3)       --warmup S        before the measured window (0.5)\n"
      "  --pipeline D      requests in flight per connection, closed loop (1)\n"
      "  --rate R          open loop: R requests/s in all; latency counts from the intended\n"
      "                    send time\n"
      "  --spin            open loop: poll instead of sleeping until the next send (needs a core\n"
      "                    of its own)\n"
      "  --idle N          only open N silent connections and hold them for --seconds\n"
      "  --interference    16 connections, 1000 requests/s, 2 %% of them ask the server to\n"
      "                    compute (first byte 'C'); reports the other 98 %%\n"
      "  --server-pid PID  also report the server's CPU time per request in the window\n"
      "  --json            one JSON object on stdout\n",
      program);
  std::exit(status);
}

template <class Number>
bool take_number(Number& into, std::string_view text, Number low, Number high) {
  const auto number = parse_number<Number>(text);
  if (!number || !(*number >= low && *number <= high)) return false;
  into = *number;
  return true;
}

inline bool take_load_option(load_options& options, int key, const char* value) {
  switch (key) {
    case 'a':
      options.connect = value;
      return true;
    case 'n':
      return take_number<std::size_t>(options.connections, value, 1, 28'000);
    case 'b':
      return take_number<std::size_t>(options.size, value, 1, 16U << 20);
    case 's':
      return take_number<double>(options.seconds, value, 0.01, 86'400);
    case 'w':
      return take_number<double>(options.warmup, value, 0, 3600);
    case 'r':
      return take_number<double>(options.rate, value, 1, 1e8);
    case 'd':
      return take_number<std::size_t>(options.pipeline, value, 1, 4096);
    case 'i':
      return take_number<std::size_t>(options.idle, value, 1, 28'000);
    case 'p':
      return take_number<pid_t>(options.server_pid, value, 1, 1 << 30);
    case 'k':
      options.spin = true;
      return true;
    case 'j':
      options.json = true;
      return true;
    case 'x':
      options.connections = 16;
      options.rate = 1000;
      options.compute_share = 0.02;
      return true;
    default:
      return false;
  }
}

inline load_options parse_load_options(int argc, char** argv) {
  static const option known[] = {
      {"connect", required_argument, nullptr, 'a'},
      {"connections", required_argument, nullptr, 'n'},
      {"size", required_argument, nullptr, 'b'},
      {"seconds", required_argument, nullptr, 's'},
      {"warmup", required_argument, nullptr, 'w'},
      {"rate", required_argument, nullptr, 'r'},
      {"pipeline", required_argument, nullptr, 'd'},
      {"idle", required_argument, nullptr, 'i'},
      {"interference", no_argument, nullptr, 'x'},
      {"server-pid", required_argument, nullptr, 'p'},
      {"spin", no_argument, nullptr, 'k'},
      {"json", no_argument, nullptr, 'j'},
      {"help", no_argument, nullptr, 'h'},
      {nullptr, 0, nullptr, 0},
  };
  load_options options;
  for (int key; (key = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    if (key == 'h') load_usage(argv[0], stdout, 0);
    if (key == '?') load_usage(argv[0], stderr, 2);
    if (!take_load_option(options, key, optarg)) {
      std::fprintf(stderr, "%s: bad value '%s'\n", argv[0], optarg);
      load_usage(argv[0], stderr, 2);
    }
  }
  if (options.connect.empty() || optind != argc) load_usage(argv[0], stderr, 2);
  return options;
}

}  // namespace bare
