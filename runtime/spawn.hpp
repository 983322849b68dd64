/// `spawn` and `join_handle`: tasks of the runtime's root group.
///
/// A spawned task and its handle share a state with one word that decides who goes last:
///
///     word       task ends                join (op)               join cancelled  handle dropped
///     running    -> done                  -> op                   -> refused      -> dropped
///     op         -> done, posts op        (one joiner)            -> running      (bug)
///     refused    -> done                  -> running, posts       -               (bug)
///                                         itself as cancelled
///     done       -                        ready at once           nothing         frees the state
///     dropped    logs a failure, frees    -                       -               -
///
/// A join enters its stop scope before it can write itself into the word, so a canceller may come
/// first: it leaves `refused` there for the joiner to find.
///
/// The task's frame is destroyed before the word says done: a joined task holds nothing any more.
///
/// Abort handles need the state for longer: they are counted beside the word.  While there are any,
/// whoever would free the state drops the outcome instead and marks the count as released, and the
/// last of them frees what is left.  Only who holds a handle of either kind makes a new one, so a
/// count of zero stays zero once the join handle is gone.
#pragma once

#include <magpie/runtime/abort_handle.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/errc.hpp>

#include <new>
#include <source_location>

namespace magpie {

template <class T>
class join_handle;

namespace detail {

template <class T>
class join_operation;

/// The part of a spawned task's state that does not depend on its type.
struct spawned_base : runnable {
  using launch_function = std::coroutine_handle<> (*)(spawned_base&) noexcept;

  spawned_base(launch_function launches, scheduler& home, std::uint64_t id, stop_scope& parent,
               std::source_location where) noexcept
      : runnable(&begin), launch(launches), root(home, id), scope(&parent, root) {
    root.spawned = where;
  }

  static constexpr std::uintptr_t running = 0;
  static constexpr std::uintptr_t done = 1;
  static constexpr std::uintptr_t dropped = 2;
  static constexpr std::uintptr_t refused = 3;

  static constexpr std::uint16_t released = std::uint16_t{1} << 15;
  static constexpr std::uint16_t aborters_max = released - 1;  ///< Abort handles of one task.

  void abort() noexcept {
    aborted.store(true, order::relaxed);  // read after the stop that follows was seen
    scope.request_stop();
  }

  /// The task has ended with `with` (zero: a value or an exception).  Returns what runs next;
  /// `mine` says that the handle is gone: the caller frees the state and counts the end.
  std::coroutine_handle<> finish(std::error_code with, bool exception, bool& mine) noexcept;

  /// What a task that raised `with` has ended with.
  std::error_code ended_with(std::error_code with) const noexcept {
    return with == errc::stopped && aborted.load(order::relaxed) ? errc::aborted : with;
  }

  static void begin(runnable& work) noexcept {
    auto& self = static_cast<spawned_base&>(work);
    resume(self.launch(self));
  }

  /// Prints which task failed with `error` (zero: with an exception), and the trace.
  void log_failure(std::error_code error) noexcept;

  launch_function launch;
  task_root root;
  // The next three lie in the scope's tail, so that the state stays in its size class.
  [[no_unique_address]] stop_scope scope;
  bool failure_unseen = false;  ///< It failed, and no join has handed that out; before the word.
  atomic<bool> aborted{false};
  atomic<std::uint16_t> aborters{0};  ///< Abort handles, and `released`.
  atomic<std::uintptr_t> word{running};
};

/// The same for any task that nobody awaits.
void log_lost_failure(const task_root& root, std::error_code error) noexcept;

/// A root task has ended: the last thing that the runtime has to do with it.
void count_end(scheduler& on) noexcept;

template <class T>
struct spawned final : spawned_base {
  spawned(task<T>&& t, scheduler& home, std::uint64_t id, stop_scope& parent,
          std::source_location where) noexcept
      : spawned_base(&launch_body, home, id, parent, where), body(std::move(t)) {}

  static std::coroutine_handle<> launch_body(spawned_base& base) noexcept {
    auto& self = static_cast<spawned&>(base);
    return self.body.start(continuation::end(&self, &arrived), self.scope);
  }

  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto* self = continuation::ended<spawned>(target);
    destroy_abandoned(next.abandoned);
    self->body.destroy_frame();
    bool mine = false;
    scheduler& home = *self->root.home;
    const std::error_code error = next.error ? self->ended_with(next.error) : next.error;
    if (error) self->body.set_error(error);
    const auto resumed = self->finish(error, self->body.has_exception(), mine);
    if (mine) {
      release(self);  // destroys the value, whose destructor may spawn: the task still counts
      count_end(home);
    }
    return resumed;
  }

  /// By the last of the task and its join handle.
  static void release(spawned* state) noexcept {
    // (J5) acquire with (J6): no abort handle uses the state any more.
    if (state->aborters.load(order::acquire) != 0) [[unlikely]] {
      state->body.drop_outcome();
      // (J5) acq_rel with (J6): the last of us and the abort handles frees what the other wrote.
      if (state->aborters.fetch_or(released, order::acq_rel) != 0) return;
    }
    free(*state);
  }

