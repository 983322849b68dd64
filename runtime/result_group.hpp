/// `result_group<T>`: children whose outcomes the body takes and decides about.
///
///     co_await with_task_group([&](result_group<reply>& calls) -> task<> {
///       for (auto& server : servers) calls.spawn(ask(server));
///       for (;;) {
///         auto next = co_await calls.next();        // as they end; next_in_order(): as spawned
///         if (!next) break;                         // none is left
///         if (*next) co_return use(**next);         // a child's failure stops nobody
///       }
///     });
///
/// A child's block outlives its end, with the outcome in it, until a `next` has taken that.  All
/// children are in one list in the order of their spawns, those that have ended in a second one in
/// that order; one lock guards both, and the one consumer that may wait:
///
///     child       spawn        ends                    next               replaced (keyed_group)
///     (new)       -> running   -                       -                  -
///     running     -            -> ended; or handed to  waits              -> unwanted, stopped
///                              the waiting consumer
///     ended       -            -                       -> handed          -> freed
///     handed      -            -                       -                  not found any more
///     unwanted    -            -> freed                -                  -
///
/// A handed outcome is freed when it is taken.  A wait that goes without taking it puts it back in
/// front of both lists; in a keyed group whose key was used again meanwhile, it is freed.
///
/// Whoever aborts a child pins it meanwhile, and takes over the transition at its end if that comes
/// before the abort is through.  When the group ends, what nobody took is dropped; failures among
/// it are logged.  A limit counts children that run, not outcomes that wait.
#pragma once

#include <magpie/runtime/bounded_group.hpp>
#include <magpie/util/errc.hpp>

#include <optional>
#include <vector>

namespace magpie {
namespace detail {

struct by_spawn : list_node {};
struct by_end : list_node {};

/// A child's state without its type.
struct result_child_base : group_child_base, by_spawn, by_end {
  using drop_function = void (*)(result_child_base&) noexcept;

  result_child_base(run_function begin, drop_function drops, task_group& in,
                    const spawn_how& how) noexcept
      : group_child_base(begin, in, true, how.where), drop(drops) {
    if (how.name) root.set_name(*how.name);
  }

  drop_function drop;    ///< Logs a failure that nobody has seen, and frees the block.
  bool in_slot = false;  ///< It gives a slot back at its end.
  bool unseen = true;    ///< Nobody has taken the outcome.
  atomic<bool> aborted{false};
  // Guarded by the group's lock.
  bool ended = false;
  bool unwanted = false;  ///< Replaced: nobody will take its outcome.
  unsigned pins = 0;      ///< Who is aborting it.
};

class next_base;
template <class T>
struct result_child;

}  // namespace detail

/// The part that does not depend on the type of the results.
class result_group_base : public task_group {
 public:
  /// Without a limit it is none.
  struct setup {
    setup() noexcept = default;
    // NOLINTNEXTLINE(google-explicit-constructor): `with_result_group(at_most(8), body)`
    setup(at_most limit) noexcept : count(limit.count) {}
    std::size_t count = ~std::size_t{0};
  };

  /// Aborts every child that runs; their outcomes are `errc::aborted`, if they give in.
  void abort_all() noexcept;

 protected:
  friend class detail::next_base;
  template <class>
  friend struct detail::result_child;

  using child = detail::result_child_base;

  result_group_base(stop_scope& outer, setup limit) noexcept
      : task_group(outer), slots_(limit.count) {}
  ~result_group_base();

  void enlist(child& spawned) noexcept;
  /// The end of a child; it may be gone afterwards.
  void child_has_ended(child& ended) noexcept;
  child* pin_running(child* from) noexcept;
  /// Lets go of a child that was pinned under the lock.
  void unpin(child& pinned) noexcept;

  spin_lock results_lock_;
  intrusive_list<child, detail::by_spawn> all_;
  intrusive_list<child, detail::by_end> ended_;
  detail::next_base* consumer_ = nullptr;
  /// For kinds that know their children by more than the lists; called under the lock.
  void (*handed_)(result_group_base&, child&) noexcept = nullptr;
  bool (*put_back_)(result_group_base&, child&) noexcept = nullptr;
  detail::slots slots_;

 private:
  detail::next_base* publish(child& ended) noexcept;
};

namespace detail {

/// Waits for an outcome; the part without its type.
class next_base : public operation {
 public:
  bool try_complete(stop_scope& scope) noexcept;
  std::error_code failed() const noexcept { return no_error; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept;

 protected:
  next_base(result_group_base& group, bool in_order) noexcept
      : operation(&woken, &cancel_wait), group_(&group), in_order_(in_order) {}
  next_base(next_base&& other) noexcept
      : operation(std::move(other)),
        group_(other.group_),
        in_order_(other.in_order_),
        item_(std::exchange(other.item_, nullptr)) {}
  ~next_base();

  /// The child whose outcome was handed to this wait, or null.
  result_child_base* item() const noexcept { return item_; }
  result_child_base* release_item() noexcept { return std::exchange(item_, nullptr); }

 private:
  friend class ::magpie::result_group_base;

  bool look() noexcept;
  static void woken(runnable& work) noexcept;
  static void cancel_wait(operation& op) noexcept;

  result_group_base* group_;
  bool in_order_;
  bool refused_ = false;
  bool cancelled_ = false;
  result_child_base* item_ = nullptr;
};

template <class T>
struct result_child : result_child_base {
  result_child(task<T>&& t, result_group_base& in, const spawn_how& how,
               drop_function drops = &drop_this) noexcept
      : result_child_base(&begin, drops, in, how), body(std::move(t)) {}

