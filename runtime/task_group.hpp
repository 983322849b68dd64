/// `with_task_group`: children that cannot outlive the expression that made them.
///
///     co_await with_task_group([&](task_group& group) -> task<> {
///       group.spawn(first());
///       group.spawn(second());
///       …
///     });
///
/// The group ends when its body and its last child have ended.  The first failure of a child or of
/// the body stops the others and is the group's error; `stopped` after the group was stopped is
/// nobody's failure.  Later failures are logged.  Without a failure the value is the body's.
/// Children may borrow what outlives the whole expression, not the body's locals.
///
/// A child is one block from the frame pool.  When it ends its frame is destroyed first, then its
/// block is freed, then it counts down: whoever counts to zero goes on with the awaiting frame.
/// (G1) the countdown is acq_rel: the last one sees everything that the others wrote.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/run_gate.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/spin_lock.hpp>

#include <new>
#include <optional>
#include <source_location>
#include <type_traits>

namespace magpie {

class task_group;

namespace detail {

template <class G, class F, class T>
class group_operation;

/// The scope of a group, which knows what goes on when the group has ended.
class group_scope : public stop_scope {
 public:
  explicit group_scope(stop_scope& outer) noexcept
      : stop_scope(&outer, outer.root(), kind::group) {}

  /// Before anybody else can see the group.
  void open(boundary& around, arrival_hook last) noexcept {
    ended_ = {&around, last};
    link();
  }

  /// Where the last child goes on.
  const continuation& ended() const noexcept { return ended_; }

  /// For onlookers: the awaiting task waits for the children alone.
  void body_ended() noexcept { waits_.store(true, order::relaxed); }  // publishes nothing
  bool waits_for_children() const noexcept { return waits_.load(order::relaxed); }

 private:
  continuation ended_;
  atomic<bool> waits_{false};
};

/// A child's state without its type.
struct group_child_base : runnable {
  group_child_base(run_function begin, task_group& in, bool alone,
                   std::source_location where) noexcept;

  task_group* group;
  bool isolated;
  task_root root;
  stop_scope scope;
};

/// Puts a new child where the workers find it.
inline void post_child(group_child_base& child) noexcept {
  note_birth(child.root, child.scope);
  post_fork(*child.root.home, child);
}

template <class T>
struct group_child final : group_child_base {
  group_child(task<T>&& t, task_group& in, bool alone, std::source_location where) noexcept
      : group_child_base(&begin, in, alone, where), body(std::move(t)) {}

  static void begin(runnable& work) noexcept {
    auto& self = static_cast<group_child&>(work);
    resume(self.body.start(continuation::end(&self, &arrived), self.scope));
  }
  static std::coroutine_handle<> arrived(void* target, step& next) noexcept;

  task_operation<T> body;
};

}  // namespace detail

class task_group {
 public:
  /// What `with_task_group` may be given besides the body; nothing for this kind.
  struct setup {};

  explicit task_group(stop_scope& outer, setup = setup()) noexcept
      : scope_(outer), alone_(detail::this_context().alone) {}
  task_group(const task_group&) = delete;
  task_group& operator=(const task_group&) = delete;
  ~task_group();

  /// Starts `t` in the group.  A failure stops the group.  Its value is dropped.
  /// Errors: none here; when memory runs out the group fails with not_enough_memory.
  /// Threads: the workers of the group's runtime, while the group has not ended (asserted).
  /// Cost: one pooled block; with several workers an atomic increment, and one at the child's end.
  template <class T>
  void spawn(task<T> t, std::source_location where = std::source_location::current()) noexcept {
    start(std::move(t), false, where);
  }

  /// The same, but a failure is logged and ends nobody else.
  template <class T>
  void spawn_isolated(task<T> t,
                      std::source_location where = std::source_location::current()) noexcept {
    start(std::move(t), true, where);
  }

  /// Both for a child with a name: `group.spawn(named("reader 7"), reads(…))`.
  template <class T>
  void spawn(const task_name& name, task<T> t,
             std::source_location where = std::source_location::current()) noexcept {
    start(std::move(t), false, where, &name);
  }
  template <class T>
  void spawn_isolated(const task_name& name, task<T> t,
                      std::source_location where = std::source_location::current()) noexcept {
    start(std::move(t), true, where, &name);
  }

