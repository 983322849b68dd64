/// Three hand-overs between workers, for parking_model.cpp; apart from it so that mutants hit the
/// protocols and not the scaffolding.
///
/// Transcriptions: `notice` mirrors worker::wake and worker::park, `lifo_slot` mirrors
/// worker::post_local and take_lifo (worker.cpp), `meeting` mirrors interrupted.hpp's arrived
/// and fired, with a timer as the trigger.
#pragma once

#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/runnable.hpp>

namespace magpie::parking {

using model::logic;

struct notice {
  atomic<bool> notified{false};

  /// True: the sleeper has to be woken in the kernel too.
  bool give() { return !notified.exchange(true, order::acq_rel); }  // (N1)
  /// Before blocking, when the rescuers keep away.
  bool given() const { return notified.load(order::acquire); }
  void take() { static_cast<void>(notified.exchange(false, order::acq_rel)); }  // (N2)
};

struct lifo_slot {
  atomic<runnable*> slot{nullptr};

  /// The owner's: what was in there goes to its queue.
  runnable* post(runnable& work) { return slot.exchange(&work, order::acq_rel); }  // (L1)
  /// The owner or a thief.
  runnable* take() {
    if (slot.load(order::relaxed) == nullptr) return nullptr;
    return slot.exchange(nullptr, order::acq_rel);  // (L2)
  }
};

/// The second of two parties to arrive goes on.
struct meeting {
  enum party : int { none, x_arrived, timer_ran };
  atomic<int> met{none};

  bool x_is_second() { return met.exchange(x_arrived, order::acq_rel) != none; }      // (T1)
  bool timer_is_second() { return met.exchange(timer_ran, order::acq_rel) != none; }  // (T2)
};

}  // namespace magpie::parking
