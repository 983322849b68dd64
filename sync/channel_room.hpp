/// The permits of a channel that has a bound, and who waits for its being closed.
///
/// `Core` is the channel, whose `wake_receivers` tells who waits for a message when there will be
/// none: that may be so once the room is closed and a permit comes back.
/// Threads: any.
#pragma once

#include <magpie/sync/event.hpp>
#include <magpie/sync/permit_queue.hpp>

#include <cstddef>

namespace magpie::sync::detail {

template <class Core>
class channel_room : public permit_queue {
 public:
  channel_room(Core& of, std::size_t permits) noexcept : permit_queue(permits), core_(&of) {}

  // ---- what the waiting awaitables ask for; see grant_operation.hpp ----

  bool give_back(permit_entry& one) noexcept {
    return_unused(one.count);
    return true;
  }
  template <class Entry>
  void settled(Entry& one) noexcept
    requires requires { one.settle(); }
  {
    one.settle();
  }

  /// Nobody is given a permit any more; whoever waits for one, or for this, is told.
  void close() noexcept {
    magpie::detail::wake_chain woken;  // whoever is told may destroy what it is told of
    permit_queue::close(woken);
    closing_.set(woken);
    woken.post();
  }
  /// What they wait on who wait for this: `is_closed` when it has come.
  event_source& closing() noexcept { return closing_; }

  /// Gives back permits with which nothing is sent any more.
  void return_unused(std::size_t count) noexcept {
    release(count);
    // Relaxed: of the same word.  Who closes it after our release sees that, and us not.
    if (is_closed()) core_->wake_receivers();
  }

 private:
  Core* core_;
  event_source closing_{false};
};

}  // namespace magpie::sync::detail
