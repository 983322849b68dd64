/// `run_blocking(f, args…)`: a call that blocks, on a thread of the runtime's pool; with a pool of
/// the program's own as the first argument, on a thread of that.
///
/// The job, its arguments and its result live in the awaiting frame.  Stop: a job that has not
/// started is withdrawn and the outcome is `stopped`; a started one runs to its end, and its value
/// is the outcome.  In a simulated runtime the call runs when it has got its turn, on the
/// simulating thread, and its outcome arrives after a seeded virtual duration, or after none while
/// the clock is paused.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/blocking_pool.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/outcome.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/errc.hpp>

#include <tuple>
#include <type_traits>
#include <utility>

namespace magpie {
namespace detail {

/// The part of a blocking call that does not depend on its types.
class blocking_operation_base : public operation, public blocking_job {
 public:
  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return no_error; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept;

 protected:
  using compute_function = void (*)(blocking_operation_base&) noexcept;

  /// `on` null: the pool of the runtime.
  blocking_operation_base(compute_function compute, blocking_pool* on, when_full then) noexcept
      : operation(&ended, &cancel_job),
        blocking_job(&call_it),
        compute_(compute),
        pool_(on),
        when_full_(then) {}
  blocking_operation_base(blocking_operation_base&& other) noexcept
      : operation(std::move(other)),
        blocking_job(&call_it),
        compute_(other.compute_),
        pool_(other.pool_),
        when_full_(other.when_full_) {}
  ~blocking_operation_base() = default;

 private:
  static void call_it(blocking_job& job) noexcept;
  static void ended(runnable& work) noexcept;
  static void cancel_job(operation& op) noexcept;
  static bool enter(blocking_job& job) noexcept;
  static void run_simulated(blocking_job& job) noexcept;

  compute_function compute_;
  blocking_pool* pool_;
  std::error_code error_ = no_error;
  when_full when_full_;
  bool refused_ = false;
  bool has_turn_ = false;  ///< Of a simulated pool.
};

template <class F, class... Args>
class blocking_operation final : public blocking_operation_base {
 public:
  using value_type = std::invoke_result_t<F, Args...>;

  blocking_operation(blocking_pool* on, when_full then, F function, Args... args) noexcept
      : blocking_operation_base(&compute, on, then),
        function_(std::move(function)),
        args_(std::move(args)...) {}
  blocking_operation(blocking_operation&& other) noexcept
      : blocking_operation_base(std::move(other)),
        function_(std::move(other.function_)),
        args_(std::move(other.args_)) {}

  result<value_type> take() { return outcome_.take(); }

  bool has_exception() const noexcept {
    return outcome_.is == outcome<value_type>::kind::exception;
  }

 private:
  static void compute(blocking_operation_base& base) noexcept {
    auto& self = static_cast<blocking_operation&>(base);
#if defined(__cpp_exceptions)
    try {
      self.call();
    } catch (...) {
      self.outcome_.set_exception(capture_exception());
    }
#else
    self.call();
#endif
  }

  void call() {
    if constexpr (std::is_void_v<value_type>) {
      std::apply(std::move(function_), std::move(args_));
      outcome_.set_value();
    } else {
      outcome_.set_value(std::apply(std::move(function_), std::move(args_)));
    }
  }

  F function_;
  std::tuple<Args...> args_;
  outcome<value_type> outcome_;
};

}  // namespace detail

/// Calls `function(args…)` on a thread that may block, and gives what it returns.
/// Errors: stopped; resource_unavailable_try_again when the pool's queue is full or no thread can
/// be made.  Stop: see above.  Cost: two thread hand-overs, no allocation of its own.
template <class F, class... Args>
  requires std::invocable<F, Args...>
auto run_blocking(F function, Args... args) noexcept {
  return detail::blocking_operation<F, Args...>(nullptr, when_full::refuse, std::move(function),
                                                std::move(args)...);
}

/// The same on a thread of `on`, which must outlive it.  When its queue is full the task waits in
/// line, first come, first served.
/// Errors: stopped; resource_unavailable_try_again when the pool has no thread and none can be
/// made.
/// Stop: also leaves the line.
template <class F, class... Args>
  requires std::invocable<F, Args...>
auto run_blocking(blocking_pool& on, F function, Args... args) noexcept {
  return detail::blocking_operation<F, Args...>(&on, when_full::wait, std::move(function),
                                                std::move(args)...);
}

/// The same, but fails with resource_unavailable_try_again instead of waiting in line.
template <class F, class... Args>
  requires std::invocable<F, Args...>
auto try_run_blocking(blocking_pool& on, F function, Args... args) noexcept {
  return detail::blocking_operation<F, Args...>(&on, when_full::refuse, std::move(function),
                                                std::move(args)...);
}

}  // namespace magpie
