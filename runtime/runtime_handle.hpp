/// `runtime_handle`: a runtime for threads that are none of its workers.
///
///     std::thread([on = runtime.handle()] { on.spawn(refresh()).detach(); });
///
/// A handle does not keep the runtime alive.  It may outlive it: once the shutdown has begun, what
/// is spawned is destroyed instead of run, and the handle's calls say so.  How a use and a
/// shutdown that happens at the same time are kept apart is in shutdown_latch.hpp.
///
/// Threads: any; one object as any other.  Cost: two atomics for each call, none of them shared
/// with the workers.
#pragma once

#include <magpie/runtime/runtime.hpp>
#include <magpie/runtime/shutdown_latch.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <source_location>
#include <utility>

namespace magpie {

class runtime_handle {
 public:
  /// Of no runtime; it behaves as that of one that is gone.
  runtime_handle() noexcept = default;
  runtime_handle(const runtime_handle& other) noexcept : link_(other.link_) {
    if (link_ != nullptr) link_->hold();
  }
  runtime_handle(runtime_handle&& other) noexcept : link_(std::exchange(other.link_, nullptr)) {}
  runtime_handle& operator=(runtime_handle other) noexcept {
    std::swap(link_, other.link_);
    return *this;
  }
  ~runtime_handle() {
    if (link_ != nullptr && link_->let_go()) delete link_;
  }

  /// That of the runtime whose worker calls; of none on other threads.
  static runtime_handle current() noexcept;

  /// False once the runtime's shutdown has begun; true is a guess.
  bool takes_work() const noexcept { return link_ != nullptr && !link_->latch.is_closed(); }

  /// Starts `t` on the runtime.  After the runtime's end `t` is destroyed instead, and the join
  /// handle's join gives `errc::aborted` at once.
  /// Threads: any, but none beside the simulating one in a simulation.
  template <class T>
  join_handle<T> spawn(
      task<T> t, std::source_location where = std::source_location::current()) const noexcept {
    return start(std::move(t), where, nullptr);
  }

  /// The same with a name.
  template <class T>
  join_handle<T> spawn(
      const task_name& name, task<T> t,
      std::source_location where = std::source_location::current()) const noexcept {
    return start(std::move(t), where, &name);
  }

  /// Runs `t` on the runtime, waits for its end and gives its outcome; a user's exception is
  /// rethrown.  A shutdown meanwhile stops `t` as it stops every task.
  /// Errors: those of `t`; runtime_shutdown when the runtime takes no more work.
  /// Threads: any but workers (asserted), several at once.  A runtime of the current-thread flavour
  /// runs `t` when its own thread is in `block_on`; in a simulation use that.
  template <class T>
  result<T> block_on(task<T> t,
                     std::source_location where = std::source_location::current()) const {
    if (link_ == nullptr || !link_->latch.enter())
      return std::unexpected(make_error_code(errc::runtime_shutdown));
    detail::blocked<T> root(std::move(t), *link_->home, detail::spawn_parent(*link_->home), where);
    root.post();
    link_->latch.leave();  // from here on the task keeps the runtime
    root.wait();
    return root.outcome();
  }

  /// Asks every task of the runtime to stop; false when it has gone.
  bool request_stop() const noexcept;

  /// Whether both are of the same runtime.
  friend bool operator==(const runtime_handle&, const runtime_handle&) noexcept = default;

 private:
  friend class runtime;
  /// Takes a reference over.
  explicit runtime_handle(detail::runtime_link* held) noexcept : link_(held) {}

  template <class T>
  join_handle<T> start(task<T>&& t, std::source_location where,
                       const task_name* name) const noexcept {
    if (link_ == nullptr || !link_->latch.enter()) return join_handle<T>(nullptr, true);
    auto started = detail::spawn_on(*link_->home, std::move(t), where, name);
    link_->latch.leave();
    return started;
  }

  detail::runtime_link* link_ = nullptr;
};

}  // namespace magpie
