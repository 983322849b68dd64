/// `watch`: the latest of a value, from whoever sets it to all who want to know.
///
///     auto [settings, seen] = sync::watch(config());
///     …
///     settings.send(reloaded);                           // whoever sets it
///     …
///     for (;;) {                                         // whoever wants to know
///       co_await seen.changed();
///       apply(*seen.borrow_and_update());
///     }
///
/// A receiver sees the newest value, not every value: those in between are gone.  It remembers
/// which version it has seen; `changed` waits for another.  When the last sender has gone, what was
/// not seen can still be seen, then it is `closed`; the last value stays.
///
/// A look (`borrow`) gives a reference that keeps that value alive, and may be held across awaits
/// and by any thread: nobody waits for it, and no sender changes what it refers to.  So a
/// `send_modify` works on a copy, and publishes that; if the value is large, let it be a
/// `std::shared_ptr<const large>`.
///
/// The words and their tables are in watch_core.hpp and fanout_core.hpp.
/// A channel whose memory could not be had, or an end that was moved from, is closed and has no
/// value.
/// Threads: ends may be copied; senders and looks by any number at once, of receivers each by one
/// task or thread at a time.
#pragma once

#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/sync/fanout_core.hpp>
#include <magpie/sync/shared_value.hpp>
#include <magpie/sync/watch_core.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {
namespace detail {

/// The block that all ends share.
template <class T>
class watch_state final : public watch_core {
 public:
  explicit watch_state(pooled_value<T>* first) noexcept : watch_core(first) {}
  ~watch_state() { const shared_value<T> goes(last()); }

  shared_value<T> look_at() noexcept {
    std::uint64_t version;
    return shared_value<T>(look(version));
  }
};

/// `watch_receiver::changed`.
class changed_operation final : public magpie::detail::grant_operation<fanout_core, fanout_entry> {
 public:
  using value_type = void;

  changed_operation(fanout_core& of, std::uint64_t& seen) noexcept
      : grant_operation(of, seen), seen_(&seen) {}
  changed_operation(changed_operation&&) noexcept = default;

  result<void> take() noexcept {
    taken();
    *seen_ = source().position();
    return {};
  }

 private:
  std::uint64_t* seen_;  ///< The receiver's.
};

}  // namespace detail

template <class T>
class watch_sender;

/// Sees the latest value.  A copy has seen what this one has.
template <class T>
class [[nodiscard]] watch_receiver {
 public:
  watch_receiver() noexcept = default;
  watch_receiver(const watch_receiver& other) noexcept : state_(other.state_), seen_(other.seen_) {
    if (state_ != nullptr) state_->add_receiver();
  }
  watch_receiver(watch_receiver&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)), seen_(std::exchange(other.seen_, 0)) {}
  watch_receiver& operator=(watch_receiver other) noexcept {
    std::swap(state_, other.state_);
    std::swap(seen_, other.seen_);
    return *this;
  }
  /// Not while `changed` is being awaited.
  ~watch_receiver() {
    if (state_ != nullptr && state_->drop_receiver()) detail::free_pooled(state_);
  }

  /// For the library: takes over one of the receivers that are counted.
  watch_receiver(detail::watch_state<T>* state, std::uint64_t seen) noexcept
      : state_(state), seen_(seen) {}

  /// The latest value, seen or not.  Threads: any.  Cost: a lock.
  shared_value<T> borrow() const noexcept {
    return state_ != nullptr ? state_->look_at() : shared_value<T>();
  }
  /// The same; it is seen then.
  shared_value<T> borrow_and_update() noexcept {
    if (state_ == nullptr) return {};
    return shared_value<T>(state_->look(seen_));
  }

  /// Whether there is a value that was not seen.  Cost: a load.
  bool has_changed() const noexcept { return core().version() != seen_; }
  /// The latest value counts as not seen, or as seen.
  void mark_changed() noexcept { seen_ = core().version() - 1; }
  void mark_unchanged() noexcept { seen_ = core().version(); }

  /// No sender is there any more; there may be a value that was not seen.
  bool is_closed() const noexcept { return core().is_closed(); }

  /// Waits until there is a value that was not seen, which counts as seen then.  The receiver must
  /// stay where it is meanwhile.
  /// Errors: closed, when none will come; stopped.  Stop: nothing counts as seen.
  /// Threads: one task at a time.  Cost: no allocation; a load when there is one.
  detail::changed_operation changed() noexcept { return detail::changed_operation(core(), seen_); }

  /// Waits for a value for which `is_it(value)` is true, beginning with the latest, and gives that
  /// very value.  What was looked at counts as seen.
  /// Errors, stop, threads: as `changed`.  Cost: a pooled frame.
  template <class P>
    requires std::predicate<std::remove_cvref_t<P>&, const T&>
  task<shared_value<T>> wait_for(P&& is_it) {
    using predicate = std::remove_cvref_t<P>;
    static_assert(std::is_lvalue_reference_v<P> || std::is_trivially_copyable_v<predicate>,
                  "name the closure first: GCC 12 destroys an owning temporary twice");
    return wait_until<predicate>(*this, std::forward<P>(is_it));
  }

  /// The same for a thread that is no worker (asserted).
  /// Errors: closed.  Cost: blocks the thread.
  result<void> blocking_changed() noexcept {
    detail::fanout_entry wanted(seen_);
    magpie::detail::blocking_grant(core(), wanted);
    if (wanted.is == magpie::detail::grant::closed) return std::unexpected(errc::closed);
    mark_unchanged();
    return {};
  }
  template <class P>
    requires std::predicate<P&, const T&>
  result<shared_value<T>> blocking_wait_for(P&& is_it) {
    for (;;) {
      shared_value<T> now = borrow_and_update();
      if (now && is_it(*now)) return now;
      if (const auto next = blocking_changed(); !next) return std::unexpected(next.error());
    }
  }

 private:
  detail::watch_core& core() const noexcept {
    return state_ != nullptr ? *state_ : detail::watch_core::none();
  }

  template <class P>
  static task<shared_value<T>> wait_until(watch_receiver& of, P is_it) {
    for (;;) {
      shared_value<T> now = of.borrow_and_update();
      const bool found = now && is_it(*now);
      if (found) co_return std::move(now);
      co_await of.changed();
    }
  }

  detail::watch_state<T>* state_ = nullptr;
  std::uint64_t seen_ = 0;
};

