/// The awaitable that waits in a wait list until it is given something: a permit, a lock, a
/// notification.
///
/// Its `Source` is the list and knows what there is to give:
///
///   bool try_take(E&)                   gives it to an entry that waits nowhere, if that can be
///                                       done at once.
///   void offer(E&, wake_chain&)         under the lock: the same; else the entry stays `waiting`,
///                                       and is listed.
///   void left(E&, wake_chain&)          under the lock: a stop took the entry out.
///   bool give_back(E&)                  without the lock: what was given is not wanted; false when
///                                       it cannot be taken back.
///   void settled(E&)                    if there is one; without the lock: what was given is the
///                                       task's now, and others may rely on that (a value that is
///                                       sent) before the outcome is looked at.
///
/// where E, derived from `grant_entry`, says what is wanted.  A giver writes `is` under the lock
/// and takes the entry out.
///
///     is         offer, or a giver       a stop                     it runs
///     waiting    -> granted, or closed   taken out -> stopped       -
///     granted    -                       nothing                    given back -> stopped, if the
///                                                                   scope is stopped by then
///     closed     -                       nothing                    fails with `closed`
///     stopped    -                       -                          fails with `stopped`
///
/// So a grant is the task's only when the operation has run, and a stop that comes before leaves
/// it to the next: whoever loses a `select` or passes a deadline takes nothing along.  What was
/// given and is never taken (a branch whose value is dropped) is given back at the end.
///
/// The lock orders the begin, the grant and the stop, as in wait_operation.hpp.
/// Threads: begins on a worker; granted and stopped on any thread.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <coroutine>
#include <cstdint>
#include <expected>
#include <system_error>
#include <utility>

namespace magpie::detail {

enum class grant : std::uint8_t { waiting, granted, closed, stopped };

struct grant_entry : wait_entry {
  grant is = grant::waiting;
};

/// What a try without waiting has come to, which `decided` about `one` or not: something was given,
/// `closed`, or resource_unavailable_try_again.
inline result<void> tried(bool decided, const grant_entry& one) noexcept {
  if (!decided)
    return std::unexpected(std::make_error_code(std::errc::resource_unavailable_try_again));
  if (one.is == grant::closed) return std::unexpected(errc::closed);
  return {};
}

/// `Entry` is what the source gives to; the derived awaitable gives `value_type` and `take`, which
/// calls `taken`.
template <class Source, class Entry>
class grant_operation : public operation {
 public:
  bool try_complete(stop_scope& scope) noexcept {
    if (scope.stop_requested() || !spend_budget(this_context()) || !source_->try_take(entry_))
      return false;
    given_ = entry_.is == grant::granted;
    if (given_) settle();
    return true;
  }

  std::error_code failed() const noexcept {
    switch (entry_.is) {
      case grant::closed:
        return errc::closed;
      case grant::stopped:
        return errc::stopped;
      default:
        return no_error;
    }
  }

  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
    prepare(to, scope);
    // What does not wait goes through the queue, never inline: a loop that ignores a stop would
    // spin.
    if (!wait()) this_context().post_last(*this);
    return std::noop_coroutine();
  }

 protected:
  template <class... Args>
  explicit grant_operation(Source& from, Args&&... wanted) noexcept
      : operation(&woken, &cancel_wait), source_(&from), entry_(std::forward<Args>(wanted)...) {}
  grant_operation(grant_operation&& other) noexcept
      : operation(std::move(other)),
        source_(other.source_),
        entry_(other.entry_.wanted()),
        given_(std::exchange(other.given_, false)) {
    entry_.is = other.entry_.is;
  }
  ~grant_operation() {
    if (given_) static_cast<void>(source_->give_back(entry_));
  }

  Source& source() const noexcept { return *source_; }
  const Entry& entry() const noexcept { return entry_; }
  Entry& entry() noexcept { return entry_; }

  /// What was given is the caller's.
  void taken() noexcept { given_ = false; }

 private:
  void settle() noexcept {
    if constexpr (requires(Source& from, Entry& one) { from.settled(one); }) {
      source_->settled(entry_);
      given_ = false;
    }
  }

  /// Begins the wait; false when there is nothing to wait for.
  bool wait() noexcept {
    wake_chain woken;
    bool waits = false;
    {
      lock_scope guard(*source_);
      began_ = true;  // before anybody can see it
      entry_.work = this;
      entry_.root = &scope().root();
      if (begin()) {
        source_->offer(entry_, woken);
        waits = entry_.is == grant::waiting;
        if (waits) source_->insert(entry_);
      } else {
        began_ = false;
        entry_.is = grant::stopped;
      }
    }
    woken.post();
    return waits;
  }

  static void woken(runnable& work) noexcept {
    auto& self = static_cast<grant_operation&>(static_cast<operation&>(work));
    if (self.began_ && !self.end()) return;
    self.given_ = self.entry_.is == grant::granted;
    if (self.given_ && self.scope().stop_requested() && self.source_->give_back(self.entry_)) {
      self.given_ = false;
      self.entry_.is = grant::stopped;
    }
    if (self.given_) self.settle();
    const std::error_code error = self.failed();
    resume(error ? deliver_error(self.continuation(), error) : deliver(self.continuation()));
  }

  static void cancel_wait(operation& op) noexcept {
    auto& self = static_cast<grant_operation&>(op);
    wake_chain woken;
    {
      lock_scope guard(*self.source_);
      if (!self.entry_.linked()) return;  // it was given something, and will see the stop
      self.entry_.unlink();
      self.entry_.is = grant::stopped;
      self.source_->left(self.entry_, woken);
    }
    self.scope().root().post(self);
    woken.post();
  }

  Source* source_;
  Entry entry_;
  bool began_ = false;  ///< It entered its scope.
  bool given_ = false;  ///< It has been given something that nobody has taken.
};

}  // namespace magpie::detail
