/// The socket operation: try the system call inline, else wait for readiness and try again.
///
/// A derived class gives `int attempt() noexcept`: 0 when it is done (and has kept its value),
/// EAGAIN when the descriptor is not ready, or the errno that the operation fails with; `T
/// value()`; and `bool hint()`, whether an inline attempt is worth its system call.
///
/// Stop: checked before anything begins; then a wait is given up at once and nothing has been
/// consumed, or the attempt already has its result and that is the outcome.
/// Cost: one system call when it succeeds inline; a wait adds one submission.  No allocation.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/reactor.hpp>
#include <magpie/util/errc.hpp>

#include <cerrno>
#include <coroutine>
#include <system_error>

namespace magpie {

template <class Derived, class T>
class io_operation : public readiness_operation {
 public:
  using value_type = T;

  io_operation(descriptor& on, direction way) noexcept
      : readiness_operation(&io_operation::run_again, on, way) {}
  io_operation(io_operation&&) noexcept = default;

  bool try_complete(stop_scope& scope) noexcept {
    if (scope.stop_requested() || !derived().hint()) return false;
    if (!detail::spend_budget(detail::this_context())) {
      next_ = step::attempt;
      return false;
    }
    return attempted();
  }

  std::error_code failed() const noexcept { return error_; }

  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
    prepare(to, scope);
    if (next_ == step::attempt) {
      detail::this_context().post_last(*this);
    } else if (!wait()) {
      next_ = step::refuse;  // a stopped await goes through the queue, never inline
      detail::this_context().post_last(*this);
    }
    return std::noop_coroutine();
  }

  result<T> take() noexcept {
    if (error_) return std::unexpected(error_);
    return derived().value();
  }

 private:
  enum class step : std::uint8_t { wait, attempt, refuse };

  Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  bool attempted() noexcept {
    const int error = derived().attempt();
    if (error == EAGAIN) return false;
    if (error != 0) error_ = errno_code(error);
    return true;
  }

  bool wait() noexcept {
    cancelled = false;
    wait_error = 0;
    return detail::this_context().io->wait(*this);
  }

  static void run_again(runnable& work) noexcept {
    auto& self = static_cast<io_operation&>(
        static_cast<readiness_operation&>(static_cast<operation&>(work)));
    bool stopped = false;
    switch (self.next_) {
      case step::wait:
        if (!self.end()) return;  // a canceller still holds it and will post it again
        stopped = self.cancelled;
        break;
      case step::attempt:
        self.next_ = step::wait;
        stopped = self.scope().stop_requested();
        break;
      case step::refuse:
        stopped = true;
        break;
    }
    if (!stopped && !self.attempted()) {
      if (self.wait_error != 0) {
        self.error_ = errno_code(self.wait_error);
      } else if (self.wait()) {
        return;
      } else {
        stopped = true;
      }
    }
    if (stopped) self.error_ = errc::stopped;
    detail::resume(self.error_ ? deliver_error(self.continuation(), self.error_)
                               : deliver(self.continuation()));
  }

  std::error_code error_ = no_error;
  step next_ = step::wait;
};

}  // namespace magpie