  /// Starts `function(args…)`, keeping both alive as long as the child.
  template <class F, class... Args>
    requires std::invocable<F&, Args...>
  void spawn(F function, Args... args) noexcept {
    using value = typename detail::task_value<std::invoke_result_t<F&, Args...>>::type;
    start(detail::call_and_keep<value, F, Args...>(std::move(function), std::move(args)...), false,
          std::source_location::current());
  }

  /// Stops every child and the body.  Any thread, while the group has not ended.
  void stop() noexcept {
    stopped_.store(true, order::relaxed);  // ordered by the stop that follows
    scope_.request_stop();
  }

  /// Children that have not ended, the body not counted.
  std::size_t size() const noexcept {
    const std::size_t all = pending_.load(order::relaxed);
    return all == 0 ? 0 : all - 1;
  }

  /// For the library.
  stop_scope& scope() noexcept { return scope_; }
  void child_ended(std::error_code error, void* exception, bool isolated, task_root& root) noexcept;
  /// Counts one end down; true for the last.
  bool count_down() noexcept {
    if (!alone_) return pending_.fetch_sub(1, order::acq_rel) == 1;  // (G1)
    const std::size_t left = pending_.load(order::relaxed) - 1;
    pending_.store(left, order::relaxed);  // a single worker: nobody else counts
    return left == 0;
  }
  /// The last has ended: the next step of the climb is the group's outcome.
  std::coroutine_handle<> ended(detail::step& next) noexcept;

 private:
  template <class>
  friend struct detail::group_child;
  template <class, class, class>
  friend class detail::group_operation;

  template <class T>
  void start(task<T>&& t, bool isolated, std::source_location where,
             const task_name* name = nullptr) noexcept {
    auto* made = make_child<detail::group_child<T>>(std::move(t), *this, isolated, where);
    if (made == nullptr) return;
    if (name != nullptr) made->root.set_name(*name);
    detail::post_child(*made);
  }
  void count_up() noexcept {
    std::size_t before;
    if (alone_) {
      MAGPIE_DEBUG_ASSERT(on_worker());
      before = pending_.load(order::relaxed);
      pending_.store(before + 1, order::relaxed);
    } else {
      before = pending_.fetch_add(1, order::relaxed);
    }
    MAGPIE_ASSERT(before != 0);  // the group has ended
  }

 protected:
  void out_of_memory() noexcept;

  /// For other kinds of groups: counts and makes a child that nobody has queued yet; null, and the
  /// group fails, when memory runs out.
  template <class Child, class T, class... Args>
  Child* make_child(task<T>&& t, Args&&... args) noexcept {
    void* memory = t ? frame_allocate(sizeof(Child)) : nullptr;
    if (memory == nullptr) {
      out_of_memory();
      return nullptr;
    }
    count_up();
    return ::new (memory) Child(std::move(t), std::forward<Args>(args)...);
  }

 private:
  detail::group_scope scope_;
  atomic<std::size_t> pending_{1};  ///< The body counts as one.
  const bool alone_;  ///< The runtime has one worker, so no read-modify-write is needed.
  atomic<bool> stopped_{false};
  spin_lock lock_;  ///< Guards the failure.
  std::error_code error_ = no_error;
  void* exception_ = nullptr;
  error_trace* trace_ = nullptr;  ///< Of the first failure.
};

namespace detail {

template <class T>
std::coroutine_handle<> group_child<T>::arrived(void* target, step& next) noexcept {
  auto* self = continuation::ended<group_child>(target);
  task_group& group = *self->group;
  destroy_abandoned(next.abandoned);
  self->body.destroy_frame();
  void* exception = self->body.release_exception();
  if (next.error || exception != nullptr) [[unlikely]]
    group.child_ended(next.error, exception, self->isolated, self->root);
  self->~group_child();
  frame_free(self, sizeof(group_child));
  if (!group.count_down()) return std::noop_coroutine();
  return group.ended(next);
}

/// The awaitable behind with_task_group: a group of kind G, and its body as one more party.
template <class G, class F, class T>
class group_operation : gated_runnable, public boundary {
 public:
  using value_type = T;

  explicit group_operation(F function, typename G::setup setup) noexcept
      : gated_runnable(&last_child_ended), function_(std::move(function)), setup_(setup) {}
  group_operation(group_operation&& other) noexcept
      : gated_runnable(&last_child_ended),
        function_(std::move(other.function_)),
        setup_(other.setup_) {
    MAGPIE_ASSERT(!other.group_);
  }

  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    to_ = to;
    group_.emplace(scope, setup_);
    task_group& group = *group_;
    group.scope_.open(*this, &last_child);
    body_scope_.emplace(&group_->scope(), scope.root());
    body_.emplace(call_for_task<T>(function_, *group_));
    return body_->start({this, &body_arrived}, *body_scope_);
  }

