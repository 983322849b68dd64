/// `bounded_group`: a task group that runs at most so many children at once.
///
///     co_await with_task_group(at_most(100), [&](bounded_group& sessions) -> task<> {
///       for (;;) {
///         auto peer = co_await listener.accept();
///         co_await sessions.spawn_isolated_when_free(serve(std::move(peer)));
///       }
///     });
///
/// Each child holds a *slot* from its spawn until its frame is gone.  Who waits for a slot waits
/// in one queue, first come, first served, and `try_spawn` does not overtake.  The list and the
/// count are under one lock; a wait enters its stop scope, is queued, granted and cancelled under
/// it:
///
///     wait        start            a child ends            stop
///     (new)       queued, or       -                       refused: never queued
///                 granted at once
///     queued      -                granted: posted         cancelled: leaves the queue, posted
///     granted     -                -                       nothing: the child is spawned
///
/// The slot of a granted wait is its own: when the wait runs it spawns the child.  Children of
/// other kinds of groups take part in the same way (`slot_wait`).
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/intrusive_list.hpp>
#include <magpie/util/spin_lock.hpp>

#include <coroutine>
#include <cstddef>
#include <optional>
#include <source_location>

namespace magpie {
namespace detail {

class slot_wait;

/// The slots of a group.
class slots {
 public:
  explicit slots(std::size_t most) noexcept : free_(most) { MAGPIE_ASSERT(most != 0); }

  /// Takes a free slot unless somebody waits for one.
  bool try_take() noexcept;
  /// Gives a slot to the first who waits, or back.  Any worker; resumes nobody inline.
  void release() noexcept;

 private:
  friend class slot_wait;

  spin_lock lock_;
  std::size_t free_;
  intrusive_list<slot_wait> waiting_;
};

/// Waits for a slot, then launches what the derived operation holds.
class slot_wait : public operation, public list_node {
 public:
  using value_type = void;

  bool try_complete(stop_scope& scope) noexcept;
  std::error_code failed() const noexcept { return no_error; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept;
  result<void> take() const noexcept { return {}; }

 protected:
  using launch_function = void (*)(slot_wait&) noexcept;

  slot_wait(slots& of, launch_function launches) noexcept
      : operation(&woken, &cancel_wait), slots_(&of), launch_(launches) {}
  slot_wait(slot_wait&& other) noexcept
      : operation(std::move(other)), slots_(other.slots_), launch_(other.launch_) {}
  ~slot_wait() = default;

 private:
  friend class slots;

  static void woken(runnable& work) noexcept;
  static void cancel_wait(operation& op) noexcept;

  slots* slots_;
  launch_function launch_;
  bool refused_ = false;
  bool cancelled_ = false;
};

/// What a child is spawned with besides its task.
struct spawn_how {
  bool isolated;
  std::source_location where;
  std::optional<task_name> name;
};

/// `group.spawn_when_free(t)`: G has `launch(task<T>&&, const spawn_how&)`, which owns a slot.
template <class G, class T>
class spawn_when_free_operation final : public slot_wait {
 public:
  spawn_when_free_operation(G& group, slots& of, task<T>&& t, const spawn_how& how) noexcept
      : slot_wait(of, &launch), group_(&group), task_(std::move(t)), how_(how) {}
  spawn_when_free_operation(spawn_when_free_operation&&) noexcept = default;

 private:
  static void launch(slot_wait& wait) noexcept {
    auto& self = static_cast<spawn_when_free_operation&>(wait);
    self.group_->launch(std::move(self.task_), self.how_);
  }

  G* group_;
  task<T> task_;
  spawn_how how_;
};

template <class T>
struct bounded_child;

}  // namespace detail

class bounded_group : public task_group {
 public:
  using setup = at_most;

  bounded_group(stop_scope& outer, at_most limit) noexcept
      : task_group(outer), slots_(limit.count) {}

  /// Waits for a slot and starts `t` in it.  A failure of `t` stops the group.
  /// Errors: stopped.  Stop: `t` is destroyed and has not begun; or it had been started.
  /// Threads: the body and children, any number at once.  Cost: the wait none; the child one block.
  template <class T>
  auto spawn_when_free(task<T> t,
                       std::source_location where = std::source_location::current()) noexcept {
    return wait_for_slot(std::move(t), {false, where, std::nullopt});
  }

  /// The same, but a failure of `t` is logged and ends nobody else.
  template <class T>
  auto spawn_isolated_when_free(
      task<T> t, std::source_location where = std::source_location::current()) noexcept {
    return wait_for_slot(std::move(t), {true, where, std::nullopt});
  }

  /// Both for a child with a name, whose text must live until the child is spawned.
  template <class T>
  auto spawn_when_free(const task_name& name, task<T> t,
                       std::source_location where = std::source_location::current()) noexcept {
    return wait_for_slot(std::move(t), {false, where, name});
  }
  template <class T>
  auto spawn_isolated_when_free(
      const task_name& name, task<T> t,
      std::source_location where = std::source_location::current()) noexcept {
    return wait_for_slot(std::move(t), {true, where, name});
  }

  /// Starts `t` if there is a slot for it now, and leaves it alone if not.
  template <class T>
  bool try_spawn(task<T>& t,
                 std::source_location where = std::source_location::current()) noexcept {
    if (!slots_.try_take()) return false;
    launch(std::move(t), {false, where, std::nullopt});
    return true;
  }

 private:
  using task_group::spawn;  // without a slot: not here
  using task_group::spawn_isolated;
  template <class, class>
  friend class detail::spawn_when_free_operation;
  template <class>
  friend struct detail::bounded_child;

  template <class T>
  auto wait_for_slot(task<T>&& t, const detail::spawn_how& how) noexcept {
    return detail::spawn_when_free_operation<bounded_group, T>(*this, slots_, std::move(t), how);
  }
  template <class T>
  void launch(task<T>&& t, const detail::spawn_how& how) noexcept;

  detail::slots slots_;
};

namespace detail {

template <class T>
struct bounded_child final : group_child_base {
  bounded_child(task<T>&& t, bounded_group& in, const spawn_how& how) noexcept
      : group_child_base(&begin, in, how.isolated, how.where), body(std::move(t)) {
    if (how.name) root.set_name(*how.name);
  }

  static void begin(runnable& work) noexcept {
    auto& self = static_cast<bounded_child&>(work);
    resume(self.body.start(continuation::end(&self, &arrived), self.scope));
  }

  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto* self = continuation::ended<bounded_child>(target);
    auto& group = static_cast<bounded_group&>(*self->group);
    destroy_abandoned(next.abandoned);
    self->body.destroy_frame();
    void* exception = self->body.release_exception();
    if (next.error || exception != nullptr)
      group.child_ended(next.error, exception, self->isolated, self->root);
    self->~bounded_child();
    frame_free(self, sizeof(bounded_child));
    group.slots_.release();
    if (!group.count_down()) return std::noop_coroutine();
    return group.ended(next);
  }

  task_operation<T> body;
};

}  // namespace detail

template <class T>
void bounded_group::launch(task<T>&& t, const detail::spawn_how& how) noexcept {
  auto* made = make_child<detail::bounded_child<T>>(std::move(t), *this, how);
  if (made == nullptr) {
    slots_.release();
    return;
  }
  detail::post_child(*made);
}

}  // namespace magpie
