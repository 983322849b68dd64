// What both bare echo servers share: options, the listening socket, and one blocking acceptor
// that hands connections to the workers round-robin.
//
// Why one acceptor and not SO_REUSEPORT: the kernel spreads SO_REUSEPORT connections by a hash,
// so that 50 connections over two workers come out as 20:30 or worse, and a multishot accept on
// two rings gives nearly all to one of them (exclusive wake). Round-robin is exact, and the
// acceptor sleeps during the measured window, so it costs nothing there.
#pragma once

#include <magpie/bench/bare/common.hpp>

#include <getopt.h>
#include <pthread.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bare {

struct server_options {
  std::string listen = "127.0.0.1:0";
  std::string form;
  unsigned workers = 1;
  std::size_t buffer_size = 16 * 1024;
  std::uint64_t compute_us = 0;
};

/// Replies that the kernel did not take at once. Allocated only for a peer that reads too slowly.
struct backlog {
  std::vector<std::byte> bytes;
  std::size_t sent = 0;
};

/// A table indexed by descriptor. The memory is calloc's, so untouched entries cost no page.
template <class Entry>
class descriptor_table {
 public:
  explicit descriptor_table(std::size_t size)
      : entries_(static_cast<Entry*>(std::calloc(size, sizeof(Entry)))) {
    if (entries_ == nullptr) die("calloc", ENOMEM);
  }
  descriptor_table(const descriptor_table&) = delete;
  descriptor_table& operator=(const descriptor_table&) = delete;
  Entry& operator[](int fd) noexcept { return entries_[fd]; }

 private:
  Entry* entries_;  // as long as the process
};

/// A request that begins with 'C' asks the server to compute (the interference load).
inline void compute_if_asked(const server_options& options, const std::byte* data) noexcept {
  if (options.compute_us == 0 || data[0] != std::byte{'C'}) [[likely]]
    return;
  const auto end = now_ns() + options.compute_us * 1000;
  while (now_ns() < end) {
  }
}

[[noreturn]] inline void usage(const char* program, std::span<const char* const> forms, FILE* where,
                               int status) {
  std::fprintf(where, "usage: %s [--listen HOST:PORT] [--workers N] [--form ", program);
  for (std::size_t index = 0; index < forms.size(); ++index) {
    std::fprintf(where, "%s%s", index == 0 ? "" : "|", forms[index]);
  }
  std::fprintf(where,
               "] [--message-size BYTES] [--compute-us MICROSECONDS]\n"
               "  --message-size  size of the receive buffer (default 16384)\n"
               "  --compute-us    spin that long for each request beginning with 'C'\n");
  std::exit(status);
}

inline bool take_option(server_options& options, int key, std::string_view value) {
  const auto number = parse_number<std::uint64_t>(value);
  switch (key) {
    case 'l':
      options.listen = value;
      return true;
    case 'f':
      options.form = value;
      return true;
    case 'w':
      if (!number || *number < 1 || *number > 256) return false;
      options.workers = static_cast<unsigned>(*number);
      return true;
    case 'm':
      if (!number || *number < 1 || *number > (1U << 24)) return false;
      options.buffer_size = *number;
      return true;
    case 'c':
      if (!number || *number > 10'000'000) return false;
      options.compute_us = *number;
      return true;
    default:
      return false;
  }
}

inline server_options parse_server_options(int argc, char** argv,
                                           std::span<const char* const> forms) {
  static const option known[] = {
      {"listen", required_argument, nullptr, 'l'},
      {"workers", required_argument, nullptr, 'w'},
      {"form", required_argument, nullptr, 'f'},
      {"message-size", required_argument, nullptr, 'm'},
      {"compute-us", required_argument, nullptr, 'c'},
      {"help", no_argument, nullptr, 'h'},
      {nullptr, 0, nullptr, 0},
  };
  server_options options;
  options.form = forms.front();
  for (int key; (key = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    if (key == 'h') usage(argv[0], forms, stdout, 0);
    if (key == '?') usage(argv[0], forms, stderr, 2);
    if (!take_option(options, key, optarg)) {
      std::fprintf(stderr, "%s: bad value '%s'\n", argv[0], optarg);
      usage(argv[0], forms, stderr, 2);
    }
  }
  bool known_form = false;
  for (const char* form : forms) known_form |= options.form == form;
  if (!known_form) std::fprintf(stderr, "%s: no form '%s'\n", argv[0], options.form.c_str());
  if (!known_form || optind != argc) usage(argv[0], forms, stderr, 2);
  return options;
}

inline int make_listener(const server_options& options, const char* program) {
  auto address = parse_address(options.listen);
  if (!address) {
    std::fprintf(stderr, "%s: bad address '%s'\n", program, options.listen.c_str());
    std::exit(2);
  }
  const int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // accepted sockets inherit it
  if (bind(fd, address->get(), address->length) != 0) die("bind");
  if (listen(fd, 4096) != 0) die("listen");
  return fd;
}

/// Tells the harness where we listen; the socket already queues connections by then.
inline void announce(int listener, const std::string& reactor, unsigned workers) {
  socket_address bound;
  bound.length = sizeof bound.storage;
  if (getsockname(listener, bound.get(), &bound.length) != 0) die("getsockname");
  std::printf("listening on %s reactor=%s workers=%u\n", to_string(bound).c_str(), reactor.c_str(),
              workers);
  std::fflush(stdout);
}

inline void exit_on_signals() {
  struct sigaction action{};
  action.sa_handler = [](int) { _exit(0); };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

/// Accepts for ever; `hand_over(fd, worker)` gets each connection in turn. `flags` is SOCK_NONBLOCK
/// or 0: a ring would answer EAGAIN on a non-blocking socket instead of waiting for data.
template <class HandOver>
[[noreturn]] void accept_for_ever(int listener, unsigned workers, int flags, HandOver hand_over) {
  for (unsigned next = 0;;) {
    const int fd = accept4(listener, nullptr, nullptr, flags | SOCK_CLOEXEC);
    if (fd >= 0) {
      hand_over(fd, next);
      next = (next + 1) % workers;
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      usleep(10'000);
    } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
      die("accept4");
    }
  }
}

}  // namespace bare