  static void begin(runnable& work) noexcept {
    auto& self = static_cast<result_child&>(work);
    resume(self.body.start(continuation::end(&self, &arrived), self.scope));
  }

  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = *continuation::ended<result_child>(target);
    auto& group = static_cast<result_group_base&>(*self.group);
    destroy_abandoned(next.abandoned);
    self.body.destroy_frame();
    if (next.error)
      self.body.set_error(next.error == errc::stopped && self.aborted.load(order::relaxed)
                              ? errc::aborted
                              : next.error);
    self.scope.close();
    const bool in_slot = self.in_slot;
    group.child_has_ended(self);
    if (in_slot) group.slots_.release();
    if (!group.count_down()) return std::noop_coroutine();
    return group.ended(next);
  }

  /// Logs what nobody has seen.
  void tell() noexcept {
    const std::error_code error = body.error();
    void* exception = body.release_exception();
    if (unseen && error != errc::aborted && (error || exception != nullptr)) {
      group->child_ended(error, exception, true, root);
    } else if (exception != nullptr) {
      drop_exception(exception);
    }
  }

  static void drop_this(result_child_base& base) noexcept {
    auto* const self = static_cast<result_child*>(&base);
    self->tell();
    self->~result_child();
    frame_free(self, sizeof(result_child));
  }

  task_operation<T> body;
};

template <class T>
class next_operation final : public next_base {
 public:
  using value_type = std::optional<result<T>>;

  next_operation(result_group_base& group, bool in_order) noexcept : next_base(group, in_order) {}
  next_operation(next_operation&&) noexcept = default;

  result<value_type> take() {
    struct dropper {
      ~dropper() {
        if (child != nullptr) child->drop(*child);
      }
      result_child<T>* child;
    } const taken{static_cast<result_child<T>*>(release_item())};
    if (taken.child == nullptr) return value_type();
    taken.child->unseen = false;
    return value_type(taken.child->body.take());
  }

  bool has_exception() const noexcept {
    return item() != nullptr && static_cast<result_child<T>*>(item())->body.has_exception();
  }
};

}  // namespace detail

template <class T>
class result_group : public result_group_base {
 public:
  result_group(stop_scope& outer, setup limit) noexcept : result_group_base(outer, limit) {}

  /// Starts `t`; its outcome waits for a `next`.
  /// Errors: none here; when memory runs out the group fails with not_enough_memory.
  /// Threads: the body and children.  Cost: one pooled block, kept until the outcome is taken.
  void spawn(task<T> t, std::source_location where = std::source_location::current()) noexcept {
    start(std::move(t), {true, where, std::nullopt}, false);
  }
  void spawn(const task_name& name, task<T> t,
             std::source_location where = std::source_location::current()) noexcept {
    start(std::move(t), {true, where, name}, false);
  }

  /// Waits until fewer children run than the limit that the group was given, then starts `t`.  As
  /// `bounded_group::spawn_when_free`; children of plain `spawn` do not count.
  auto spawn_when_free(task<T> t,
                       std::source_location where = std::source_location::current()) noexcept {
    return detail::spawn_when_free_operation<result_group, T>(*this, slots_, std::move(t),
                                                              {true, where, std::nullopt});
  }

  /// Waits for the next child to end and gives its outcome; nothing when no child is left.  An
  /// exception of the child is rethrown.
  /// Errors: stopped, the caller's own.  Stop: ends the waiting; no outcome is lost.
  /// Threads: one consumer at a time.  Cost: no allocation.
  auto next() noexcept { return detail::next_operation<T>(*this, false); }

  /// The same in the order of the spawns: waits for the oldest child whose outcome was not taken.
  auto next_in_order() noexcept { return detail::next_operation<T>(*this, true); }

  /// Every outcome that was not taken yet, in the order of the spawns.
  task<std::vector<result<T>>> collect() {
    std::vector<result<T>> outcomes;
    for (;;) {
      auto one = co_await next_in_order();
      if (!one) break;
      outcomes.push_back(*std::move(one));
    }
    co_return outcomes;
  }

 private:
  using task_group::spawn_isolated;  // every child is
  template <class, class>
  friend class detail::spawn_when_free_operation;

  void launch(task<T>&& t, const detail::spawn_how& how) noexcept {
    start(std::move(t), how, true);
  }
  void start(task<T>&& t, const detail::spawn_how& how, bool in_slot) noexcept {
    auto* made = make_child<detail::result_child<T>>(std::move(t), *this, how);
    if (made == nullptr) {
      if (in_slot) slots_.release();
      return;
    }
    made->in_slot = in_slot;
    enlist(*made);
    detail::post_child(*made);
  }
};

}  // namespace magpie
