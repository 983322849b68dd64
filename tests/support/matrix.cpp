#include <magpie/tests/support/matrix.hpp>

#include <cstdio>
#include <cstdlib>
#include <linux/io_uring.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

namespace magpie::tests {

namespace {

std::string_view variable(const char* name, std::string_view fallback) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? fallback : std::string_view(value);
}

[[noreturn]] void refuse(const char* name, std::string_view value) {
  std::fprintf(stderr, "%s: bad value '%s'\n", name, std::string(value).c_str());
  std::exit(2);
}

}  // namespace

std::string_view matrix_reactor() {
  const auto reactor = variable("MAGPIE_TEST_REACTOR", "sim");
  if (reactor != "uring" && reactor != "epoll" && reactor != "sim")
    refuse("MAGPIE_TEST_REACTOR", reactor);
  return reactor;
}

unsigned matrix_workers() {
  const auto text = variable("MAGPIE_TEST_WORKERS", "2");
  const auto workers = std::strtoul(std::string(text).c_str(), nullptr, 10);
  if (workers < 1 || workers > 1024) refuse("MAGPIE_TEST_WORKERS", text);
  return static_cast<unsigned>(workers);
}

bool kernel_has_uring() {
  io_uring_params params{};
  const long ring = ::syscall(SYS_io_uring_setup, 4U, &params);
  if (ring < 0) return false;
  ::close(static_cast<int>(ring));
  return true;
}

}  // namespace magpie::tests
