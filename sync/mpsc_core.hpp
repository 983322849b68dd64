/// A channel from many senders to one receiver, without its values: its slots, who waits, who is
/// left.
///
/// Values lie in *blocks* of up to 32 slots.  Senders claim slots at the tail, one after the other,
/// by exchanges of one word; at the head the receiver takes them in the same order.
///
///     tail = block | CLOSED | index        an exchange claims slot `index` of `block`
///
/// Whoever claims the last slot of a block puts the next block in its place with the same exchange,
/// and links it before it publishes.  So nobody waits for a sender that has been preempted, but the
/// receiver, for its slot; and nobody looks into a block but those who have claimed a slot in it
/// and the receiver, who may free it when it has passed the last one.
///
///   - *bounded*: a ring of blocks with more slots than the capacity; their links never change.  A
///     claim needs a permit of `room`, which comes back when the receiver has the value, so a slot
///     is empty when it is claimed again, and a claim never fails.
///   - *unbounded*: blocks come from the frame pool and go back there.  CLOSED refuses claims.
///
/// A slot has a state, of its sender and the receiver:
///
///     state     its sender has done    the receiver waits     passes it    goes
///     empty     -> ready, or void      -> waited, listed      -            -> gone
///     waited    the same, and wakes    listed                 -            -> gone
///     gone      the same, and drains   -                      -            -
///     ready     -                      has it, without wait   -> empty     destroys it, passes
///     void      -                      passes it, looks on    -> empty     passes
///
/// `void`: moving the value there has thrown.  (A) the exchange that publishes releases the value,
/// (B) the look that finds it acquires it.  A sender wakes nobody unless the receiver waits for
/// that very slot: there is no flag to be looked at beside it.
///
/// The head is the receiver's.  While a receive is listed it belongs to whoever holds the lock, who
/// looks for it (`wake_receivers`).  When the receiver goes it destroys what is there and leaves
/// `gone` at the head (G); then the head is of whoever publishes in that slot, and goes on so.
///
/// There will be *no more* when nobody is left who could send; or, once the receiver has closed:
///
///   - bounded: when all permits are back.  Whoever gives one back without having sent looks
///     whether it is closed, and then for the receiver.
///   - unbounded: when the head is where the tail has stopped.
///
/// Who is left is one word, whose last holder frees the channel:
///
///     life = senders | weak | RECEIVER     a permit of its own counts as a sender; the last sender
///                                          turns weak, wakes the receiver, and lets go
///
/// (L) who lets go releases what it did; who finds no sender any more, or frees, acquires it.
///
/// Threads: each sender's part any, the receiver's one at a time.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/sync/channel_room.hpp>
#include <magpie/sync/permit_queue.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/cache_line.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace magpie::sync::detail {

/// Waits for what the receiver can have: one message, or up to `most` of them.
struct inbox_entry : magpie::detail::grant_entry {
  struct wish {
    wish(std::size_t at_most, bool one_alone) noexcept : most(at_most), single(one_alone) {}
    std::size_t most;
    bool single;         ///< The end of the channel is an error, else it is no message.
    bool found = false;  ///< It was granted because there is a message.
  };

  explicit inbox_entry(wish what) noexcept : wants(what) {}
  wish wanted() const noexcept { return wants; }

  wish wants;
};

/// The head of a block; its values follow.
struct mpsc_block {
  static constexpr unsigned slots_max = 32;

  explicit mpsc_block(unsigned slots) noexcept {
    for (unsigned i = 0; i != slots; ++i) states[i].store(0, order::relaxed);
  }

  plain<mpsc_block*> next{nullptr};
  atomic<std::uint8_t> states[slots_max];
};

class mpsc_core : public magpie::detail::wait_list {
 public:
  struct place {
    mpsc_block* block;
    unsigned index;
  };
  enum class claimed : std::uint8_t { yes, closed, no_memory, again };
  /// What a slot is published as.
  enum class as : std::uint8_t { value, nothing };

  static constexpr std::size_t unbounded = 0;

