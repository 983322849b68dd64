/// A pool without the type of its objects: who has a turn, which objects are idle, how many there
/// are.
///
/// Idea: a *turn* is the right to have one object.  There are `size_max` of them, and who finds
/// none waits in line, which is a permit_queue.  Whoever has a turn takes an idle object, or makes
/// one if none is idle.  Whoever gives an object back gives the turn to the first in line in the
/// same step.
///
///     an object is    counted in               becomes
///     being made      size, a turn             out; or nothing, when that fails
///     out             size, a turn             idle, with its turn given back; or it ends
///     idle            size                     out, for one who has a turn; or it ends
///
/// An object is made only by one who has a turn and finds none idle: all others are with other
/// turns, so there never are more than turns.  (`maintain` makes one beside idle ones: with a turn
/// too, and only where there is room.)  `resize` to less takes turns away that nobody has, and
/// counts the rest as *debt*, which whoever gives a turn back pays instead.
///
/// One lock is around all of that, and the queue's lock is taken inside of it (never the other way
/// round): that an object is idle, that its turn is free and whom it goes to is one step.  Nothing
/// of the objects' types runs under it: what ends is taken out of the lists under the lock, and
/// destroyed after it.  A destructor may come back to the pool.
///
///     step                     under the lock                        after it
///     choose, with a turn      idle one out, or one more in size     what was too old is destroyed
///     give_back                to the idle ones, turn released       the woken one is posted
///       not wanted             size - 1                              destroyed, then the turn
///     resize                   turns released or forgotten, idle     destroyed, posted
///                              ones beyond the new size taken out
///     close                    the idle ones taken out               the line ends; destroyed
///
/// What is destroyed keeps its turn until it is gone: the next is made after it.  Only idle objects
/// that end by `reap` or `resize` may be on their way out beside their replacements.
///
/// Pools may be a *group*, with a bound of all their objects (keyed_pool.hpp).  They have one lock
/// then, and whoever has a turn needs one of the group as well, taken after the first and given
/// back with it.  All objects that are not idle are with turns of the group: so whoever has one and
/// no object, and finds as many as there may be, finds an idle one of some pool, which ends.
///
/// Objects may outlive their pool: (R) the core is counted by the pool, by each object, and by each
/// task inside; the last frees it and sees what the others did.
/// Threads: any, for everything.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/sync/event.hpp>
#include <magpie/sync/permit_queue.hpp>
#include <magpie/sync/pool_options.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/intrusive_list.hpp>
#include <magpie/util/result.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace magpie::sync::detail {

class pool_core;

/// The places of an idle object: in its pool, and in a group of pools.
struct pool_place_in_pool : list_node {};
struct pool_place_in_group : list_node {};

/// An object of a pool, without its value.
struct pool_slot : pool_place_in_pool, pool_place_in_group {
  explicit pool_slot(pool_core& in) noexcept : of(&in) {
    metrics.created = metrics.last_used = clock::now();
  }

  pool_core* of;
  pool_object_metrics metrics;  ///< Of whoever has the object; under the lock when it is idle.
  pool_end ends_by{};           ///< Of whoever ends it.
};

using pool_slots = intrusive_list<pool_slot, pool_place_in_pool>;

/// Pools that share a bound of all their objects, and one lock.  Who has a turn of a pool needs one
/// of the group as well; if there are as many objects as there may be, an idle one makes room.
struct pool_group {
  explicit pool_group(std::size_t most, std::size_t in_line = ~std::size_t{0}) noexcept
      : turns(most), size_max(most), waiting_max(in_line) {}

  spin_lock lock;
  permit_queue turns;
  intrusive_list<pool_slot, pool_place_in_group> idle;  // in the order in which they came back
  std::size_t size = 0;                                 // as in `pool_counts`
  std::size_t size_max;
  std::size_t waiting = 0;  // of all pools
  std::size_t waiting_max;
  std::uint64_t refused = 0;
};

enum class pool_choice : std::uint8_t { idle, make, none, closed };

