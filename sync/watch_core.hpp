/// A watch channel without its value's type: a version, the current value's block, who waits, and
/// how many there are at each side.
///
///     word = version | CLOSED
///
///     a sender publishes      under the lock: the new block is current, version + 1 (A), and
///                             everybody who waits is taken out
///     the last sender goes    under the lock: -> CLOSED (A), and everybody who waits is taken out
///     changed()               the version is another than was seen: had (B)
///                             else CLOSED: closed               else listed, under the lock
///     a look at the value     under the lock: one more reference to the current block
///
/// A value is never changed: whoever publishes puts another block in its place, and whoever looks
/// holds a reference to that which it found.  So no code of the value's type runs under the lock, a
/// look may last as long as it likes and keeps nobody waiting, and what was looked at is what is
/// had.  Blocks come from the pool of frames; an old one goes with its last reference.
///
/// (A) releases what a sender did, (B) acquires it.  (R) a reference to a block is given up: the
/// last one frees it and sees what the others did.  References are only added by who has one, or
/// under the lock to the current block, to which the channel has one.  (E) the same for ends and
/// the channel.
/// Threads: any, for everything; what is per end says so.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/atomic.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie::sync::detail {

/// What is counted of a value's block.
class watch_block {
 public:
  watch_block() noexcept = default;
  watch_block(const watch_block&) = delete;
  watch_block& operator=(const watch_block&) = delete;

  /// Relaxed: whoever takes one more has one, or the lock.
  void add_reference() noexcept { references_.fetch_add(1, order::relaxed); }
  /// True: it was the last one.
  bool drop_reference() noexcept { return references_.fetch_sub(1, order::acq_rel) == 1; }  // (R)

 private:
  atomic<std::uint32_t> references_{1};
};

/// Waits for another version than the one that was seen.
struct watch_entry : magpie::detail::grant_entry {
  explicit watch_entry(std::uint64_t seen_version) noexcept : seen(seen_version) {}
  std::uint64_t wanted() const noexcept { return seen; }

  std::uint64_t seen;
};

/// Those who wait until there is no receiver.
class watch_abandonment : public magpie::detail::wait_source {
 public:
  watch_abandonment() noexcept : wait_source(&is_abandoned) {}

  /// One more, by who has one or is a sender: relaxed.
  void add_receiver() noexcept { receivers_.fetch_add(1, order::relaxed); }
  void drop_receiver() noexcept {
    // (A) with (B); and whom the last one wakes sees what the others did.
    if (receivers_.fetch_sub(1, order::acq_rel) == 1) wake();
  }
  std::size_t receivers() const noexcept { return receivers_.load(order::acquire); }  // (B)

 private:
  static bool is_abandoned(const wait_source& of) noexcept {
    return static_cast<const watch_abandonment&>(of).receivers() == 0;
  }

  atomic<std::size_t> receivers_{1};
};

class watch_core : public magpie::detail::wait_list {
 public:
  /// With one sender and one receiver, and a reference to `first`.
  explicit watch_core(watch_block* first) noexcept : current_(first) {}

  /// One that is closed, for ends that have no channel.
  static watch_core& none() noexcept;

  std::uint64_t version() const noexcept {
    return word_.load(order::acquire) / one_version;  // (B)
  }
  bool is_closed() const noexcept { return (word_.load(order::acquire) & closed) != 0; }  // (B)

  // ---- what the waiting awaitable asks for; see grant_operation.hpp ----

  bool try_take(watch_entry& one) noexcept;
  void offer(watch_entry& one, magpie::detail::wake_chain&) noexcept { try_take(one); }
  static void left(watch_entry&, magpie::detail::wake_chain&) noexcept {}
  /// Nothing is seen before it is taken.
  static bool give_back(watch_entry&) noexcept { return true; }

  // ---- the value ----

  /// The current block, with a reference of its own, and its version.
  watch_block* look(std::uint64_t& version) noexcept;
  /// Makes `next`, whose reference goes to the channel, the current one, and gives the one before,
  /// with its reference.
  watch_block* publish(watch_block* next) noexcept;
  /// The same if `before` is the current one still.
  bool publish_after(const watch_block* before, watch_block* next) noexcept;

  // ---- the ends ----

  watch_abandonment& abandonment() noexcept { return abandonment_; }
  std::size_t senders() const noexcept { return senders_.load(order::relaxed); }  // a guess

  void add_sender() noexcept;
  void add_receiver() noexcept;
  /// True: the channel is to be freed.
  bool drop_sender() noexcept;
  bool drop_receiver() noexcept;

 protected:
  ~watch_core() = default;

  /// For who frees the channel: the reference to the last value.
  watch_block* last() const noexcept { return current_; }

 private:
  static constexpr std::uint64_t closed = 1;
  static constexpr std::uint64_t one_version = 2;

  watch_block* replace(watch_block* next, magpie::detail::wake_chain& woken) noexcept;
  void close() noexcept;
  bool let_go() noexcept { return ends_.fetch_sub(1, order::acq_rel) == 1; }  // (E)

  atomic<std::uint64_t> word_{0};
  plain<watch_block*> current_;  ///< Under the lock.
  atomic<std::size_t> senders_{1};
  atomic<std::size_t> ends_{2};
  watch_abandonment abandonment_;
};

}  // namespace magpie::sync::detail
