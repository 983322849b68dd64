#include <magpie/runtime/failure_log.hpp>

#include <magpie/runtime/clock.hpp>

#include <poll.h>
#include <unistd.h>

#include <cstdio>

namespace magpie {
namespace {

constinit failure_log of_process;

/// A pipe says yes while there is room for a page; files and terminals as a rule.
bool standard_error_takes_a_line() noexcept {
  pollfd question{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  return ::poll(&question, 1, 0) == 1 && (question.revents & POLLOUT) != 0;
}

}  // namespace

bool detail::may_log_failure() noexcept {
  const auto verdict = of_process.ask(clock::detail_now_ns(), standard_error_takes_a_line());
  if (verdict.left_out != 0)
    std::fprintf(stderr, "magpie: %llu failures were left out here\n",
                 static_cast<unsigned long long>(verdict.left_out));
  return verdict.print;
}

}  // namespace magpie
