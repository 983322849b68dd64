/// An operation that completes at once: what is left of a wrapper's cost when there is no waiting.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/util/result.hpp>

#include <coroutine>
#include <system_error>

namespace magpie::bench {

struct ready_operation {
  using value_type = int;

  explicit ready_operation(int gives = 1) noexcept : value(gives) {}

  bool try_complete(stop_scope&) const noexcept { return true; }
  std::error_code failed() const noexcept { return {}; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope&) const noexcept {
    return detail::deliver(to);
  }
  result<int> take() const noexcept { return value; }

  int value;
};

}  // namespace magpie::bench
