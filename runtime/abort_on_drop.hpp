/// `abort_on_drop`: a join handle that takes its task with it.
///
/// For a task that is there for somebody else only: a heartbeat of a connection, a refresher of a
/// cache.  Dropping it asks the task to stop and does not wait for its end, as no destructor can;
/// who needs the end awaits `join()` after `abort()`, or uses a group.
#pragma once

#include <magpie/runtime/spawn.hpp>

#include <cstdint>
#include <optional>
#include <utility>

namespace magpie {

template <class T>
class [[nodiscard("dropping it aborts the task")]] abort_on_drop {
 public:
  explicit abort_on_drop(join_handle<T>&& handle) noexcept : handle_(std::move(handle)) {}
  abort_on_drop(abort_on_drop&& other) noexcept
      : handle_(std::exchange(other.handle_, std::nullopt)) {}
  abort_on_drop& operator=(abort_on_drop&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_->abort();
      handle_ = std::exchange(other.handle_, std::nullopt);
    }
    return *this;
  }
  ~abort_on_drop() {
    if (handle_) handle_->abort();
  }

  /// As those of the join handle; not after `release` or a move.
  auto join() & noexcept { return handle_->join(); }
  void abort() noexcept { handle_->abort(); }
  bool done() const noexcept { return handle_->done(); }
  std::uint64_t id() const noexcept { return handle_->id(); }

  /// Gives the handle back; the task is safe from this object then.
  join_handle<T> release() noexcept { return *std::exchange(handle_, std::nullopt); }

 private:
  std::optional<join_handle<T>> handle_;
};

}  // namespace magpie
