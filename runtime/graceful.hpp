/// `with_graceful_shutdown`: how a server ends without losing what it has begun.
///
///     auto report = co_await with_graceful_shutdown([&](graceful_group& server) -> task<> {
///       for (;;) {
///         auto peer = co_await listener.accept();
///         server.spawn(named("session"), serve(std::move(peer), server.stopping()));
///       }
///     });
///
/// The body takes work in, and spawns a task for each piece of it.  When SIGINT or SIGTERM comes,
/// or `stop()` is called, or the body ends:
///
///  1. the body is stopped: nothing new is accepted;
///  2. the token `stopping()` is cancelled: tasks that only wait for more to do end;
///  3. what has been begun goes on, for `drain` at most;
///  4. what is left then is stopped, as a tree, and has `abort` to end;
///  5. what does not even do that is given up, and belongs to the runtime, whose end names and
///     leaks it.
///
/// The value is a report of all that: tasks that were stopped, and those that are stuck, by name.
/// A second signal exits at once, at any moment, also when every worker is stuck.
///
/// The tasks hang below a stop scope of the group's own, which is theirs together with the group
/// (tracker_state.hpp): a stuck one may outlive the expression.  So they may borrow nothing from
/// the body or from whoever awaits; what they need they are given by value or share.
#pragma once

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/cancellation_token.hpp>
#include <magpie/runtime/cleanup.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/signal.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_name.hpp>
#include <magpie/runtime/task_tracker.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace magpie {

struct graceful_options {
  graceful_options() noexcept = default;
  explicit graceful_options(clock::duration drains,
                            clock::duration aborts = std::chrono::seconds(1),
                            bool listens = true) noexcept
      : drain(drains), abort(aborts), signals(listens) {}

  /// How long what has been begun may go on.
  clock::duration drain = std::chrono::seconds(10);
  /// How long what was stopped after that may take to end.
  clock::duration abort = std::chrono::seconds(1);
  /// SIGINT and SIGTERM ask for the shutdown; a second one exits at once.  Not in a simulation.
  bool signals = true;
};

/// A task that was still running, as a report keeps it.
class task_left {
 public:
  explicit task_left(const task_root& root) noexcept;

  std::uint64_t id() const noexcept { return id_; }
  std::string_view name() const noexcept { return {name_, name_size_}; }
  const std::source_location& spawned() const noexcept { return spawned_; }

 private:
  std::uint64_t id_;
  std::source_location spawned_;
  std::size_t name_size_;
  char name_[task_name::size_max];
};

struct tasks_left {
  static constexpr std::size_t named_max = 100;

  std::size_t count = 0;
  std::vector<task_left> named;  ///< `named_max` of them at most.
};

/// How a shutdown went.
struct shutdown_report {
  enum class cause : std::uint8_t {
    body_ended,  ///< By itself.
    requested,   ///< `stop()` was called.
    signalled,
  };

  cause why = cause::body_ended;
  int signal = 0;           ///< Which one, if it was one.
  std::size_t running = 0;  ///< Tasks when the shutdown began.
  tasks_left aborted;       ///< Those that had to be stopped.
  tasks_left stuck;         ///< Those of them that did not end then.
  clock::duration took{};

  /// Everything that had been begun came to its own end.
  bool clean() const noexcept { return aborted.count == 0; }
};

/// One line, and one for each task that is named.
std::string to_string(const shutdown_report& report);

class graceful_group {
 public:
  /// For the library.
  graceful_group(const graceful_options& wanted, std::source_location where) noexcept
      : wanted_(wanted), where_(where) {}
  graceful_group(const graceful_group&) = delete;
  graceful_group& operator=(const graceful_group&) = delete;
  ~graceful_group() { detail::tracker_state::release(state_); }

  /// Starts `t`, which the end of the group waits for.  A failure is logged and ends nobody else.
  /// After the tasks were stopped `t` is born stopped.
  /// Errors: none here; false when memory runs out, and then `t` is destroyed.
  /// Threads: workers of the group's runtime, from the body or from a task of the group.
  /// Cost: one pooled block, the group's lock, and two atomics on its count.
  template <class T>
  bool spawn(task<T> t, std::source_location where = std::source_location::current()) noexcept {
    return start(std::move(t), where, nullptr);
  }

  /// The same with a name, which a report tells: `server.spawn(named("session 7"), serve(…))`.
  template <class T>
  bool spawn(const task_name& name, task<T> t,
             std::source_location where = std::source_location::current()) noexcept {
    return start(std::move(t), where, &name);
  }

