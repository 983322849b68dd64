#include <magpie/runtime/clock.hpp>

#include <time.h>

namespace magpie {

std::uint64_t clock::detail_now_ns() noexcept {
  if (detail::current_context != nullptr && detail::current_context->virtual_now != nullptr)
    return *detail::current_context->virtual_now;
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

clock::time_point time_after(clock::duration d) noexcept {
  const clock::time_point now = clock::now();
  if (d <= clock::duration::zero()) return now;
  return d > clock::time_point::max() - now ? clock::time_point::max() : now + d;
}

}  // namespace magpie
