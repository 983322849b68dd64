#include <magpie/sync/pool_core.hpp>

#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>

#include <algorithm>
#include <system_error>

namespace magpie::sync::detail {

using magpie::detail::grant;
using magpie::detail::wake_chain;

/// Objects that were taken out under the lock; destroyed after it.
class pool_core::doomed {
 public:
  doomed() noexcept = default;
  doomed(const doomed&) = delete;
  doomed& operator=(const doomed&) = delete;
  ~doomed() { end_all(); }

  void add(pool_slot& slot) noexcept {
    slots_.push_back(slot);
    ++count_;
  }
  std::size_t count() const noexcept { return count_; }
  void end_all() noexcept {
    while (pool_slot* const slot = slots_.pop_front()) end(*slot);
  }

 private:
  pool_slots slots_;
  std::size_t count_ = 0;
};

void pool_core::drop_reference() noexcept {
  if (references_.fetch_sub(1, order::acq_rel) == 1) delete this;  // (R)
}

/// The object, and its share of the core.
void pool_core::end(pool_slot& slot) noexcept {
  pool_core& of = *slot.of;
  of.destroy(slot);
  of.drop_reference();
}

/// The same; then the turn goes back.
void pool_core::end_and_release(pool_slot& slot) noexcept {
  destroy(slot);
  release_turn(group_ != nullptr);
  drop_reference();
}

// ---- under the lock -----------------------------------------------------------------------------

void pool_core::count_end(pool_slot& slot, pool_end how) noexcept {
  slot.ends_by = how;
  --counts_.size;
  if (group_ != nullptr) --group_->size;
  ++counts_.ended[static_cast<std::size_t>(how)];
}

void pool_core::take_out(pool_slot& slot) noexcept {
  pool_slots::remove(slot);
  if (group_ != nullptr) group_->idle.remove(slot);
  --counts_.idle;
}

void pool_core::end_idle(pool_slot& slot, pool_end how, doomed& into) noexcept {
  slot.of->take_out(slot);
  slot.of->count_end(slot, how);
  into.add(slot);
}

/// For one more object of a group.  Whoever makes one has a turn of the group and no object: if
/// there are as many as there may be, one of them is idle.
void pool_core::make_room(doomed& into) noexcept {
  if (group_->size >= group_->size_max) {
    MAGPIE_ASSERT(!group_->idle.empty());
    end_idle(*group_->idle.front(), pool_end::evicted, into);
  }
  ++group_->size;
}

bool pool_core::expired(const pool_slot& slot, clock::time_point now,
                        pool_end& how) const noexcept {
  how = pool_end::too_old;
  if (now - slot.metrics.created > options_.age_max) return true;
  how = pool_end::idle_too_long;
  return now - slot.metrics.last_used > options_.idle_time_max;
}

/// Whether an object that comes back should end.
bool pool_core::unwanted(const pool_slot& slot, clock::time_point now,
                         pool_end& how) const noexcept {
  how = pool_end::closed;
  if (closed_) return true;
  how = pool_end::too_old;
  if (now - slot.metrics.created > options_.age_max) return true;
  how = pool_end::surplus;
  // Each who waits will take one.
  return counts_.size > options_.size_max ||
         (counts_.idle >= options_.idle_max && counts_.idle - options_.idle_max >= counts_.waiting);
}

void pool_core::release_turn_locked(bool of_both, wake_chain& woken) noexcept {
  if (of_both) group_->turns.release(1, woken);
  if (debt_ != 0) {
    --debt_;
  } else {
    release(1, woken);
  }
}

// ---- turns --------------------------------------------------------------------------------------

void pool_core::release_turn(bool of_both) noexcept {
  wake_chain woken;
  {
    const lock_scope guard(state_lock_);
    release_turn_locked(of_both, woken);
  }
  woken.post();
}

bool pool_core::join_line() noexcept {
  const lock_scope guard(state_lock_);
  const bool full = group_ != nullptr && group_->waiting >= group_->waiting_max;
  if (full || counts_.waiting >= options_.waiting_max) {
    ++counts_.refused;
    if (group_ != nullptr) ++group_->refused;
    return false;
  }
  ++counts_.waiting;
  ++counts_.waited;
  if (group_ != nullptr) ++group_->waiting;
  return true;
}

void pool_core::leave_line(bool too_late) noexcept {
  const lock_scope guard(state_lock_);
  --counts_.waiting;
  if (group_ != nullptr) --group_->waiting;
  if (too_late) ++counts_.timed_out;
}

result<void> pool_turn::try_take(pool_core& of) noexcept {
  auto taken = take_one(of);
  if (taken) of_ = &of;
  return taken;
}

result<void> pool_turn::try_take_of_group() noexcept {
  auto taken = take_one(of_->group()->turns);
  of_both_ = taken.has_value();
  return taken;
}

bool pool_turn::try_take_spare(pool_core& of) noexcept {
  making_ = of.begin_spare();
  if (making_) of_ = &of;
  return making_;
}

void pool_turn::end() noexcept {
  if (of_ == nullptr) return;
  if (slot_ != nullptr) of_->discard(*std::exchange(slot_, nullptr), pool_end::abandoned);
  if (std::exchange(making_, false)) of_->not_made();
  std::exchange(of_, nullptr)->release_turn(std::exchange(of_both_, false));
}

// ---- for who has a turn -------------------------------------------------------------------------

pool_choice pool_core::choose(pool_slot*& slot, bool may_make) noexcept {
  const clock::time_point now = clock::now();
  doomed gone;
  const lock_scope guard(state_lock_);
  if (closed_) return pool_choice::closed;
  for (;;) {
    pool_slot* const next = options_.order == pool_order::fifo ? idle_.front() : idle_.back();
    if (next == nullptr) {
      if (!may_make) return pool_choice::none;
      if (group_ != nullptr) make_room(gone);
      ++counts_.size;
      ++counts_.being_made;
      return pool_choice::make;
    }
    pool_end how;
    if (expired(*next, now, how)) {
      end_idle(*next, how, gone);
      continue;
    }
    take_out(*next);
    ++counts_.given;
    slot = next;
    return pool_choice::idle;
  }
}

bool pool_core::begin_spare() noexcept {
  const lock_scope guard(state_lock_);
  const std::size_t wanted_idle = std::min(options_.idle_min, options_.idle_max);
  if (closed_ || counts_.idle + counts_.being_made >= wanted_idle ||
      counts_.size >= options_.size_max)
    return false;
  permit_entry wanted(1);
  if (!take(wanted) || wanted.is != grant::granted) return false;
  ++counts_.size;
  ++counts_.being_made;
  return true;
}

void pool_core::made(bool given_out) noexcept {
  add_reference();  // the object's
  const lock_scope guard(state_lock_);
  --counts_.being_made;
  ++counts_.created;
  if (given_out) ++counts_.given;
}

void pool_core::not_made() noexcept {
  const lock_scope guard(state_lock_);
  --counts_.being_made;
  --counts_.size;
  if (group_ != nullptr) --group_->size;
  ++counts_.create_failed;
}

void pool_core::discard(pool_slot& slot, pool_end how) noexcept {
  {
    const lock_scope guard(state_lock_);
    --counts_.given;
    count_end(slot, how);
  }
  end(slot);
}

bool pool_core::put_back(pool_slot& slot) noexcept {
  if (broken(slot)) {
    leave(slot, pool_end::broken);
    return false;
  }
  const clock::time_point now = clock::now();
  doomed old;
  wake_chain woken;
  pool_end how;
  bool kept = false;
  {
    const lock_scope guard(state_lock_);
    if (unwanted(slot, now, how)) {
      count_end(slot, how);
    } else {
      slot.metrics.last_used = now;
      idle_.push_back(slot);
      if (group_ != nullptr) group_->idle.push_back(slot);
      ++counts_.idle;
      // The one that has been idle for longest; of `lifo` nobody else would look at it.
      pool_slot& first = *idle_.front();
      if (&first != &slot && expired(first, now, how)) end_idle(first, how, old);
      release_turn_locked(group_ != nullptr, woken);
      kept = true;  // from here on it is somebody else's
    }
  }
  woken.post();
  if (!kept) end_and_release(slot);
  return kept;
}

void pool_core::leave(pool_slot& slot, pool_end how) noexcept {
  {
    const lock_scope guard(state_lock_);
    count_end(slot, how);
  }
  end_and_release(slot);
}

// ---- for everybody ------------------------------------------------------------------------------

std::size_t pool_core::reap() noexcept {
  const clock::time_point now = clock::now();
  doomed old;
  const lock_scope guard(state_lock_);
  for (pool_slot* slot = idle_.front(); slot != nullptr;) {
    pool_slot* const next = idle_.next(*slot);
    pool_end how;
    if (expired(*slot, now, how)) end_idle(*slot, how, old);
    slot = next;
  }
  while (counts_.idle > options_.idle_max) end_idle(*idle_.front(), pool_end::surplus, old);
  return old.count();
}

std::size_t pool_core::reap_all(pool_group& of) noexcept {
  const clock::time_point now = clock::now();
  doomed old;
  const lock_scope guard(of.lock);
  for (pool_slot* slot = of.idle.front(); slot != nullptr;) {
    pool_slot* const next = of.idle.next(*slot);
    pool_end how;
    if (slot->of->expired(*slot, now, how)) end_idle(*slot, how, old);
    slot = next;
  }
  return old.count();
}

void pool_core::resize(std::size_t size) noexcept {
  MAGPIE_ASSERT(size <= permits_max);
  doomed surplus;
  wake_chain woken;
  {
    const lock_scope guard(state_lock_);
    const std::size_t before = std::exchange(options_.size_max, size);
    if (size >= before) {
      const std::size_t paid = std::min(size - before, debt_);
      debt_ -= paid;
      if (const std::size_t more = size - before - paid; more != 0) release(more, woken);
    } else {
      // An idle object whose turn is out is about to be taken.
      std::size_t forgotten = forget(before - size);
      debt_ += before - size - forgotten;
      for (; forgotten != 0 && counts_.size > size && !idle_.empty(); --forgotten)
        end_idle(*idle_.front(), pool_end::surplus, surplus);
    }
  }
  woken.post();
}

void pool_core::close_all() noexcept {
  doomed all;
  {
    const lock_scope guard(state_lock_);
    closed_ = true;
    while (!idle_.empty()) end_idle(*idle_.front(), pool_end::closed, all);
  }
  close();
  closing_.set();
}

pool_counts pool_core::counts() const noexcept {
  const lock_scope guard(state_lock_);
  pool_counts now = counts_;
  now.size_max = options_.size_max;
  return now;
}

void pool_core::begin_look(pool_slots& into) noexcept {
  MAGPIE_ASSERT(group_ == nullptr);
  const lock_scope guard(state_lock_);
  while (pool_slot* const slot = idle_.front()) {
    permit_entry wanted(1);
    if (!take(wanted) || wanted.is != grant::granted) return;
    take_out(*slot);
    into.push_back(*slot);
  }
}

void pool_core::end_look(pool_slots& kept, pool_slots& others) noexcept {
  const clock::time_point now = clock::now();
  doomed gone;
  wake_chain woken;
  {
    const lock_scope guard(state_lock_);
    while (pool_slot* const slot = others.pop_front()) {
      count_end(*slot, pool_end::not_retained);
      gone.add(*slot);
    }
    while (pool_slot* const slot = kept.pop_back()) {
      pool_end how;
      if (unwanted(*slot, now, how)) {
        count_end(*slot, how);
        gone.add(*slot);
      } else {
        idle_.push_front(*slot);
        ++counts_.idle;
        release_turn_locked(false, woken);
      }
    }
  }
  woken.post();
  gone.end_all();
  for (std::size_t i = 0; i < gone.count(); ++i) release_turn(false);
}

void pool_core::check_invariants() noexcept {
  {
    const lock_scope guard(state_lock_);
    idle_.check_invariants();
    MAGPIE_ASSERT(idle_.count() == counts_.idle);
    MAGPIE_ASSERT(!closed_ || idle_.empty());
    MAGPIE_ASSERT(counts_.size >= counts_.idle + counts_.being_made);
    MAGPIE_ASSERT(counts_.size <= options_.size_max + debt_);
    MAGPIE_ASSERT(counts_.created - counts_.all_ended() == counts_.size - counts_.being_made);
    MAGPIE_ASSERT(available() <= options_.size_max + debt_);
  }
  permit_queue::check_invariants();
}

}  // namespace magpie::sync::detail
