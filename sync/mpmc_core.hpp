/// A channel from many to many, without its values: who has which slot, and who is given what.
///
/// Idea: the line for permits (permit_queue.hpp) is the line for room.  Behind it everything is
/// under the lock of the wait list in which the receivers stand.  A slot goes round:
///
///     slot      by                                        permit of the room
///     free      -                                         may be had
///     filling   a sender that has a permit  (take_free)   out
///     ready     in the queue                (publish)     out
///     emptying  a receiver that was given a message (pop) out
///     free      the same                    (recycle)     given back after that
///
/// Values are moved while their slot is `filling` or `emptying`, so without the lock.
///
/// A receiver is given *a* message, not a certain one: `unclaimed_` of those that are ready are
/// nobody's, and who waits means that there are none of these.  It takes what is in front when it
/// has run.  If it is stopped before, what it was given goes to the next in line.
///
///     comes          nobody waits       somebody waits
///     a message      ++unclaimed_       is given to the first in line
///     given back     ++unclaimed_       is given to the first in line
///     a receive      --unclaimed_,      waits
///                    or waits
///     the end        -                  all are told
///
/// The end has come when the room is closed, which the last sender does as well, and all permits
/// are back: then there is no message, none can come, and nobody can give one back.  Until then a
/// receiver waits, also for a message that another one has been given.  The word of the room says
/// both; whoever gives a permit back, or closes, looks.
///
/// Threads: any.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/sync/channel_room.hpp>
#include <magpie/sync/permit_queue.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstddef>
#include <utility>

namespace magpie::sync::detail {

/// Waits for a message.
struct claim_entry : magpie::detail::grant_entry {
  struct wish {};
  claim_entry() noexcept = default;
  explicit claim_entry(wish) noexcept {}
  wish wanted() const noexcept { return {}; }
};

/// The head of a slot; its value follows.
struct mpmc_slot {
  mpmc_slot* next = nullptr;
};

class mpmc_core : public magpie::detail::wait_list {
 public:
  /// With one sender and one receiver, and no slots yet.
  explicit mpmc_core(std::size_t capacity) noexcept : room(*this, capacity), capacity_(capacity) {}
  ~mpmc_core() = default;

  /// One that is closed, for ends that have no channel.
  static mpmc_core& none() noexcept;

  std::size_t capacity() const noexcept { return capacity_; }
  /// A guess while others send.
  std::size_t size() noexcept {
    const lock_scope guard(*this);
    return unclaimed_;
  }

  // ---- what the receivers' waits ask for; see grant_operation.hpp ----

  bool try_take(claim_entry& one) noexcept {
    const lock_scope guard(*this);
    return decide(one);
  }
  void offer(claim_entry& one, magpie::detail::wake_chain&) noexcept { decide(one); }
  static void left(claim_entry&, magpie::detail::wake_chain&) noexcept {}
  bool give_back(claim_entry&) noexcept {
    give_one(nullptr);
    return true;
  }

  // ---- slots ----

  /// Before anybody else can see the channel.
  void add_slot(mpmc_slot& one) noexcept { push(free_, one); }
  /// By who has a permit that it has not used.
  mpmc_slot& take_free() noexcept {
    const lock_scope guard(*this);
    return *pop_front(free_);
  }
  /// The slot has a value.  False: there is no receiver any more, and it is the caller's to empty.
  bool publish(mpmc_slot& one) noexcept { return give_one(&one); }
  /// By who was given a message.
  mpmc_slot& pop() noexcept {
    const lock_scope guard(*this);
    return *pop_front(ready_);
  }
  /// By a receiver that is the last: any message, or null.
  mpmc_slot* pop_any() noexcept {
    const lock_scope guard(*this);
    mpmc_slot* const one = pop_front(ready_);
    if (one != nullptr) --unclaimed_;
    return one;
  }
  /// The value could not be moved out: it is in front again.
  void put_back(mpmc_slot& one) noexcept;
  /// The value is gone.
  void recycle(mpmc_slot& one) noexcept {
    {
      const lock_scope guard(*this);
      push(free_, one);
    }
    room.return_unused(1);
  }

  // ---- the end ----

  /// Nothing can be sent any more, but with permits that are out.
  void close() noexcept {
    room.close();
    wake_receivers();
  }
  bool is_closed() const noexcept { return room.is_closed(); }
  /// Tells who waits, if the end has come.
  void wake_receivers() noexcept;

  // ---- who is left; a new one is made by one of its kind ----

  void add_sender() noexcept { add(senders_); }
  void add_receiver() noexcept { add(receivers_); }
  /// True: the last of its kind, which closes, and comes back with `drop`.
  bool leave_sender() noexcept { return leave(senders_); }
  bool leave_receiver() noexcept { return leave(receivers_); }
  /// By the last of its kind, when it is done.  True: that of the other kind is as well, and the
  /// caller frees the channel.
  bool drop() noexcept {
    const lock_scope guard(*this);
    return --kinds_ == 0;
  }

 private:
  struct queue {
    mpmc_slot* first = nullptr;
    mpmc_slot* last = nullptr;
  };

  static void push(queue& to, mpmc_slot& one) noexcept {
    one.next = nullptr;
    (to.first == nullptr ? to.first : to.last->next) = &one;
    to.last = &one;
  }
  static mpmc_slot* pop_front(queue& from) noexcept {
    mpmc_slot* const one = from.first;
    if (one != nullptr) from.first = one->next;
    return one;
  }
  /// Relaxed loads of one word: who changes it looks after that, under the lock.
  bool over() const noexcept { return room.is_closed() && room.available() == capacity_; }
  bool decide(claim_entry& one) noexcept;
  bool give_one(mpmc_slot* published) noexcept;
  void add(std::size_t& to) noexcept {
    const lock_scope guard(*this);
    ++to;
  }
  bool leave(std::size_t& of) noexcept {
    const lock_scope guard(*this);
    MAGPIE_DEBUG_ASSERT(of != 0);
    return --of == 0;
  }

 public:
  channel_room<mpmc_core> room;

 private:
  const std::size_t capacity_;
  // All under the lock.
  queue free_;
  queue ready_;
  std::size_t unclaimed_ = 0;  ///< Ready, and given to nobody.
  std::size_t senders_ = 1;    ///< Permits among them.
  std::size_t receivers_ = 1;
  unsigned kinds_ = 2;
};

}  // namespace magpie::sync::detail
