/// One descriptor in one epoll instance: what is known of its readiness, and who waits for it.
///
/// The kernel tells of readiness by *edges*: each change once.  So every edge is kept until
/// somebody acts on it.  A direction (read, write) has a ready bit and at most one waiting
/// operation, under the registration's lock:
///
///     ready  waiter   wait(op)                   event             cancel(op)          close
///     0      -        begin, waiter = op         ready = 1         not held            closed
///     0      op       (bug)                      hands op out      held: waiter = -    (bug)
///     1      -        begin, ready = 0, `ready`  -                 not held            closed
///     1      op       (never: wait takes the bit, an event takes the waiter)
///     any    any      on a closed one: `gone`    stale: dropped
///
/// Where begin fails (the scope is stopped) nothing changes and the answer is `refused`.
///
/// No edge is lost.  The bit is cleared, or an edge spent on a waiter, only while an operation is
/// being handed out, and that operation attempts its system call afterwards.  Take any edge:
///  - it came before such a handing out: the attempt that follows sees what it announced;
///  - it came later, with nobody waiting: the bit keeps it, and the next wait ends at once;
///  - it came later, with somebody waiting: it ends that wait.
/// An attempt that answers EAGAIN arms the kernel's next edge, and so does one that is known to
/// have drained the descriptor (a short read), after which callers come here without an attempt.
///
/// One thing outlasts its edge: the end of a stream.  A peer's last bytes and its FIN may come as
/// one edge, spent on the read that takes the bytes; no second one will announce the end.  So a
/// hang-up is remembered for good, and a wait on such a direction answers `ask`: the caller polls
/// the descriptor, once, and comes back with what it `knows`.  Urgent data is treated alike: a read
/// stops short at its mark, and so says nothing of what lies behind.
///
/// A registration is never unmapped and is used again for other descriptors.  Its generation moves
/// on at each close; an event carries the generation that it was registered with, and one that was
/// already fetched from the kernel when the descriptor was closed is recognised and dropped.  Only
/// equality matters, so the generation may wrap.
///
/// Threads: any.  A template so that the very same table is model-checked without a runtime.
#pragma once

#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/cache_line.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstdint>

namespace magpie {

/// `Operation` has `bool begin()`, which enters its stop scope.
template <class Operation>
class alignas(cache_line_size) epoll_registration {
 public:
  static constexpr unsigned read_way = 0;
  static constexpr unsigned write_way = 1;
  /// Masks for `event`: bit n stands for way n.
  static constexpr unsigned read_bit = 1U << read_way;
  static constexpr unsigned write_bit = 1U << write_way;

  /// The epoll instance of a registration that has none.
  static constexpr int no_epoll = -1;

  enum class outcome : std::uint8_t {
    waiting,  ///< Begun and held; an event or a cancel ends it.
    ready,    ///< Begun and not held: the caller hands it out.
    refused,  ///< Not begun: the scope is stopped.
    gone,     ///< Not begun: the epoll instance is no more.
    ask,      ///< Not begun: hung up; poll the descriptor and call again with the answer.
  };

  /// What the caller knows of the descriptor beyond the events.
  enum class knows : std::uint8_t { nothing, not_ready, ready };

  /// The operations that an event ends, and whether it was meant for an earlier registration.
  struct delivery {
    Operation* ended[2] = {nullptr, nullptr};
    bool stale = false;
  };

  /// Takes a closed registration into use.  By its one owner, before anybody else knows it.
  void open(int epoll) noexcept {
    lock_scope held(lock_);
    MAGPIE_ASSERT(epoll_ == no_epoll && epoll > no_epoll && !closing_);
    check_invariants();
    epoll_ = epoll;
    ready_ = 0;
    hung_up_ = 0;
  }

  /// Ends the registration: its events are stale from now on.  Nobody waits on it.  Returns its
  /// epoll instance, which stays open until `closed` is called, or `no_epoll`.
  int close() noexcept {
    lock_scope held(lock_);
    MAGPIE_ASSERT(waiter_[read_way] == nullptr && waiter_[write_way] == nullptr && !closing_);
    generation_ = generation_ + 1;
    closing_ = true;
    return epoll_;
  }

