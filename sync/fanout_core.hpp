/// What the channels that send to many have in common: how far the senders are, who waits for more,
/// and how many there are at each side.
///
///     word = position | CLOSED
///
///     a sender publishes      under the lock: position + 1 (A), and everybody who waits is taken
///                             out
///     the last sender goes    under the lock: -> CLOSED (A), and everybody who waits is taken out
///     a receiver waits        the position is another than its own: had (B)
///                             else CLOSED: closed               else listed, under the lock
///
/// Nothing is given to a receiver while it waits: it is told, and takes what there is when it runs.
/// So a stop costs it nothing.
///
/// (A) releases what a sender did, (B) acquires it.  (E) an end goes: the last one frees the
/// channel and sees what the others did.
/// Threads: any, for everything.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/runtime/wait_operation.hpp>
#include <magpie/sync/shared_value.hpp>
#include <magpie/util/atomic.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace magpie::sync::detail {

/// Waits for another position than the one that its receiver has reached when the wait begins: what
/// was received between the making of the wait and that is not waited for once more.
struct fanout_entry : magpie::detail::grant_entry {
  explicit fanout_entry(const std::uint64_t& reached) noexcept
      : position(__builtin_addressof(reached)) {}
  fanout_entry(std::uint64_t&&) = delete;  // it would not live
  const std::uint64_t& wanted() const noexcept { return *position; }

  const std::uint64_t* position;  ///< The receiver's.
};

/// Those who wait until there is no receiver.
class fanout_abandonment : public magpie::detail::wait_source {
 public:
  fanout_abandonment() noexcept : wait_source(&is_abandoned) {}

  /// One more, by who has one or is a sender: relaxed.
  void add_receiver() noexcept { receivers_.fetch_add(1, order::relaxed); }
  /// True: it was the last one, and `wake` is to follow.
  bool drop_receiver() noexcept {
    // (A) with (B); and whom the last one wakes sees what the others did.
    return receivers_.fetch_sub(1, order::acq_rel) == 1;
  }
  std::size_t receivers() const noexcept { return receivers_.load(order::acquire); }  // (B)

 private:
  static bool is_abandoned(const wait_source& of) noexcept {
    return static_cast<const fanout_abandonment&>(of).receivers() == 0;
  }

  atomic<std::size_t> receivers_{1};
};

class fanout_core : public magpie::detail::wait_list {
 public:
  /// How much was published.
  std::uint64_t position() const noexcept { return word_.load(order::acquire) / one_more; }  // (B)
  bool is_closed() const noexcept { return (word_.load(order::acquire) & closed) != 0; }     // (B)

  // ---- what the waiting awaitable asks for; see grant_operation.hpp ----

  bool try_take(fanout_entry& one) noexcept;
  void offer(fanout_entry& one, magpie::detail::wake_chain&) noexcept { try_take(one); }
  static void left(fanout_entry&, magpie::detail::wake_chain&) noexcept {}
  /// Nothing is received before it is taken.
  static bool give_back(fanout_entry&) noexcept { return true; }

  // ---- the ends ----

  fanout_abandonment& abandonment() noexcept { return abandonment_; }
  std::size_t receivers() const noexcept { return abandonment_.receivers(); }
  std::size_t senders() const noexcept { return senders_.load(order::relaxed); }  // a guess

  void add_sender() noexcept;
  /// True: the channel is to be freed.
  bool drop_sender() noexcept;

 protected:
  /// With one sender and one receiver; one that is `ended` is for ends that have no channel.
  explicit fanout_core(bool ended) noexcept : word_(ended ? closed : 0) {}
  ~fanout_core() = default;

  // Under the lock.
  std::uint64_t position_here() const noexcept {
    return word_.load(order::relaxed) / one_more;  // it changes under the lock
  }
  void advance(magpie::detail::wake_chain& woken) noexcept;

  void add_end() noexcept { ends_.fetch_add(1, order::relaxed); }             // by who has one
  bool let_go() noexcept { return ends_.fetch_sub(1, order::acq_rel) == 1; }  // (E)

 private:
  static constexpr std::uint64_t closed = 1;
  static constexpr std::uint64_t one_more = 2;

  void close() noexcept;

  atomic<std::uint64_t> word_;
  atomic<std::size_t> senders_{1};
  atomic<std::size_t> ends_{2};
  fanout_abandonment abandonment_;
};

/// What the senders of these channels have in common.
template <class State>
class fanout_sender {
 public:
  fanout_sender() noexcept = default;
  fanout_sender(const fanout_sender& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->add_sender();
  }
  fanout_sender(fanout_sender&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  fanout_sender& operator=(fanout_sender other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  /// Not while `closed` is being awaited.
  ~fanout_sender() {
    if (state_ != nullptr && state_->drop_sender()) free_pooled(state_);
  }

  /// There is no receiver: nobody would see what is sent, until somebody subscribes.
  bool is_closed() const noexcept { return receivers() == 0; }

  /// Waits until there is none.  The sender must stay where it is meanwhile.
  /// Errors: stopped.  Stop: ends the wait; nothing is consumed.
  /// Threads: any number of tasks.  Cost: no allocation.
  magpie::detail::wait_operation closed() noexcept {
    return magpie::detail::wait_operation(state_ != nullptr ? &state_->abandonment() : nullptr);
  }
  /// The same for a thread that is no worker (asserted).  Cost: blocks the thread.
  void blocking_closed() noexcept {
    if (state_ != nullptr) magpie::detail::blocking_wait(state_->abandonment());
  }

  /// How many there are; guesses while others come and go.
  std::size_t receivers() const noexcept { return state_ != nullptr ? state_->receivers() : 0; }
  std::size_t senders() const noexcept { return state_ != nullptr ? state_->senders() : 0; }

 protected:
  explicit fanout_sender(State* state) noexcept : state_(state) {}

  State* state_ = nullptr;
};

}  // namespace magpie::sync::detail
