/// What a program may do when workers start, park, go on and stop.
///
/// Plain functions, called on the worker's thread with the index of the worker.  They may spawn and
/// wake tasks, except for `stops`, after which nothing runs there any more; what a `parks` makes
/// ready here is run before the worker sleeps, or leaves with the runtime.  They must not block:
/// all that waits on this worker waits for them.  Nor may they spawn at each parking for ever: a
/// runtime ends when its last task has.
///
/// `starts` and `stops` come once for each worker that has run, `parks` and `unparks` in pairs; a
/// worker parks often, also to look after others.  In a simulation a worker is parked from the
/// moment at which it finds nothing to do until it does.
/// Cost: without a hook a test of a pointer for each parking.
#pragma once

#include <cstddef>

namespace magpie {

struct worker_hooks {
  using function = void (*)(void* context, std::size_t worker) noexcept;

  worker_hooks() noexcept = default;

  void* context = nullptr;     ///< Handed to each of them.
  function starts = nullptr;   ///< The thread begins to work.
  function parks = nullptr;    ///< There is nothing to do here: the worker is about to sleep.
  function unparks = nullptr;  ///< It goes on, or has found something at the last moment.
  function stops = nullptr;    ///< The thread has ended its work.
};

}  // namespace magpie
