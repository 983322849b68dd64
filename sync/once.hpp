/// `once` and `once_cell`: something is done once, by whoever needs it first.
///
///     sync::once_cell<catalogue> loaded;
///     …
///     catalogue* const all = co_await loaded.get_or_init([&] { return load(path); });
///
/// The first to come runs its initialiser; who comes meanwhile waits in line.  If the initialiser
/// fails, throws or is stopped, that is the outcome of the one who ran it and nobody else's: the
/// first in line runs its own, and if nobody waits the cell is as it was.  An initialiser that
/// needs the same cell waits for itself.
///
/// One word decides; the turn to initialise goes from hand to hand:
///
///     word               comes             the value is there          the initialiser failed
///     empty              -> running, has   -                           -
///                        the turn
///     running            -> running |      -> done (A)                 -> empty (C)
///                        waiting, listed
///     running | waiting  listed            takes all out, -> running,  the first in line has the
///                                          and again; then posts them  turn; nobody there:
///                                                                      -> running, and again
///     done               goes on (B)       -                           -
///
/// Lists and the mark change under the lock; whoever ends a turn does it by an exchange outside,
/// its last access.  So the cell may be destroyed by whoever has found it done, and a look at one
/// that is done is a load.
///
/// (A) releases the value, (B) acquires it; (C) releases what a failed initialiser did, (D) the
/// exchange that begins a turn acquires it.
/// Threads: any, with or without a runtime; what waits is awaited on workers.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/grant_operation.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/runtime/wait_list.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/result.hpp>

#include <concepts>
#include <cstdint>
#include <expected>
#include <optional>
#include <type_traits>
#include <utility>

namespace magpie::sync {

class once;
template <class T>
class once_cell;

namespace detail {

/// Waits until it is done, or for the turn to do it.
struct once_entry : magpie::detail::grant_entry {
  explicit once_entry(bool turn = false) noexcept : has_turn(turn) {}
  bool wanted() const noexcept { return has_turn; }

  bool has_turn;
};

class once_core : public magpie::detail::wait_list {
 public:
  once_core() noexcept = default;

  bool is_done() const noexcept { return word_.load(order::acquire) == done; }  // (B)

  // ---- what the waiting awaitable asks for; see grant_operation.hpp ----

  bool try_take(once_entry& one) noexcept;
  void offer(once_entry& one, magpie::detail::wake_chain&) noexcept;
  static void left(once_entry&, magpie::detail::wake_chain&) noexcept {}
  /// That it is done is there for all.
  bool give_back(once_entry& one) noexcept {
    if (one.has_turn) hand_on();
    return one.has_turn;
  }

  // ---- for who has the turn ----

  void finish() noexcept;   ///< It is done.
  void hand_on() noexcept;  ///< It is not, and somebody else may try.

 private:
  static constexpr std::uint8_t empty = 0;
  static constexpr std::uint8_t running = 1;
  static constexpr std::uint8_t waiting = 2;
  static constexpr std::uint8_t done = 4;

  atomic<std::uint8_t> word_{empty};
};

/// The turn, handed on at its end unless what it is for was done; empty when that had been done.
class [[nodiscard]] once_turn {
 public:
  explicit once_turn(once_core* of) noexcept : of_(of) {}
  once_turn(once_turn&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
  once_turn& operator=(once_turn&&) = delete;
  ~once_turn() {
    if (of_ != nullptr) of_->hand_on();
  }

  explicit operator bool() const noexcept { return of_ != nullptr; }
  void finish() noexcept { std::exchange(of_, nullptr)->finish(); }

 private:
  once_core* of_;
};

class turn_operation final : public magpie::detail::grant_operation<once_core, once_entry> {
 public:
  using value_type = once_turn;

  explicit turn_operation(once_core& of) noexcept : grant_operation(of) {}
  turn_operation(turn_operation&&) noexcept = default;

  result<once_turn> take() noexcept {
    taken();
    return once_turn(entry().has_turn ? &source() : nullptr);
  }
};

/// The turn for a thread that is no worker.
once_turn blocking_turn(once_core& of) noexcept;

/// `once::call` and `once_cell::get_or_init`: looks, and runs a task if it was not done yet.
template <class Of, class F>
class once_operation {
 public:
  using value_type = typename Of::outcome;

  template <class Function>
  once_operation(Of& of, Function&& first) noexcept
      : of_(&of), first_(std::forward<Function>(first)) {}
  once_operation(once_operation&& other) noexcept
      : of_(other.of_), first_(std::move(other.first_)) {
    MAGPIE_ASSERT(!other.work_);
  }

  bool try_complete(stop_scope& scope) noexcept {
    return of_->is_done() && !scope.stop_requested() &&
           magpie::detail::spend_budget(magpie::detail::this_context());
  }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(magpie::detail::continuation to, stop_scope& scope) noexcept {
    work_.emplace(Of::initialise(*of_, first_));
    return work_->start(to, scope);
  }