  /// The epoll instance knows the descriptor no more.
  void closed() noexcept {
    lock_scope held(lock_);
    epoll_ = no_epoll;
    closing_ = false;
  }

  /// The epoll instance `epoll` is about to be closed: what still waits there is given up.  False
  /// while somebody is between `close` and `closed`; ask again.
  [[nodiscard]] bool abandon(int epoll) noexcept {
    lock_scope held(lock_);
    if (epoll_ != epoll) return true;
    if (closing_) return false;
    epoll_ = no_epoll;
    waiter_[read_way] = nullptr;
    waiter_[write_way] = nullptr;
    return true;
  }

  /// Begins `op` and waits, unless the way is ready already.  From `waiting` on the operation
  /// belongs to whoever ends it, and the caller must not touch it.
  outcome wait(unsigned way, Operation& op, knows state = knows::nothing) noexcept {
    lock_scope held(lock_);
    check_invariants();
    const unsigned bit = 1U << way;
    if (epoll_ == no_epoll) return outcome::gone;
    MAGPIE_ASSERT(waiter_[way] == nullptr && !closing_);  // one wait for each direction
    const bool ready = (ready_ & bit) != 0 || state == knows::ready;
    if (!ready && state == knows::nothing && (hung_up_ & bit) != 0) return outcome::ask;
    // Under the lock: a canceller that finds the operation in its scope waits here for the table.
    if (!op.begin()) return outcome::refused;
    ready_ = ready_ & ~bit;
    if (ready) return outcome::ready;
    waiter_[way] = &op;
    return outcome::waiting;
  }

  /// The kernel reported the ways in `ready`; those in `hung_up` will stay ready for good.
  delivery event(std::uint32_t generation, unsigned ready, unsigned hung_up) noexcept {
    lock_scope held(lock_);
    check_invariants();
    delivery result;
    if (generation != generation_ || epoll_ == no_epoll) {
      result.stale = true;
      return result;
    }
    hung_up_ = hung_up_ | hung_up;
    for (unsigned way = read_way; way <= write_way; ++way) {
      const unsigned bit = 1U << way;
      if ((ready & bit) == 0) continue;
      result.ended[way] = waiter_[way];
      waiter_[way] = nullptr;
      if (result.ended[way] == nullptr) ready_ = ready_ | bit;
    }
    return result;
  }

  /// Takes `op` back: true when it was still waiting and now belongs to the caller.
  bool cancel(unsigned way, const Operation& op) noexcept {
    lock_scope held(lock_);
    check_invariants();
    if (waiter_[way] != &op) return false;
    waiter_[way] = nullptr;
    return true;
  }

  /// The generation to register with; only before the registration is known to anybody else.
  std::uint32_t generation() const noexcept { return generation_; }

  // The slab's: written while it owns the registration, constant while somebody else does.
  std::uint32_t index = 0;
  epoll_registration* next_free = nullptr;

  /// For tests: makes the next registration start at this generation.
  void set_generation(std::uint32_t generation) noexcept {
    lock_scope held(lock_);
    generation_ = generation;
  }

 private:
  void check_invariants() const noexcept {
    // Nobody waits for what is ready already.
    MAGPIE_DEBUG_ASSERT((ready_ & read_bit) == 0 || waiter_[read_way] == nullptr);
    MAGPIE_DEBUG_ASSERT((ready_ & write_bit) == 0 || waiter_[write_way] == nullptr);
    MAGPIE_DEBUG_ASSERT((hung_up_ | ready_ | read_bit | write_bit) == (read_bit | write_bit));
  }

  // All guarded by lock_.
  spin_lock lock_;
  plain<unsigned> ready_{0};
  plain<unsigned> hung_up_{0};
  plain<int> epoll_{no_epoll};
  plain<bool> closing_{false};
  plain<std::uint32_t> generation_{0};
  plain<Operation*> waiter_[2] = {{nullptr}, {nullptr}};
};

}  // namespace magpie
