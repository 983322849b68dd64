/// Where an outcome goes: the seam between whatever is awaited and whoever awaits it.
///
/// Everything that can be awaited (a task, an operation, `timeout`, …) is started with a
/// *continuation* and delivers its outcome there once.  A continuation is either
///  - **plain**: a frame suspended at `co_await x`.  A value resumes the frame.  An error never
///    does: the delivery climbs from frame to frame through the awaiting promises;
///  - a **boundary**: an object that asked to see the outcome (`as_result`, `timeout`, a group's
///    child, a task's root).  Its hook decides what happens next.
///
/// Climbing is one loop, `deliver`: a hook never calls the next hook, it returns the next step, so
/// that a hundred thousand nested boundaries need no stack.  Frames that an error leaves behind are
/// destroyed innermost first by the boundary that stops the climb (`destroy_abandoned`).
///
/// Called on the worker that runs the failing or finishing code; nothing here is thread safe.
#pragma once

#include <magpie/util/errc.hpp>

#include <coroutine>
#include <cstdint>
#include <source_location>
#include <system_error>

namespace magpie {

class stop_scope;

namespace detail {

struct promise_base;
struct step;

/// The hook of a boundary: returns the coroutine to resume next, or a null handle after it set
/// `next.to` (and `next.error`) for the climb to go on.
using arrival_hook = std::coroutine_handle<> (*)(void* boundary, step& next) noexcept;

class boundary;

struct continuation {
  void* target = nullptr;       ///< The awaiting `promise_base`, or a `boundary`; see `end`.
  arrival_hook hook = nullptr;  ///< Null: plain.

  continuation() noexcept = default;
  continuation(boundary* at, arrival_hook arrives) noexcept : target(at), hook(arrives) {}

  static continuation plain(promise_base& awaiting) noexcept {
    continuation made;
    made.target = &awaiting;
    return made;
  }

  /// The end of a chain: `state` is what a task ends in, and passes its outcome on to nobody.  The
  /// odd target tells who looks at the chain from outside; the hook finds `state` by `ended`.
  static continuation end(void* state, arrival_hook arrives) noexcept {
    continuation made;
    made.target = static_cast<char*>(state) + 1;
    made.hook = arrives;
    return made;
  }
  static bool is_end(const continuation& to) noexcept {
    return (reinterpret_cast<std::uintptr_t>(to.target) & 1) != 0;
  }
  template <class State>
  static State* ended(void* target) noexcept {
    return reinterpret_cast<State*>(reinterpret_cast<std::uintptr_t>(target) - 1);
  }
};

/// What every boundary but a task's end has: where its outcome goes.  Delivering needs no such
/// common part; who looks at a suspended chain from outside (live_tasks.hpp, a debugger) finds by
/// it what lies beyond the boundary.  It does not change from the start of the inside on.
class boundary {
 public:
  const continuation& destination() const noexcept { return to_; }
  void set_destination(const continuation& to) noexcept { to_ = to; }

  /// For hooks: the boundary that the target is.
  template <class B>
  static B& from(void* target) noexcept {
    return *static_cast<B*>(static_cast<boundary*>(target));
  }

 protected:
  continuation to_;
};

/// One step of a delivery.
struct step {
  step() noexcept = default;
  explicit step(continuation first, std::error_code with = no_error) noexcept
      : to(first), error(with) {}

  continuation to;                    ///< Where the outcome goes next.
  std::error_code error = no_error;   ///< Non-zero: the outcome is this error.
  promise_base* abandoned = nullptr;  ///< Innermost frame that the error left behind, if any.
  bool traced = false;                ///< The error's return trace has begun.

  /// For hooks: the outcome goes on to `where`, as a value or as `with`.
  std::coroutine_handle<> go_on(continuation where, std::error_code with = no_error) noexcept {
    to = where;
    error = with;
    abandoned = nullptr;
    return nullptr;
  }
};

/// What an awaiting frame holds for the task that it awaits.  The child's promise points here, not
/// to the parent's promise: the owner knows where the outcome goes and owns the child's frame.
struct frame_owner {
  continuation to;
  std::coroutine_handle<> child;
};

/// The part of a promise that does not depend on the task's type: 24 bytes.
struct promise_base {
  frame_owner* owner = nullptr;  ///< Who awaits; null before the start.
  stop_scope* scope = nullptr;   ///< The stop scope that this frame runs in.
  std::source_location place;    ///< Where the frame awaits now (file and line).

  std::coroutine_handle<> handle() noexcept {
    return std::coroutine_handle<promise_base>::from_promise(*this);
  }
};

/// Delivers an outcome and returns the coroutine to run next (never null; a no-op coroutine when
/// nothing is to run here).  Cost of a value to a plain continuation: a test and a load.
std::coroutine_handle<> deliver_on(step& next) noexcept;

/// The same for an outcome that begins its way: a value to a boundary, or any error.  Not inline,
/// so that the step is built in place and not copied.
std::coroutine_handle<> deliver_value(continuation to) noexcept;
std::coroutine_handle<> deliver_error(continuation to, std::error_code error) noexcept;

inline std::coroutine_handle<> deliver(continuation to) noexcept {
  if (to.hook == nullptr) return static_cast<promise_base*>(to.target)->handle();
  return deliver_value(to);
}

/// Raises `error` at the current await of `frame`.
inline std::coroutine_handle<> raise(promise_base& frame, std::error_code error) noexcept {
  return deliver_error(continuation::plain(frame), error);
}

/// Destroys the frames from `innermost` outwards up to and including the one whose owner is a
/// boundary; null: there are none.  Iterative; destructors of the frames run user code.
void destroy_chain(promise_base* innermost) noexcept;
inline void destroy_abandoned(promise_base* innermost) noexcept {
  if (innermost != nullptr) [[unlikely]]
    destroy_chain(innermost);
}

}  // namespace detail
}  // namespace magpie
