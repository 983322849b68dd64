/// `spawn_local`: a task that is pinned to the worker that spawned it.
///
/// Every frame of the task runs, ends and is destroyed on that worker, whatever wakes it from
/// wherever.  So what its frames hold, and what it shares with other tasks that are pinned to the
/// same worker, needs no locks and no atomics: it is never touched by two threads at once, and each
/// run sees what the one before did.  The price is that nobody helps: a worker that is stuck holds
/// its pinned tasks up.
///
/// Idea: the task's root says to which worker it belongs, and there are three places where one of
/// its runnables gets to be run.  Whoever wakes the task posts by `task_root::post`, which puts the
/// runnable into the inbox of the worker: nobody steals from there.  What comes from elsewhere (a
/// timer, a completion, a run queue that a thief or a rescuer has emptied) meets `pass_gate`, which
/// every event of a routed task passes, and is sent home from there.  An open run gate that gives
/// way to others is posted home too.  Tasks that are not pinned pay nothing for it: the test that
/// leads to the gate is the same.
///
/// What is *not* pinned: children of its groups and what it spawns with `spawn` (tasks of their
/// own), calls on blocking pools, and its outcome, which goes to whoever joins it.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_name.hpp>

#include <concepts>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

namespace magpie {
namespace detail {

template <class T>
join_handle<T> spawn_pinned(task<T>&& t, std::source_location where,
                            const task_name* name) noexcept {
  context& here = this_context();
  void* memory = t ? frame_allocate(sizeof(spawned<T>)) : nullptr;
  if (memory == nullptr) return join_handle<T>(nullptr);
  auto* state = ::new (memory)
      spawned<T>(std::move(t), *here.home, next_task_id(here), *here.spawn_scope, where);
  state->root.pin(here.index);
  if (name != nullptr) state->root.set_name(*name);
  inherit_locals(state->root);
  here.count_spawn();
  note_birth(state->root, state->scope);
  state->root.post(*state);
  return join_handle<T>(state);
}

}  // namespace detail

/// Starts `t` as a task of the calling worker alone.
/// Errors: none here; when memory runs out the handle's join gives not_enough_memory.
/// Threads: workers (asserted).  The handle may go anywhere; an abort from there stops the task,
/// whose frames are destroyed on its worker.
/// Cost: as `spawn`; each wait of the task ends with a trip through the inbox.
template <class T>
join_handle<T> spawn_local(task<T> t,
                           std::source_location where = std::source_location::current()) noexcept {
  return detail::spawn_pinned(std::move(t), where, nullptr);
}

/// The same for a task with a name.
template <class T>
join_handle<T> spawn_local(const task_name& name, task<T> t,
                           std::source_location where = std::source_location::current()) noexcept {
  return detail::spawn_pinned(std::move(t), where, &name);
}

/// Starts `function(args…)`, keeping the callable and the arguments alive as long as the task.
template <class F, class... Args>
  requires std::invocable<F&, Args...>
auto spawn_local(F function, Args... args) noexcept {
  using value = typename detail::task_value<std::invoke_result_t<F&, Args...>>::type;
  return detail::spawn_pinned(
      detail::call_and_keep<value, F, Args...>(std::move(function), std::move(args)...),
      std::source_location::current(), nullptr);
}

}  // namespace magpie
