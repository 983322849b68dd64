/// `co_await fail(ec)`: finishes the task with an error, at the cost of a return code.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/transfer.hpp>
#include <magpie/util/assert.hpp>

#include <system_error>

namespace magpie {
namespace detail {

/// What `co_await fail(…)` would give if it ever gave anything.
struct never {
  never() = delete;
};

class fail_operation {
 public:
  using value_type = never;
  explicit fail_operation(std::error_code error) noexcept : error_(error) {
    MAGPIE_ASSERT(error && "fail with an error of value zero, which is no error");
  }
  bool try_complete(stop_scope&) const noexcept { return true; }
  std::error_code failed() const noexcept { return error_; }
  std::coroutine_handle<> start(continuation to, stop_scope&) const noexcept {
    return deliver_error(to, error_);
  }
  result<never> take() const noexcept { return std::unexpected(error_); }

 private:
  std::error_code error_;
};

/// `fail` needs no value: its await never resumes.
class fail_await {
 public:
  fail_await(promise_base& parent, std::error_code error) noexcept
      : parent_(&parent), error_(error) {}
  bool await_ready() const noexcept { return false; }
  transfer await_suspend(std::coroutine_handle<>) noexcept {
    return transfer_to(raise(*parent_, error_));
  }
  [[noreturn]] void await_resume() const noexcept { __builtin_unreachable(); }

 private:
  promise_base* parent_;
  std::error_code error_;
};

}  // namespace detail

/// An awaitable that fails with `error`, which must not be zero.
inline detail::fail_operation fail(std::error_code error) noexcept {
  return detail::fail_operation(error);
}

}  // namespace magpie