  static void free(spawned_base& base) noexcept {
    auto* const state = static_cast<spawned*>(&base);
    state->~spawned();
    frame_free(state, sizeof(spawned));
  }

  task_operation<T> body;
};

/// The scheduler that `spawn` uses on this thread; asserts that there is one.
scheduler& current_scheduler() noexcept;
stop_scope& spawn_parent(scheduler& on) noexcept;
void count_spawn(scheduler& on) noexcept;
/// Puts an unstarted task into the calling worker's forks, or into the injector.
void post_fork(scheduler& on, runnable& task) noexcept;

template <class T>
join_handle<T> spawn_on(scheduler& on, task<T>&& t, std::source_location where,
                        const task_name* name = nullptr) noexcept {
  void* memory = t ? frame_allocate(sizeof(spawned<T>)) : nullptr;
  if (memory == nullptr) return join_handle<T>(nullptr);
  auto* state =
      ::new (memory) spawned<T>(std::move(t), on, next_task_id(on), spawn_parent(on), where);
  if (name != nullptr) state->root.set_name(*name);
  inherit_locals(state->root);
  count_spawn(on);
  note_birth(state->root, state->scope);
  post_fork(on, *state);
  return join_handle<T>(state);
}

/// In spawn_local.hpp.
template <class T>
join_handle<T> spawn_pinned(task<T>&& t, std::source_location where,
                            const task_name* name) noexcept;

/// The same on the calling worker's runtime: the hot path.
template <class T>
join_handle<T> spawn_here(task<T>&& t, std::source_location where,
                          const task_name* name = nullptr) noexcept {
  context& here = this_context();
  void* memory = t ? frame_allocate(sizeof(spawned<T>)) : nullptr;
  if (memory == nullptr) return join_handle<T>(nullptr);
  auto* state = ::new (memory)
      spawned<T>(std::move(t), *here.home, next_task_id(here), *here.spawn_scope, where);
  if (name != nullptr) state->root.set_name(*name);
  inherit_locals(state->root);
  here.count_spawn();
  note_birth(state->root, state->scope);
  here.post_fork(*state);
  return join_handle<T>(state);
}

/// Keeps a callable and its arguments alive while the task that they make runs.
template <class T, class F, class... Args>
task<T> call_and_keep(F function, Args... args) {
  auto made = function(std::move(args)...);
  co_return co_await std::move(made);
}

template <class T>
struct task_value;
template <class T>
struct task_value<task<T>> {
  using type = T;
};

/// Waits for a spawned task; the part without its type.
///
/// A joiner whose child is the newest unstarted task of its worker runs it on the spot, in its own
/// place: it is noted in the context's `deferred_joins` and enlisted nowhere.  If the child ends
/// before the worker gets back to its loop the joiner goes on at once, and no atomic was touched;
/// else the loop enlists it after all.  Each such join costs one unit of the budget.
class join_base : public operation {
 public:
  bool try_complete(stop_scope& scope) noexcept {
    if (scope.stop_requested()) return false;
    if (state_ == nullptr) return true;
    // (J2) acquire with (J1): the outcome is visible.
    return state_->word.load(order::acquire) == spawned_base::done && spend_budget(this_context());
  }
  std::error_code failed() const noexcept { return no_error; }
  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept;

  /// The worker's loop got control back: the innermost deferred join waits properly.
  static void enlist_innermost(context& here) noexcept {
    join_base& waiting = *here.deferred_joins;
    here.deferred_joins = waiting.outer_;
    waiting.enlist();
  }

 protected:
  explicit join_base(spawned_base* state) noexcept
      : operation(&joined, &cancel_join), state_(state) {}
  join_base(join_base&&) noexcept = default;

  /// Once it has ended: whether the task's outcome is there for it.
  bool has_outcome() const noexcept {
    return !refused_ && !cancelled_ && state_ != nullptr &&
           state_->word.load(order::acquire) == spawned_base::done;  // (J2)
  }

 private:
  friend struct spawned_base;

  void enlist() noexcept;
  static void joined(runnable& work) noexcept;
  static void cancel_join(operation& op) noexcept;

  spawned_base* state_;
  join_base* outer_ = nullptr;  ///< The next deferred join of the worker.
  bool refused_ = false;
  bool cancelled_ = false;
};

template <class T>
class join_operation final : public join_base {
 public:
  using value_type = result<T>;

  join_operation(spawned<T>* state, bool late) noexcept
      : join_base(state), state_(state), late_(late) {}
  join_operation(join_operation&&) noexcept = default;

  result<value_type> take() {
    if (state_ == nullptr)
      return value_type(std::unexpected(late_ ? make_error_code(errc::aborted)
                                              : make_error_code(std::errc::not_enough_memory)));
    state_->failure_unseen = false;
    return value_type(state_->body.take());
  }

  bool has_exception() const noexcept { return has_outcome() && state_->body.has_exception(); }

 private:
  spawned<T>* state_;
  bool late_;  ///< Without a state: the runtime had been shut down.
};

}  // namespace detail

