/// A broadcast channel without its value's type: a ring of blocks, of which each receiver takes
/// those from its own position on.
///
///     slot = block, how many receivers are to take it still
///
///     a sender publishes      at the position: what was there goes, seen by all or not; counted
///                             for the receivers of the moment
///     a receiver takes        its position is the senders': nothing
///                             farther behind than the ring is long: so many are missed, and it
///                             goes on with the oldest that is there
///                             the last that was to take it takes the channel's reference along
///     a receiver goes         takes all that it was to take, then it is not counted any more
///
/// All of that is under the lock, and what has come free is let go after it, as the destructors of
/// values may do anything.  So a value lives until all who were there when it was sent have had it,
/// or until it is overwritten.  What the positions publish, and the ends: see fanout_core.hpp.
/// Threads: any, for everything; a receiver's position belongs to one at a time.
#pragma once

#include <magpie/sync/fanout_core.hpp>
#include <magpie/sync/shared_value.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie::sync::detail {

struct broadcast_slot {
  value_block* block = nullptr;
  std::size_t wanted = 0;  ///< How many receivers are to take it.
};

class broadcast_core : public fanout_core {
 public:
  /// The ring has `size` slots, a power of two; it belongs to who frees the channel.
  broadcast_core(broadcast_slot* ring, std::size_t size) noexcept
      : fanout_core(false), ring_(ring), size_(size) {}

  std::size_t size() const noexcept { return size_; }

  /// Publishes `next`, whose reference goes to the channel, for so many receivers; or for none, and
  /// then nothing has happened.  `before`: what is to be let go, or null.
  std::size_t publish(value_block* next, value_block*& before) noexcept;

  /// Takes what is next from `position` on, with a reference; null if there is nothing.
  value_block* take(std::uint64_t& position, std::uint64_t& missed) noexcept;

  /// One more receiver, which begins behind what was published.
  std::uint64_t add_receiver() noexcept;
  /// One that has taken what there is ends; false: there is more to be taken first.
  bool end_receiver(std::uint64_t position) noexcept;
  /// After that.  True: the channel is to be freed.
  bool drop_receiver() noexcept { return let_go(); }

 protected:
  ~broadcast_core() = default;
  broadcast_slot* ring() const noexcept { return ring_; }

 private:
  broadcast_slot& slot_at(std::uint64_t position) const noexcept {
    return ring_[static_cast<std::size_t>(position) & (size_ - 1)];
  }

  broadcast_slot* ring_;  ///< Its slots are under the lock.
  std::size_t size_;      ///< Never changes.
};

}  // namespace magpie::sync::detail
