/// Tasks for the models of queues: each must run exactly once and see what its producer wrote.
#pragma once

#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/runnable.hpp>

#include <cstddef>

namespace magpie::model {

struct task : runnable {
  task() : runnable(nullptr) {}

  /// Before it is queued; the checker reports a taker that has no order with this.
  void prepare() { payload = 1; }

  /// By whoever took it out of a queue.
  void take() {
    payload = payload + 1;
    runs = runs + 1;
  }

  bool ran_once() const { return runs == 1 && payload == 2; }

  plain<int> payload{0};
  plain<int> runs{0};
};

inline void take(runnable* r) { static_cast<task*>(r)->take(); }

/// A sink for overflow: runs what it gets.
struct taking_sink {
  void operator()(runnable* first, runnable* last, std::size_t count) const {
    for (std::size_t i = 1; i != count; ++i) {
      runnable* next = first->next;
      take(first);
      first = next;
    }
    MAGPIE_ASSERT(first == last);
    take(first);
  }
};

}  // namespace magpie::model
