#include <magpie/runtime/continuation.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/outcome.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/transfer.hpp>

#include <cstdint>
#include <exception>
#include <new>

namespace magpie::detail {

#if MAGPIE_TRAMPOLINE
constinit thread_local std::coroutine_handle<> next_coroutine = nullptr;
#endif

std::coroutine_handle<> deliver_value(continuation to) noexcept {
  step next(to);
  if (std::coroutine_handle<> resumed = to.hook(to.target, next)) return resumed;
  return deliver_on(next);
}

std::coroutine_handle<> deliver_error(continuation to, std::error_code error) noexcept {
  step next(to, error);
  return deliver_on(next);
}

namespace {

/// An error climbs over the frames that await plainly, up to the next boundary, and leaves their
/// places in the trace.  They are frames of one task, so there is one trace to write to.
void climb(step& next) noexcept {
  auto* frame = static_cast<promise_base*>(next.to.target);
  if (next.abandoned == nullptr) {
    next.abandoned = frame;
    run_in(*frame->scope);  // the frame's destructors will
  }
  error_trace* const trace = trace_for(frame->scope->root(), next.error, !next.traced);
  next.traced = true;
  std::uint32_t passed = trace != nullptr ? trace->count : error_trace::places_max;
  for (;; ++passed) {
    if (passed < error_trace::places_max) trace->places[passed] = frame->place;
    next.to = frame->owner->to;
    if (next.to.hook != nullptr) break;
    frame = static_cast<promise_base*>(next.to.target);
  }
  if (trace != nullptr) trace->count = passed + 1;
}

}  // namespace

std::coroutine_handle<> deliver_on(step& next) noexcept {
  for (;;) {
    if (next.error) {
      if (next.to.hook == nullptr) climb(next);
    } else if (next.to.hook == nullptr) {
      auto& frame = *static_cast<promise_base*>(next.to.target);
      context& here = this_context();
      here.run_in(frame.scope);
      if (here.note.is_clear()) here.note.set(frame.scope->root(), frame.place);
      return frame.handle();
    }
    if (std::coroutine_handle<> resumed = next.to.hook(next.to.target, next)) return resumed;
  }
}

void destroy_chain(promise_base* innermost) noexcept {
  for (promise_base* frame = innermost; frame != nullptr;) {
    frame_owner& owner = *frame->owner;
    owner.child = nullptr;  // first, so that the outer frame does not destroy it again
    promise_base* outer =
        owner.to.hook == nullptr ? static_cast<promise_base*>(owner.to.target) : nullptr;
    frame->handle().destroy();
    frame = outer;
  }
}

namespace {

/// Frames waiting to be destroyed by the outermost `destroy_unstarted` on this thread, linked
/// through their (unused) owner pointers.
constinit thread_local promise_base* deferred_frames = nullptr;
constinit thread_local bool destroying = false;

}  // namespace

void destroy_unstarted(promise_base& frame) noexcept {
  if (destroying) {
    frame.owner = reinterpret_cast<frame_owner*>(deferred_frames);
    deferred_frames = &frame;
    return;
  }
  destroying = true;
  promise_base* now = &frame;
  while (now != nullptr) {
    now->handle().destroy();
    now = deferred_frames;
    if (now != nullptr) deferred_frames = reinterpret_cast<promise_base*>(now->owner);
  }
  destroying = false;
}

void* capture_exception() noexcept {
  static_assert(sizeof(std::exception_ptr) == sizeof(void*));
  void* opaque;
  ::new (static_cast<void*>(&opaque)) std::exception_ptr(std::current_exception());
  return opaque;
}

void drop_exception(void* exception) noexcept {
  std::destroy_at(std::launder(reinterpret_cast<std::exception_ptr*>(&exception)));
}

void rethrow_exception(void* exception) {
  const std::exception_ptr owned(
      std::move(*std::launder(reinterpret_cast<std::exception_ptr*>(&exception))));
  std::rethrow_exception(owned);
}

}  // namespace magpie::detail
