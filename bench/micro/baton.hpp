/// A baton: the smallest thing that one task can wait for and another can hand over.
///
/// `post` wakes the one waiter, or is kept for the next `wait`.  It stands in the benchmarks for
/// what a user's code waits for, so it is as lean as a waiting operation may be: one lock byte
/// orders begin, post and cancel, which costs a read-modify-write on either side.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/spin_lock.hpp>

#include <coroutine>
#include <utility>

namespace magpie::bench {

class baton;

class baton_wait : public operation {
 public:
  using value_type = void;

  explicit baton_wait(baton& on) noexcept : operation(&woken, &cancel_wait), baton_(&on) {}
  baton_wait(baton_wait&&) noexcept = default;

  bool try_complete(stop_scope& scope) noexcept;
  std::error_code failed() const noexcept { return {}; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept;
  result<void> take() const noexcept { return {}; }

 private:
  static void woken(runnable& work) noexcept;
  static void cancel_wait(operation& op) noexcept;

  baton* baton_;
  bool refused_ = false;
  bool cancelled_ = false;
};

class baton {
 public:
  /// Wakes the waiter, or the next one.  Any thread.
  void post() noexcept {
    baton_wait* waiter;
    {
      lock_scope guard(lock_);
      waiter = std::exchange(waiter_, nullptr);
      if (waiter == nullptr) set_.store(true, order::relaxed);
    }
    if (waiter != nullptr) waiter->scope().root().post(*waiter);
  }

  /// Waits for a post and uses it up.  One waiter at a time.
  baton_wait wait() noexcept { return baton_wait(*this); }

 private:
  friend class baton_wait;

  /// Under the lock, or as a first guess without it.
  bool take_post() noexcept {
    if (!set_.load(order::relaxed)) return false;
    set_.store(false, order::relaxed);
    return true;
  }

  spin_lock lock_;
  atomic<bool> set_{false};
  baton_wait* waiter_ = nullptr;
};

inline bool baton_wait::try_complete(stop_scope& scope) noexcept {
  if (!baton_->set_.load(order::relaxed) || scope.stop_requested()) return false;
  if (!detail::spend_budget(detail::this_context())) return false;
  lock_scope guard(baton_->lock_);
  return baton_->take_post();
}

inline std::coroutine_handle<> baton_wait::start(detail::continuation to,
                                                 stop_scope& scope) noexcept {
  prepare(to, scope);
  {
    lock_scope guard(baton_->lock_);
    if (!begin()) {
      refused_ = true;
    } else if (!baton_->take_post()) {
      baton_->waiter_ = this;
      return std::noop_coroutine();
    }
  }
  detail::this_context().post_last(*this);
  return std::noop_coroutine();
}

inline void baton_wait::woken(runnable& work) noexcept {
  auto& self = static_cast<baton_wait&>(static_cast<operation&>(work));
  if (!self.refused_ && !self.end()) return;
  const bool stopped = self.refused_ || self.cancelled_;
  detail::resume(stopped ? detail::deliver_error(self.continuation(), errc::stopped)
                         : detail::deliver(self.continuation()));
}

inline void baton_wait::cancel_wait(operation& op) noexcept {
  auto& self = static_cast<baton_wait&>(op);
  {
    lock_scope guard(self.baton_->lock_);
    if (self.baton_->waiter_ != &self) return;  // a post took it: that is the outcome
    self.baton_->waiter_ = nullptr;
    self.cancelled_ = true;
  }
  self.scope().root().post(self);
}

}  // namespace magpie::bench
