#include <magpie/runtime/abort_handle.hpp>

#include <magpie/runtime/spawn.hpp>

namespace magpie {

using detail::spawned_base;

abort_handle::abort_handle(spawned_base* state, free_function frees) noexcept
    : state_(state), free_(frees) {
  // Relaxed: whoever lets us make this one has yet to let go of the state, and publishes it then.
  if (state_ == nullptr) return;
  const std::uint16_t before = state_->aborters.fetch_add(1, order::relaxed);
  MAGPIE_ASSERT((before & ~spawned_base::released) < spawned_base::aborters_max);
}

abort_handle::~abort_handle() {
  if (state_ == nullptr) return;
  // (J6) acq_rel with (J5): the last one frees what the others wrote.
  if (state_->aborters.fetch_sub(1, order::acq_rel) == (spawned_base::released | 1)) free_(*state_);
}

void abort_handle::abort() const noexcept {
  if (state_ != nullptr) state_->abort();
}

bool abort_handle::done() const noexcept {
  // Acquire with (J1): the frame is gone for whoever sees this.
  return state_ == nullptr || state_->word.load(order::acquire) == spawned_base::done;
}

std::uint64_t abort_handle::id() const noexcept {
  return state_ == nullptr ? 0 : state_->root.id();
}

}  // namespace magpie
