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
#pragma once

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
  spawned_base(run_function begin, scheduler& home, stop_scope& parent,
               std::source_location where) noexcept;

  static constexpr std::uintptr_t running = 0;
  static constexpr std::uintptr_t done = 1;
  static constexpr std::uintptr_t dropped = 2;
  static constexpr std::uintptr_t refused = 3;

  void abort() noexcept {
    aborted.store(true, order::relaxed);  // read after the stop that follows was seen
    scope.request_stop();
  }

  /// The task has ended with `with` (zero: a value or an exception); true: the handle is gone, the
  /// caller frees the state.
  bool finish(std::error_code with, bool exception) noexcept;

  task_root root;
  stop_scope scope;
  std::error_code error;
  atomic<bool> aborted{false};
  atomic<std::uintptr_t> word{running};
};

template <class T>
struct spawned final : spawned_base {
  spawned(task<T>&& t, scheduler& home, stop_scope& parent, std::source_location where) noexcept
      : spawned_base(&begin, home, parent, where), body(std::move(t)) {}

  static void begin(runnable& work) noexcept {
    auto& self = static_cast<spawned&>(work);
    resume(self.body.start({&self, &arrived}, self.scope));
  }

  static std::coroutine_handle<> arrived(void* boundary, step& next) noexcept {
    auto* self = static_cast<spawned*>(boundary);
    destroy_abandoned(next.abandoned);
    self->body.destroy_frame();
    if (self->finish(next.error, self->body.has_exception())) free(self);
    return std::noop_coroutine();
  }

  static void free(spawned* state) noexcept {
    state->~spawned();
    frame_free(state, sizeof(spawned));
  }

  task_operation<T> body;
};

/// The scheduler that `spawn` uses on this thread; asserts that there is one.
scheduler& current_scheduler() noexcept;
stop_scope& spawn_parent(scheduler& on) noexcept;
void count_spawn(scheduler& on) noexcept;

template <class T>
join_handle<T> spawn_on(scheduler& on, task<T>&& t, std::source_location where) noexcept {
  void* memory = t ? frame_allocate(sizeof(spawned<T>)) : nullptr;
  if (memory == nullptr) return join_handle<T>(nullptr);
  auto* state = ::new (memory) spawned<T>(std::move(t), on, spawn_parent(on), where);
  count_spawn(on);
  state->root.post(*state);
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

/// Waits for a spawned task; value: its outcome.
template <class T>
class join_operation : public operation {
 public:
  using value_type = result<T>;

  explicit join_operation(spawned<T>* state) noexcept
      : operation(&joined, &cancel_join), state_(state) {}
  join_operation(join_operation&&) noexcept = default;

  bool try_complete(stop_scope& scope) noexcept {
    if (scope.stop_requested()) return false;
    if (state_ == nullptr) return true;
    // (J2) acquire with (J1): the outcome is visible.
    return state_->word.load(order::acquire) == spawned_base::done &&
           spend_budget(this_context());
  }
  std::error_code failed() const noexcept { return {}; }

  std::coroutine_handle<> start(detail::continuation to, stop_scope& scope) noexcept {
    prepare(to, scope);
    if (state_ == nullptr || !begin()) {
      refused_ = state_ != nullptr;
      this_context().post_last(*this);
      return std::noop_coroutine();
    }
    std::uintptr_t now = spawned_base::running;
    // (J3) release with (J1): whoever ends the task may run this operation.
    if (state_->word.compare_exchange_strong(now, reinterpret_cast<std::uintptr_t>(this),
                                             order::acq_rel, order::acquire))
      return std::noop_coroutine();
    if (now == spawned_base::refused) {
      cancelled_ = true;
      // Fails only if the task has ended meanwhile, and then the handle is done as it should be.
      state_->word.compare_exchange_strong(now, spawned_base::running, order::acq_rel,
                                           order::acquire);
    } else {
      MAGPIE_ASSERT(now == spawned_base::done);  // one joiner at a time
    }
    this->scope().root().post(*this);
    return std::noop_coroutine();
  }

  result<value_type> take() {
    if (state_ == nullptr)
      return value_type(std::unexpected(std::make_error_code(std::errc::not_enough_memory)));
    if (state_->error) return value_type(std::unexpected(state_->error));
    return value_type(state_->body.take());
  }

 private:
  static void joined(runnable& work) noexcept {
    auto& self = static_cast<join_operation&>(static_cast<operation&>(work));
    const bool began = !self.refused_ && self.state_ != nullptr;
    if (began && !self.end()) return;
    const bool stopped = self.refused_ || self.cancelled_;
    resume(stopped ? deliver_error(self.continuation(), errc::stopped)
                   : deliver(self.continuation()));
  }

  static void cancel_join(operation& op) noexcept {
    auto& self = static_cast<join_operation&>(op);
    const auto joining = reinterpret_cast<std::uintptr_t>(&self);
    std::uintptr_t now = joining;
    for (;;) {
      const std::uintptr_t next =
          now == joining ? spawned_base::running : spawned_base::refused;
      if (self.state_->word.compare_exchange_weak(now, next, order::acq_rel, order::acquire))
        break;
      if (now == spawned_base::done) return;  // the task has ended: the outcome is on its way
    }
    if (now != joining) return;  // the joiner will find `refused`
    self.cancelled_ = true;
    self.scope().root().post(self);
  }

  spawned<T>* state_;
  bool refused_ = false;
  bool cancelled_ = false;
};

}  // namespace detail

