#include <magpie/sync/watch_core.hpp>

namespace magpie::sync::detail {

using magpie::detail::grant;
using magpie::detail::wake_chain;

watch_core& watch_core::none() noexcept {
  // Nobody ever waits in it: every look finds it closed.
  struct closed_core final : watch_core {
    closed_core() noexcept : watch_core(nullptr) { word_.store(closed, order::relaxed); }
  };
  static closed_core instance;
  return instance;
}

bool watch_core::try_take(watch_entry& one) noexcept {
  const std::uint64_t now = word_.load(order::acquire);  // (B)
  if (now / one_version != one.seen) {
    one.is = grant::granted;
  } else if ((now & closed) != 0) {
    one.is = grant::closed;
  } else {
    return false;
  }
  return true;
}

watch_block* watch_core::look(std::uint64_t& version) noexcept {
  const lock_scope guard(*this);
  watch_block* const now = current_;
  now->add_reference();
  version = word_.load(order::relaxed) / one_version;  // it changes under the lock
  return now;
}

/// Under the lock.
watch_block* watch_core::replace(watch_block* next, wake_chain& woken) noexcept {
  watch_block* const before = current_;
  current_ = next;
  word_.store(word_.load(order::relaxed) + one_version, order::release);  // (A)
  while (auto* const one = static_cast<watch_entry*>(first())) {
    one->is = grant::granted;
    take_out(*one, woken);
  }
  return before;
}

watch_block* watch_core::publish(watch_block* next) noexcept {
  wake_chain woken;
  watch_block* before;
  {
    const lock_scope guard(*this);
    before = replace(next, woken);
  }
  woken.post();
  return before;
}

bool watch_core::publish_after(const watch_block* before, watch_block* next) noexcept {
  wake_chain woken;
  {
    const lock_scope guard(*this);
    if (current_ != before) return false;
    replace(next, woken);
  }
  woken.post();
  return true;
}

void watch_core::close() noexcept {
  wake_chain woken;
  {
    const lock_scope guard(*this);
    word_.store(word_.load(order::relaxed) | closed, order::release);  // (A)
    while (auto* const one = static_cast<watch_entry*>(first())) {
      one->is = grant::closed;  // who waits has seen everything
      take_out(*one, woken);
    }
  }
  woken.post();
}

void watch_core::add_sender() noexcept {
  senders_.fetch_add(1, order::relaxed);  // by who is one
  ends_.fetch_add(1, order::relaxed);
}

void watch_core::add_receiver() noexcept {
  abandonment_.add_receiver();
  ends_.fetch_add(1, order::relaxed);  // by who has an end
}

bool watch_core::drop_sender() noexcept {
  // (E): the last of them closes after all the others.
  if (senders_.fetch_sub(1, order::acq_rel) == 1) close();
  return let_go();
}

bool watch_core::drop_receiver() noexcept {
  abandonment_.drop_receiver();
  return let_go();
}

}  // namespace magpie::sync::detail