  /// With one sender and the receiver.  Not to be used before `make_blocks` says true.
  mpsc_core(std::size_t capacity, unsigned slots, std::size_t block_bytes) noexcept;
  /// Frees the blocks; the values in them are gone.
  ~mpsc_core();

  bool make_blocks() noexcept;

  /// One that is closed at both ends, for ends that have no channel.
  static mpsc_core& none() noexcept;

  bool bounded() const noexcept { return capacity_ != unbounded; }
  std::size_t capacity() const noexcept { return capacity_; }

  // ---- what the receiver's waits ask for; see grant_operation.hpp ----

  bool try_take(inbox_entry& one) noexcept {
    if (one.wants.most == 0 || head_state() != ready) return try_take_slowly(one);
    one.wants.found = true;
    one.is = magpie::detail::grant::granted;
    return true;
  }
  void offer(inbox_entry& one, magpie::detail::wake_chain& woken) noexcept;
  static void left(inbox_entry&, magpie::detail::wake_chain&) noexcept {}
  /// The message has never left.
  static bool give_back(inbox_entry&) noexcept { return true; }
  /// It counts as received, although it stays until it is taken: there is room for another one.
  void settled(inbox_entry& one) noexcept {
    if (one.wants.found) pay();
  }

  // ---- the senders' end ----

  /// Claims a slot; in a bounded channel by who has a permit, and it does not fail.
  claimed claim(place& at) noexcept {
    for (;;) {
      std::uintptr_t now = tail_.load(order::relaxed);  // the exchange decides
      while ((now & (closed_bit | index_bits)) + 1 < slots_) {
        at = place_of(now);
        // (C) with `claim_last`: the block's states are visible.  And with the claims before: they
        // may be of younger permits, which say that the receiver has done with this slot.
        if (tail_.compare_exchange_weak(now, now + 1, order::acq_rel, order::relaxed))
          return claimed::yes;
      }
      const claimed got = claim_last(at, now);
      if (got != claimed::again) return got;
    }
  }
  /// The slot is done.  True: the receiver has gone, the head is here, and the caller's to drain.
  bool publish(place at, as what) noexcept {
    // (A) with (B), (G) with `leave_head`.
    const std::uint8_t before =
        at.block->states[at.index].exchange(what == as::value ? ready : voided, order::acq_rel);
    if (before == empty) [[likely]]
      return false;
    if (before == waited) wake_receivers();
    return before == gone;
  }
  /// Looks for a receiver that waits, after something has changed for it.
  void wake_receivers() noexcept;

  /// Neither `send` nor `reserve` will do.
  bool is_closed() const noexcept {
    if (bounded()) return room.is_closed();
    return (tail_.load(order::relaxed) & closed_bit) != 0;
  }

  // ---- the receiver's end: by whoever has the head ----

  /// Nothing can be sent any more, but with permits that are out.
  void close() noexcept;

  /// Whether there is a message at the head, when what is void has been passed.  Not while a
  /// receive is listed.
  bool find() noexcept { return head_state() == ready || find_slowly(); }
  bool has_message() const noexcept { return head_state() == ready; }
  place head() const noexcept { return {head_block_, head_index_}; }
  /// The message at the head counts as received.
  void pay() noexcept {
    if (!bounded() || paid_) return;
    paid_ = true;
    room.release(1);
  }
  /// The slot at the head is used up; how many permits the caller has to give back for it.
  [[nodiscard]] std::size_t pass() noexcept {
    const std::size_t owed = bounded() && !paid_ ? 1 : 0;
    paid_ = false;
    passed_ = passed_ + 1;
    // For who claims it next: it, or a claim before it (C), takes a permit given back after this.
    if (bounded()) head_block_->states[head_index_].store(empty, order::relaxed);
    head_index_ = head_index_ + 1;
    if (head_index_ == slots_) [[unlikely]]
      pass_block();
    return owed;
  }
  /// Frees the blocks that were passed.  Not under a lock.
  void free_passed() noexcept {
    if (passed_blocks_ != nullptr) [[unlikely]]
      free_passed_slowly();
  }
  /// By a receiver that goes, when there is nothing at the head.  False: now there is.
  bool leave_head() noexcept;

