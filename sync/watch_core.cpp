#include <magpie/sync/watch_core.hpp>

namespace magpie::sync::detail {

using magpie::detail::wake_chain;

watch_core& watch_core::none() noexcept {
  // Nobody ever waits in it: every look finds it closed.
  struct closed_core final : watch_core {
    closed_core() noexcept : watch_core(nullptr) {}
  };
  static closed_core instance;
  return instance;
}

value_block* watch_core::look(std::uint64_t& version) noexcept {
  const lock_scope guard(*this);
  value_block* const now = current_;
  now->add_reference();
  version = position_here();
  return now;
}

/// Under the lock.
value_block* watch_core::replace(value_block* next, wake_chain& woken) noexcept {
  value_block* const before = current_;
  current_ = next;
  advance(woken);
  return before;
}

value_block* watch_core::publish(value_block* next) noexcept {
  wake_chain woken;
  value_block* before;
  {
    const lock_scope guard(*this);
    before = replace(next, woken);
  }
  woken.post();
  return before;
}

bool watch_core::publish_after(const value_block* before, value_block* next) noexcept {
  wake_chain woken;
  {
    const lock_scope guard(*this);
    if (current_ != before) return false;
    replace(next, woken);
  }
  woken.post();
  return true;
}

void watch_core::add_receiver() noexcept {
  abandonment().add_receiver();
  add_end();
}

bool watch_core::drop_receiver() noexcept {
  if (abandonment().drop_receiver()) abandonment().wake();
  return let_go();
}

}  // namespace magpie::sync::detail
