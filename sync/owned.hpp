/// Permits and guards that keep what they belong to alive.
///
///     const auto slots = std::make_shared<sync::semaphore>(100);
///     …
///     auto permit = co_await sync::acquire_owned(slots);
///     sessions.spawn(serve(std::move(peer), std::move(permit)));   // may outlive us
///
/// A plain permit refers to its semaphore, which must outlive it: right for a member, or for a
/// local of the frame whose children use it.  What goes to tasks that outlive both holds a share of
/// it instead.  The permit goes first, then the share.
#pragma once

#include <magpie/sync/mutex.hpp>
#include <magpie/sync/rwlock.hpp>
#include <magpie/sync/semaphore.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace magpie::sync {

/// `Held` (a permit, a guard) of an `Of` (a semaphore, a lock), and a share of the latter.
template <class Held, class Of>
class [[nodiscard("without a name it is given back at once")]] owned {
 public:
  owned() noexcept = default;
  owned(std::shared_ptr<Of> of, Held held) noexcept : of_(std::move(of)), held_(std::move(held)) {}
  owned(owned&&) noexcept = default;
  owned& operator=(owned&& other) noexcept {
    if (this != &other) {
      held_ = std::move(other.held_);  // what was held goes before its share
      of_ = std::move(other.of_);
    }
    return *this;
  }
  ~owned() = default;

  Held& operator*() noexcept { return held_; }
  const Held& operator*() const noexcept { return held_; }
  Held* operator->() noexcept { return &held_; }
  const Held* operator->() const noexcept { return &held_; }

  /// What it is held of; null after a move.
  const std::shared_ptr<Of>& of() const noexcept { return of_; }

  /// As those of the permit, for owned ones.
  owned split(std::size_t count) noexcept
    requires requires(Held& held) { held.split(count); }
  {
    return owned(of_, held_.split(count));
  }
  /// An empty one has them, and their share, from then on.
  void merge(owned other) noexcept
    requires requires(Held& held) { held.merge(std::move(held)); }
  {
    if (of_ == nullptr) {
      *this = std::move(other);
    } else {
      held_.merge(std::move(other.held_));
    }
  }
  /// As that of a writer's guard; this one is used up.
  auto downgrade() noexcept
    requires requires(Held& held) { held.downgrade(); }
  {
    auto reading = held_.downgrade();
    return owned<decltype(reading), Of>(std::move(of_), std::move(reading));
  }

 private:
  std::shared_ptr<Of> of_;
  Held held_;  // goes first
};

using owned_permit = owned<semaphore_permit, semaphore>;
using owned_mutex_guard = owned<mutex_guard, mutex>;
using owned_read_guard = owned<rwlock_read_guard, rwlock>;
using owned_write_guard = owned<rwlock_write_guard, rwlock>;

namespace detail {

template <class Of>
struct share {
  std::shared_ptr<Of> of;
};

/// `Inner`, which waits for something of `Of`, and a share of that, which goes last.
template <class Inner, class Of>
class owned_operation : share<Of>, public Inner {
 public:
  using value_type = owned<typename Inner::value_type, Of>;

  owned_operation(std::shared_ptr<Of>&& of, Inner&& inner) noexcept
      : share<Of>{std::move(of)}, Inner(std::move(inner)) {}
  owned_operation(owned_operation&&) noexcept = default;

  result<value_type> take() noexcept {
    auto held = Inner::take();
    return value_type(std::move(this->of), *std::move(held));
  }
};

}  // namespace detail

/// As `semaphore::acquire`; the semaphore lives as long as the permit.  `of` must not be null.
inline auto acquire_owned(std::shared_ptr<semaphore> of, std::size_t count = 1) noexcept {
  semaphore& from = *of;
  return detail::owned_operation<detail::acquire_operation, semaphore>(std::move(of),
                                                                       from.acquire(count));
}

/// As `semaphore::try_acquire`.
inline result<owned_permit> try_acquire_owned(std::shared_ptr<semaphore> of,
                                              std::size_t count = 1) noexcept {
  auto permit = of->try_acquire(count);
  if (!permit) return std::unexpected(permit.error());
  return owned_permit(std::move(of), *std::move(permit));
}

/// As `mutex::lock`; the mutex lives as long as the guard.  `of` must not be null.
inline auto lock_owned(std::shared_ptr<mutex> of) noexcept {
  mutex& from = *of;
  return detail::owned_operation<detail::lock_operation, mutex>(std::move(of), from.lock());
}

/// As `mutex::try_lock`.
inline std::optional<owned_mutex_guard> try_lock_owned(std::shared_ptr<mutex> of) noexcept {
  auto guard = of->try_lock();
  if (!guard) return std::nullopt;
  return owned_mutex_guard(std::move(of), *std::move(guard));
}

/// As `rwlock::read` and `rwlock::write`; the lock lives as long as the guard.  `of` must not be
/// null.
inline auto read_owned(std::shared_ptr<rwlock> of) noexcept {
  rwlock& from = *of;
  return detail::owned_operation<detail::permit_operation<rwlock_read_guard>, rwlock>(std::move(of),
                                                                                      from.read());
}
inline auto write_owned(std::shared_ptr<rwlock> of) noexcept {
  rwlock& from = *of;
  return detail::owned_operation<detail::permit_operation<rwlock_write_guard>, rwlock>(
      std::move(of), from.write());
}

/// As `rwlock::try_read` and `rwlock::try_write`.
inline std::optional<owned_read_guard> try_read_owned(std::shared_ptr<rwlock> of) noexcept {
  auto guard = of->try_read();
  if (!guard) return std::nullopt;
  return owned_read_guard(std::move(of), *std::move(guard));
}
inline std::optional<owned_write_guard> try_write_owned(std::shared_ptr<rwlock> of) noexcept {
  auto guard = of->try_write();
  if (!guard) return std::nullopt;
  return owned_write_guard(std::move(of), *std::move(guard));
}

}  // namespace magpie::sync
