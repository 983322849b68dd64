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

#include <magpie/runtime/task.hpp>
#include <magpie/sync/pool_options.hpp>
#include <magpie/sync/pool_state.hpp>
#include <magpie/util/result.hpp>

#include <concepts>
#include <cstddef>
#include <utility>

namespace magpie::sync {

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
  /// `idle_min` are idle, every `maintain_every`.  It ends when the pool is closed.  One that
  /// cannot be made, by an error, an exception or for lack of memory, or that is not kept, is tried
  /// again the next time.  Spawn it in a group that ends by a stop or after `close`; once for a
  /// pool.
  /// Errors: stopped.
  task<> maintain() { return state::maintain(detail::pool_share(*state_)); }

  /// Destroys idle objects that are too old, or too many; how many.  Threads: any.
  std::size_t reap() noexcept { return state_->reap(); }

  /// Destroys the idle objects of which `keeps(T&, const pool_object_metrics&)` says false; how
  /// many.  Who wants one meanwhile waits until it is over.  It does not see what is out, nor what
  /// was given back to somebody in line who has not run yet.  Threads: any.
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
