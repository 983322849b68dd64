#include <magpie/runtime/cleanup.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/failure_log.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/task_root.hpp>

#include <cstdio>
#include <new>
#include <utility>

namespace magpie {

detail::cleanup_outcome::~cleanup_outcome() {
  if (exception_ != nullptr) drop_exception(exception_);
  if (trace_ != nullptr) frame_free(trace_, sizeof(error_trace));
}

void detail::cleanup_outcome::body_ended(std::error_code error, bool traced, void* exception,
                                         task_root& root) noexcept {
  error_ = error;
  exception_ = exception;
  traced_ = traced;
  if (error) trace_ = std::exchange(root.trace, nullptr);
}

void detail::cleanup_outcome::cleanup_failed(std::error_code error, void* exception,
                                             task_root& root) noexcept {
  if (!failed()) {
    error_ = error;
    exception_ = exception;
    traced_ = root.trace != nullptr && root.trace->error == error;
    if (error) trace_ = std::exchange(root.trace, nullptr);
    return;
  }
  if (root.home->settings().log && may_log_failure()) {
    const bool traced = error && root.trace != nullptr && root.trace->error == error;
    std::fprintf(stderr, "magpie: a clean-up failed (in the task spawned at %s:%u): %s\n%s",
                 root.spawned.file_name(), static_cast<unsigned>(root.spawned.line()),
                 exception != nullptr ? "exception" : error.message().c_str(),
                 traced ? format_trace(root.trace).c_str() : "");
  }
  if (exception != nullptr) drop_exception(exception);
}

std::coroutine_handle<> detail::cleanup_outcome::go_on(step& next, continuation to,
                                                       task_root& root) noexcept {
  if (trace_ != nullptr) std::swap(root.trace, trace_);
  next.traced = traced_;
  return next.go_on(to, error_);
}

cleanup_stack::~cleanup_stack() {
  while (top_ != nullptr) static_cast<void>(pop());
}

void cleanup_stack::push(task<> cleanup) noexcept {
  void* memory = cleanup ? frame_allocate(sizeof(entry)) : nullptr;
  if (memory == nullptr) {
    out_of_memory_ = true;
    return;
  }
  top_ = ::new (memory) entry(std::move(cleanup), top_);
  ++size_;
}

task<> cleanup_stack::pop() noexcept {
  MAGPIE_ASSERT(top_ != nullptr);
  entry* const popped = std::exchange(top_, top_->below);
  --size_;
  task<> work = std::move(popped->work);
  popped->~entry();
  frame_free(popped, sizeof(entry));
  return work;
}

}  // namespace magpie
