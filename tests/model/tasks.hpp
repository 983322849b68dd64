/// Tasks without coroutines, for models that run the real source of what tasks await and spawn.
///
/// A `party` is a task with a thread of the scenario to itself: `await` does what a frame does at a
/// `co_await`, and sleeps until somebody has posted the operation.  A `body` stands for the frame
/// of a task that is spawned; its task begins where it is spawned, and `end` lets it arrive where
/// a frame's outcome would, on any thread.  All threads share one context: what only its own worker
/// touches is not modelled.  A model includes this once, and makes a `stage` in each scenario.
#pragma once

#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/failure_log.hpp>
#include <magpie/runtime/operation.hpp>
#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/spawn.cpp>
#include <magpie/runtime/stop_scope.cpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/thread_wait.hpp>
#include <magpie/util/errc.cpp>

#include <array>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>

namespace magpie {

inline void detail::note_refusal(const task_root&, continuation) noexcept {}

namespace model {

/// Its memory: zeros, so that nothing is logged.
alignas(scheduler) inline unsigned char no_scheduler_memory[sizeof(scheduler)];
inline scheduler& no_scheduler() {
  return *std::launder(reinterpret_cast<scheduler*>(no_scheduler_memory));
}

/// What a modelled task ends with.
struct probe {
  int value = 0;
};

/// The frame of a modelled task, from its spawn on.
class body {
 public:
  /// The task ends on the calling thread.
  void end(std::error_code error = no_error);
  void end_with(int value) {
    value_ = value;
    end();
  }
  bool stop_requested() const { return scope->stop_requested(); }
  bool begun() const { return scope != nullptr; }
  /// The frame was destroyed, begun or not; read by who comes after its end.
  bool gone() const { return frame_ == 2; }

  detail::continuation to;
  stop_scope* scope = nullptr;
  /// By a thread, before it lets go of the task's state; whoever frees that must see them.
  std::array<plain<int>, 4> used{0, 0, 0, 0};

 private:
  friend class detail::task_operation<probe>;
  friend class task<probe>;

  int value_ = 0;
  plain<int> frame_{0};  ///< 1 while a task or operation owns it, 2 after.
  detail::task_operation<probe>* operation_ = nullptr;
};

}  // namespace model

template <>
class task<model::probe> {
 public:
  using value_type = model::probe;

  explicit task(model::body& of) : body_(&of) { of.frame_ = 1; }
  task(task&& other) noexcept : body_(other.release()) {}
  ~task() {
    if (body_ != nullptr) body_->frame_ = 2;
  }
  explicit operator bool() const noexcept { return body_ != nullptr; }
  model::body* release() noexcept { return std::exchange(body_, nullptr); }

 private:
  model::body* body_;
};

namespace detail {

// No function of a model throws.
inline void* capture_exception() noexcept { std::abort(); }

template <>
inline task<model::probe> rethrows<model::probe>(void*) {
  std::abort();
}

template <>
class task_operation<model::probe> {
 public:
  using value_type = model::probe;

  explicit task_operation(task<model::probe>&& t) noexcept : body_(t.release()), of_(body_) {}
  task_operation(const task_operation&) = delete;
  ~task_operation() {
    destroy_frame();
    for (plain<int>& each : of_->used) each = 2;
    value_ = -2;
  }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    body_->operation_ = this;
    body_->to = to;
    body_->scope = &scope;
    return std::noop_coroutine();
  }
  void destroy_frame() noexcept {
    if (body_ == nullptr) return;
    MAGPIE_ASSERT(body_->frame_ == 1);
    body_->frame_ = 2;
    body_ = nullptr;
  }
  bool has_exception() const noexcept { return false; }
  void* release_exception() noexcept { return nullptr; }
  void set_exception(void*) noexcept { MAGPIE_ASSERT(false); }
  void set_error(std::error_code with) noexcept { error_ = with; }
  void set_value(int value) noexcept { value_ = value; }
  std::error_code error() const noexcept { return error_; }
  void drop_outcome() noexcept { value_ = -1; }
  result<model::probe> take() noexcept {
    destroy_frame();
    if (error_) return std::unexpected(error_);
    return model::probe{value_};
  }