  bool has_exception() const noexcept { return work_ && work_->has_exception(); }

  result<value_type> take() {
    if (work_) return work_->take();
    if constexpr (std::is_void_v<value_type>) {
      return {};
    } else {
      return of_->get();
    }
  }

 private:
  Of* of_;
  F first_;
  std::optional<magpie::detail::task_operation<value_type>> work_;
};

/// The operation that runs `first`, of which it keeps a copy.
template <class Of, class F>
auto begin_once(Of& of, F&& first) noexcept {
  using function = std::remove_cvref_t<F>;
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<function>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  return once_operation<Of, function>(of, std::forward<F>(first));
}

}  // namespace detail

/// Something is done once.
class once {
 public:
  once() noexcept = default;
  once(const once&) = delete;
  once& operator=(const once&) = delete;
  /// Nobody may be waiting (asserted).
  ~once() = default;

  /// Runs `first()`, a task or an operation, unless it was done; waits while somebody else does it.
  /// Errors: stopped; those of `first`, for the one that ran it.
  /// Stop: of a wait: nothing is consumed; of `first`: the next in line runs its own.
  /// Threads: any number of tasks.  Cost: a load when it is done; else a pooled frame.
  template <class F>
    requires std::invocable<std::remove_cvref_t<F>&>
  auto call(F&& first) noexcept {
    return detail::begin_once(*this, std::forward<F>(first));
  }

  /// The same for a thread that is no worker (asserted), by a plain function.
  /// Cost: blocks the thread.
  template <std::invocable F>
  void blocking_call(F&& first) {
    if (is_done()) return;
    detail::once_turn turn = detail::blocking_turn(core_);
    if (!turn) return;
    std::forward<F>(first)();
    turn.finish();
  }

  /// If so, what was done is visible.
  bool is_done() const noexcept { return core_.is_done(); }

 private:
  template <class, class>
  friend class detail::once_operation;
  using outcome = void;

  template <class F>
  static task<> initialise(once& of, F& first) {
    detail::once_turn turn = co_await detail::turn_operation(of.core_);
    if (!turn) co_return;
    co_await first();
    turn.finish();
  }

  detail::once_core core_;
};

/// A value that is made once.
template <class T>
class once_cell {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>);
  static_assert(std::is_nothrow_destructible_v<T>);

 public:
  once_cell() noexcept {}
  once_cell(const once_cell&) = delete;
  once_cell& operator=(const once_cell&) = delete;
  /// Destroys the value.  Nobody may be waiting (asserted).
  ~once_cell() {
    if (is_done()) held.~T();
  }

  /// Gives the value, never null; `make()`, a task or an operation, makes it unless it is there.
  /// Waits while somebody else makes it.
  /// Errors: stopped; those of `make`, for the one that ran it.
  /// Stop: of a wait: nothing is consumed; of `make`: the next in line runs its own.
  /// Threads: any number of tasks.  Cost: a load when it is there; else a pooled frame.
  template <class F>
    requires std::invocable<std::remove_cvref_t<F>&>
  auto get_or_init(F&& make) noexcept {
    return detail::begin_once(*this, std::forward<F>(make));
  }

  /// The same for a thread that is no worker (asserted), by a plain function.
  /// Cost: blocks the thread.
  template <std::invocable F>
  T& blocking_get_or_init(F&& make) {
    if (!is_done()) {
      if (detail::once_turn turn = detail::blocking_turn(core_)) {
        ::new (static_cast<void*>(__builtin_addressof(held))) T(std::forward<F>(make)());
        turn.finish();
      }
    }
    return held;
  }

  /// Sets it if it is empty, and nobody is making it; else gives `value` back.  Threads: any.
  std::expected<void, T> set(T value) {
    detail::once_entry wanted;
    if (!core_.try_take(wanted) || !wanted.has_turn) return std::unexpected<T>(std::move(value));
    detail::once_turn turn(&core_);
    put(std::move(value));
    turn.finish();
    return {};
  }

  /// The value, or null as long as there is none.  Threads: any.  Cost: a load.
  T* get() noexcept { return is_done() ? __builtin_addressof(held) : nullptr; }
  const T* get() const noexcept { return is_done() ? __builtin_addressof(held) : nullptr; }

  /// If so, the value is visible.
  bool is_done() const noexcept { return core_.is_done(); }

 private:
  template <class, class>
  friend class detail::once_operation;
  using outcome = T*;

  template <class F>
  static task<T*> initialise(once_cell& of, F& make) {
    detail::once_turn turn = co_await detail::turn_operation(of.core_);
    if (turn) {
      auto made = co_await make();
      of.put(std::move(made));
      turn.finish();
    }
    co_return __builtin_addressof(of.held);
  }

  template <class From>
  void put(From&& from) {
    ::new (static_cast<void*>(__builtin_addressof(held))) T(std::forward<From>(from));
  }

  detail::once_core core_;
  union {
    T held;
  };
};

}  // namespace magpie::sync
