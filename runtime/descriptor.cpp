#include <magpie/runtime/descriptor.hpp>

#include <magpie/runtime/epoll_slab.hpp>

namespace magpie::detail {

void forget_descriptor(descriptor& io) noexcept { end_registration(io); }

}  // namespace magpie::detail
