/// `pool`: objects that are dear to make (connections, mostly) are used again.
///
///     struct database {
///       task<connection> create() { co_return co_await connection::open(address); }
///       task<> recycle(connection& one) { return one.ping(); }      // before each further use
///       bool is_broken(connection& one) { return one.has_failed(); } // when it comes back
///     };
///     sync::pool<database> connections(sync::pool_options(10), database());
///     …
///     auto one = co_await connections.get();
///     co_await one->query(text);                   // goes back at the end of the block
///
/// Objects are made when they are needed.  Who finds none idle, and as many made as there may be,
/// waits in line; whoever gives one back gives it to the first there, at once and on whichever
/// thread.  A manager has
///
///     create()                     a task or an operation that gives the object
///     recycle(T&)                  optional: whether an idle one is still fit, asked when it is
///     recycle(T&, metrics)         about to be used: a bool, or a task or an operation that
///                                  fails or gives false if it is not
///     bool is_broken(T&)           optional: asked when it comes back; must not throw
///     void retired(T&, pool_end)   optional: told before it is destroyed; must not throw
///
/// and is used by many tasks at a time.  An object that fails its `recycle` is destroyed and the
/// next tried, or a new one made: `get` fails when `create` does, and then the turn goes on.
///
/// Nothing runs in the background: what is too old is found when it is about to be used or comes
/// back.  Spawn `maintain` in a group, if idle objects should go, or be made, without that.
///
/// How it counts is in pool_core.hpp.
/// Threads: any, for all but what waits, which is awaited on workers.
#pragma once

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/sync/pool_core.hpp>
#include <magpie/sync/pool_options.hpp>
#include <magpie/sync/shared_value.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/result.hpp>

#include <concepts>
#include <cstddef>
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
    if (const auto at_once = turn.try_take(in); !at_once) {
      if (at_once.error() == errc::closed) co_await fail(errc::closed);
      pool_place place(in);
      if (!place.has_room()) co_await fail(errc::refused);
      auto waited = co_await as_result(timeout(in.options().wait_time_max, turn_wait(in)));
      if (!waited) {
        place.leave(waited.error() == errc::deadline);
        co_await fail(waited.error());
      }
      turn = *std::move(waited);
    }
    if constexpr (InGroup) {
      if (const auto at_once = turn.try_take_of_group(); !at_once) {
        if (at_once.error() == errc::closed) co_await fail(errc::closed);
        pool_place place(in);
        if (!place.has_room()) co_await fail(errc::refused);
        auto waited = co_await as_result(
            timeout(in.options().wait_time_max, group_wait(in.group()->turns, 1)));
        if (!waited) {
          place.leave(waited.error() == errc::deadline);
          co_await fail(waited.error());
        }
        waited->forget();
        turn.add_of_group();
      }
    }
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
      for (;;) {
        pool_turn turn;
        if (!turn.try_take_spare(in)) break;
        auto value =
            co_await as_result(timeout(in.options().create_time_max, in.manager_.create()));
        if (!value) {
          co_await consume_budget();  // if it was a stop, it is ours
          break;
        }
        co_await in.keep(turn, *std::move(value), false);
        turn.put_back();
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

template <class Manager>
class pool {
  using state = detail::pool_state<Manager>;

 public:
  using value_type = typename state::value_type;

  explicit pool(const pool_options& options, Manager manager = Manager())
      : state_(new state(options, std::move(manager))) {}
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;
  /// Closes it.  Objects that are out, and the manager, live until the last of them comes back.
  ~pool() {
    state_->close_all();
    state_->drop_reference();
  }

  /// Gives an object: one that is idle and fit, or a new one.  Waits if all are out.
  /// Errors: those of `create`; deadline, past `wait_time_max` in line or `create_time_max`;
  /// refused, if `waiting_max` wait; closed; not_enough_memory; stopped.
  /// Stop: the place in line is given up; an object that is being made is not; one that is being
  /// recycled is destroyed.  In each case the next in line goes on.
  /// Threads: any number of tasks.  Cost: a frame, an exchange and a spin lock, and the clock, when
  /// one is idle; one more pooled block when it is made, for who waits a timer.
  task<pooled<value_type>> get() { return state::get(detail::pool_share(*state_)); }

  /// Gives an object that is idle, if nobody waits.  For managers whose `recycle`, if they have
  /// one, says so at once.
  /// Errors: resource_unavailable_try_again; closed.  Threads: any.
  result<pooled<value_type>> try_get()
    requires state::recycles_at_once
  {
    return state_->try_get();
  }

  /// A task that destroys idle objects that are too old, and makes new ones where fewer than
  /// `idle_min` are idle, every `maintain_every`.  It ends when the pool is closed; one that cannot
  /// be made is tried again the next time.  Spawn it in a group that ends by a stop or after
  /// `close`; once for a pool.
  /// Errors: stopped; not_enough_memory.
  task<> maintain() { return state::maintain(detail::pool_share(*state_)); }

  /// Destroys idle objects that are too old, or too many; how many.  Threads: any.
  std::size_t reap() noexcept { return state_->reap(); }

  /// Destroys the idle objects of which `keeps(T&, const pool_object_metrics&)` says false; how
  /// many.  Who wants one meanwhile waits until it is over.  Threads: any.
  template <class F>
    requires std::predicate<F&, value_type&, const pool_object_metrics&>
  std::size_t retain(F&& keeps) {
    return state_->retain(keeps);
  }

  /// There may be `size` objects from now on.  Of those that are out too many are destroyed when
  /// they come back.  Threads: any.
  void resize(std::size_t size) noexcept { state_->resize(size); }

  /// Fails whoever waits and comes, with `closed`, and destroys what is idle; what is out is
  /// destroyed when it comes back.  For good; idempotent.  Threads: any.
  void close() noexcept { state_->close_all(); }
  bool is_closed() const noexcept { return state_->is_closed(); }

  /// A consistent look, old when one reads it.  Threads: any.  Cost: a spin lock.
  pool_counts counts() const noexcept { return state_->counts(); }

  Manager& manager() noexcept { return state_->manager(); }

  /// Asserts what must hold whenever nobody is in the middle of something.
  void check_invariants() noexcept { state_->check_invariants(); }

 private:
  state* state_;
};

}  // namespace magpie::sync