  /// Both for `function(args…)`, keeping these alive as long as the task.
  template <class F, class... Args>
    requires std::invocable<F&, Args...>
  bool spawn(F function, Args... args) noexcept {
    using value = typename detail::task_value<std::invoke_result_t<F&, Args...>>::type;
    return start(detail::call_and_keep<value, F, Args...>(std::move(function), std::move(args)...),
                 std::source_location::current(), nullptr);
  }
  template <class F, class... Args>
    requires std::invocable<F&, Args...>
  bool spawn(const task_name& name, F function, Args... args) noexcept {
    using value = typename detail::task_value<std::invoke_result_t<F&, Args...>>::type;
    return start(detail::call_and_keep<value, F, Args...>(std::move(function), std::move(args)...),
                 std::source_location::current(), &name);
  }

  /// Cancelled when the shutdown begins.  A task that waits for more to do waits under it:
  /// `co_await stopping.run_until_cancelled(peer.read(buffer))`.
  const cancellation_token& stopping() const noexcept { return stopping_; }

  /// Begins the shutdown.  Any thread, while the group is there; a task that keeps a copy of
  /// `stopping()` may cancel that at any time.
  void stop() const noexcept { stopping_.cancel(); }

  /// Tasks that have not ended.
  std::size_t size() const noexcept { return state_ != nullptr ? state_->tokens() : 0; }

  // ---- for the library

  std::error_code begin() noexcept;
  task<> asked();
  task<> drain();
  /// How long `drain` may take.
  clock::duration patience() const noexcept;
  const shutdown_report& report() const noexcept { return report_; }
  /// Prints the report: the outcome has no place for it.
  void tell() const;

 private:
  struct state;

  template <class T>
  bool start(task<T>&& t, std::source_location where, const task_name* name) noexcept {
    return detail::spawn_tracked(detail::current_scheduler(), std::move(t), *scope_, *state_, where,
                                 name, true);
  }
  task<bool> ends_within(clock::duration time);
  tasks_left running() const;

  graceful_options wanted_;
  std::source_location where_;
  detail::ending_signals signals_;
  cancellation_token stopping_;
  detail::tracker_state* state_ = nullptr;  ///< A `state`, shared with the tasks.
  stop_scope* scope_ = nullptr;             ///< Its scope.
  shutdown_report report_;
};

namespace detail {

template <class F>
task<> runs_until_asked(graceful_group& group, F& body) {
  // As a result: an error ends a select as little as another one's, and this one is to.
  auto runs = as_result(body(group));
  auto first = co_await select(std::move(runs), group.asked());
  const auto& ended = first.template get<0>();
  if (!ended || !*ended || **ended) co_return;
  const std::error_code error = (*ended)->error();
  if (first.index() == 0 || error != errc::stopped) co_await fail(error);
}

template <class F>
task<shutdown_report> ends_gracefully(graceful_options wanted, F body, std::source_location where) {
  graceful_group group(wanted, where);
  if (const auto error = group.begin()) co_await fail(error);
  auto runs = runs_until_asked(group, body);
  auto drains = shielded(group.patience(), group.drain());
  const auto ended = co_await as_result(finally(std::move(runs), std::move(drains)));
  if (!ended) {
    group.tell();
    co_await fail(ended.error());
  }
  co_return group.report();
}

}  // namespace detail

/// Runs `body(group)` until it ends or a shutdown is asked for, then ends what it has spawned (see
/// above), and gives a report.
/// Errors: those of the body, after all that; then the report goes to standard error.
/// Stop: begins the shutdown, which takes its time all the same, and is the outcome.
/// Cost: a frame, a block that the tasks share, and with signals a descriptor.
/// `body` must be a named callable, or a closure without owning captures ([&] is fine).
template <class F>
  requires std::invocable<F&, graceful_group&>
task<shutdown_report> with_graceful_shutdown(
    const graceful_options& wanted, F&& body,
    std::source_location where = std::source_location::current()) {
  using function = std::remove_cvref_t<F>;
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<function>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  return detail::ends_gracefully<function>(wanted, std::forward<F>(body), where);
}

template <class F>
  requires std::invocable<F&, graceful_group&>
task<shutdown_report> with_graceful_shutdown(
    F&& body, std::source_location where = std::source_location::current()) {
  return with_graceful_shutdown(graceful_options(), std::forward<F>(body), where);
}

}  // namespace magpie
