/// Streams: values that come one after the other, each of which may have to be waited for.
///
///     co_await (streams::messages(std::move(parcels))
///               | streams::filter([](const parcel& one) { return one.urgent; })
///               | streams::map([&](parcel one) { return ship(std::move(one)); })
///               | streams::buffered(8)
///               | streams::for_each([](receipt one) { print(one); }));
///
/// A *stream* is whatever has `next()`, an awaitable of `std::optional<T>`: a value, or empty at
/// the end, and then ever after.  Errors go the way of all errors: they come out of `next`.  A
/// `generator` is one.  Sources, adapters and what consumes them are in `magpie::sync::streams`, in
/// stream_sources.hpp, stream_adapters.hpp, stream_joins.hpp, stream_ends.hpp, stream_timed.hpp
/// and stream_buffered.hpp.
///
/// A stream is a value, that is moved into the adapter behind it.  It must stay where it is from
/// the first `next` on, and outlive each.  One task at a time awaits `next`.
///
/// **Adapters are no coroutines.**  Each is an object with what it has to remember, and its `next`
/// is one awaitable, `adapted_next`, that awaits what the adapter asks for, in place, again and
/// again, until there is something to give:
///
///     ask(pulls&)        puts the operation to be awaited there; false: the outcome is there.
///     came(pulls&)       it has a value, which is taken from it; gives an error, or none.
///     failed(pulls&, e)  it has failed; gives the error of `next`, or none to go on.
///     take_item()        what is given.
///     asks_again()       what was asked for is not there at once; true: then something else.
///     refused()          called first; an error that `next` has before it begins.
///
/// So nothing is allocated.  And nothing is lost by a stop: what the adapter has taken from its
/// source lies in the adapter, and not in a frame that is destroyed; an item becomes the caller's
/// when the value of `next` is taken, and stays where it is until then.
#pragma once

#include <magpie/runtime/awaitable.hpp>
#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/context.hpp>
#include <magpie/runtime/outcome.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace magpie::sync {
namespace detail {

template <class T>
struct stream_item;
template <class T>
struct stream_item<std::optional<T>> {
  using type = T;
};

template <class A>
concept can_be_awaited = awaitable<A> || std::same_as<A, task<typename A::value_type>>;

}  // namespace detail

/// What streams are; see above.
template <class S>
concept stream = std::move_constructible<S> && requires(S& s) {
  { s.next() } -> detail::can_be_awaited;
  typename detail::stream_item<await_value<decltype(s.next())>>::type;
};

/// What a stream gives.
template <stream S>
using stream_value =
    typename detail::stream_item<await_value<decltype(std::declval<S&>().next())>>::type;

namespace detail {

/// The operation of a stream's `next`.
template <class S>
using stream_next = magpie::detail::operation_for<decltype(std::declval<S&>().next())>;

/// One of several operations, made where it is awaited.
template <class... As>
class pull {
 public:
  template <std::size_t I, class A>
  void emplace(A&& a) noexcept {
    operation_.template emplace<I + 2>(std::forward<A>(a));
  }
  /// A turn of the run queue: seen by nobody but `adapted_next`.
  void emplace_turn() noexcept { operation_.template emplace<1>(); }
  bool is_turn() const noexcept { return operation_.index() == 1; }
  void clear() noexcept { operation_.template emplace<0>(); }

  /// Which one it is.
  std::size_t index() const noexcept { return operation_.index() - 2; }
  template <std::size_t I>
  auto& get() noexcept {
    return *std::get_if<I + 2>(&operation_);
  }
  /// The value of operation `I`, which has one.
  template <std::size_t I>
  auto take() {
    auto ended = get<I>().take();
    return *std::move(ended);
  }

  bool try_complete(stop_scope& scope) {
    return visit([&](auto& a) { return a.try_complete(scope); });
  }
  std::error_code failed() noexcept {
    return visit([](auto& a) { return a.failed(); });
  }
  std::coroutine_handle<> start(magpie::detail::continuation to, stop_scope& scope) noexcept {
    return visit([&](auto& a) { return a.start(to, scope); });
  }

 private:
  template <std::size_t I = 1, class F>
  auto visit(F&& f) {
    if constexpr (I < sizeof...(As) + 1) {
      if (operation_.index() != I) return visit<I + 1>(std::forward<F>(f));
    }
    return std::forward<F>(f)(*std::get_if<I>(&operation_));
  }

  std::variant<std::monostate, magpie::detail::yield_operation, As...> operation_;
};

/// What adapters have in common: an item that nobody has taken yet, and whether there is more.
template <class T>
class adapter {
  static_assert(std::is_object_v<T>, "a stream gives objects: give pointers instead of references");

 public:
  using value_type = T;

  std::optional<T> take_item() noexcept(std::is_nothrow_move_constructible_v<T>) {
    std::optional<T> item = std::move(held_);
    held_.reset();
    return item;
  }
  static std::error_code failed(auto&, std::error_code error) noexcept { return error; }
  static std::error_code refused() noexcept { return no_error; }
  static bool asks_again() noexcept { return false; }

 protected:
  /// There is nothing to ask for.
  bool settled() const noexcept { return held_.has_value() || ended_; }

  std::optional<T> held_;
  bool ended_ = false;  ///< What is held is the last.
};

/// Awaits what an adapter asks for until that has an outcome.
template <class Adapter>
class pulling : public magpie::detail::boundary {
 public:
  explicit pulling(Adapter& of) noexcept : of_(&of) {}
  pulling(pulling&& other) noexcept : of_(other.of_) {
    MAGPIE_ASSERT(!other.looked_ && other.scope_ == nullptr);  // it has not begun
  }
  ~pulling() {
    if (thrown_ != nullptr) magpie::detail::drop_exception(thrown_);
  }

