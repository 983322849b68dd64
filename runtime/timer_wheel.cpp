#include <magpie/runtime/timer_wheel.hpp>

namespace magpie {

std::size_t timer_wheel::expire(std::uint64_t now_ns, timer_list& fired,
                                std::size_t handled_max) noexcept {
  MAGPIE_DEBUG_ASSERT(lock_.is_locked());
  MAGPIE_ASSERT(handled_max != 0);
  const std::uint64_t target = now_ns / tick_ns;  // rounded down: deadlines are rounded up
  std::size_t handled = 0;
  std::size_t fired_count = 0;
  for (;;) {
    for (; handled != handled_max && !lists_[pending].empty(); ++handled) {
      timer_node& timer = *lists_[pending].front();
      const std::uint64_t tick = tick_of(timer.deadline_ns);
      if (tick <= now_) {
        take_out(timer);
        fired.push_back(timer);
        ++fired_count;
      } else {
        timer_list::remove(timer);
        place(timer, tick);
      }
    }
    find_next();
    if (!lists_[pending].empty()) {
      return fired_count;
    }
    horizon_ = now_ + 1;
    if (next_ > target) {
      break;
    }
    advance();
  }
  if (target > now_) {
    now_ = target;
    horizon_ = target + 1;
  }
  return fired_count;
}

/// Moves now to the next slot and makes all that hangs there pending.
void timer_wheel::advance() noexcept {
  MAGPIE_DEBUG_ASSERT(lists_[pending].empty() && next_ > now_ && next_list_ < pending);
  const unsigned level = next_list_ / slots;
  now_ = next_;
  horizon_ = now_ + (std::uint64_t{1} << level * digit_bits);
  used_[level] &= ~(std::uint64_t{1} << next_list_ % slots);
  lists_[pending].append(lists_[next_list_]);
}

/// Finds the list that needs attention first.  A lower level comes before a higher one, since it
/// shares the higher digits with now.
void timer_wheel::find_next() noexcept {
  if (!lists_[pending].empty()) {
    publish_next(now_, pending);
    return;
  }
  for (unsigned level = 0; level != levels - 1; ++level) {
    if (used_[level] != 0) {
      const auto slot = static_cast<unsigned>(std::countr_zero(used_[level]));
      const unsigned shift = level * digit_bits;
      const std::uint64_t above = now_ >> (shift + digit_bits) << digit_bits;
      publish_next((above | slot) << shift, level * slots + slot);
      return;
    }
  }
  if (used_[levels - 1] != 0) {
    // The top level is a ring: its slots count from the one after now's.
    const std::uint64_t first = (now_ >> top_shift) + 1;
    const auto ahead = static_cast<unsigned>(
        std::countr_zero(std::rotr(used_[levels - 1], static_cast<int>(first % slots))));
    const std::uint64_t digits = first + ahead;
    publish_next(digits << top_shift, (levels - 1) * slots + static_cast<unsigned>(digits % slots));
    return;
  }
  publish_next(no_deadline, pending);
}

void timer_wheel::check_invariants() const noexcept {
  MAGPIE_ASSERT(horizon_ > now_);
  std::size_t timers = 0;
  for (std::uint32_t list = 0; list != pending; ++list) {
    const timer_list& timers_here = lists_[list];
    timers_here.check_invariants();
    const bool used = (used_[list / slots] >> list % slots & 1) != 0;
    MAGPIE_ASSERT(used == !timers_here.empty());
    for (timer_node* timer = timers_here.front(); timer != nullptr;
         timer = timers_here.next(*timer)) {
      ++timers;
      const std::uint64_t tick = tick_of(timer->deadline_ns);
      MAGPIE_ASSERT(timer->place_ == list && tick > now_ && tick >= next_);
      const unsigned shift = list / slots * digit_bits;
      if (shift != top_shift) {
        MAGPIE_ASSERT(tick >> (shift + digit_bits) == now_ >> (shift + digit_bits));
        MAGPIE_ASSERT((tick >> shift) % slots == list % slots);
        MAGPIE_ASSERT((now_ >> shift) % slots < list % slots);
      } else {
        MAGPIE_ASSERT(list % slots != (now_ >> top_shift) % slots);
      }
    }
  }
  lists_[pending].check_invariants();
  timers += lists_[pending].count();
  MAGPIE_ASSERT(timers == size());
  MAGPIE_ASSERT((next_ == no_deadline) == (timers == 0));
  MAGPIE_ASSERT((next_ <= now_) == !lists_[pending].empty());
}

}  // namespace magpie
