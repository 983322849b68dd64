/// `abort_handle`: aborts a spawned task when its `join_handle` is elsewhere or gone.
///
/// It shares the task's state; spawn.hpp says who frees that.
#pragma once

#include <cstdint>
#include <utility>

namespace magpie {

template <class T>
class join_handle;

namespace detail {

struct spawned_base;

}  // namespace detail

/// Copies stand for the same task.  After the task's end it does nothing.
/// Threads: any, one object from one thread at a time; it may outlive the runtime.
/// Cost: no allocation; while one is left it keeps the task's state (some 200 bytes), but neither
/// its frame nor its result.
class abort_handle {
 public:
  abort_handle(const abort_handle& other) noexcept : abort_handle(other.state_, other.free_) {}
  abort_handle(abort_handle&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)), free_(other.free_) {}
  abort_handle& operator=(abort_handle other) noexcept {
    std::swap(state_, other.state_);
    std::swap(free_, other.free_);
    return *this;
  }
  ~abort_handle();

  /// Stops the task; its join then gives `errc::aborted` unless it ends otherwise.
  void abort() const noexcept;

  /// True once the task has ended and its frame is gone.
  bool done() const noexcept;

  /// The task's id; 0 when it could not be spawned.
  std::uint64_t id() const noexcept;

 private:
  template <class>
  friend class join_handle;
  using free_function = void (*)(detail::spawned_base&) noexcept;

  /// The caller keeps the state meanwhile.
  abort_handle(detail::spawned_base* state, free_function frees) noexcept;

  detail::spawned_base* state_;
  free_function free_;
};

}  // namespace magpie
