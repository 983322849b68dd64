/// The word between a spawned task, its joiner, the joiner's canceller and the handle, for
/// join_model.cpp; apart from it so that mutants hit the protocol and not the scaffolding.
///
/// A transcription: `end_task` mirrors spawned_base::finish, `enlist` and `cancel` mirror
/// join_base::enlist and cancel_join (spawn.cpp), `drop` mirrors join_handle::detach (spawn.hpp).
#pragma once

#include <magpie/tests/model/model.hpp>

#include <cstdint>

namespace magpie::joins {

using model::logic;

constexpr std::uintptr_t running = 0;
constexpr std::uintptr_t done = 1;
constexpr std::uintptr_t dropped = 2;
constexpr std::uintptr_t refused = 3;

struct join_word {
  atomic<std::uintptr_t> word{running};

  /// What was there: `dropped` makes the task free the state, a joiner is to be posted.
  std::uintptr_t end_task() { return word.exchange(done, order::acq_rel); }  // (J1)

  enum class enlisted { waits, ended, stopped };
  enlisted enlist(std::uintptr_t joiner) {
    std::uintptr_t now = running;
    // (J3)
    if (word.compare_exchange_strong(now, joiner, order::acq_rel, order::acquire))
      return enlisted::waits;
    if (now != refused) {
      MAGPIE_ASSERT(now == done);
      return enlisted::ended;
    }
    if (!logic("refusal_stays"))
      word.compare_exchange_strong(now, running, order::acq_rel, order::acquire);
    return enlisted::stopped;
  }

  /// True: the canceller has taken the joiner out and posts it.
  bool cancel(std::uintptr_t joiner) {
    std::uintptr_t now = joiner;
    for (;;) {
      const std::uintptr_t next = now == joiner ? running : refused;
      if (word.compare_exchange_weak(now, next, order::acq_rel, order::acquire))
        return now == joiner;
      if (now == done && !logic("cancel_overrides_the_end")) return false;
      if (logic("canceller_leaves_no_refusal")) return false;
    }
  }

  /// True: the task has ended, and the handle frees the state.
  bool drop() { return word.exchange(dropped, order::acq_rel) == done; }  // (J4)
};

}  // namespace magpie::joins