/// The handle of a spawned task.  Move-only; dropping it detaches the result, not the task, whose
/// failure is then logged.
template <class T>
class [[nodiscard("dropping a join_handle detaches the task")]] join_handle {
 public:
  using value_type = T;

  join_handle(join_handle&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)), late_(other.late_) {}
  join_handle& operator=(join_handle&& other) noexcept {
    if (this != &other) {
      detach();
      state_ = std::exchange(other.state_, nullptr);
      late_ = other.late_;
    }
    return *this;
  }
  ~join_handle() { detach(); }

  /// Waits for the end of the task and gives its outcome as a `result<T>`, once; an exception that
  /// ended the task is rethrown.
  /// Errors: stopped, the joiner's own.  Stop: the task goes on and the handle stays usable.
  /// Threads: one joiner at a time.  Cost: no allocation; a wait if the task has not ended.
  detail::join_operation<T> join() & noexcept { return detail::join_operation<T>(state_, late_); }

  /// The same for threads that are no workers (asserted): waits for the end of the task, which must
  /// be of a runtime that is there as long.  Defined in runtime.hpp.
  /// Errors: those of the task; stopped, when its runtime was shut down meanwhile.
  result<T> blocking_join(std::source_location where = std::source_location::current()) &;

  /// Stops the task; its join then gives `errc::aborted` unless it ends otherwise.  Any thread.
  void abort() noexcept {
    if (state_ != nullptr) state_->abort();
  }

  /// One that may outlive this.
  magpie::abort_handle abort_handle() const noexcept {
    return magpie::abort_handle(state_, &detail::spawned<T>::free);
  }

  /// True once the task has ended and its frame is gone.
  bool done() const noexcept {
    return state_ == nullptr || state_->word.load(order::acquire) == detail::spawned_base::done;
  }

  /// The task's id; 0 when it could not be spawned.
  std::uint64_t id() const noexcept { return state_ == nullptr ? 0 : state_->root.id(); }

  /// Lets the task go on alone.
  void detach() noexcept {
    if (state_ == nullptr) return;
    // (J4) acquire, or acq_rel, with (J1): the last of the two frees what the other wrote.  Once
    // it is done the word never changes again, which abort handles rely on: hence no exchange.
    std::uintptr_t word = state_->word.load(order::acquire);
    if (word == detail::spawned_base::done ||
        !state_->word.compare_exchange_strong(word, detail::spawned_base::dropped, order::acq_rel,
                                              order::acquire)) {
      MAGPIE_DEBUG_ASSERT(word == detail::spawned_base::done);
      if (state_->failure_unseen) state_->log_failure(state_->body.error());
      detail::spawned<T>::release(state_);
    }
    state_ = nullptr;
  }

 private:
  template <class U>
  friend join_handle<U> detail::spawn_here(task<U>&&, std::source_location,
                                           const task_name*) noexcept;
  template <class U>
  friend join_handle<U> detail::spawn_on(scheduler&, task<U>&&, std::source_location,
                                         const task_name*) noexcept;
  template <class U>
  friend join_handle<U> detail::spawn_pinned(task<U>&&, std::source_location,
                                             const task_name*) noexcept;
  friend class runtime;
  friend class runtime_handle;
  explicit join_handle(detail::spawned<T>* state, bool late = false) noexcept
      : state_(state), late_(late) {}

  detail::spawned<T>* state_;
  bool late_ = false;  ///< Without a state: the runtime had been shut down.
};

/// Starts `t` as a task of the runtime that the caller runs on.
/// Errors: none here; when memory runs out the handle's join gives not_enough_memory.
/// Threads: workers (asserted); elsewhere use `runtime::spawn`.
/// Cost: one block from the worker's pool, no lock.
template <class T>
join_handle<T> spawn(task<T> t,
                     std::source_location where = std::source_location::current()) noexcept {
  return detail::spawn_here(std::move(t), where);
}

/// The same for a task with a name: `spawn(named("reader 7"), reads(…))`.
template <class T>
join_handle<T> spawn(const task_name& name, task<T> t,
                     std::source_location where = std::source_location::current()) noexcept {
  return detail::spawn_here(std::move(t), where, &name);
}

/// Starts `function(args…)`, keeping the callable and the arguments alive as long as the task.
template <class F, class... Args>
  requires std::invocable<F&, Args...>
auto spawn(F function, Args... args) noexcept {
  using value = typename detail::task_value<std::invoke_result_t<F&, Args...>>::type;
  return detail::spawn_here(
      detail::call_and_keep<value, F, Args...>(std::move(function), std::move(args)...),
      std::source_location::current());
}

template <class F, class... Args>
  requires std::invocable<F&, Args...>
auto spawn(const task_name& name, F function, Args... args) noexcept {
  using value = typename detail::task_value<std::invoke_result_t<F&, Args...>>::type;
  return detail::spawn_here(
      detail::call_and_keep<value, F, Args...>(std::move(function), std::move(args)...),
      std::source_location::current(), &name);
}

}  // namespace magpie