 private:
  model::body* body_;  ///< As long as the frame is there.
  model::body* of_;
  plain<int> value_{0};
  std::error_code error_;
};

// ---- what the library would give ------------------------------------------------------------

constinit thread_local context* current_context = nullptr;

/// Two flags of the whole program, which stay off.  The checker knows no globals: each scenario
/// makes the atomics anew in memory that has their names.
alignas(16) unsigned char locals_flag[64] asm("_ZN6magpie6detail16task_locals_usedE");
alignas(16) unsigned char tracked_flag[64] asm("_ZN6magpie6detail13tasks_trackedE");
static_assert(sizeof(atomic<bool>) <= 64);

void context::post_last(runnable& work) noexcept {
  static_cast<operation&>(work).scope().root().post(work);
}
void context::post_fork(runnable& task) noexcept { task.run(task); }
bool context::take_back(runnable&) noexcept { return false; }
bool runs_unconstrained(const context&) noexcept { return false; }
void running_note::copy_name(const task_root&) noexcept {}
void run_routed_operation(runnable&) noexcept {}
bool pass_gate(task_root&, gated_runnable&, runnable::run_function) noexcept { return true; }
std::uint64_t take_ids(context&) noexcept { return 1; }
std::uint64_t take_id(scheduler&) noexcept { return 1; }
void take_locals(task_root&) noexcept {}
void track(task_root&, stop_scope&) noexcept {}
void drop_exception(void*) noexcept {}
void thread_wait::wake(runnable&) noexcept {}
void thread_wait::wait() noexcept {}
void blocking_wait(wait_source&) noexcept {}
bool may_log_failure() noexcept { return false; }
task_label::task_label(const task_root&) noexcept {}
void destroy_chain(promise_base*) noexcept {}

std::coroutine_handle<> deliver_on(step& next) noexcept {
  for (;;) {
    if (const auto resumed = next.to.hook(next.to.target, next)) return resumed;
  }
}
std::coroutine_handle<> deliver_value(continuation to) noexcept {
  step next(to);
  return deliver_on(next);
}
std::coroutine_handle<> deliver_error(continuation to, std::error_code error) noexcept {
  step next(to, error);
  return deliver_on(next);
}

}  // namespace detail

namespace model {

inline void body::end(std::error_code error) {
  operation_->set_value(value_);
  detail::step next(to, error);
  detail::resume(detail::deliver_on(next));
}

struct stage;
inline stage* stage_now = nullptr;

/// A task that awaits on a thread of its own.
class party : public task_root {
 public:
  explicit party(stop_scope* outer = nullptr) : task_root(no_scheduler()), scope(outer, *this) {}

  /// `co_await op`; what it ended with.
  template <class Op>
  std::error_code await(Op& op) {
    begin(op);
    return finish();
  }
  /// The two halves of it.
  template <class Op>
  void begin(Op& op) {
    error_ = no_error;
    link_ = 0;
    ended_ = op.try_complete(scope);
    if (!ended_) detail::resume(op.start(detail::continuation::end(this, &arrived), scope));
  }
  std::error_code finish() {
    while (!ended_) {
      bed_.sleep();
      MAGPIE_ASSERT(inbox_.exchange(0, order::acq_rel) == 1);
      link_ = 0;
      posted_->run(*posted_);
    }
    return error_;
  }
  /// By whoever posts what it awaits.
  void wake_with(runnable& work) {
    if (logic("a_post_is_lost")) return;
    link_ = 1;
    posted_ = &work;
    MAGPIE_ASSERT(inbox_.fetch_add(1, order::acq_rel) == 0);  // in one queue at a time
    bed_.wake();
  }

  stop_scope scope;
  /// Called where its awaits end: the first who sees what the others did.
  void (*when_ended)(stage&) = nullptr;

 private:
  static std::coroutine_handle<> arrived(void* target, detail::step& next) noexcept {
    auto& self = *detail::continuation::ended<party>(target);
    self.error_ = next.error;
    self.ended_ = true;
    if (self.when_ended != nullptr) self.when_ended(*stage_now);
    return std::noop_coroutine();
  }

  plain<int> link_{0};  ///< Written by whoever posts, and by the queue's owner.
  runnable* posted_ = nullptr;
  atomic<int> inbox_{0};
  bed bed_;
  bool ended_ = false;
  std::error_code error_;
};

/// What a scenario needs around its parties.  `blocks` counts what is not freed yet.
struct stage {
  stage() {
    stage_now = this;
    ::new (static_cast<void*>(&detail::task_locals_used)) atomic<bool>(false);
    ::new (static_cast<void*>(&detail::tasks_tracked)) atomic<bool>(false);
    here.home = &no_scheduler();
    here.budget = 1 << 20;
    here.next_id = 1;
    here.ids_end = 1 << 20;
    detail::current_context = &here;
  }
  ~stage() {
    detail::task_locals_used.~atomic();
    detail::tasks_tracked.~atomic();
  }

  detail::context here;
  int blocks = 0;
  /// Called by whoever frees a block, which must see what the others did to it.
  void (*when_freed)(stage&) = nullptr;
};

}  // namespace model

namespace detail {

__thread frame_cache frame_cache_of_thread;  // keeps nothing: every block comes through here

void* frame_allocate_slowly(std::size_t size) noexcept {
  ++model::stage_now->blocks;
  return std::malloc(size);
}
void frame_free_slowly(void* memory, std::size_t size) noexcept {
  --model::stage_now->blocks;
  if (model::stage_now->when_freed != nullptr) model::stage_now->when_freed(*model::stage_now);
  std::memset(memory, 0xdd, size);  // who comes too late stumbles
  std::free(memory);
}

}  // namespace detail

std::string format_trace(const error_trace*) { return {}; }
void scheduler::post(runnable& work) noexcept { work.run(work); }
stop_scope& root_group::parent_scope() noexcept { return scope_; }
void root_group::count_spawn() noexcept {}
void root_group::count_end() noexcept {}
void task_root::let_go() noexcept {}
void task_root::set_name(const task_name&) noexcept {}
std::string_view task_root::name() const noexcept { return {}; }
void task_root::post(runnable& work) noexcept { static_cast<model::party*>(this)->wake_with(work); }

}  // namespace magpie
