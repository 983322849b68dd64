/// A watch channel without its value's type: the current value's block.
///
///     a sender publishes      under the lock: the new block is current, and the position, which
///                             here is a version, goes on; who waits is told
///     a look at the value     under the lock: one more reference to the current block
///
/// A value is never changed: whoever publishes puts another block in its place, and whoever looks
/// holds a reference to that which it found.  So no code of the value's type runs under the lock, a
/// look may last as long as it likes and keeps nobody waiting, and what was looked at is what is
/// had.  What the versions publish, and the ends: see fanout_core.hpp.
/// Threads: any, for everything.
#pragma once

#include <magpie/sync/fanout_core.hpp>
#include <magpie/sync/shared_value.hpp>
#include <magpie/util/atomic.hpp>

#include <cstdint>

namespace magpie::sync::detail {

class watch_core : public fanout_core {
 public:
  /// With one sender and one receiver, and a reference to `first`; null: for ends that have no
  /// channel.
  explicit watch_core(value_block* first) noexcept
      : fanout_core(first == nullptr), current_(first) {}

  /// One that is closed, for ends that have no channel.
  static watch_core& none() noexcept;

  std::uint64_t version() const noexcept { return position(); }

  /// The current block, with a reference of its own, and its version.
  value_block* look(std::uint64_t& version) noexcept;
  /// Makes `next`, whose reference goes to the channel, the current one, and gives the one before,
  /// with its reference.
  value_block* publish(value_block* next) noexcept;
  /// The same if `before` is the current one still.
  bool publish_after(const value_block* before, value_block* next) noexcept;

  void add_receiver() noexcept;
  /// True: the channel is to be freed.
  bool drop_receiver() noexcept;

 protected:
  ~watch_core() = default;

  /// For who frees the channel: the reference to the last value.
  value_block* last() const noexcept { return current_; }

 private:
  value_block* replace(value_block* next, magpie::detail::wake_chain& woken) noexcept;

  plain<value_block*> current_;  ///< Under the lock.
};

}  // namespace magpie::sync::detail
