#include <magpie/runtime/async_fd.hpp>

#include <magpie/runtime/descriptor.hpp>

#include <unistd.h>

namespace magpie::detail {

descriptor async_fd::release() noexcept {
  MAGPIE_ASSERT(idle() && "a descriptor was moved while an operation is pending on it");
  if (is_open()) forget_descriptor(io_);
  pending_ = nullptr;
  return std::exchange(io_, descriptor());
}

void async_fd::close() noexcept {
  if (!is_open()) return;
  MAGPIE_ASSERT(idle() && "a descriptor was closed while an operation is pending on it");
  forget_descriptor(io_);
  // The number is free whatever close reports, and a second close could hit somebody else's.
  static_cast<void>(::close(io_.fd));
  io_ = descriptor();
  pending_ = nullptr;
}

}  // namespace magpie::detail
