/// The awaitable that waits in a wait list until its source has come, for all who wait:
/// `cancellation_token::cancelled`, `task_tracker::wait`.
///
/// The lock of the list orders the begin, the wake and the stop: whoever wakes or stops between the
/// entering of the scope and the listing waits for the lock, and then finds the waiter listed.  One
/// of the two takes it out and posts the operation; the other finds it taken and does nothing.
///
/// Threads: begins on a worker; woken and stopped on any thread.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <system_error>
#include <utility>

namespace magpie::detail {

class wait_operation : public operation {
 public:
  using value_type = void;

  /// Without a list it completes at once, with the error `missing` if that is one.
  explicit wait_operation(wait_source* in, std::errc missing = {}) noexcept
      : operation(&woken, &cancel_wait), list_(in), missing_(missing) {}
  wait_operation(wait_operation&& other) noexcept
      : operation(std::move(other)), list_(other.list_), missing_(other.missing_) {}

  bool try_complete(stop_scope& scope) noexcept {
    return (list_ == nullptr || list_->came()) && !scope.stop_requested() &&
           spend_budget(this_context());
  }
  std::error_code failed() const noexcept {
    return list_ == nullptr ? std::make_error_code(missing_) : no_error;
  }

  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept;

  result<void> take() const noexcept { return {}; }

 private:
  static void woken(runnable& work) noexcept;
  static void cancel_wait(operation& op) noexcept;
  bool wait() noexcept;

  wait_source* list_;
  wait_entry waiter_;
  std::errc missing_;
  bool waits_ = false;  ///< It began, and is or was listed.
  bool stopped_ = false;
};

}  // namespace magpie::detail
