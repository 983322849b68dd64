/// Timers and wheel operations for the tests: each takes the wheel's lock by itself.
#pragma once

#include <magpie/runtime/timer_wheel.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace magpie::tests {

inline constexpr std::uint64_t tick = timer_wheel::tick_ns;
inline constexpr std::uint64_t never = timer_wheel::no_deadline;
inline constexpr std::size_t unlimited = ~std::size_t{0};

struct timer : timer_node {
  int id = 0;
};

inline bool insert(timer_wheel& wheel, timer& t, std::uint64_t deadline_ns) {
  t.deadline_ns = deadline_ns;
  lock_scope guard(wheel);
  return wheel.insert(t);
}

inline bool cancel(timer_wheel& wheel, timer& t) {
  lock_scope guard(wheel);
  return wheel.cancel(t);
}

inline std::vector<timer*> expire(timer_wheel& wheel, std::uint64_t now_ns,
                                  std::size_t handled_max = unlimited) {
  timer_list fired;
  std::size_t count = 0;
  {
    lock_scope guard(wheel);
    count = wheel.expire(now_ns, fired, handled_max);
  }
  std::vector<timer*> result;
  while (timer_node* t = fired.pop_front()) {
    EXPECT_FALSE(t->armed());
    result.push_back(static_cast<timer*>(t));
  }
  EXPECT_EQ(result.size(), count);
  return result;
}

}  // namespace magpie::tests
