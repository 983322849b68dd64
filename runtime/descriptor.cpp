#include <magpie/runtime/descriptor.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/epoll_slab.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/worker.hpp>

namespace magpie::detail {

void forget_descriptor(descriptor& io) noexcept {
  end_registration(io);
  if (!io.detached || current_context == nullptr) return;
  scheduler& home = *current_context->home;
  for (std::size_t i = 0; i < home.size(); ++i) home.at(i).io->let_go(io.fd);
}

}  // namespace magpie::detail
