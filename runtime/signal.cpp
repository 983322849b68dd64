#include <magpie/runtime/signal.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/util/errc.hpp>

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace magpie {
namespace {

int take_events(int fd, std::uint64_t& count) noexcept {
  return ::read(fd, &count, sizeof count) < 0 ? errno : 0;
}

}  // namespace

int detail::signal_operation::transfer() noexcept {
  if (this_context().virtual_now != nullptr) return EOPNOTSUPP;
  std::uint64_t count = 0;
  const int error = take_events(fd(), count);
  numbers_ = static_cast<int>(count);
  return error;
}

std::error_code detail::ending_signals::begin(signal_use use) noexcept {
  async_fd made(make_eventfd());
  if (!made.is_open()) return errno_code(errno);
  if (const auto error = interrupt_.begin(SIGINT, made.get(), use)) return error;
  if (const auto error = terminate_.begin(SIGTERM, made.get(), use)) {
    interrupt_.end();
    return error;
  }
  events_ = std::move(made);
  return {};
}

result<signal_stream> signal_stream::open(int number) noexcept {
  const int fd = detail::make_eventfd();
  if (fd < 0) return std::unexpected(errno_code(errno));
  signal_stream made(fd);
  if (const auto error = made.registration_.begin(number, fd, detail::signal_use::listens))
    return std::unexpected(error);
  return made;
}

bool signal_stream::try_next() noexcept {
  std::uint64_t count = 0;
  return take_events(events_.get(), count) == 0;
}

task<> ctrl_c() noexcept {
  auto interrupts = co_await signal_stream::open(SIGINT);
  co_await interrupts.next();
}

}  // namespace magpie
