/// `task_tracker`: how many tasks of a kind there are, and when the last of them has ended.
///
///     task_tracker sessions;
///     sessions.spawn(named("session"), serve(std::move(peer)));    // as often as it likes
///     …
///     sessions.close();
///     co_await sessions.wait();                                    // none is left
///
/// A tracker does not own its tasks as a group does: they belong to the runtime, and whoever holds
/// the tracker may go before them.  It is for the end of a program, or of a part of one, where the
/// tasks were spawned far apart.  `wait` completes when the tracker is closed *and* empty; closing
/// only says that somebody may be waiting, and refuses nothing.
///
/// Copies stand for the same tracker.  A `tracker_token` is tracked as a task is, for as long as
/// somebody keeps it: put one into a coroutine's parameters, or into a connection that a thread
/// elsewhere works on.
///
/// The word that decides who is the last is in tracker_state.hpp.
/// Threads: any, with or without a runtime; `spawn` and `wait` on workers.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/tracker_state.hpp>
#include <magpie/runtime/wait_operation.hpp>
#include <magpie/util/errc.hpp>

#include <concepts>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

namespace magpie {
namespace detail {

/// A tracked task's state without its type.
struct tracked_base : runnable {
  tracked_base(run_function begin, scheduler& home, std::uint64_t id, stop_scope& parent,
               std::source_location where, tracker_state& in) noexcept
      : runnable(begin), root(home, id), scope(&parent, root), tracker(&in) {
    root.spawned = where;
    in.track();
  }

  /// Tells how the task failed, if it did.
  void tell(std::error_code error, bool exception) noexcept;

  /// The task and its state are gone: the last thing that tracker and runtime have to do with it.
  static void count_down(scheduler& home, tracker_state& in) noexcept {
    in.untrack();
    count_end(home);  // the runtime is there until here
  }

  task_root root;
  stop_scope scope;
  tracker_state* tracker;
};

/// One block for a tracked task, as for a group's child: nobody joins it.
template <class T>
struct tracked final : tracked_base {
  tracked(task<T>&& t, scheduler& home, stop_scope& parent, std::source_location where,
          tracker_state& in) noexcept
      : tracked_base(&begin, home, next_task_id(home), parent, where, in), body(std::move(t)) {}

  static void begin(runnable& work) noexcept {
    auto& self = static_cast<tracked&>(work);
    resume(self.body.start(continuation::end(&self, &arrived), self.scope));
  }

  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = *continuation::ended<tracked>(target);
    destroy_abandoned(next.abandoned);
    self.body.destroy_frame();
    self.tell(next.error, self.body.has_exception());
    scheduler& home = *self.root.home;
    tracker_state& in = *self.tracker;
    self.~tracked();  // and the value, whose destructor may spawn
    frame_free(&self, sizeof(tracked));
    count_down(home, in);
    return std::noop_coroutine();
  }

  task_operation<T> body;
};

/// Starts `t` below `parent`; false when memory runs out.
template <class T>
bool spawn_tracked(scheduler& on, task<T>&& t, stop_scope& parent, tracker_state& in,
                   std::source_location where, const task_name* name, bool linked) noexcept {
  void* const memory = t ? frame_allocate(sizeof(tracked<T>)) : nullptr;
  if (memory == nullptr) return false;
  auto* const made = ::new (memory) tracked<T>(std::move(t), on, parent, where, in);
  if (name != nullptr) made->root.set_name(*name);
  inherit_locals(made->root);
  if (linked) made->scope.link();  // a report names it even if it never waits
  count_spawn(on);
  note_birth(made->root, made->scope);
  post_fork(on, *made);
  return true;
}

}  // namespace detail

/// Tracked for as long as it or a copy of it is there.
class tracker_token {
 public:
  tracker_token(const tracker_token& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->track();
  }
  tracker_token(tracker_token&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  tracker_token& operator=(tracker_token other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~tracker_token() {
    if (state_ != nullptr) state_->untrack();
  }

 private:
  friend class task_tracker;
  explicit tracker_token(detail::tracker_state* tracked) noexcept : state_(tracked) {}

  detail::tracker_state* state_;
};

class task_tracker {
 public:
  /// One that is open and empty.  Cost: one pooled block.
  task_tracker() noexcept;
  task_tracker(const task_tracker& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->hold();
  }
  task_tracker(task_tracker&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  task_tracker& operator=(task_tracker other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  /// Stops nobody, and waits for nobody.
  ~task_tracker() { detail::tracker_state::release(state_); }

  /// Starts `t` as a task of the caller's runtime and tracks it until its frame and its value are
  /// destroyed.  Nobody joins it: a failure is logged.  Also when the tracker is closed.
  /// Errors: none here; false when memory runs out, and then `t` is destroyed.
  /// Threads: workers (asserted).  Cost: one pooled block, and two atomics on the tracker.
  template <class T>
  bool spawn(task<T> t,
             std::source_location where = std::source_location::current()) const noexcept {
    return start(std::move(t), where, nullptr);
  }

  /// The same with a name.
  template <class T>
  bool spawn(const task_name& name, task<T> t,
             std::source_location where = std::source_location::current()) const noexcept {
    return start(std::move(t), where, &name);
  }

  /// Starts `function(args…)`, keeping both alive as long as the task.
  template <class F, class... Args>
    requires std::invocable<F&, Args...>
  bool spawn(F function, Args... args) const noexcept {
    using value = typename detail::task_value<std::invoke_result_t<F&, Args...>>::type;
    return start(detail::call_and_keep<value, F, Args...>(std::move(function), std::move(args)...),
                 std::source_location::current(), nullptr);
  }

  /// Something to keep as long as it is to be waited for.
  tracker_token token() const noexcept {
    if (state_ != nullptr) state_->track();
    return tracker_token(state_);
  }

  /// From now on `wait` completes when nothing is tracked.  Idempotent; what is tracked later is
  /// waited for as well.
  void close() const noexcept {
    if (state_ != nullptr) state_->close();
  }
  /// Takes `close` back.  Who was waiting when the tracker was closed and empty is woken already.
  void reopen() const noexcept {
    if (state_ != nullptr) state_->reopen();
  }

  bool is_closed() const noexcept { return state_ != nullptr && state_->is_closed(); }
  /// How many tasks and tokens there are; a guess while others come and go.
  std::size_t size() const noexcept { return state_ != nullptr ? state_->tokens() : 0; }

  /// Waits until the tracker is closed and empty; completes at once if it is.  What the tasks did
  /// is visible then.  The tracker, or a copy of it, must outlive the wait.
  /// Errors: stopped; not_enough_memory if the tracker could have none.
  /// Stop: ends the wait; nothing else is affected.
  /// Threads: any number of tasks may wait.  Cost: no allocation.
  detail::wait_operation wait() const noexcept {
    return detail::wait_operation(state_, std::errc::not_enough_memory);
  }

  /// Whether both are copies of one tracker.
  friend bool operator==(const task_tracker&, const task_tracker&) noexcept = default;

 private:
  template <class T>
  bool start(task<T>&& t, std::source_location where, const task_name* name) const noexcept {
    scheduler& here = detail::current_scheduler();
    return state_ != nullptr &&
           detail::spawn_tracked(here, std::move(t), detail::spawn_parent(here), *state_, where,
                                 name, false);
  }

  detail::tracker_state* state_;
};

}  // namespace magpie
