/// `locked<T>`: a value that is reached under its lock and in no other way; `mapped_guard`: a guard
/// and the part of the state that it lets one reach.
///
///     sync::locked<std::deque<job>> jobs;
///     …
///     auto queue = co_await jobs.lock();     // a guard that is a pointer, too
///     queue->push_back(next);
///
/// A mutex beside the state that it protects is a rule that nobody checks: here who has no guard
/// has no state.  `rw_locked<T>` is the same with a `rwlock`; readers see a const value.  `map`
/// narrows a guard down, for a function that needs one part only:
///
///     auto front = std::move(queue).map([](std::deque<job>& all) -> job& { return all.front(); });
///
/// A guard is moved, unlocked and given away like that of the lock, and a stop does to the wait
/// what it does to that of the lock: see mutex.hpp and rwlock.hpp.
/// Threads: any, with or without a runtime; the waits are awaited on workers.
#pragma once

#include <magpie/sync/mutex.hpp>
#include <magpie/sync/owned.hpp>
#include <magpie/sync/rwlock.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/result.hpp>

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace magpie::sync {

/// `Guard` (of a mutex, of a rwlock, or an owned one) and what may be used as long as it is held;
/// empty after a move.
template <class T, class Guard>
class [[nodiscard("without a name it is unlocked at once")]] mapped_guard {
 public:
  mapped_guard() noexcept = default;
  /// Of a lock of one's own: `part` is what `guard` protects.
  mapped_guard(Guard guard, T& part) noexcept
      : guard_(std::move(guard)), part_(__builtin_addressof(part)) {}
  mapped_guard(mapped_guard&& other) noexcept
      : guard_(std::move(other.guard_)), part_(std::exchange(other.part_, nullptr)) {}
  mapped_guard& operator=(mapped_guard&& other) noexcept {
    if (this != &other) {
      guard_ = std::move(other.guard_);
      part_ = std::exchange(other.part_, nullptr);
    }
    return *this;
  }
  ~mapped_guard() = default;

  T& operator*() const noexcept {
    MAGPIE_ASSERT(owns_lock() && "used after it was unlocked or moved");
    return *part_;
  }
  T* operator->() const noexcept { return __builtin_addressof(**this); }

  /// Not after a move, and not while the guard itself has been unlocked, as by a `condition::wait`
  /// that failed.
  bool owns_lock() const noexcept {
    if constexpr (requires { guard_.owns_lock(); }) {
      return part_ != nullptr && guard_.owns_lock();
    } else if constexpr (requires { guard_->owns_lock(); }) {
      return part_ != nullptr && guard_->owns_lock();
    } else {
      return part_ != nullptr;
    }
  }
  explicit operator bool() const noexcept { return owns_lock(); }

  /// Unlocks now.  Threads: any.
  void unlock() noexcept {
    part_ = nullptr;
    guard_ = Guard();
  }

  /// The guard of the lock itself, for `condition::wait`.  Whoever unlocks it must not use the
  /// value.
  Guard& guard() noexcept { return guard_; }

  /// A guard for a part: `part(value)` gives a reference into the value.  This one is used up.
  template <class F>
  auto map(F&& part) && {
    using narrowed = std::invoke_result_t<F, T&>;
    static_assert(std::is_lvalue_reference_v<narrowed>, "give a reference into the value");
    narrowed found = std::forward<F>(part)(**this);
    part_ = nullptr;
    return mapped_guard<std::remove_reference_t<narrowed>, Guard>(std::move(guard_), found);
  }

  /// As that of a writer's guard: the value is const from here on.  This one is used up.
  auto downgrade() noexcept
    requires requires(Guard& held) { held.downgrade(); }
  {
    const T& value = **this;
    part_ = nullptr;
    auto reading = guard_.downgrade();
    return mapped_guard<const T, decltype(reading)>(std::move(reading), value);
  }

 private:
  Guard guard_;
  T* part_ = nullptr;
};

namespace detail {

/// `Inner`, which waits for a guard, with what that lets one reach.
template <class T, class Inner>
class mapped_operation final : public Inner {
 public:
  using value_type = mapped_guard<T, typename Inner::value_type>;

  mapped_operation(Inner&& inner, T& value) noexcept
      : Inner(std::move(inner)), value_(__builtin_addressof(value)) {}
  mapped_operation(mapped_operation&&) noexcept = default;

  result<value_type> take() noexcept { return value_type(*Inner::take(), *value_); }

 private:
  T* value_;
};

/// `guard`, if it was had, with what it lets one reach.
template <class T, class Guard>
std::optional<mapped_guard<T, Guard>> mapped(std::optional<Guard> guard, T& value) noexcept {
  if (!guard) return std::nullopt;
  return mapped_guard<T, Guard>(*std::move(guard), value);
}

}  // namespace detail

/// A value and its mutex.
template <class T>
class locked {
 public:
  using guard = mapped_guard<T, mutex_guard>;
  using owned_guard = mapped_guard<T, owned_mutex_guard>;

  /// The value is made of `args`.
  template <class... Args>
    requires std::is_constructible_v<T, Args...>
  explicit locked(Args&&... args) : value_(std::forward<Args>(args)...) {}
  locked(const locked&) = delete;
  locked& operator=(const locked&) = delete;
  /// Nobody may be waiting (asserted).
  ~locked() = default;

  /// As `mutex::lock`.
  auto lock() noexcept {
    return detail::mapped_operation<T, detail::lock_operation>(lock_.lock(), value_);
  }
  guard blocking_lock() noexcept { return guard(lock_.blocking_lock(), value_); }
  std::optional<guard> try_lock() noexcept { return detail::mapped(lock_.try_lock(), value_); }

 private:
  template <class U>
  friend auto lock_owned(std::shared_ptr<locked<U>> of) noexcept;

  mutex lock_;
  T value_;
};

/// As `locked::lock`; all of it lives as long as the guard.  `of` must not be null.
template <class T>
auto lock_owned(std::shared_ptr<locked<T>> of) noexcept {
  locked<T>& from = *of;
  using owning = decltype(lock_owned(std::shared_ptr<mutex>()));
  return detail::mapped_operation<T, owning>(
      lock_owned(std::shared_ptr<mutex>(std::move(of), &from.lock_)), from.value_);
}

/// A value and its rwlock: readers reach it as const, together, a writer alone.
template <class T>
class rw_locked {
 public:
  using read_guard = mapped_guard<const T, rwlock_read_guard>;
  using write_guard = mapped_guard<T, rwlock_write_guard>;

  /// The value is made of `args`.
  template <class... Args>
    requires std::is_constructible_v<T, Args...>
  explicit rw_locked(Args&&... args) : value_(std::forward<Args>(args)...) {}
  rw_locked(const rw_locked&) = delete;
  rw_locked& operator=(const rw_locked&) = delete;
  /// Nobody may be waiting (asserted).
  ~rw_locked() = default;

  /// As those of `rwlock`.
  auto read() noexcept {
    using inner = detail::permit_operation<rwlock_read_guard>;
    return detail::mapped_operation<const T, inner>(lock_.read(), value_);
  }
  auto write() noexcept {
    using inner = detail::permit_operation<rwlock_write_guard>;
    return detail::mapped_operation<T, inner>(lock_.write(), value_);
  }
  read_guard blocking_read() noexcept { return read_guard(lock_.blocking_read(), value_); }
  write_guard blocking_write() noexcept { return write_guard(lock_.blocking_write(), value_); }
  std::optional<read_guard> try_read() noexcept {
    return detail::mapped<const T>(lock_.try_read(), value_);
  }
  std::optional<write_guard> try_write() noexcept {
    return detail::mapped<T>(lock_.try_write(), value_);
  }

 private:
  rwlock lock_;
  T value_;
};

}  // namespace magpie::sync