class pool_core : public permit_queue {
 public:
  explicit pool_core(const pool_options& options, pool_group* in = nullptr) noexcept
      : permit_queue(options.size_max),
        group_(in),
        state_lock_(in != nullptr ? in->lock : own_lock_),
        options_(options) {}
  pool_core(const pool_core&) = delete;
  pool_core& operator=(const pool_core&) = delete;

  void add_reference() noexcept { references_.fetch_add(1, order::relaxed); }  // who adds has one
  void drop_reference() noexcept;
  /// Nobody but the caller has a share; who could take one is kept out by the caller.
  bool is_last_share() const noexcept { return references_.load(order::relaxed) == 1; }

  // ---- turns ----

  /// For grant_operation: a turn that a stopped task was given.  Hides the queue's, which knows of
  /// no debt.
  bool give_back(permit_entry&) noexcept {
    release_turn(false);
    return true;
  }
  /// `of_both`: there is one of the group with it.
  void release_turn(bool of_both) noexcept;
  pool_group* group() const noexcept { return group_; }

  /// Whether there is room in line; then `leave_line` must follow.
  bool join_line() noexcept;
  void leave_line(bool too_late) noexcept;

  // ---- for who has a turn ----

  /// An idle object in `slot`; or `make`, and one is counted as being made (if `may_make`).
  /// Destroys those that it finds too old.
  pool_choice choose(pool_slot*& slot, bool may_make) noexcept;

  /// A turn, and one that is counted as being made, if there are too few idle ones and there is
  /// room; for `maintain`.
  bool begin_spare() noexcept;

  /// What was being made is there now, to be given out or as a spare one, and has a share of the
  /// core; or it is not.
  void made(bool given_out) noexcept;
  void not_made() noexcept;
  /// Destroys the object of a `choose`, which is not given out; the turn stays.
  void discard(pool_slot& slot, pool_end how) noexcept;

  /// Gives an object and its turn back.  False: it was not kept.
  bool put_back(pool_slot& slot) noexcept;
  /// Ends an object, then gives its turn back.
  void leave(pool_slot& slot, pool_end how) noexcept;

  // ---- for everybody ----

  std::size_t reap() noexcept;
  /// The same for all pools of a group.
  static std::size_t reap_all(pool_group& of) noexcept;
  void resize(std::size_t size) noexcept;
  void close_all() noexcept;
  pool_counts counts() const noexcept;
  const pool_options& options() const noexcept { return options_; }  ///< But for `size_max`.
  event& closing() noexcept { return closing_; }

  /// For `retain`: takes all idle objects out, each with a turn.  Those are left for which there is
  /// no turn, as somebody is about to take them.
  void begin_look(pool_slots& into) noexcept;
  /// Puts `kept` back, in front of what came meanwhile, and ends the others.
  void end_look(pool_slots& kept, pool_slots& others) noexcept;

  void check_invariants() noexcept;

 protected:
  virtual ~pool_core() = default;

 private:
  /// Whether the object should not be used again.  Without the lock.
  virtual bool broken(pool_slot& slot) noexcept = 0;
  /// Destroys the object and its slot.  Without the lock.
  virtual void destroy(pool_slot& slot) noexcept = 0;

  class doomed;

  static void end(pool_slot& slot) noexcept;
  void end_and_release(pool_slot& slot) noexcept;
  void count_end(pool_slot& slot, pool_end how) noexcept;
  void take_out(pool_slot& slot) noexcept;
  static void end_idle(pool_slot& slot, pool_end how, doomed& into) noexcept;
  void make_room(doomed& into) noexcept;
  bool expired(const pool_slot& slot, clock::time_point now, pool_end& how) const noexcept;
  bool unwanted(const pool_slot& slot, clock::time_point now, pool_end& how) const noexcept;
  void release_turn_locked(bool of_both, magpie::detail::wake_chain& woken) noexcept;

  pool_group* const group_;  // or null
  spin_lock own_lock_;
  spin_lock& state_lock_;
  pool_slots idle_;       // in the order in which they came back
  std::size_t debt_ = 0;  // turns that are out and are no more
  bool closed_ = false;
  pool_counts counts_;
  pool_options options_;  // but for `size_max` they never change
  event closing_;
  atomic<std::uint32_t> references_{1};
};

