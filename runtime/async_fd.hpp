/// A descriptor of the kernel that operations wait on: what pipes and processes are built from.
///
/// Every operation tries its system call first and waits when that says EAGAIN, which is what
/// edge-triggered readiness asks for.  At most one operation is pending on an `async_fd`; it holds
/// a reference to it, so the object neither moves nor closes meanwhile (asserted).
///
/// Threads: one operation at a time, from any task; everything else alone.
#pragma once

#include <magpie/runtime/io_operation.hpp>
#include <magpie/runtime/reactor.hpp>
#include <magpie/util/assert.hpp>

#include <cerrno>
#include <coroutine>
#include <utility>

namespace magpie::detail {

class async_fd {
 public:
  async_fd() noexcept = default;
  /// Takes `fd` over.
  explicit async_fd(int fd) noexcept { io_.fd = fd; }
  async_fd(async_fd&& other) noexcept : io_(other.release()) {}
  async_fd& operator=(async_fd&& other) noexcept {
    if (this != &other) {
      close();
      io_ = other.release();
    }
    return *this;
  }
  ~async_fd() { close(); }

  int get() const noexcept { return io_.fd; }
  bool is_open() const noexcept { return io_.fd >= 0; }

  /// Nothing when it is closed.  No operation may be pending.
  void close() noexcept;

 private:
  template <class, class>
  friend class async_fd_operation;

  /// Every reactor forgets it: the next task may wait for it in another runtime.
  descriptor release() noexcept;
  /// One that was cancelled has ended although it is still there.
  bool idle() const noexcept { return pending_ == nullptr || pending_->cancelled; }

  descriptor io_;
  readiness_operation* pending_ = nullptr;
};

/// `int transfer() noexcept` of a derived class is the system call: 0 or an errno.
template <class Derived, class T>
class async_fd_operation : public io_operation<Derived, T> {
  using base = io_operation<Derived, T>;

 public:
  ~async_fd_operation() {
    // Only one that was stopped is still noted; any other may outlive the descriptor.
    if (noted_ && on_->pending_ == this) on_->pending_ = nullptr;
  }

  bool hint() const noexcept { return true; }

  int attempt() noexcept {
    check_alone();
    const int error = static_cast<Derived&>(*this).transfer();
    if (error != EAGAIN && noted_) {
      on_->pending_ = nullptr;
      noted_ = false;
    }
    return error;
  }

  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
    check_alone();
    on_->pending_ = this;
    noted_ = true;
    return base::start(to, scope);  // from here on it may end on another worker
  }

 protected:
  int fd() const noexcept { return on_->get(); }

 private:
  friend Derived;

  async_fd_operation(async_fd& on, direction way) noexcept : base(on.io_, way), on_(&on) {}
  async_fd_operation(async_fd_operation&&) noexcept = default;

  void check_alone() const noexcept {
    MAGPIE_ASSERT((on_->pending_ == this || on_->idle()) &&
                  "two tasks use one descriptor at the same time");
  }

  async_fd* on_;
  bool noted_ = false;  ///< The descriptor knows that this operation is pending.
};

}  // namespace magpie::detail