/// Sets the value.  When the last one goes, the channel is closed.
template <class T>
class [[nodiscard]] watch_sender : public detail::fanout_sender<detail::watch_state<T>> {
 public:
  watch_sender() noexcept = default;

  /// For the library: takes over one of the senders that are counted.
  explicit watch_sender(detail::watch_state<T>* state) noexcept
      : detail::fanout_sender<detail::watch_state<T>>(state) {}

  /// Sets the value and wakes whoever waits for a change; gives it back if there is no receiver, or
  /// no memory.
  /// Threads: any.  Cost: a pooled block, a lock, a post for each who waits.
  std::expected<void, T> send(T value) {
    if (this->is_closed()) return std::unexpected<T>(std::move(value));
    auto* const made = detail::make_pooled<detail::pooled_value<T>>(std::move(value));
    if (made == nullptr) return std::unexpected<T>(std::move(value));
    const shared_value<T> goes(this->state_->publish(made));
    return {};
  }

  /// The same, whether there are receivers or not; gives what was there before.
  /// Errors: not_enough_memory; closed, if the sender was moved from.
  result<shared_value<T>> send_replace(T value) {
    if (this->state_ == nullptr) return std::unexpected(errc::closed);
    auto* const made = detail::make_pooled<detail::pooled_value<T>>(std::move(value));
    if (made == nullptr) return std::unexpected(out_of_memory());
    return shared_value<T>(this->state_->publish(made));
  }

  /// Sets the value that `change(copy)` makes of a copy of the latest; if that throws, nothing has
  /// happened.  When another sender was faster it is called again, with a copy of what that sent.
  /// Errors: as `send_replace`.  Cost: that of the copy, and of a send.
  template <std::invocable<T&> F>
  result<void> send_modify(F&& change) {
    const auto always = [&](T& value) {
      change(value);
      return true;
    };
    if (const auto sent = send_if_modified(always); !sent) return std::unexpected(sent.error());
    return {};
  }
  /// The same if `change(copy)` gives true; else nothing has happened.  Whether it was set.
  template <std::predicate<T&> F>
  result<bool> send_if_modified(F&& change) {
    static_assert(std::is_copy_constructible_v<T>, "it works on a copy");
    if (this->state_ == nullptr) return std::unexpected(errc::closed);
    for (;;) {
      const shared_value<T> before = borrow();
      shared_value<T> next(detail::make_pooled<detail::pooled_value<T>>(std::as_const(*before)));
      if (!next) return std::unexpected(out_of_memory());
      if (!change(next.block()->value)) return false;
      if (!this->state_->publish_after(before.block(), next.block())) continue;
      next.release();
      // The channel's reference to what was there before.
      const shared_value<T> goes(before.block());
      return true;
    }
  }

  /// The latest value.  Threads: any.  Cost: a lock.
  shared_value<T> borrow() const noexcept {
    return this->state_ != nullptr ? this->state_->look_at() : shared_value<T>();
  }

  /// A new receiver, which has seen the latest value.
  watch_receiver<T> subscribe() const noexcept {
    if (this->state_ == nullptr) return {};
    this->state_->add_receiver();
    return watch_receiver<T>(this->state_, this->state_->version());
  }

 private:
  static std::error_code out_of_memory() noexcept {
    return std::make_error_code(std::errc::not_enough_memory);
  }
};

/// Both ends of a channel; see `watch`.
template <class T>
struct watch_ends {
  watch_sender<T> sender;
  watch_receiver<T> receiver;
};

/// A new channel with its first value, which the receiver has seen.  Cost: two pooled blocks.
template <class T>
watch_ends<T> watch(T first) {
  shared_value<T> value(detail::make_pooled<detail::pooled_value<T>>(std::move(first)));
  if (!value) return {};
  auto* const state = detail::make_pooled<detail::watch_state<T>>(value.block());
  if (state == nullptr) return {};
  value.release();
  return {watch_sender<T>(state), watch_receiver<T>(state, 0)};
}

}  // namespace magpie::sync
