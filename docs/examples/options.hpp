/// The command lines of the example programs, on top of CLI11.
///
/// CLI11 is heavy to include and reports by exceptions; both stay in options.cpp.  `--help` prints
/// the options and exits with 0; anything that does not parse prints what is wrong and the usage to
/// standard error and exits with 2.
#pragma once

#include <magpie/net/tcp.hpp>
#include <magpie/runtime/options.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace examples {

class command_line {
 public:
  command_line(const char* program, const char* purpose);
  command_line(const command_line&) = delete;
  command_line& operator=(const command_line&) = delete;
  ~command_line();

  // Each option's variable holds the default and gets the value.

  void add(const char* option, double& value, double low, double high, const char* help);
  void add(const char* option, std::uint64_t& value, std::uint64_t low, std::uint64_t high,
           const char* help);
  void add(const char* option, magpie::net::socket_address& value, const char* help);
  void add_flag(const char* option, bool& value, const char* help);
  /// `--reactor auto|uring|epoll`.
  void add_reactor(magpie::reactor_kind& value);
  /// The option added last must be given.
  void require_last();

  /// Reads the command line into the variables, or ends the program.
  void parse(int argc, char** argv);

 private:
  struct implementation;
  implementation* self_;
};

/// What every server example understands.
struct server_options {
  magpie::net::socket_address listen{magpie::net::ip_address::loopback(), 7000};
  magpie::options runtime;
};

/// `--listen HOST:PORT --workers N --reactor R`.
void add_server_options(command_line& line, server_options& to);

/// Prints `listening on HOST:PORT reactor=R workers=N` with what it has really become.
/// Called inside the runtime.
void announce(const magpie::net::tcp_listener& listener);

/// Prints why a program cannot go on, and gives the exit code for it.
int complain(const char* program, const std::string& about, std::error_code error);

/// Raises the soft limit on descriptors to the hard one.
void raise_descriptor_limit();

}  // namespace examples