/// The handle of a spawned task.  Move-only; dropping it detaches the result, not the task, whose
/// failure is then logged.
template <class T>
class [[nodiscard("dropping a join_handle detaches the task")]] join_handle {
 public:
  using value_type = T;

  join_handle(join_handle&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  join_handle& operator=(join_handle&& other) noexcept {
    if (this != &other) {
      detach();
      state_ = std::exchange(other.state_, nullptr);
    }
    return *this;
  }
  ~join_handle() { detach(); }

  /// Waits for the end of the task: its outcome as a `result<T>`.  Errors of the await: stopped
  /// (the joiner's own stop; the handle stays usable).  The outcome is handed out once.
  /// An exception that ended the task is rethrown.  Threads: one joiner at a time.
  detail::join_operation<T> join() & noexcept { return detail::join_operation<T>(state_); }

  /// Stops the task; its join then gives `errc::aborted` unless it ends otherwise.  Any thread.
  void abort() noexcept {
    if (state_ != nullptr) state_->abort();
  }

  /// True once the task has ended and its frame is gone.
  bool done() const noexcept {
    return state_ == nullptr ||
           state_->word.load(order::acquire) == detail::spawned_base::done;
  }

  /// Lets the task go on alone.
  void detach() noexcept {
    if (state_ == nullptr) return;
    // (J4) acq_rel with (J1): the last of the two frees what the other wrote.
    if (state_->word.exchange(detail::spawned_base::dropped, order::acq_rel) ==
        detail::spawned_base::done)
      detail::spawned<T>::free(state_);
    state_ = nullptr;
  }

 private:
  template <class U>
  friend join_handle<U> detail::spawn_on(scheduler&, task<U>&&, std::source_location) noexcept;
  explicit join_handle(detail::spawned<T>* state) noexcept : state_(state) {}

  detail::spawned<T>* state_;
};

/// Starts `t` as a task of the runtime that the caller runs on.  Asserts on a foreign thread: use
/// `runtime::spawn` there.  When memory runs out the handle's join says so.
/// Cost: one block from the worker's pool, no lock.
template <class T>
join_handle<T> spawn(task<T> t,
                     std::source_location where = std::source_location::current()) noexcept {
  return detail::spawn_on(detail::current_scheduler(), std::move(t), where);
}

/// Starts `function(args…)`, keeping the callable and the arguments alive as long as the task.
template <class F, class... Args>
  requires std::invocable<F&, Args...>
auto spawn(F function, Args... args) noexcept {
  using T = typename detail::task_value<std::invoke_result_t<F&, Args...>>::type;
  return detail::spawn_on(
      detail::current_scheduler(),
      detail::call_and_keep<T, F, Args...>(std::move(function), std::move(args)...),
      std::source_location::current());
}

}  // namespace magpie
