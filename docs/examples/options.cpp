#include <magpie/docs/examples/options.hpp>
#include <magpie/runtime/runtime.hpp>

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace examples {

struct command_line::implementation {
  implementation(const char* program, const char* purpose) : app(purpose, program) {}
  CLI::App app;
  CLI::Option* last = nullptr;
};

command_line::command_line(const char* program, const char* purpose)
    : self_(new implementation(program, purpose)) {}

command_line::~command_line() { delete self_; }

void command_line::add(const char* option, double& value, double low, double high,
                       const char* help) {
  self_->last = self_->app.add_option(option, value, help)
                    ->check(CLI::Range(low, high))
                    ->capture_default_str();
}

void command_line::add(const char* option, std::uint64_t& value, std::uint64_t low,
                       std::uint64_t high, const char* help) {
  self_->last = self_->app.add_option(option, value, help)
                    ->check(CLI::Range(low, high))
                    ->capture_default_str();
}

void command_line::add(const char* option, magpie::net::socket_address& value, const char* help) {
  const auto read = [&value](const std::string& text) {
    const auto parsed = magpie::net::socket_address::parse(text);
    if (!parsed) throw CLI::ValidationError("'" + text + "' is no IP address with a port");
    value = *parsed;
  };
  self_->last = self_->app.add_option_function<std::string>(option, read, help)
                    ->type_name("HOST:PORT")
                    ->default_str(value.to_string());
}

void command_line::add_flag(const char* option, bool& value, const char* help) {
  self_->last = self_->app.add_flag(option, value, help);
}

void command_line::add_reactor(magpie::reactor_kind& value) {
  static const std::map<std::string, magpie::reactor_kind> kinds = {
      {"auto", magpie::reactor_kind::automatic},
      {"uring", magpie::reactor_kind::uring},
      {"epoll", magpie::reactor_kind::epoll},
  };
  const auto read = [&value](const std::string& text) { value = kinds.at(text); };
  self_->last = self_->app.add_option_function<std::string>("--reactor", read, "how to wait")
                    ->check(CLI::IsMember(kinds))
                    ->type_name("auto|uring|epoll");
}

void command_line::require_last() { self_->last->required(); }

void command_line::parse(int argc, char** argv) {
  try {
    self_->app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(self_->app.help().c_str(), stdout);
    std::exit(0);
  } catch (const CLI::ParseError& wrong) {
    const std::string name = self_->app.get_name();
    std::fprintf(stderr, "%s: %s\n%s", name.c_str(), wrong.what(), self_->app.help().c_str());
    std::exit(2);
  }
}

void add_server_options(command_line& line, server_options& to) {
  line.add("--listen", to.listen, "where to listen; port 0: any");
  static_assert(sizeof(std::uint64_t) == sizeof(to.runtime.workers));
  line.add("--workers", to.runtime.workers, 0, magpie::options::workers_max,
           "worker threads; 0: one for each core");
  line.add_reactor(to.runtime.reactor);
}

void announce(const magpie::net::tcp_listener& listener) {
  const auto address = listener.local_address();
  std::printf("listening on %s reactor=%s workers=%zu\n",
              address ? address->to_string().c_str() : "?",
              magpie::to_string(magpie::current_reactor()), magpie::current_workers());
  std::fflush(stdout);
}

int complain(const char* program, const std::string& about, std::error_code error) {
  std::fprintf(stderr, "%s: %s: %s\n", program, about.c_str(), error.message().c_str());
  return 1;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

}  // namespace examples
