/// `task_local<T>`: a value that a task and all that it starts can see, without being handed on.
///
///     constinit task_local<int> request_id;
///
///     co_await request_id.scope(7, serve(peer));     // in there, and in destructors:
///     if (const int* id = request_id.get()) …        // a plain function
///
/// Idea: `scope` opens a stop scope of its own, which points at a *node* with the value; looking a
/// value up walks from the scope of the running frame upwards, to the root of the task at most.
/// Nodes form lists: each one goes on with what was visible where its scope was opened, so the
/// first node that is found leads to all of them.
///
/// What is started inside sees the values as they were visible at its start:
///  - tasks that are awaited, branches of combinators: their scopes are below;
///  - children of a group and spawned tasks: they share the list of their spawner.
/// Nodes are counted and never change; the last who sees a value destroys it.  Making the value
/// must not throw: that would end the program.
///
/// Until the first `scope` of the program a spawn pays for all of this one load of a flag.
#pragma once

#include <magpie/runtime/continuation.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/errc.hpp>

#include <cstdint>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

namespace magpie {
namespace detail {

/// One value, and what else is visible with it.
struct local_node {
  using drop_function = void (*)(local_node&) noexcept;

  local_node(const void* of, drop_function drops) noexcept : key(of), drop(drops) {}

  /// Relaxed: whoever takes one more has one.
  local_node* hold() noexcept {
    count.fetch_add(1, order::relaxed);
    return this;
  }
  /// Lets go of a list, which may be null.  Iterative.
  static void release(local_node* first) noexcept;

  const void* key;
  drop_function drop;
  local_node* next = nullptr;  ///< Held.
  atomic<std::uint32_t> count{1};
};

template <class T>
struct local_value final : local_node {
  template <class U>
  local_value(const void* of, U&& with)
      : local_node(of, &drop_this), value(std::forward<U>(with)) {}

  static void drop_this(local_node& node) noexcept {
    auto* const self = static_cast<local_value*>(&node);
    self->~local_value();
    frame_free(self, sizeof(local_value));
  }

  T value;
};

/// A stop scope in which one more value is visible.
class local_scope final : public stop_scope {
 public:
  /// Takes over the hold of `first`.
  local_scope(stop_scope& outer, local_node& first) noexcept
      : stop_scope(&outer, outer.root(), kind::local), first_(&first) {}
  ~local_scope() {
    close();
    local_node::release(first_);
  }

  local_node* first() const noexcept { return first_; }

 private:
  local_node* first_;
};

/// What is visible in `scope`, and where the caller runs; null: nothing.
local_node* visible_locals(const stop_scope& scope) noexcept;
local_node* visible_locals() noexcept;

template <class T, class A>
class local_operation : public boundary {
 public:
  using value_type = typename A::value_type;

  template <class U, class Inner>
  local_operation(const void* key, U&& value, Inner&& inner) noexcept
      : key_(key), value_(std::forward<U>(value)), inner_(std::forward<Inner>(inner)) {}
  local_operation(local_operation&& other) noexcept
      : key_(other.key_), value_(std::move(other.value_)), inner_(std::move(other.inner_)) {}

  bool try_complete(stop_scope&) const noexcept { return false; }
  std::error_code failed() const noexcept { return no_error; }

  std::coroutine_handle<> start(continuation to, stop_scope& scope) noexcept {
    void* const memory = frame_allocate(sizeof(local_value<T>));
    if (memory == nullptr)
      return deliver_error(to, std::make_error_code(std::errc::not_enough_memory));
    to_ = to;
    auto* const node = ::new (memory) local_value<T>(key_, std::move(value_));
    if (local_node* outer = visible_locals(scope)) node->next = outer->hold();
    task_locals_used.store(true, order::relaxed);  // who can see the value comes after us
    scope_.emplace(scope, *node);
    return inner_.start({this, &arrived}, *scope_);
  }

  result<value_type> take() { return inner_.take(); }

  bool has_exception() const noexcept { return ended_with_exception(inner_); }

 private:
  static std::coroutine_handle<> arrived(void* target, step& next) noexcept {
    auto& self = boundary::from<local_operation>(target);
    const std::error_code error = next.error;
    destroy_abandoned(next.abandoned);
    if constexpr (requires { self.inner_.destroy_frame(); }) self.inner_.destroy_frame();
    run_in(*self.scope_->parent());
    self.scope_.reset();
    return next.go_on(self.to_, error);
  }

  const void* key_;
  T value_;
  A inner_;
  std::optional<local_scope> scope_;
};

}  // namespace detail

/// Objects have static storage; the address is the key.
template <class T>
class task_local {
 public:
  constexpr task_local() noexcept = default;
  task_local(const task_local&) = delete;
  task_local& operator=(const task_local&) = delete;

  /// The value that the running task sees; null when there is none, or no task.
  /// Threads: any; several tasks may see one value at once.  Cost: a walk up the stop scopes to the
  /// nearest `scope` of any local, then through the locals that are visible there.
  const T* get() const noexcept {
    for (const detail::local_node* node = detail::visible_locals(); node != nullptr;
         node = node->next) {
      if (node->key == this) return &static_cast<const detail::local_value<T>*>(node)->value;
    }
    return nullptr;
  }

  /// Gives what `a` gives; inside, the value is visible, and no outer one of the same local.
  /// Errors: not_enough_memory, and those of `a`.  Stop: passed on to `a`.
  /// Cost: one pooled block and one stop scope, in the frame.  A spawn inside shares the block.
  template <class U, class A>
  auto scope(U&& value, A&& a) const noexcept {
    static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
    return detail::local_operation<T, detail::operation_for<A>>(this, std::forward<U>(value),
                                                                std::forward<A>(a));
  }
};

}  // namespace magpie
