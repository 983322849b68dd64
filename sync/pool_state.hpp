/// An object of a pool, as its user has it, and the pool of a manager: how objects are got, kept
/// ready and asked, step by step.  How they are counted is in pool_core.hpp; what a user sees of it
/// is in pool.hpp.
///
/// Whatever ends a step in the middle, a stop, an error or an exception, ends the `pool_turn` of
/// that step, which leaves the pool exact.
/// Threads: any.
#pragma once

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/sync/pool_core.hpp>
#include <magpie/sync/pool_options.hpp>
#include <magpie/sync/shared_value.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/result.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {
namespace detail {

template <class T>
struct pool_node final : pool_slot {
  template <class From>
  pool_node(pool_core& in, From&& made) : pool_slot(in), value(std::forward<From>(made)) {}

  T value;
};

}  // namespace detail

/// An object of a pool, given back when this is destroyed; empty after a move.  The pool may be
/// gone by then: so is the object then.
/// Threads: any, one at a time.
template <class T>
class [[nodiscard("without a name it is given back at once")]] pooled {
 public:
  pooled() noexcept = default;
  pooled(pooled&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  pooled& operator=(pooled&& other) noexcept {
    if (this != &other) {
      give_back();
      node_ = std::exchange(other.node_, nullptr);
    }
    return *this;
  }
  ~pooled() { give_back(); }

  /// For the library.
  explicit pooled(detail::pool_slot& one) noexcept
      : node_(static_cast<detail::pool_node<T>*>(&one)) {}

  explicit operator bool() const noexcept { return node_ != nullptr; }
  T& operator*() const noexcept {
    MAGPIE_ASSERT(node_ != nullptr && "there is no object");
    return node_->value;
  }
  T* operator->() const noexcept { return __builtin_addressof(**this); }

  const pool_object_metrics& metrics() const noexcept {
    MAGPIE_ASSERT(node_ != nullptr && "there is no object");
    return node_->metrics;
  }

  /// Gives it back now; who is first in line gets it.  Threads: any.  Cost: a spin lock and the
  /// clock, and a post if somebody waits; no allocation.
  void give_back() noexcept {
    if (node_ != nullptr) node_->of->put_back(*std::exchange(node_, nullptr));
  }
  /// It is broken: destroys it, and who is first in line may make another.
  void discard() noexcept {
    if (node_ != nullptr) node_->of->leave(*std::exchange(node_, nullptr), pool_end::broken);
  }
  /// Takes it out of the pool, which may make another in its place.
  T detach() && {
    T taken(std::move(**this));
    node_->of->leave(*std::exchange(node_, nullptr), pool_end::detached);
    return taken;
  }

 private:
  detail::pool_node<T>* node_ = nullptr;
};

namespace detail {

/// What the manager says of an idle object: `plain` if it says so at once.
template <class Manager, class T>
decltype(auto) ask_recycle(Manager& manager, T& value, const pool_object_metrics& metrics) {
  if constexpr (requires { manager.recycle(value, metrics); }) {
    return manager.recycle(value, metrics);
  } else if constexpr (requires { manager.recycle(value); }) {
    return manager.recycle(value);
  } else {
    return true;
  }
}

/// Whether a manager's `recycle` has said that the object is fit.
template <class T>
bool says_yes(const result<T>& outcome) noexcept {
  if constexpr (std::is_void_v<T>) {
    return outcome.has_value();
  } else {
    static_assert(std::same_as<T, bool>, "recycle gives nothing or a bool");
    return outcome.has_value() && *outcome;
  }
}

/// Of a pool, or of one of the pools of a group.
template <class Manager, bool InGroup = false>
class pool_state final : public pool_core {
 public:
  using value_type =
      magpie::detail::operation_for<decltype(std::declval<Manager&>().create())>::value_type;
  using node = pool_node<value_type>;
  using guard = pooled<value_type>;
  static_assert(std::is_object_v<value_type> && !std::is_const_v<value_type>);
  static_assert(std::is_nothrow_destructible_v<value_type>);

  static constexpr bool recycles_at_once =
      std::same_as<decltype(ask_recycle(std::declval<Manager&>(), std::declval<value_type&>(),
                                        std::declval<const pool_object_metrics&>())),
                   bool>;

  pool_state(const pool_options& options, Manager&& manager, pool_group* in = nullptr)
      : pool_core(options, in), manager_(std::move(manager)) {}

  static task<guard> get(pool_share of) {
    auto& in = static_cast<pool_state&>(*of);
    co_await consume_budget();  // a loop that always finds one lets others run, and is stopped
    pool_turn turn;
    std::optional<pool_place> place;  // from the first wait to the end of the last
    clock::time_point until;
    if (const auto at_once = turn.try_take(in); !at_once) {
      if (at_once.error() == errc::closed) co_await fail(errc::closed);
      until = in.stand_in_line(place);
      if (!place->has_room()) co_await fail(errc::refused);
      auto waited = co_await as_result(timeout_at(until, turn_wait(in)));
      if (!waited) {
        place->leave(waited.error() == errc::deadline);
        co_await fail(waited.error());
      }
      turn = *std::move(waited);
    }
    if constexpr (InGroup) {
      if (const auto at_once = turn.try_take_of_group(); !at_once) {
        if (at_once.error() == errc::closed) co_await fail(errc::closed);
        if (!place) until = in.stand_in_line(place);
        if (!place->has_room()) co_await fail(errc::refused);
        auto waited = co_await as_result(timeout_at(until, group_wait(in.group()->turns, 1)));
        if (!waited) {
          place->leave(waited.error() == errc::deadline);
          co_await fail(waited.error());
        }
        waited->forget();
        turn.add_of_group();
      }
    }
    place.reset();
    for (;;) {
      const pool_choice what = turn.choose();
      if (what == pool_choice::closed) co_await fail(errc::closed);
      if (what == pool_choice::make) {
        auto value = co_await timeout(in.options().create_time_max, in.manager_.create());
        co_await in.keep(turn, std::move(value), true);
        co_return guard(turn.give());
      }
      bool fit = false;
      if constexpr (recycles_at_once) {
        fit = in.ask(turn.slot());
      } else {
        const auto said =
            co_await as_result(timeout(in.options().recycle_time_max, in.ask(turn.slot())));
        fit = says_yes(said);
      }
      if (fit) co_return in.give(turn);
      co_await consume_budget();  // a stop is no reason to try them all
      turn.discard(pool_end::unfit);
    }
  }