/// A share of a core.
class pool_share {
 public:
  explicit pool_share(pool_core& of) noexcept : of_(&of) { of.add_reference(); }
  pool_share(pool_share&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
  pool_share& operator=(pool_share&&) = delete;
  ~pool_share() {
    if (of_ != nullptr) of_->drop_reference();
  }
  pool_core& operator*() const noexcept { return *of_; }

 private:
  pool_core* of_;
};

inline result<void> take_one(permit_queue& from) noexcept {
  permit_entry wanted(1);
  return magpie::detail::tried(from.take(wanted), wanted);
}

/// A turn, and what is done with it: whatever ends it in the middle leaves the pool exact.
class [[nodiscard]] pool_turn {
 public:
  pool_turn() noexcept = default;
  explicit pool_turn(pool_core* of) noexcept : of_(of) {}
  pool_turn(pool_turn&& other) noexcept
      : of_(std::exchange(other.of_, nullptr)),
        slot_(std::exchange(other.slot_, nullptr)),
        making_(std::exchange(other.making_, false)),
        of_both_(std::exchange(other.of_both_, false)) {}
  pool_turn& operator=(pool_turn&& other) noexcept {
    if (this != &other) {
      end();
      of_ = std::exchange(other.of_, nullptr);
      slot_ = std::exchange(other.slot_, nullptr);
      making_ = std::exchange(other.making_, false);
      of_both_ = std::exchange(other.of_both_, false);
    }
    return *this;
  }
  ~pool_turn() { end(); }

  explicit operator bool() const noexcept { return of_ != nullptr; }
  pool_slot& slot() const noexcept { return *slot_; }

  /// Takes a turn if one is free and nobody waits for it; else says why not.
  result<void> try_take(pool_core& of) noexcept;
  bool try_take_spare(pool_core& of) noexcept;
  /// A turn of the group as well.
  result<void> try_take_of_group() noexcept;
  void add_of_group() noexcept { of_both_ = true; }

  pool_choice choose(bool may_make = true) noexcept {
    const pool_choice what = of_->choose(slot_, may_make);
    making_ = what == pool_choice::make;
    return what;
  }
  void made(pool_slot& slot, bool given_out) noexcept {
    making_ = false;
    slot_ = &slot;
    of_->made(given_out);
  }
  void discard(pool_end how) noexcept { of_->discard(*std::exchange(slot_, nullptr), how); }

  /// The object is its user's, and the turn with it.
  pool_slot& give() noexcept {
    of_ = nullptr;
    of_both_ = false;
    return *std::exchange(slot_, nullptr);
  }
  /// The object is idle, and the turn over.  False: it was not kept.
  bool put_back() noexcept {
    return std::exchange(of_, nullptr)->put_back(*std::exchange(slot_, nullptr));
  }

 private:
  void end() noexcept;

  pool_core* of_ = nullptr;
  pool_slot* slot_ = nullptr;
  bool making_ = false;
  bool of_both_ = false;
};

/// Waits for a turn.
class turn_wait final : public magpie::detail::grant_operation<pool_core, permit_entry> {
 public:
  using value_type = pool_turn;

  explicit turn_wait(pool_core& of) noexcept : grant_operation(of, std::size_t{1}) {}
  turn_wait(turn_wait&&) noexcept = default;

  result<pool_turn> take() noexcept {
    taken();
    return pool_turn(&source());
  }
};

/// Waits for a turn of a group.
using group_wait = permit_operation<held_permits>;

/// In line, until its end.
class pool_place {
 public:
  explicit pool_place(pool_core& in) noexcept : in_(in.join_line() ? &in : nullptr) {}
  pool_place(const pool_place&) = delete;
  pool_place& operator=(const pool_place&) = delete;
  ~pool_place() { leave(false); }

  bool has_room() const noexcept { return in_ != nullptr; }
  void leave(bool too_late) noexcept {
    if (in_ != nullptr) std::exchange(in_, nullptr)->leave_line(too_late);
  }

 private:
  pool_core* in_;
};

}  // namespace magpie::sync::detail
