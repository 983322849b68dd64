/// A place in the process's table of signal listeners: what a signal handler may look at.
///
/// A handler may neither lock nor allocate, and it may run on any thread at any moment.  So what it
/// has to know about a listener is one word: the signal's number, what the listener wants it for,
/// and the eventfd to write to.  The same word counts the handlers that are using the eventfd,
/// because its number must not be closed, and perhaps given to somebody else, under their hands.
///
///     word          open       close                      enter             leave
///     free, 0       -> open    -                          -                 -
///     open, n       -          -> free, n; waits for 0    -> open, n + 1    -> open, n - 1
///     free, n > 0   -> open    (one at a time)            -> free, n + 1    -> free, n - 1
///
/// A handler that looked at an open slot and finds it free, or somebody else's, when it has entered
/// leaves it again without having used it.
///
/// (S1) entering is an acquire and pairs with (S2), the opening: the handler sees the eventfd that
/// was made before.  (S3) leaving is a release and pairs with (S4), the closer's wait: what the
/// handler did with the eventfd is over before it is closed.
///
/// Threads: open and close by one thread at a time (the table's lock); enter and leave by handlers.
#pragma once

#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>

#include <cstdint>

namespace magpie::detail {

/// What a listener wants a signal for.
enum class signal_use : std::uint8_t {
  listens,      ///< It is told.
  ends,         ///< It is told, and ends the program in order; a second signal exits at once.
  last_resort,  ///< The same, if none of the two above is told.
};

class signal_slot {
 public:
  struct entry {
    int number;
    int fd;
    signal_use use;
  };

  constexpr signal_slot() noexcept = default;

  /// A guess, for handlers, and exact for who holds the table's lock.  Relaxed: `enter` decides.
  bool open_for(int number) const noexcept {
    const std::uint64_t now = word_.load(order::relaxed);
    return (now & open_bit) != 0 && number_in(now) == number;
  }
  bool is_open() const noexcept { return (word_.load(order::relaxed) & open_bit) != 0; }

  void open(const entry& what) noexcept {
    MAGPIE_ASSERT(what.fd >= 0 && what.number > 0 && what.number < 128);
    // (S2) release with (S1).  An `or`: a late handler may be counted.
    const std::uint64_t before = word_.fetch_or(packed(what), order::release);
    MAGPIE_ASSERT((before & ~users_mask) == 0);
  }

  /// When it returns no handler uses the eventfd any more.
  void close() noexcept {
    // Relaxed: the wait that follows orders what handlers did.
    word_.fetch_and(users_mask, order::relaxed);
    while ((word_.load(order::acquire) & users_mask) != 0) thread_yield();  // (S4)
  }

  /// True: the slot is open for `number`, and stays so until `leave`.
  bool enter(int number, entry& found) noexcept {
    const std::uint64_t before = word_.fetch_add(one_user, order::acquire);  // (S1)
    found = {number_in(before), static_cast<int>(before & fd_mask),
             static_cast<signal_use>((before >> use_shift) & 3)};
    if ((before & open_bit) != 0 && found.number == number) return true;
    leave();
    return false;
  }
  void leave() noexcept { word_.fetch_sub(one_user, order::release); }  // (S3)

 private:
  static constexpr std::uint64_t fd_mask = 0x7fffffff;
  static constexpr unsigned number_shift = 32;
  static constexpr unsigned use_shift = 40;
  static constexpr std::uint64_t open_bit = std::uint64_t{1} << 47;
  static constexpr std::uint64_t one_user = std::uint64_t{1} << 48;
  static constexpr std::uint64_t users_mask = ~(one_user - 1);

  static constexpr int number_in(std::uint64_t word) noexcept {
    return static_cast<int>((word >> number_shift) & 127);
  }
  static constexpr std::uint64_t packed(const entry& what) noexcept {
    return open_bit | static_cast<std::uint64_t>(what.use) << use_shift |
           static_cast<std::uint64_t>(what.number) << number_shift |
           static_cast<std::uint64_t>(what.fd);
  }

  atomic<std::uint64_t> word_{0};
};

}  // namespace magpie::detail