  bool try_complete(stop_scope& scope) noexcept {
    looked_ = true;
    error_ = of_->refused();
    return error_ || go_on(scope, false);
  }
  std::error_code failed() const noexcept { return error_; }

  std::coroutine_handle<> start(magpie::detail::continuation to, stop_scope& scope) noexcept {
    to_ = to;
    scope_ = &scope;
    if (!looked_ && try_complete(scope))
      return error_ ? magpie::detail::deliver_error(to, error_) : magpie::detail::deliver(to);
    return pulls_.start({this, &arrived}, scope);
  }

  /// For forks: a function of the adapter has thrown, or its source has; `take` rethrows that.
  bool has_exception() const noexcept { return thrown_ != nullptr; }

 protected:
  Adapter& of() const noexcept { return *of_; }
  void rethrow() {
    if (thrown_ != nullptr) [[unlikely]]
      magpie::detail::rethrow_exception(std::exchange(thrown_, nullptr));
  }

 private:
  /// Until there is an outcome (true), or something to wait for.  Without having waited or taken
  /// anything it is an operation like others: stopped before it begins, and within a budget.
  bool go_on(stop_scope& scope, bool has_begun) noexcept {
    for (;;) {
      bool more = false;
      if (!guarded([&] { more = of_->ask(pulls_); })) return true;
      if (!more) {
        if (has_begun) return true;
        if (!scope.stop_requested() && magpie::detail::spend_budget(magpie::detail::this_context()))
          return true;
        pulls_.emplace_turn();
        return false;
      }
      bool completed = false;
      if (!guarded([&] { completed = pulls_.try_complete(scope); })) return true;
      if (!completed) {
        if (of_->asks_again()) continue;
        return false;
      }
      has_begun = true;
      if (settle(pulls_.failed())) return true;
    }
  }

  /// What was awaited has ended; true when that is the outcome.
  bool settle(std::error_code error) noexcept {
    if (pulls_.is_turn()) {
      error_ = error;
      return true;
    }
    return !guarded([&] { error_ = error ? of_->failed(pulls_, error) : of_->came(pulls_); }) ||
           error_;
  }

  /// Calls what may throw; false: it did.
  template <class F>
  bool guarded(F&& f) noexcept {
#if defined(__cpp_exceptions)
    try {
      f();
    } catch (...) {
      thrown_ = magpie::detail::capture_exception();
      return false;
    }
#else
    f();
#endif
    return true;
  }

  static std::coroutine_handle<> arrived(void* target, magpie::detail::step& next) noexcept {
    auto& self = magpie::detail::boundary::from<pulling>(target);
    magpie::detail::destroy_abandoned(next.abandoned);
    magpie::detail::run_in(*self.scope_);
    const std::error_code error = next.error;
    if (self.settle(error) || self.go_on(*self.scope_, true)) {
      next.traced = next.traced && self.error_ == error;
      return next.go_on(self.to_, self.error_);
    }
    next.abandoned = nullptr;
    return self.pulls_.start({&self, &arrived}, *self.scope_);
  }

  Adapter* of_;
  stop_scope* scope_ = nullptr;
  typename Adapter::pulls pulls_;
  std::error_code error_;
  void* thrown_ = nullptr;
  bool looked_ = false;
};

/// `next` of an adapter.
template <class Adapter>
class adapted_next final : public pulling<Adapter> {
 public:
  using value_type = std::optional<typename Adapter::value_type>;

  explicit adapted_next(Adapter& of) noexcept : pulling<Adapter>(of) {}
  adapted_next(adapted_next&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    return this->of().take_item();
  }
};

/// A function that an adapter keeps.
template <class F>
constexpr std::decay_t<F> kept(F&& function) {
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<std::decay_t<F>>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  return std::forward<F>(function);
}

/// What stands to the right of a `|`: `make(stream)` gives the adapted stream.
template <class Make>
class stage {
 public:
  explicit stage(Make make) : make_(std::move(make)) {}

  template <class S>
  auto apply(S&& source) {
    return make_(std::forward<S>(source));
  }

 private:
  Make make_;
};

/// A stage that makes a `Stream<S, Args...>` of a source and of `args`.
template <template <class...> class Stream, class... Args>
auto adapts(Args... args) {
  return stage([... args = std::move(args)]<class S>(S&& source) mutable {
    return Stream<std::remove_cvref_t<S>, Args...>(std::move(source), std::move(args)...);
  });
}

/// The same for what consumes a stream: `run(stream)` gives a task.  The stream is moved into it,
/// or lent.
template <class Run>
class ending {
 public:
  explicit ending(Run run) : run_(std::move(run)) {}

  template <class S>
  auto apply(S&& source) {
    return run_(std::forward<S>(source));
  }

 private:
  Run run_;
};

/// Adapts a stream, which is moved into the adapter.
template <class S, class Make>
  requires stream<std::remove_cvref_t<S>>
auto operator|(S&& source, stage<Make> adapts) {
  static_assert(!std::is_lvalue_reference_v<S>, "move the stream in, or lend it by `by_ref`");
  return adapts.apply(std::move(source));
}

/// Consumes a stream, which is moved into the task that this gives or, if it has a name, lent to
/// it.
template <class S, class Run>
  requires stream<std::remove_cvref_t<S>>
auto operator|(S&& source, ending<Run> consumes) {
  return consumes.apply(std::forward<S>(source));
}

}  // namespace detail
}  // namespace magpie::sync