  result<T> take() { return body_->take(); }

  /// For forks: the group ended with a user's exception, which `take` rethrows.
  bool has_exception() const noexcept { return body_ && body_->has_exception(); }

 private:
  static std::coroutine_handle<> body_arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<group_operation>(target);
    destroy_abandoned(next.abandoned);
    self.body_->destroy_frame();
    if (next.error || self.body_->has_exception()) {
      void* exception = self.body_->release_exception();
      self.group_->child_ended(next.error, exception, false, self.body_scope_->root());
    }
    self.body_scope_.reset();
    self.group_->scope_.body_ended();
    if (!self.group_->count_down()) return std::noop_coroutine();
    finished(self, next);
    return nullptr;
  }

  /// The last child has ended, in a task of its own: the awaiting task may have to wait for its
  /// other branches before it goes on.
  static std::coroutine_handle<> last_child(void* target, step& next) noexcept {
    auto& self = boundary::from<group_operation>(target);
    if (!pass_gate(self.group_->scope_.root(), self, &last_child_ended))
      return std::noop_coroutine();
    return finished(self, next);
  }
  static void last_child_ended(runnable& work) noexcept {
    step next;
    static_cast<void>(finished(static_cast<group_operation&>(work), next));
    resume(deliver_on(next));
  }

  /// Everybody has ended: hands the group's outcome on.
  static std::coroutine_handle<> finished(group_operation& self, step& next) noexcept {
    task_group& group = *self.group_;
    task_root& outer = group.scope_.root();
    run_in(*group.scope_.parent());
    const std::error_code error = group.error_;
    if (group.trace_ != nullptr) std::swap(outer.trace, group.trace_);
    if (void* exception = std::exchange(group.exception_, nullptr))
      self.body_->set_exception(exception);
    self.group_.reset();
    next.traced = outer.trace != nullptr && outer.trace->error == error;
    return next.go_on(self.to_, error);
  }

  F function_;
  [[no_unique_address]] typename G::setup setup_;
  std::optional<G> group_;
  std::optional<stop_scope> body_scope_;
  std::optional<task_operation<T>> body_;
};

/// The kind of group that a body wants: a `task_group` if it takes one, else what the parameter of
/// its call operator says.
template <class G, class R, class F>
G group_parameter(R (F::*)(G&));
template <class G, class R, class F>
G group_parameter(R (F::*)(G&) const);
template <class G, class R>
G group_parameter(R (*)(G&));

template <class F>
struct group_of {
  using type = decltype(group_parameter(&F::operator()));
};
template <class F>
  requires std::invocable<F&, task_group&>
struct group_of<F> {
  using type = task_group;
};
template <class F>
  requires(!std::invocable<F&, task_group&> && std::is_pointer_v<F>)
struct group_of<F> {
  using type = decltype(group_parameter(F()));
};

template <class F>
auto make_group_operation(F&& body,
                          typename group_of<std::remove_cvref_t<F>>::type::setup setup) noexcept {
  using function = std::remove_cvref_t<F>;
  using group = typename group_of<function>::type;
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<function>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  using value = typename task_value<std::invoke_result_t<function&, group&>>::type;
  return group_operation<group, function, value>(std::forward<F>(body), setup);
}

}  // namespace detail

/// How many children a group runs at once; for the kinds of groups that have a limit.
struct at_most {
  explicit constexpr at_most(std::size_t children) noexcept : count(children) {}
  std::size_t count;
};

/// Runs `body(group)` and everything that it spawns; gives the body's value.
/// Errors: the first failure (see above).  Stop: stops the body and all children, waits for them.
/// Cost: one pooled block for each child; the group itself lives in the awaiting frame.
/// `body` must be a named callable moved in, or a closure without owning captures ([&] is fine):
/// GCC 12 would destroy others twice.  Its parameter says which kind of group it wants:
/// `task_group&`, or one of bounded_group.hpp, result_group.hpp and keyed_group.hpp.
template <class F>
auto with_task_group(F&& body) noexcept {
  return detail::make_group_operation(std::forward<F>(body), {});
}

/// The same with a limit, for the kinds of groups that have one.
template <class F>
auto with_task_group(at_most limit, F&& body) noexcept {
  return detail::make_group_operation(std::forward<F>(body), limit);
}

}  // namespace magpie
