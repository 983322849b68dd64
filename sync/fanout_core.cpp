#include <magpie/sync/fanout_core.hpp>

namespace magpie::sync::detail {

using magpie::detail::grant;
using magpie::detail::wake_chain;

bool fanout_core::try_take(fanout_entry& one) noexcept {
  const std::uint64_t now = word_.load(order::acquire);  // (B)
  if (now / one_more != *one.position) {
    one.is = grant::granted;
  } else if ((now & closed) != 0) {
    one.is = grant::closed;
  } else {
    return false;
  }
  return true;
}

void fanout_core::advance(wake_chain& woken) noexcept {
  word_.store(word_.load(order::relaxed) + one_more, order::release);  // (A)
  while (auto* const one = static_cast<fanout_entry*>(first())) {
    one->is = grant::granted;
    take_out(*one, woken);
  }
}

void fanout_core::close() noexcept {
  wake_chain woken;
  {
    const lock_scope guard(*this);
    word_.store(word_.load(order::relaxed) | closed, order::release);  // (A)
    while (auto* const one = static_cast<fanout_entry*>(first())) {
      one->is = grant::closed;  // who waits has had everything
      take_out(*one, woken);
    }
  }
  woken.post();
}

void fanout_core::add_sender() noexcept {
  senders_.fetch_add(1, order::relaxed);  // by who is one
  add_end();
}

bool fanout_core::drop_sender() noexcept {
  // The last of them closes after all the others.
  if (senders_.fetch_sub(1, order::acq_rel) == 1) close();
  return let_go();
}

}  // namespace magpie::sync::detail