  /// One that is idle and fit, without waiting.
  result<guard> try_get() {
    pool_turn turn;
    if (const auto at_once = turn.try_take(*this); !at_once)
      return std::unexpected(at_once.error());
    if constexpr (InGroup) {
      if (const auto at_once = turn.try_take_of_group(); !at_once)
        return std::unexpected(at_once.error());
    }
    for (;;) {
      const pool_choice what = turn.choose(false);
      if (what == pool_choice::closed) return std::unexpected(errc::closed);
      if (what == pool_choice::none)
        return std::unexpected(std::make_error_code(std::errc::resource_unavailable_try_again));
      if (ask(turn.slot())) return give(turn);
      turn.discard(pool_end::unfit);
    }
  }

  static task<> maintain(pool_share of) {
    auto& in = static_cast<pool_state&>(*of);
    for (;;) {
      in.reap();
      for (bool more = true; more;) {
        co_await consume_budget();  // also when making one never waits; and a stop is ours
        pool_turn turn;
        if (!turn.try_take_spare(in)) break;
        std::optional<value_type> value;
        static_cast<void>(co_await as_result(makes_spare(in, value)));
        // One that is not kept would not be kept the next time either.
        more = value && in.keep(turn, *std::move(value), false) && turn.put_back();
      }
      const auto closed =
          co_await as_result(timeout(in.options().maintain_every, in.closing().wait()));
      if (closed) co_return;
      if (closed.error() != errc::deadline) co_await fail(closed.error());
    }
  }

  template <class F>
  std::size_t retain(F&& keeps) {
    struct look {
      explicit look(pool_core& in) noexcept : of(in) { of.begin_look(left); }
      ~look() {  // also when `keeps` has thrown
        kept.append(left);
        of.end_look(kept, others);
      }
      pool_core& of;
      pool_slots left;
      pool_slots kept;
      pool_slots others;
    } now(*this);
    std::size_t ended = 0;
    while (pool_slot* const slot = now.left.front()) {
      const bool stays = keeps(value_of(*slot), std::as_const(slot->metrics));
      pool_slots::remove(*slot);
      (stays ? now.kept : now.others).push_back(*slot);
      ended += stays ? 0 : 1;
    }
    return ended;
  }

  Manager& manager() noexcept { return manager_; }

 private:
  static value_type& value_of(pool_slot& slot) noexcept { return static_cast<node&>(slot).value; }

  /// A place in line, and how long one waits there.
  clock::time_point stand_in_line(std::optional<pool_place>& place) noexcept {
    place.emplace(*this);
    return time_after(options().wait_time_max);
  }

  /// One for later, unless it cannot be made: then it is tried again the next time, and counted.
  static task<> makes_spare(pool_state& in, std::optional<value_type>& into) {
#if defined(__cpp_exceptions)
    try {
      co_await makes_unless_closed(in, into);
    } catch (...) {  // as an error of `create`
    }
#else
    co_await makes_unless_closed(in, into);
#endif
  }
  static task<> makes_unless_closed(pool_state& in, std::optional<value_type>& into) {
    auto first = co_await timeout(in.options().create_time_max,
                                  select(as_result(in.manager_.create()), in.closing().wait()));
    auto& made = first.template get<0>();
    if (made && *made && **made) into.emplace(std::move(***made));
  }

  decltype(auto) ask(pool_slot& slot) {
    return ask_recycle(manager_, value_of(slot), std::as_const(slot.metrics));
  }
  static guard give(pool_turn& turn) noexcept {
    ++turn.slot().metrics.recycled;
    return guard(turn.give());
  }
  /// What was made is the pool's.
  result<void> keep(pool_turn& turn, value_type&& value, bool given_out) {
    node* const made = make_pooled<node>(*this, std::move(value));
    if (made == nullptr) return std::unexpected(std::make_error_code(std::errc::not_enough_memory));
    turn.made(*made, given_out);
    return {};
  }

  bool broken(pool_slot& slot) noexcept override {
    if constexpr (requires(Manager& by, value_type& one) {
                    { by.is_broken(one) } -> std::convertible_to<bool>;
                  }) {
      return manager_.is_broken(value_of(slot));
    }
    return false;
  }
  void destroy(pool_slot& slot) noexcept override {
    if constexpr (requires(Manager& by, value_type& one) { by.retired(one, pool_end{}); }) {
      if (slot.ends_by != pool_end::detached) manager_.retired(value_of(slot), slot.ends_by);
    }
    free_pooled(static_cast<node*>(&slot));
  }

  Manager manager_;
};

}  // namespace detail

}  // namespace magpie::sync
