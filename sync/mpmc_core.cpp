#include <magpie/sync/mpmc_core.hpp>

namespace magpie::sync::detail {

using magpie::detail::grant;
using magpie::detail::wake_chain;

mpmc_core& mpmc_core::none() noexcept {
  struct closed_core final : mpmc_core {
    closed_core() noexcept : mpmc_core(1) { room.close(); }
  };
  static closed_core instance;
  return instance;
}

/// What a receiver gets, under the lock; false: nothing yet.
bool mpmc_core::decide(claim_entry& one) noexcept {
  if (unclaimed_ != 0) {
    --unclaimed_;
    one.is = grant::granted;
  } else if (over()) {
    one.is = grant::closed;
  }
  return one.is != grant::waiting;
}

/// There is one message more for somebody: a new one, or one that was given back.
bool mpmc_core::give_one(mpmc_slot* published) noexcept {
  wake_chain woken;
  {
    const lock_scope guard(*this);
    if (published != nullptr) {
      if (receivers_ == 0) return false;
      push(ready_, *published);
    }
    if (auto* const one = static_cast<claim_entry*>(first())) {
      one->is = grant::granted;
      take_out(*one, woken);
    } else {
      ++unclaimed_;
    }
  }
  woken.post();
  return true;
}

void mpmc_core::put_back(mpmc_slot& one) noexcept {
  {
    const lock_scope guard(*this);
    if (ready_.first == nullptr) ready_.last = &one;
    one.next = ready_.first;
    ready_.first = &one;
  }
  give_one(nullptr);
}

void mpmc_core::wake_receivers() noexcept {
  wake_chain woken;
  {
    const lock_scope guard(*this);
    if (over()) {
      while (auto* const one = static_cast<claim_entry*>(first())) {
        one->is = grant::closed;
        take_out(*one, woken);
      }
    }
  }
  woken.post();
}

}  // namespace magpie::sync::detail
