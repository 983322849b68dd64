/// A oneshot channel without its value: one word, and whoever waits.
///
///     word = SENT | ENDED | CLOSED | SENDER_GONE | RECEIVER_GONE | WAITING
///
/// SENT: the value is there.  ENDED: the sender has gone without sending.  CLOSED: the receiver
/// wants none.  The two GONE bits are the references: whoever sets the second one frees the block.
///
///     the sender sends           CLOSED: fails         else -> SENT
///     the sender goes            -> ENDED
///     the receiver closes, goes  -> CLOSED
///     receive()                  SENT, not taken: the value   else ENDED or CLOSED: closed
///                                else listed: -> WAITING
///     closed()                   CLOSED: had           else listed: -> WAITING
///
/// SENT and CLOSED are set by exchanges of the same word, so a send that races a close is either
/// there to be received, or fails and has its value back.
///
/// As long as nobody waits, an end does what it does and lets go of the block in one exchange, its
/// last access.  WAITING is set under the lock of the wait list, and stays.  With it, an end
/// changes the word and takes the waiter out under the lock, and lets go of the block by an
/// exchange of its own when it has left the lock: the other end, which may go meanwhile, does not
/// free it before.
///
/// (A) the exchange that sets SENT releases the value, (B) the look that finds it acquires it; (R)
/// those that set GONE are acq_rel: who frees sees what the other end did.
///
/// Threads: each end by one at a time, the two independently.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/atomic.hpp>

#include <cstdint>

namespace magpie::sync::detail {

enum class oneshot_end : std::uint8_t { sender, receiver };

/// Waits for the value, at the receiver's end; for the closing, at the sender's.
struct oneshot_entry : magpie::detail::grant_entry {
  explicit oneshot_entry(oneshot_end which) noexcept : end(which) {}
  oneshot_end wanted() const noexcept { return end; }

  oneshot_end end;
};

/// How a send has ended, and whether the sender was the last to hold the block.
enum class oneshot_sent : std::uint8_t { no, yes, yes_and_last };

class oneshot_core : public magpie::detail::wait_list {
 public:
  oneshot_core() noexcept = default;

  /// One that is closed, for ends that have no channel.
  static oneshot_core& none() noexcept;

  // ---- what the waiting awaitables ask for; see grant_operation.hpp ----

  bool try_take(oneshot_entry& one) noexcept {
    one.is = look(word_.load(order::acquire), one.end);  // (B)
    return one.is != magpie::detail::grant::waiting;
  }
  void offer(oneshot_entry& one, magpie::detail::wake_chain&) noexcept;
  static void left(oneshot_entry&, magpie::detail::wake_chain&) noexcept {}
  /// The value has never left the channel; who was told of the closing knows.
  static bool give_back(oneshot_entry& one) noexcept { return one.end == oneshot_end::receiver; }

  // ---- the sender's end ----

  /// The value is in its place: it is sent, unless the receiver is closed.  With `yes` the sender
  /// has let go of the block, with `no` it has not.
  oneshot_sent publish() noexcept;
  /// Without having sent; true: the block is to be freed.
  bool drop_sender() noexcept { return end_with(ended, sender_gone); }
  bool is_closed() const noexcept { return (word_.load(order::relaxed) & closed) != 0; }

  // ---- the receiver's end ----

  void close() noexcept { static_cast<void>(end_with(closed, 0)); }
  /// True: the block is to be freed.
  bool drop_receiver() noexcept { return end_with(closed, receiver_gone); }
  void note_taken() noexcept { taken_ = true; }

 protected:
  ~oneshot_core() = default;

  /// For who frees the block.
  bool holds_value() const noexcept {
    return (word_.load(order::relaxed) & sent) != 0 && !taken_;  // (R) has ordered it
  }

 private:
  static constexpr std::uint32_t sent = 1;
  static constexpr std::uint32_t ended = 2;
  static constexpr std::uint32_t closed = 4;
  static constexpr std::uint32_t sender_gone = 8;
  static constexpr std::uint32_t receiver_gone = 16;
  static constexpr std::uint32_t waiting = 32;

  explicit oneshot_core(std::uint32_t word) noexcept : word_(word) {}

  magpie::detail::grant look(std::uint32_t word, oneshot_end end) const noexcept {
    using magpie::detail::grant;
    if (end == oneshot_end::sender) return (word & closed) != 0 ? grant::granted : grant::waiting;
    if ((word & sent) != 0 && !taken_) return grant::granted;
    return (word & (sent | ended | closed)) != 0 ? grant::closed : grant::waiting;
  }
  void change_in_line(std::uint32_t state, magpie::detail::wake_chain& woken) noexcept;
  bool end_with(std::uint32_t state, std::uint32_t gone) noexcept;
  bool let_go(std::uint32_t gone) noexcept;

  atomic<std::uint32_t> word_{0};
  plain<bool> taken_{false};  ///< The receiver's, and of who frees the block.
};

}  // namespace magpie::sync::detail