  /// How many slots are claimed and not passed: a guess while others send.
  std::size_t length() const noexcept;

  // ---- who is left ----

  void add_sender() noexcept { add(one_sender); }  // by one of them
  void add_weak() noexcept { add(one_weak); }      // by one of them, or a weak one
  /// A weak one adds a sender; false when there is none any more.
  bool upgrade() noexcept;
  /// These are true for the last of all, who frees the channel.
  bool drop_sender() noexcept;
  bool drop_weak() noexcept { return drop(one_weak); }
  bool drop_receiver() noexcept { return drop(the_receiver); }

  std::size_t senders() const noexcept { return senders_in(life_.load(order::relaxed)); }
  std::size_t weak_senders() const noexcept {
    return static_cast<std::size_t>(life_.load(order::relaxed) / one_weak & count_max);
  }

 private:
  static constexpr std::uint8_t empty = 0;
  static constexpr std::uint8_t waited = 1;
  static constexpr std::uint8_t gone = 2;
  static constexpr std::uint8_t ready = 3;
  static constexpr std::uint8_t voided = 4;

  static constexpr std::uintptr_t index_bits = 31;
  static constexpr std::uintptr_t closed_bit = 32;
  static_assert(mpsc_block::slots_max == index_bits + 1 && cache_line_size > closed_bit);

  static constexpr std::uint64_t one_sender = 1;
  static constexpr std::uint64_t one_weak = std::uint64_t{1} << 31;
  static constexpr std::uint64_t the_receiver = std::uint64_t{1} << 62;
  static constexpr std::uint64_t count_max = one_weak - 1;

  static std::size_t senders_in(std::uint64_t life) noexcept {
    return static_cast<std::size_t>(life & count_max);
  }
  static std::uintptr_t word_of(const mpsc_block* block) noexcept {
    return reinterpret_cast<std::uintptr_t>(block);
  }
  static place place_of(std::uintptr_t tail) noexcept {
    return {reinterpret_cast<mpsc_block*>(tail & ~(index_bits | closed_bit)),
            static_cast<unsigned>(tail & index_bits)};
  }
  std::uint8_t head_state() const noexcept {
    return head_block_->states[head_index_].load(order::acquire);  // (B) with (A)
  }

  mpsc_block* new_block() noexcept;
  void free_block(mpsc_block* one) noexcept;
  [[gnu::noinline]] claimed claim_last(place& at, std::uintptr_t now) noexcept;
  [[gnu::noinline]] bool try_take_slowly(inbox_entry& one) noexcept;
  bool decide(inbox_entry& one, magpie::detail::wake_chain& woken) noexcept;
  bool look(magpie::detail::wake_chain& woken) noexcept;
  bool arm() noexcept;
  bool no_more() const noexcept;
  [[gnu::noinline]] bool find_slowly() noexcept;
  [[gnu::noinline]] void pass_block() noexcept;
  [[gnu::noinline]] void free_passed_slowly() noexcept;
  void add(std::uint64_t what) noexcept;
  bool drop(std::uint64_t what) noexcept {
    return life_.fetch_sub(what, order::acq_rel) == what;  // (L), and all others' (L)
  }

  // ---- the receiver's, and what never changes ----

  plain<mpsc_block*> head_block_{nullptr};
  plain<unsigned> head_index_{0};
  plain<bool> paid_{false};  ///< The permit of the message at the head has been given back.
  plain<std::uint64_t> passed_{0};
  plain<mpsc_block*> passed_blocks_{nullptr};
  const unsigned slots_;
  const std::size_t capacity_;
  const std::size_t block_bytes_;
  atomic<std::uint64_t> life_;

  // ---- the senders' ----

  alignas(cache_line_size) atomic<std::uintptr_t> tail_{0};
  atomic<std::uint64_t> filled_{0};  ///< Blocks whose slots are all claimed; a gauge.

 public:
  alignas(cache_line_size) channel_room<mpsc_core> room;
};

/// Memory that begins with a cache line; null when there is none.
void* allocate_lines(std::size_t bytes) noexcept;
void free_lines(void* memory, std::size_t bytes) noexcept;

}  // namespace magpie::sync::detail
